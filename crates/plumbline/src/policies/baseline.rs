//! `baseline`: retrieval without a model.

mod answer;
mod evidence;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::policies::baseline::answer::Candidate;
use crate::policies::baseline::evidence::Evidence;
use crate::question::{Asked, Question, roots};
use crate::{
    Action, Digest, Policy, PolicyError, PolicyId, Prompt, Proposal, ToolCall, ToolSpec,
    Turn, text,
};

/// Searches made at most, however many steps there are: what comes later is mostly noise.
const SEARCHES_MAX: usize = 5;

/// Words of one query.
const QUERY_WORDS_MAX: usize = 24;

/// How much the seed may raise a score: candidates nearer to each other than this share
/// trade places from seed to seed.
const NOISE: f64 = 0.05;

/// Answers questions by searching and reading, without a model: the control that every
/// model's result stands beside.
///
/// It searches the question, then the names in it that no document found so far is about,
/// then names that stand beside the question's words in what it has read. When nothing is
/// left to search it answers with the span that fits the kind of answer asked for and stands
/// nearest to the question's words. It knows no fact and no task; everything it says stands
/// in the question or in an observation.
///
/// A proposal is a function of prompt and seed. The seed raises each candidate's score by up
/// to a twentieth, so that samples differ where the choice is close, and only there.
#[derive(Debug)]
pub struct Baseline {
    id: PolicyId,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { id: PolicyId("baseline@1".to_owned()) }
    }
}

#[async_trait]
impl Policy for Baseline {
    fn id(&self) -> &PolicyId {
        &self.id
    }

    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        let question = Question::read(prompt.question);
        let evidence = Evidence::read(&question, &prompt.turns);
        let tool = search_tool(prompt.tools).filter(|_| !prompt.last);
        let queries =
            tool.map_or_else(Vec::new, |_| queries(&question, &evidence, &prompt.turns));
        let answers = match queries.as_slice() {
            [] => answer::candidates(&question, &evidence),
            [..] => vec![],
        };
        let propose = |seed: &u64| {
            let action = match (tool, best(&queries, *seed)) {
                (Some(tool), Some(query)) => call(tool, query),
                _ => answer(&question, best(&answers, *seed)),
            };
            let (action, text) = say(prompt, action)?;
            Ok(Proposal { text, action, seed: *seed, tokens: None, elided: vec![] })
        };
        seeds.iter().map(propose).collect()
    }
}

/// The tool to search with: one that takes a text called `query`.
fn search_tool(tools: &[ToolSpec]) -> Option<&ToolSpec> {
    let takes_query = |tool: &&ToolSpec| {
        let kind = tool.parameters.pointer("/properties/query/type");
        kind.and_then(Value::as_str) == Some("string")
    };
    tools.iter().find(takes_query)
}

fn call(tool: &ToolSpec, query: &str) -> Action {
    let args = json!({ "query": query });
    Action::Calls {
        calls: vec![ToolCall { id: "call_0".into(), tool: tool.name.clone(), args }],
    }
}

/// The best answer; without any, what the question itself offers.
fn answer(question: &Question<'_>, best: Option<&str>) -> Action {
    let offered = question.names.last().copied();
    let text = best.or(offered).unwrap_or("unknown").trim().to_owned();
    Action::Answer { text }
}

/// An action in the protocol's words. A text that would close the protocol's own markup is
/// reduced to its words. Fails if the protocol cannot call the tool at all.
fn say(prompt: &Prompt<'_>, action: Action) -> Result<(Action, String), PolicyError> {
    if let Some(text) = prompt.protocol.render(&action) {
        return Ok((action, text));
    }
    let plain = |text: &str| {
        text::words(text).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    };
    let action = match action {
        Action::Answer { text } => Action::Answer { text: plain(&text) },
        Action::Calls { mut calls } => {
            for call in &mut calls {
                let query = call.args["query"].as_str().unwrap_or_default().to_owned();
                call.args["query"] = plain(&query).into();
            }
            Action::Calls { calls }
        }
        malformed @ Action::Malformed { .. } => malformed,
    };
    let cannot = || {
        let protocol = prompt.protocol;
        PolicyError::Model(format!("the protocol {protocol} cannot say {action:?}"))
    };
    let text = prompt.protocol.render(&action).ok_or_else(cannot)?;
    Ok((action, text))
}

/// The candidate with the highest score after the seed had its say; the first of equals.
fn best(candidates: &[Candidate], seed: u64) -> Option<&str> {
    let most = candidates.iter().map(|candidate| candidate.score).fold(0.0, f64::max);
    let mut best: Option<(&str, f64)> = None;
    // Others cannot win, whatever the seed.
    for candidate in candidates.iter().filter(|c| c.score * (1.0 + NOISE) >= most) {
        let parts = [candidate.text.as_bytes(), &seed.to_le_bytes()];
        let share = Digest::of_parts(&parts).to_u64() as f64 / u64::MAX as f64;
        let score = candidate.score * (1.0 + NOISE * share);
        if best.is_none_or(|(_, most)| score > most) {
            best = Some((&candidate.text, score));
        }
    }
    best.map(|(text, _)| text)
}

/// What could be searched next; nothing when it is time to answer.
fn queries(
    question: &Question<'_>,
    evidence: &Evidence<'_>,
    turns: &[Turn<'_>],
) -> Vec<Candidate> {
    let asked: Vec<Vec<String>> = turns
        .iter()
        .flat_map(|turn| turn.proposal.action.calls())
        .filter_map(|call| call.args.get("query").and_then(Value::as_str))
        .map(roots)
        .collect();
    let failed = turns
        .last()
        .is_some_and(|turn| turn.observations.iter().any(|o| o.as_fault().is_some()));
    if failed || turns.len() >= SEARCHES_MAX {
        return vec![];
    }
    if turns.is_empty() {
        let text = content(question.text);
        let whole = (!text.is_empty()).then_some(Candidate { text, score: 1.0 });
        return whole.into_iter().collect();
    }
    let new = |query: &str| {
        let query = roots(query);
        !query.is_empty() && !asked.contains(&query)
    };
    let mut named: Vec<&str> = question.names.clone();
    if let Asked::Choice { between, .. } = question.asked {
        named.splice(0..0, between);
    }
    let open = named.into_iter().find(|name| {
        !answer::is_demonym(name) && evidence.about(name).is_none() && new(name)
    });
    if let Some(name) = open {
        return vec![Candidate { text: name.to_owned(), score: 1.0 }];
    }
    if matches!(question.asked, Asked::YesNo | Asked::Choice { .. }) {
        return vec![];
    }
    let leads = |name: &str| {
        !answer::is_demonym(name)
            && !question.says(name)
            && evidence.about(name).is_none()
            && new(name)
    };
    let mut scores: BTreeMap<&str, Option<f64>> = BTreeMap::new();
    for sentence in &evidence.sentences {
        for range in text::names(sentence.text) {
            let name = &sentence.text[range.clone()];
            let score = scores.entry(name).or_insert_with(|| leads(name).then_some(0.0));
            if let Some(score) = score {
                let here = sentence.weight * sentence.nearness(&range);
                // Being named twice helps, a little.
                *score = score.max(here) + 0.3 * score.min(here);
            }
        }
    }
    let candidate = |(name, score): (&str, Option<f64>)| {
        Some(Candidate { text: name.to_owned(), score: score? })
    };
    scores.into_iter().filter_map(candidate).collect()
}

/// The words of a question that can be searched for.
fn content(question: &str) -> String {
    let words = text::words(question).map(|(_, word)| word);
    let content = words.filter(|word| !text::is_stop_word(&word.to_lowercase()));
    content.take(QUERY_WORDS_MAX).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Observation;
    use crate::protocol::Protocol;

    const DOCUMENTS: &[(&str, &str)] = &[
        ("Bell Tower", "The Bell Tower was designed by Ann Lee. It opened in 1931."),
        ("Ann Lee", "Ann Lee (born 3 May 1890) was an architect. She was born in Oslo."),
        ("Old Mill", "The Old Mill was built in 1874 and has 1,200 stones."),
    ];

    fn search(top: &[usize]) -> Observation {
        let shown = |(rank, index): (usize, &usize)| {
            let (title, text) = DOCUMENTS[*index];
            format!("[{}] {title}: {text}", rank + 1)
        };
        let texts: Vec<String> = top.iter().enumerate().map(shown).collect();
        let document = |index: &usize| json!({"id": index.to_string(), "title": DOCUMENTS[*index].0});
        let documents: Vec<Value> = top.iter().map(document).collect();
        Observation::Output {
            text: texts.join("\n"),
            data: json!({ "documents": documents }),
        }
    }

    fn equipped() -> Vec<ToolSpec> {
        vec![ToolSpec {
            name: "search".into(),
            description: String::new(),
            parameters: json!({"properties": {"query": {"type": "string"}}}),
            pinned: Digest::of(b""),
        }]
    }

    /// What the baseline does after these searches, in short: `? query` or `= answer`.
    fn next(question: &str, before: &[(&str, Observation)], seed: u64) -> String {
        next_with(question, before, &equipped(), Protocol::Hermes, seed)
    }

    fn next_with(
        question: &str,
        before: &[(&str, Observation)],
        tools: &[ToolSpec],
        protocol: Protocol,
        seed: u64,
    ) -> String {
        let searched = |(query, observation): &(&str, Observation)| {
            let action = call(&equipped()[0], query);
            let text = String::new();
            let proposal =
                Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
            (proposal, vec![observation.clone()])
        };
        let steps: Vec<(Proposal, Vec<Observation>)> =
            before.iter().map(searched).collect();
        let prompt = Prompt {
            system: "",
            question,
            turns: steps
                .iter()
                .map(|(proposal, observations)| Turn { proposal, observations })
                .collect(),
            tools,
            protocol,
            last: false,
            thought_chars_max: 0,
            tokens_max: 64,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime without drivers");
        let baseline = Baseline::default();
        let proposals = runtime.block_on(baseline.propose(&prompt, &[seed]));
        let proposal = proposals.expect("it always has something to say").remove(0);
        assert_eq!(protocol.parse(&proposal.text).action, proposal.action);
        match proposal.action {
            Action::Calls { calls } => {
                format!("? {}", calls[0].args["query"].as_str().expect("a text"))
            }
            Action::Answer { text } => format!("= {text}"),
            Action::Malformed { reason } => panic!("{reason}"),
        }
    }

    #[test]
    fn it_searches_the_question_then_what_it_leads_to_then_answers() {
        let question = "In what city was the designer of the Bell Tower born?";
        let mut before = vec![];
        assert_eq!(next(question, &before, 0), "? city designer Bell Tower born");
        before.push(("city designer Bell Tower born", search(&[0])));
        assert_eq!(next(question, &before, 0), "? Ann Lee");
        before.push(("Ann Lee", search(&[1, 0])));
        assert_eq!(next(question, &before, 0), "? Oslo");
        before.push(("Oslo", search(&[1])));
        assert_eq!(next(question, &before, 0), "= Oslo");
    }

    #[test]
    fn each_kind_of_answer_is_found_in_what_was_read() {
        let check = |question: &str, top: &[usize], expect: &str| {
            // Without a tool all that is left is to answer.
            let before = [("x", search(top))];
            assert_eq!(
                next_with(question, &before, &[], Protocol::React, 0),
                expect,
                "{question}"
            );
        };
        check("Who designed the Bell Tower?", &[0, 1], "= Ann Lee");
        check("In what year did the Bell Tower open?", &[0, 2], "= 1931");
        check("When was Ann Lee born?", &[0, 1], "= 3 May 1890");
        check("How many stones has the Old Mill?", &[2], "= 1,200");
        check("Which is older, the Bell Tower or the Old Mill?", &[0, 2], "= Old Mill");
        check("Which opened later, Bell Tower or Old Mill?", &[0, 2], "= Bell Tower");
        check("Was the Old Mill built of stones?", &[2], "= yes");
        check("Was the Old Mill painted green by sailors?", &[2], "= no");
        check("Who?", &[], "= unknown");
    }

    #[test]
    fn a_failed_call_is_the_last() {
        let fault = Observation::fault(crate::Fault::Limit, "all calls are used up");
        let before = [("Bell Tower", search(&[0])), ("Ann Lee", fault)];
        assert!(next("Who designed the Bell Tower?", &before, 0).starts_with('='));
    }

    proptest! {
        #[test]
        fn it_never_panics_and_repeats_itself(
            question in "(\\PC|who|which| or |Ann|19[0-9]{2}|,|\"|</tool_call>|</search>|\\]|\n| ){0,24}",
            text in "(\\PC|\\[1\\] |Bell Tower|\\. |May|, |1[0-9]{3}| ){0,40}",
            seed in any::<u64>(),
        ) {
            let documents = json!({"documents": [{"id": "d", "title": "Bell Tower"}]});
            let before = [("q", Observation::Output { text, data: documents })];
            for protocol in Protocol::ALL {
                for before in [&before[..0], &before[..]] {
                    for tools in [vec![], equipped()] {
                        let next =
                            || next_with(&question, before, &tools, protocol, seed);
                        prop_assert_eq!(next(), next());
                    }
                }
            }
        }
    }
}
