use std::io::{Read, Write};
use std::net::TcpListener;

use crate::world::World;

#[test]
fn a_bad_tasks_file_is_named_with_line_and_field() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "--tasks", "tasks.jsonl", "-o", "runs/a"];
    let cases: [(&str, &[&str]); 6] = [
        (
            "{\"id\": \"a\", \"prompt\": \"x\"}\n{\"prompt\": \"x\"}\n",
            &["tasks.jsonl:2:", "`id`"],
        ),
        ("{\"id\": \"a\", \"prompt\": \"x\"}\nnot json\n", &["tasks.jsonl:2:"]),
        (
            "{\"id\": \"a\", \"prompt\": \"x\"}\n{\"id\": \"a\", \"prompt\": \"y\"}\n",
            &["tasks.jsonl:2:", "field \"id\"", "unique"],
        ),
        ("{\"id\": \"\", \"prompt\": \"x\"}\n", &["tasks.jsonl:1:", "must not be empty"]),
        (
            "{\"id\": \"a\", \"prompt\": \"x\", \"imputs\": 1}\n",
            &["tasks.jsonl:1:", "did you mean `inputs`?"],
        ),
        ("", &["no task"]),
    ];
    for (text, words) in cases {
        world.write("tasks.jsonl", text);
        world.fails(&args, 3, words);
    }
    assert!(!world.path("runs").exists(), "nothing half-written");
}

#[test]
fn a_bad_corpus_is_named_with_line_and_field() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-o", "runs/a"];
    let good = world.read("corpus/documents.jsonl");
    let cases: [(&str, &[&str]); 3] = [
        ("not json\n", &["documents.jsonl:6"]),
        ("{\"id\": \"x\", \"title\": \"X\"}\n", &["documents.jsonl:6", "text"]),
        (
            "{\"id\": \"mill\", \"title\": \"X\", \"text\": \"x\"}\n",
            &["documents.jsonl:6", "\"id\"", "mill"],
        ),
    ];
    for (line, words) in cases {
        world.write("corpus/documents.jsonl", &format!("{good}{line}"));
        world.fails(&args, 3, words);
    }
    std::fs::remove_file(world.path("corpus/documents.jsonl")).expect("it was there");
    world.fails(&args, 3, &["documents.jsonl"]);
    assert!(!world.path("runs").exists(), "nothing half-written");
}

#[test]
fn a_bad_manifest_names_the_nearest_key() {
    let world = World::new();
    world.edit("world/environment.toml", "steps_max", "step_max");
    let script = world.right_script();
    let args = ["run", "world", "-m", &script];
    world.fails(&args, 3, &["environment.toml:6:", "did you mean `steps_max`?"]);
}

#[test]
fn wrong_usage_is_2_and_names_what_is_near() {
    let world = World::new();
    world.write(
        "environments/world/environment.toml",
        &world.read("world/environment.toml"),
    );
    world.write("environments/world/prompt.md", "x");
    world.fails(&["run", "wrold", "-m", "baseline"], 2, &["did you mean \"world\"?"]);
    world.fails(&["run", "world", "-m", "basline"], 2, &["did you mean \"baseline\"?"]);
    world.fails(&["run", "world"], 2, &["--policy"]);
    world.fails(&["run", "world", "-m", "baseline", "-c", "0"], 2, &["--concurrency"]);
    world.fails(&["run", "world", "-m", "baseline", "--top-p", "0"], 2, &["--top-p"]);
    world.fails(&["run", "world", "--frobnicate"], 2, &["--frobnicate"]);
    world.fails(&["show", "nowhere"], 2, &["not a run"]);
    world.write("c.toml", "sampels = 2\n");
    world.fails(
        &["run", "world", "-m", "baseline", "--config", "c.toml"],
        3,
        &["did you mean `samples`?"],
    );
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    world.fails(
        &["label", "runs/a", "--verifier", "anser-support"],
        2,
        &["answer-support"],
    );
    world.fails(&["label", "runs/a", "--view", "x"], 2, &["strict-local"]);
    world.fails(&["show", "runs/a", "q9"], 2, &["no task \"q9\""]);
    world.fails(&["show", "runs/a", "q1:99"], 2, &["no such step"]);
}

#[test]
fn a_missing_model_is_4_and_a_corrupt_one_is_3() {
    let world = World::new();
    world.fails(&["run", "world", "-m", "llama:default"], 4, &["make setup"]);
    world.fails(&["run", "world", "-m", "llama:absent.gguf"], 4, &["absent.gguf"]);
    world.write("text.gguf", "this is no model");
    world.fails(&["run", "world", "-m", "llama:text.gguf"], 3, &["text.gguf"]);
    world.write("torn.gguf", "GGUF\u{3}\u{0}\u{0}\u{0}");
    world.fails(&["run", "world", "-m", "llama:torn.gguf"], 3, &["torn.gguf"]);
    assert!(!world.path("runs").exists(), "nothing half-written");
}

#[test]
fn an_endpoint_that_is_down_is_5_and_the_run_is_kept() {
    let world = World::new();
    // A port that nothing listens on: bound, then let go.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let policy = format!("openai:m@http://127.0.0.1:{port}/v1");
    let args = ["run", "world", "-m", &policy, "-n", "1", "-o", "runs/a"];
    world.fails(&args, 5, &["aborted", "--retry-on-error"]);
    let ending = world.steps("runs/a").pop().expect("an ending");
    assert_eq!(ending["ending"]["boundary"], "endpoint");
    // What stands before an @ in its address is written nowhere either.
    let secret = format!("openai:m@http://user:pw123@127.0.0.1:{port}/v1");
    let args = ["run", "world", "-m", &secret, "-n", "1", "-o", "runs/b"];
    world.fails(&args, 5, &["aborted"]);
    assert!(!world.read("runs/b/run.json").contains("pw123"));
    assert!(!world.read("runs/b/steps.jsonl").contains("pw123"));
}

#[test]
fn an_endpoint_serves_an_episode_and_its_key_is_written_nowhere() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let replies = [
            crate::world::search("lighthouse of Orrin"),
            "<answer>1802</answer>".to_owned(),
        ];
        let mut authorised = 0;
        for reply in replies {
            let request = answer_request(&listener, &reply);
            authorised += usize::from(request.contains("Bearer sesame-1234"));
        }
        authorised
    });
    world.write_lines(
        "one.jsonl",
        &[serde_json::json!({"id": "q2", "prompt": "When was the lighthouse of Orrin lit?"})],
    );
    let policy = format!("openai:m@http://127.0.0.1:{port}/v1");
    let output = world
        .command(&["run", "world", "-m", &policy, "--tasks", "one.jsonl", "-o", "runs/a"])
        .env("OPENAI_API_KEY", "sesame-1234")
        .env("PLUMB_LOG", "trace")
        .output()
        .expect("plumb starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1.000 [1.000, 1.000]"), "{text}");
    assert_eq!(server.join().expect("the server ends"), 2, "both requests carry the key");
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("sesame"),
        "a key in the log"
    );
    for file in ["runs/a/run.json", "runs/a/steps.jsonl"] {
        assert!(!world.read(file).contains("sesame"), "{file} holds the key");
    }
}

/// Answers one request as an endpoint would, and returns it.
pub(crate) fn answer_request(listener: &TcpListener, reply: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a connection");
    let request = read_request(&mut stream);
    let body = serde_json::json!({
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": reply}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5}
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).expect("a reply");
    request
}

fn read_request(stream: &mut std::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).expect("a request");
        bytes.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return text;
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_5() {
    let world = World::new();
    let script = world.right_script();
    // Below a file: nobody can make a folder there, not even root.
    world.write("file", "x");
    world.fails(&["run", "world", "-m", &script, "-o", "file/run"], 5, &["file/run"]);
    world.fails(&["run", "world", "-m", &script, "-o", "/proc/run"], 5, &["/proc/run"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_run_and_what_was_recorded_stays() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-r", "50", "-o", "runs/a"];
    world.ok(&["run", "world", "-m", &script, "-o", "runs/warm"]);
    // A limit on the size of any file a process may write stands in for a full disk. The
    // shell ignores the signal, so that the write fails instead.
    let binary = env!("CARGO_BIN_EXE_plumb");
    let limited = format!("trap '' XFSZ; ulimit -f 64; exec {binary} {}", args.join(" "));
    let output = std::process::Command::new("bash")
        .args(["-c", &limited])
        .current_dir(world.path("."))
        .env("PLUMBLINE_CACHE", world.path("cache"))
        .output()
        .expect("bash is there");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("steps.jsonl"), "{stderr}");
    world.ok(&args);
    let rows = world.ok(&["show", "runs/a"]);
    assert_eq!(rows.lines().count(), 201, "4 tasks, 50 samples, one heading");
    world.ok(&["replay", "runs/a"]);
}
