use std::time::{Duration, Instant};

use plumbline::protocol::Protocol;
use plumbline::{
    Action, Digest, Observation, Policy, PolicyError, Prompt, Proposal, Sampling, Tokens,
    ToolSpec, Turn, Usage,
};
use plumbline_http::{ApiKey, Endpoint, EndpointSettings, SeedMode};
use serde_json::{Value, json};

use crate::server::{Asked, Reply, Server, nowhere};

const SECRET: &str = "sk-very-secret";

/// Settings with which nothing takes longer than a test may.
fn settings(url: &str) -> EndpointSettings {
    let sampling = Sampling { temperature: 0.7, top_p: 0.9, min_p: 0.0 };
    let named = format!("test/model@v1@{url}/v1");
    let settings = EndpointSettings::parse(&named, sampling).expect("well formed");
    EndpointSettings {
        request_ms_max: 2_000,
        retries_max: 2,
        backoff_ms_base: 4,
        backoff_ms_max: 20,
        reply_bytes_max: 64 * 1024,
        ..settings
    }
}

fn endpoint(settings: EndpointSettings) -> Endpoint {
    let key = ApiKey::first(&["PLUMB_API_KEY".into()], |_| Some(SECRET.into()));
    Endpoint::new(settings, key.expect("the key is plain ASCII")).expect("plain http")
}

fn tools() -> [ToolSpec; 1] {
    [ToolSpec {
        name: "search".into(),
        description: "Searches.".into(),
        parameters: json!({"type": "object", "properties": {"query": {"type": "string"}}}),
        pinned: Digest::of(b""),
    }]
}

fn prompt<'a>(
    protocol: Protocol,
    tools: &'a [ToolSpec],
    turns: Vec<Turn<'a>>,
) -> Prompt<'a> {
    Prompt {
        system: "Answer.",
        question: "Capital of France?",
        turns,
        tools,
        protocol,
        last: false,
        thought_chars_max: 100,
        tokens_max: 64,
    }
}

/// What one question comes to, with seeds 1 to `samples`.
async fn ask(endpoint: &Endpoint, samples: u64) -> Result<Vec<Proposal>, PolicyError> {
    let tools = tools();
    let seeds: Vec<u64> = (1..=samples).collect();
    endpoint.propose(&prompt(Protocol::Hermes, &tools, vec![]), &seeds).await
}

/// A choice that answers in the text protocols.
fn answer(text: &str) -> Value {
    let text = format!("<answer>{text}</answer>");
    json!({"message": {"role": "assistant", "content": text}, "finish_reason": "stop"})
}

fn completion(choices: &[Value]) -> Value {
    json!({"choices": choices, "usage": {"prompt_tokens": 20, "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 12}}})
}

fn paris() -> Reply {
    Reply::json(200, &completion(&[answer("Paris")]))
}

fn answered(text: &str) -> Action {
    Action::Answer { text: text.into() }
}

/// The message of the error of a question to a server that always answers so.
async fn failure(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (String, usize) {
    let server = Server::start(move |_, _| reply()).await;
    let error = ask(&endpoint(settings(&server.url)), 1).await.expect_err("it fails");
    assert!(matches!(error, PolicyError::Endpoint(_)), "{error:?}");
    (error.to_string(), server.asked().len())
}

#[tokio::test]
async fn text_is_asked_for_and_read() {
    let server = Server::start(|_, _| paris()).await;
    let endpoint = endpoint(settings(&server.url));
    let proposals = ask(&endpoint, 1).await.expect("the server is well");
    assert_eq!(proposals[0].text, "<answer>Paris</answer>");
    assert_eq!(proposals[0].action, answered("Paris"));
    assert_eq!((proposals[0].seed, &proposals[0].tokens), (1, &None));
    let used =
        Usage { prompt_evaluated: 8, prompt_reused: 12, prompt_new: 0, sampled: 5 };
    assert_eq!(endpoint.usage(), used);

    let Asked { method, uri, headers, body } = server.asked().remove(0);
    assert_eq!((method.as_str(), uri.path()), ("POST", "/v1/chat/completions"));
    assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(body["model"], "test/model@v1");
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Answer."}));
    assert_eq!(body["messages"][1]["role"], "user");
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.7), &json!(0.9)));
    assert_eq!((&body["seed"], &body["max_tokens"]), (&json!(1), &json!(64)));
    assert_eq!(body["stop"], json!(Protocol::Hermes.stops()));
    assert_eq!(body["logprobs"], true);
    for absent in ["tools", "tool_choice", "n", "min_p"] {
        assert_eq!(body.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_stop_string_that_was_cut_off_is_given_back() {
    let cases = [
        // No word of which it was: the one that makes the text readable.
        (json!({}), "<answer>Paris</answer>"),
        // The server says which.
        (json!({"stop_reason": "</answer>"}), "<answer>Paris</answer>"),
        (json!({"matched_stop": "</answer>"}), "<answer>Paris</answer>"),
        // The model ended by itself: its mistake is kept.
        (json!({"stop_reason": null}), "<answer>Paris"),
        (json!({"matched_stop": 2}), "<answer>Paris"),
        // It was cut by the length.
        (json!({"finish_reason": "length"}), "<answer>Paris"),
    ];
    let replies = cases.clone();
    let server = Server::start(move |before, _| {
        let mut choice =
            json!({"message": {"content": "<answer>Paris"}, "finish_reason": "stop"});
        let object = choice.as_object_mut().expect("an object");
        object.extend(replies[before].0.as_object().expect("an object").clone());
        Reply::json(200, &completion(&[choice]))
    })
    .await;
    let endpoint = endpoint(settings(&server.url));
    let tools = tools();
    let prompt = prompt(Protocol::SearchR1, &tools, vec![]);
    for (reply, expected) in cases {
        let proposals = endpoint.propose(&prompt, &[1]).await.expect("it is well");
        assert_eq!(proposals[0].text, expected, "{reply}");
    }
}

#[tokio::test]
async fn tools_are_offered_and_calls_read() {
    let call = json!({"id": "c7", "type": "function",
        "function": {"name": "search", "arguments": "{\"query\":\"France\"}"}});
    let sent = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let message = sent.clone();
    let reply = completion(&[json!({"message": message, "finish_reason": "tool_calls"})]);
    let server = Server::start(move |_, asked| {
        if asked.body.get("tool_choice").is_some() {
            let message = json!({"role": "assistant", "content": "Paris"});
            return Reply::json(200, &completion(&[json!({"message": message})]));
        }
        Reply::json(200, &reply)
    })
    .await;
    let endpoint = endpoint(settings(&server.url));
    let tools = tools();
    let first = prompt(Protocol::Openai, &tools, vec![]);
    let called = endpoint.propose(&first, &[1]).await.expect("it is well").remove(0);
    let [one] = called.action.calls() else { panic!("one call: {called:?}") };
    assert_eq!((one.id.as_str(), one.tool.as_str()), ("c7", "search"));
    assert_eq!(one.args, json!({"query": "France"}));
    let body = server.asked().remove(0).body;
    let function = json!({"name": "search", "description": "Searches.",
        "parameters": tools[0].parameters});
    assert_eq!(body["tools"], json!([{"type": "function", "function": function}]));
    assert_eq!(body.get("stop"), None);

    let observation =
        Observation::Output { text: "Paris is it.".into(), data: Value::Null };
    let turn = Turn { proposal: &called, observations: &[observation] };
    let last = Prompt { last: true, ..prompt(Protocol::Openai, &tools, vec![turn]) };
    let answer = endpoint.propose(&last, &[1]).await.expect("it is well").remove(0);
    assert_eq!(answer.action, answered("Paris"));
    assert_eq!(answer.text, r#"{"content":"Paris"}"#);
    let body = server.asked().remove(1).body;
    assert_eq!(body["tool_choice"], "none");
    assert_eq!(body["tools"], server.asked()[0].body["tools"], "the prefix stays");
    assert_eq!(body["messages"][2], sent);
    let shown = &body["messages"][3];
    assert_eq!((&shown["role"], &shown["tool_call_id"]), (&json!("tool"), &json!("c7")));
    assert!(
        shown["content"].as_str().is_some_and(|text| text.starts_with("Paris is it."))
    );
}

#[tokio::test]
async fn each_seed_has_a_request_and_proposals_keep_their_order() {
    let server = Server::start(|_, asked| {
        Reply::json(200, &completion(&[answer(&asked.body["seed"].to_string())]))
    })
    .await;
    let settings = EndpointSettings { concurrency_max: 2, ..settings(&server.url) };
    let proposals = ask(&endpoint(settings), 5).await.expect("the server is well");
    let actions: Vec<_> = proposals.into_iter().map(|p| (p.seed, p.action)).collect();
    let expected: Vec<_> = (1..=5).map(|n| (n, answered(&n.to_string()))).collect();
    assert_eq!(actions, expected);
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn samples_missing_from_a_shared_request_are_topped_up() {
    let server = Server::start(|before, _| {
        let choices = [answer(&format!("{before}a")), answer(&format!("{before}b"))];
        Reply::json(200, &completion(&choices))
    })
    .await;
    let settings = EndpointSettings { seeds: SeedMode::SharedN, ..settings(&server.url) };
    let proposals = ask(&endpoint(settings), 5).await.expect("the server is well");
    let texts: Vec<_> = proposals.iter().map(|p| p.action.clone()).collect();
    assert_eq!(texts, ["0a", "0b", "1a", "1b", "2a"].map(answered));
    let sent: Vec<_> = server.asked().iter().map(|a| a.body.get("n").cloned()).collect();
    assert_eq!(sent, [Some(json!(5)), Some(json!(3)), None]);
}

#[tokio::test]
async fn fields_that_a_server_refuses_are_not_sent_again() {
    let server = Server::start(|_, asked| {
        for field in ["logprobs", "n", "seed", "max_tokens"] {
            if asked.body.get(field).is_some() {
                let message = format!("Unsupported parameter: '{field}'");
                return Reply::json(400, &json!({"error": {"message": message}}));
            }
        }
        paris()
    })
    .await;
    let settings = EndpointSettings { seeds: SeedMode::SharedN, ..settings(&server.url) };
    let endpoint = endpoint(settings);
    let proposals = ask(&endpoint, 2).await.expect("the server does without them");
    assert_eq!(proposals.len(), 2);
    let before = server.asked().len();
    ask(&endpoint, 2).await.expect("the server does without them");
    let asked = server.asked().split_off(before);
    assert_eq!(asked.len(), 2, "nothing was refused: {asked:?}");
    assert_eq!(asked[0].body["max_completion_tokens"], 64);
}

#[tokio::test]
async fn tokens_are_recorded_where_ids_are_given_and_not_asked_for_where_not() {
    let server = Server::start(|_, _| {
        let mut choice = answer("Paris");
        choice["token_ids"] = json!([7, 8]);
        choice["logprobs"] = json!({"content": [{"logprob": -0.5}, {"logprob": -1.5}]});
        let mut reply = completion(&[choice]);
        reply["prompt_token_ids"] = json!([1, 2, 3, 4, 5]);
        Reply::json(200, &reply)
    })
    .await;
    let earlier = Proposal {
        text: "<answer>".into(),
        action: Action::Malformed { reason: "no end".into() },
        seed: 0,
        tokens: Some(Tokens {
            kept: 0,
            prompt: vec![1, 2],
            sampled: vec![3, 9],
            logprobs: vec![0.0; 2],
        }),
        elided: vec![],
    };
    let turns = vec![Turn { proposal: &earlier, observations: &[] }];
    let endpoint_with = endpoint(settings(&server.url));
    let tools = tools();
    let prompt = prompt(Protocol::Hermes, &tools, turns);
    let proposals = endpoint_with.propose(&prompt, &[1]).await.expect("it is well");
    let expected = Tokens {
        kept: 3,
        prompt: vec![4, 5],
        sampled: vec![7, 8],
        logprobs: vec![-0.5, -1.5],
    };
    assert_eq!(proposals[0].tokens, Some(expected));

    let server = Server::start(|_, _| paris()).await;
    let endpoint_without = endpoint(settings(&server.url));
    for asked_for in [Some(true), None] {
        ask(&endpoint_without, 1).await.expect("it is well");
        let body = server.asked().pop().expect("it was asked").body;
        assert_eq!(body.get("logprobs").and_then(Value::as_bool), asked_for);
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    let server = Server::start(|before, _| match before {
        0 => Reply::Full {
            status: 429,
            headers: vec![("retry-after-ms", "15".into())],
            body: b"slow down".to_vec(),
        },
        // An hour: more than the settings allow to wait.
        1 => Reply::Full {
            status: 503,
            headers: vec![("retry-after", "3600".into())],
            body: vec![],
        },
        _ => paris(),
    })
    .await;
    let begun = Instant::now();
    ask(&endpoint(settings(&server.url)), 1).await.expect("the third attempt");
    assert!(begun.elapsed() >= Duration::from_millis(35), "it waited 15 and 20 ms");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up() {
    let (error, asked) = failure(|| Reply::text(500, "<h1>oh\nno</h1>")).await;
    assert_eq!(asked, 3);
    for part in ["/v1 failed after 3 attempts", "500", "<h1>oh no</h1>", "log"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[tokio::test]
async fn a_refusal_that_will_not_pass_is_not_tried_again() {
    for (status, remedy) in [(401, "PLUMB_API_KEY"), (404, "/v1"), (400, "documentation")]
    {
        let (error, asked) = failure(move || Reply::text(status, "no")).await;
        assert_eq!(asked, 1, "{error}");
        assert!(error.contains(remedy), "{error}");
    }
    let moved = || Reply::Full {
        status: 307,
        headers: vec![("location", "http://127.0.0.1:9/".into())],
        body: vec![],
    };
    let (error, asked) = failure(moved).await;
    assert_eq!(asked, 1);
    assert!(error.contains("redirects"), "{error}");
}

#[tokio::test]
async fn replies_that_are_no_completions_are_named() {
    type Case = (fn() -> Reply, usize, &'static str);
    let cases: [Case; 7] = [
        (|| Reply::text(200, "{\"choices\": [,"), 1, "not JSON"),
        (|| Reply::text(200, "<html>"), 1, "not JSON"),
        (|| Reply::json(200, &json!({"object": "list"})), 1, "no choices"),
        (|| Reply::json(200, &completion(&[])), 1, "choices are empty"),
        (|| Reply::json(200, &completion(&[json!({})])), 1, "no message"),
        (|| Reply::Endless, 1, "longer than 65536 bytes"),
        (
            || {
                let body = completion(&[answer("Paris")]).to_string().into_bytes();
                Reply::Cut { body, bytes: 30, headers: vec![], status: 200 }
            },
            3,
            "running",
        ),
    ];
    for (reply, asked_expected, part) in cases {
        let (error, asked) = failure(reply).await;
        assert_eq!(asked, asked_expected, "{error}");
        assert!(error.contains(part), "{part} in {error}");
    }
    let gateway = json!({"error": {"code": 503, "message": "upstream is away"}});
    let (error, asked) = failure(move || Reply::json(200, &gateway)).await;
    assert!(error.contains("upstream is away"), "{error}");
    assert_eq!(asked, 3, "the code inside says that it may pass");
}

#[tokio::test]
async fn a_silent_server_is_left_after_the_time_allowed() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let settings =
        EndpointSettings { request_ms_max: 40, retries_max: 1, ..settings(&server.url) };
    let begun = Instant::now();
    let error = ask(&endpoint(settings), 1).await.expect_err("nothing comes");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(error.to_string().contains("no reply within 40 ms"), "{error}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_server_that_is_down_is_named() {
    let url = nowhere().await;
    let error = ask(&endpoint(settings(&url)), 1).await.expect_err("nobody is there");
    let error = error.to_string();
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
    assert!(error.contains("is running"), "{error}");
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    let server = Server::start(|_, asked| {
        let key = asked.headers["authorization"].to_str().expect("ASCII");
        Reply::text(401, &format!("Incorrect API key provided: {key}, pw hunter2"))
    })
    .await;
    let endpoint_with_key = endpoint(settings(&server.url));
    let error = ask(&endpoint_with_key, 1).await.expect_err("refused");
    let id = endpoint_with_key.id();
    let shown = format!("{error} {error:?} {endpoint_with_key:?} {id} {id:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("[redacted]"), "{shown}");

    // A user in the URL is sent instead of the key.
    let with_user = server.url.replace("http://", "http://me:hunter2@");
    let endpoint_with_user = endpoint(settings(&with_user));
    let error = ask(&endpoint_with_user, 1).await.expect_err("refused");
    let sent = server.asked().pop().expect("asked").headers;
    let sent: Vec<_> = sent.get_all("authorization").iter().collect();
    assert_eq!(sent, ["Basic bWU6aHVudGVyMg=="]);
    let shown = format!("{error} {endpoint_with_user:?} {}", endpoint_with_user.id());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_full_context_elides_the_oldest_observations() {
    // Room for one observation: the server counts those that are shown.
    let server = Server::start(|_, asked| {
        let shown = asked.body["messages"].to_string().matches("result of").count();
        if shown <= 1 {
            return paris();
        }
        let message = "This model's maximum context length is 100 tokens. However, you \
                       requested 150 tokens.";
        let code = "context_length_exceeded";
        Reply::json(400, &json!({"error": {"message": message, "code": code}}))
    })
    .await;
    let call = "<tool_call>\n{\"name\": \"search\", \"arguments\": {\"query\": \"x\"}}\n</tool_call>";
    let proposal = |elided: &[u32]| Proposal {
        text: call.into(),
        action: Protocol::Hermes.parse(call).action,
        seed: 0,
        tokens: None,
        elided: elided.to_vec(),
    };
    let (first, later) = (proposal(&[]), proposal(&[0]));
    let observation =
        [Observation::Output { text: "result of a search".into(), data: Value::Null }];
    let turn = |proposal| Turn { proposal, observations: &observation };
    let tools = tools();
    let endpoint = endpoint(settings(&server.url));

    let turns = vec![turn(&first), turn(&first), turn(&first)];
    let asked = prompt(Protocol::Hermes, &tools, turns);
    let proposals = endpoint.propose(&asked, &[1]).await.expect("it fits in the end");
    assert_eq!(proposals[0].elided, [0, 1]);
    assert_eq!(server.asked().len(), 3);

    let turns = vec![turn(&first), turn(&later), turn(&later)];
    let asked = prompt(Protocol::Hermes, &tools, turns);
    let proposals = endpoint.propose(&asked, &[1]).await.expect("it fits in the end");
    assert_eq!(proposals[0].elided, [0, 1]);
    assert_eq!(server.asked().len(), 5, "what was elided before is not shown again");

    let observation = [observation[0].clone(), observation[0].clone()];
    let turns = vec![turn(&first), Turn { proposal: &later, observations: &observation }];
    let asked = prompt(Protocol::Hermes, &tools, turns);
    let error = endpoint.propose(&asked, &[1]).await.expect_err("the latest is too long");
    assert!(
        matches!(error, PolicyError::Context { tokens: 150, tokens_max: 100 }),
        "{error:?}"
    );
}
