//! `judge@2`: a language model gives an opinion, alone or by majority, with or without tools.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::protocol::{PartKind, Protocol};
use crate::repeated_key::repeated_key;
use crate::verifiers::{Finding, verdict};
use crate::{
    Action, Cost, Digest, Effort, Environment, Episode, Evidence, Fault, NodeId,
    Observation, Policy, Prompt, Proposal, Seen, Sight, StepLabel, ToolSpec, Tree, Turn,
    Verdict, Verifier, VerifierError, VerifierId, Zero, cut, fork,
};

/// The tool that a judge gives its verdict with.
const VERDICT: &str = "verdict";
/// How the judge writes its calls.
const PROTOCOL: Protocol = Protocol::Hermes;
/// Bytes of one message or observation that the judge is shown.
const SHOWN_BYTES_MAX: usize = 4096;
/// Tokens of one message of the judge.
const MESSAGE_TOKENS_MAX: u32 = 512;

/// How a judge judges. All of it is part of the verifier's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeSettings {
    /// The system message: what is good, neutral and bad. `{{tools}}` stands for the
    /// description of the tools.
    pub rubric: String,
    /// Independent judgements of each step; at least 1.
    pub votes: u32,
    /// Messages in which the judge may call the environment's tools before its verdict, on a
    /// fork of the state after the step; 0 gives it none.
    pub rounds_max: u32,
    /// How often a judgement that cannot be read is asked for again. Then it is an abstention.
    pub retries: u32,
    /// What becomes of several judgements.
    pub merge: Merge,
    /// The seed of everything sampled.
    pub seed: u64,
}

/// What becomes of several judgements of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The label that more than half of the votes asked for; none if there is no such label.
    Majority,
    /// One more judgement that is shown all of them and has the last word: the
    /// meta-critique of SPARK.
    Critique,
}

/// A language model as a verifier. Its verdict is an opinion, and says so: nothing stands
/// behind it but the calls it made, where it made any that can be made again.
///
/// With no rounds it is a plain judge. With rounds it acts first, as DataPRM does: it may
/// call the environment's tools on a fork of the state. The value is how many votes each
/// label had; the confidence is the winner's share of all votes asked for. What cannot be
/// read, after retries, is an abstention and never a label.
pub struct Judge {
    id: VerifierId,
    settings: JudgeSettings,
    policy: Arc<dyn Policy>,
    environment: Arc<Environment>,
    /// The environment's tools, if the judge is given any, and the verdict.
    tools: Vec<ToolSpec>,
    system: String,
}

/// One judgement.
#[derive(Debug, Clone, PartialEq)]
struct Opinion {
    label: StepLabel,
    reason: String,
}

/// What a session of the judge came to.
#[derive(Default)]
struct Session {
    opinion: Option<Opinion>,
    evidence: Vec<Evidence>,
    cost: Cost,
}

static SPEC: LazyLock<ToolSpec> = LazyLock::new(|| ToolSpec {
    name: VERDICT.to_owned(),
    description: "Gives your verdict on the step. Call it once.".to_owned(),
    parameters: json!({
        "type": "object",
        "properties": {
            "reason": { "type": "string", "maxLength": 400, "description": "one sentence" },
            "label": { "type": "string", "enum": ["good", "neutral", "bad"] }
        },
        "required": ["reason", "label"],
        "additionalProperties": false
    }),
    pinned: Digest::of(b"a verdict is an opinion"),
});

impl Judge {
    /// The rubrics that come with the library, by the name users type.
    pub const RUBRICS: [(&'static str, &'static str); 3] = [
        ("step", include_str!("rubrics/step.md")),
        ("chain", include_str!("rubrics/chain.md")),
        ("active", include_str!("rubrics/active.md")),
    ];

    /// A judge that asks `policy` about steps taken in `environment`.
    pub fn new(
        policy: Arc<dyn Policy>,
        environment: Arc<Environment>,
        settings: JudgeSettings,
    ) -> Self {
        assert!(settings.votes > 0, "a judge without a vote judges nothing");
        let given = if settings.rounds_max > 0 { environment.specs() } else { &[] };
        let tools: Vec<ToolSpec> = given.iter().chain([&*SPEC]).cloned().collect();
        let system = settings.rubric.replace("{{tools}}", &PROTOCOL.instructions(&tools));
        let depends = (policy.id(), &settings, environment.digest());
        let id = format!("judge@2+{}", Digest::of_json(&depends).short());
        Self { id: VerifierId(id), settings, policy, environment, tools, system }
    }

    async fn judge_one(
        &self,
        tree: &Tree,
        node: NodeId,
        seen: Seen<'_>,
    ) -> Result<Option<Verdict>, VerifierError> {
        let case = case(tree, node, seen);
        let mut sessions = Vec::new();
        for vote in 0..self.settings.votes {
            let state = self.state(tree, node, seen).await?;
            sessions.push(self.session(&case, state, &[node.0, vote]).await?);
        }
        if self.settings.merge == Merge::Critique && sessions.len() > 1 {
            let shown = with_opinions(&case, &sessions);
            let state = self.state(tree, node, seen).await?;
            let place = [node.0, self.settings.votes];
            let merged = self.session(&shown, state, &place).await?;
            return Ok(self.verdict(
                node,
                &sessions,
                merged.opinion.clone(),
                Some(merged),
            ));
        }
        let winner = majority(&sessions, self.settings.votes);
        Ok(self.verdict(node, &sessions, winner, None))
    }

    /// The state that the judge's own calls start from.
    async fn state(
        &self,
        tree: &Tree,
        node: NodeId,
        seen: Seen<'_>,
    ) -> Result<Episode<'_>, VerifierError> {
        if self.settings.rounds_max == 0 {
            return Ok(Episode::new(&self.environment, &seen.task.inputs, None));
        }
        let checks = Some(self.environment.checks());
        fork(&self.environment, seen.task, tree, Some(node), checks)
            .await
            .map_err(|error| self.failed(error.to_string()))
    }

    /// Asks for one judgement: rounds with tools first, then the verdict alone.
    async fn session(
        &self,
        case: &str,
        mut state: Episode<'_>,
        place: &[u32],
    ) -> Result<Session, VerifierError> {
        let before = state.scratch().digest();
        let mut session = Session::default();
        let mut turns: Vec<(Proposal, Vec<Observation>)> = Vec::new();
        let mut unread = 0;
        for round in 0.. {
            let free = round < self.settings.rounds_max;
            let tools = if free { &self.tools[..] } else { std::slice::from_ref(&*SPEC) };
            let proposal = self.propose(case, &turns, tools, place, round).await?;
            session.cost.tokens +=
                proposal.tokens.as_ref().map_or(0, |t| t.sampled.len() as u64);
            if let Some(opinion) = opinion(&proposal) {
                session.opinion = Some(opinion);
                return Ok(session);
            }
            let calls = proposal.action.calls().to_vec();
            let mut observations = Vec::new();
            if free && !calls.is_empty() {
                for call in calls {
                    let met = state.scratch().digest() == before;
                    let observation = state.call(&call).await;
                    let observation =
                        observation.map_err(|error| self.failed(error.to_string()))?;
                    session.cost.calls += 1;
                    if met && is_repeatable(&observation) {
                        let result = Digest::of_json(&observation);
                        session.evidence.push(Evidence::Execution { call, result });
                    }
                    observations.push(observation);
                }
            } else {
                if unread >= self.settings.retries {
                    return Ok(session);
                }
                unread += 1;
                let message = "that is no verdict: call verdict with a reason and one of \
                               the labels good, neutral, bad";
                let faults = calls.len().max(1);
                let fault = Observation::fault(Fault::Malformed, message);
                observations = vec![fault; faults];
            }
            turns.push((proposal, observations));
        }
        unreachable!("the rounds end with a verdict or with the retries")
    }

    async fn propose(
        &self,
        case: &str,
        turns: &[(Proposal, Vec<Observation>)],
        tools: &[ToolSpec],
        place: &[u32],
        round: u32,
    ) -> Result<Proposal, VerifierError> {
        let prompt = Prompt {
            system: &self.system,
            question: case,
            turns: turns
                .iter()
                .map(|(proposal, observations)| Turn { proposal, observations })
                .collect(),
            tools,
            protocol: PROTOCOL,
            last: false,
            thought_chars_max: 800,
            tokens_max: MESSAGE_TOKENS_MAX,
        };
        let seed = Digest::of_json(&(self.settings.seed, case, place, round)).to_u64();
        let proposals = self.policy.propose(&prompt, &[seed]).await;
        let mut proposals = proposals.map_err(|error| self.failed(error.to_string()))?;
        Ok(proposals.pop().expect("one proposal for one seed"))
    }

    /// The verdict of all sessions together; silence if every one of them abstained.
    fn verdict(
        &self,
        node: NodeId,
        sessions: &[Session],
        winner: Option<Opinion>,
        merged: Option<Session>,
    ) -> Option<Verdict> {
        let votes = |label| {
            let opinions = sessions.iter().filter_map(|session| session.opinion.as_ref());
            opinions.filter(|opinion| opinion.label == label).count()
        };
        let (good, neutral, bad) =
            (votes(StepLabel::Good), votes(StepLabel::Neutral), votes(StepLabel::Bad));
        let abstained = sessions.len() - good - neutral - bad;
        if abstained == sessions.len() && winner.is_none() {
            return None;
        }
        let value = json!({ "good": good, "neutral": neutral, "bad": bad, "abstained": abstained });
        let finding = match &winner {
            None => Finding::unlabelled(value, "the judgements disagree".to_owned()),
            Some(Opinion { label: StepLabel::Neutral, reason }) => {
                Finding::neutral(Zero::Neutral, value, reason.clone())
            }
            Some(Opinion { label, reason }) => {
                Finding::labelled(*label, value, reason.clone())
            }
        };
        let sessions = || sessions.iter().chain(merged.as_ref());
        let mut evidence: Vec<Evidence> = Vec::new();
        for piece in sessions().flat_map(|session| &session.evidence) {
            if !evidence.contains(piece) {
                evidence.push(piece.clone());
            }
        }
        let cost = sessions().fold(Cost::default(), |sum, session| Cost {
            calls: sum.calls + session.cost.calls,
            tokens: sum.tokens + session.cost.tokens,
        });
        let share = winner
            .map(|winner| votes(winner.label) as f64)
            .map(|votes| votes / f64::from(self.settings.votes));
        let verdict = verdict(self, node, finding.resting_on(evidence));
        Some(Verdict { confidence: share, cost, ..verdict })
    }

    fn failed(&self, message: String) -> VerifierError {
        VerifierError::Failed { verifier: self.id.clone(), message }
    }
}

#[async_trait]
impl Verifier for Judge {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    fn effort(&self) -> Effort {
        Effort::Opinion
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let mut verdicts = Vec::new();
        for node in nodes {
            verdicts.extend(self.judge_one(tree, *node, seen).await?);
        }
        Ok(verdicts)
    }
}

/// A failure outside or a spent limit need not come again.
fn is_repeatable(observation: &Observation) -> bool {
    !matches!(observation.as_fault(), Some(Fault::External | Fault::Limit))
}

/// Reads a verdict strictly: the call, or an answer that is the call's JSON object, or one
/// that begins with the label's word and a colon. Anything else is none, and so is a message
/// that could be read as two verdicts.
fn opinion(proposal: &Proposal) -> Option<Opinion> {
    if is_ambiguous(&proposal.text) {
        return None;
    }
    match &proposal.action {
        Action::Calls { calls } => {
            let mut verdicts = calls.iter().filter(|call| call.tool == VERDICT);
            let (only, None) = (verdicts.next()?, verdicts.next()) else { return None };
            opinion_of(&only.args)
        }
        Action::Answer { text } => match serde_json::from_str::<Value>(text) {
            Ok(value) => opinion_of(&value),
            Err(_) => {
                let (word, reason) = text.split_once(':')?;
                let label = label_of(word.trim())?;
                let reason = cut(reason.trim().to_owned(), SHOWN_BYTES_MAX);
                Some(Opinion { label, reason })
            }
        },
        Action::Malformed { .. } => None,
    }
}

/// Whether a message says something twice that the protocol reads once: a key of its JSON, or
/// an answer after what was read.
fn is_ambiguous(text: &str) -> bool {
    PROTOCOL.parse(text).parts.iter().any(|part| {
        let said = &text[part.range.clone()];
        match part.kind {
            PartKind::Call | PartKind::Answer => repeated_key(said).is_some(),
            PartKind::Stray => said.contains("<answer>"),
            PartKind::Thought | PartKind::Markup => false,
        }
    })
}

fn opinion_of(args: &Value) -> Option<Opinion> {
    let label = label_of(args.get("label")?.as_str()?)?;
    let reason = args.get("reason")?.as_str()?.trim().to_owned();
    Some(Opinion { label, reason: cut(reason, SHOWN_BYTES_MAX) })
}

fn label_of(word: &str) -> Option<StepLabel> {
    [StepLabel::Good, StepLabel::Neutral, StepLabel::Bad]
        .into_iter()
        .find(|label| label.as_str().eq_ignore_ascii_case(word))
}

/// The opinion that more than half of the votes asked for share, in its first one's words.
fn majority(sessions: &[Session], votes: u32) -> Option<Opinion> {
    let opinions: Vec<&Opinion> =
        sessions.iter().filter_map(|session| session.opinion.as_ref()).collect();
    let share = |opinion: &&&Opinion| {
        let alike = opinions.iter().filter(|other| other.label == opinion.label).count();
        2 * alike > votes as usize
    };
    opinions.iter().find(share).map(|opinion| (*opinion).clone())
}

/// The question, the path and the step, as the judge reads them.
fn case(tree: &Tree, node: NodeId, seen: Seen<'_>) -> String {
    let mut text = format!("Question: {}\n", seen.task.prompt);
    let path = tree.path(node);
    for (index, (_, node)) in path.iter().enumerate() {
        let title =
            if index + 1 == path.len() { "The step to judge" } else { "Earlier step" };
        let message = cut(node.step.proposal.text.clone(), SHOWN_BYTES_MAX);
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{title} ({}):\n{message}\n", index + 1);
        for observation in &node.step.observations {
            let shown = cut(observation.text().to_owned(), SHOWN_BYTES_MAX);
            let _ = write!(text, "Result:\n{shown}\n");
        }
    }
    text
}

/// The case with what was said of it, for the judge that has the last word.
fn with_opinions(case: &str, sessions: &[Session]) -> String {
    let mut text =
        format!("{case}\nEarlier judgements of this step, any of them mistaken:\n");
    for (index, session) in sessions.iter().enumerate() {
        let said = session.opinion.as_ref().map_or_else(
            || "no verdict".to_owned(),
            |opinion| format!("{}: {}", opinion.label, opinion.reason),
        );
        let _ = writeln!(text, "{}. {said}", index + 1);
    }
    text + "Say which of them holds, or what all of them missed, and give your own verdict.\n"
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::verifiers::trajectory::judge;
    use crate::{
        EnvironmentParts, Limits, PolicyError, PolicyId, Scratch, Tool, ToolError,
    };

    /// Says what it is told to, in order, and keeps what it was asked.
    struct Replies {
        id: PolicyId,
        replies: Mutex<VecDeque<&'static str>>,
        asked: Mutex<Vec<String>>,
    }

    impl Replies {
        fn new(replies: &[&'static str]) -> Arc<Self> {
            let replies = Mutex::new(replies.iter().copied().collect());
            let id = PolicyId("replies".into());
            Arc::new(Self { id, replies, asked: Mutex::default() })
        }
    }

    #[async_trait]
    impl Policy for Replies {
        fn id(&self) -> &PolicyId {
            &self.id
        }

        async fn propose(
            &self,
            prompt: &Prompt<'_>,
            seeds: &[u64],
        ) -> Result<Vec<Proposal>, PolicyError> {
            let messages = prompt.messages();
            let asked: Vec<&str> = messages.iter().map(|m| m.text()).collect();
            self.asked.lock().expect("unbroken").push(asked.join("\n"));
            let mut replies = self.replies.lock().expect("unbroken");
            let text = replies.pop_front().ok_or(PolicyError::Model("no more".into()))?;
            let action = prompt.protocol.parse(text).action;
            let (text, seed) = (text.to_owned(), seeds[0]);
            Ok(vec![Proposal { text, action, seed, tokens: None, elided: vec![] }])
        }
    }

    /// Counts its calls in the scratch, so that a second call meets another state.
    struct Count(ToolSpec);

    #[async_trait]
    impl Tool for Count {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        async fn call(
            &self,
            _: &Value,
            scratch: &mut Scratch,
            _: &Limits,
        ) -> Result<Observation, ToolError> {
            let count = scratch.get("count").and_then(Value::as_u64).unwrap_or(0) + 1;
            scratch.set("count", json!(count));
            Ok(Observation::Output { text: format!("{count} so far"), data: Value::Null })
        }
    }

    fn world() -> Arc<Environment> {
        let parameters = json!({ "type": "object" });
        let (name, description) = ("count".into(), "Counts.".into());
        let pinned = Digest::of(b"");
        let parts = EnvironmentParts {
            name: "counting".into(),
            prompt: String::new(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits::default(),
            tools: vec![Arc::new(Count(ToolSpec {
                name,
                description,
                parameters,
                pinned,
            }))],
        };
        Arc::new(Environment::new(parts).expect("an environment"))
    }

    const GOOD: &str = r#"<tool_call>
{"name": "verdict", "arguments": {"reason": "it helps", "label": "good"}}
</tool_call>"#;
    const BAD: &str = "<answer>bad: it rests on nothing</answer>";
    const NOISE: &str = "I would say it is fine.";
    const COUNT: &str =
        "<tool_call>\n{\"name\": \"count\", \"arguments\": {}}\n</tool_call>";

    fn settings(votes: u32, rounds_max: u32, merge: Merge) -> JudgeSettings {
        let rubric = Judge::RUBRICS[0].1.to_owned();
        JudgeSettings { rubric, votes, rounds_max, retries: 1, merge, seed: 7 }
    }

    fn judged(
        settings: JudgeSettings,
        replies: &[&'static str],
    ) -> (Vec<Verdict>, String) {
        let policy = Replies::new(replies);
        let judge_of = Judge::new(policy.clone(), world(), settings);
        let (_, verdicts) = judge(&judge_of, "? How many?\nanswer two |");
        let asked = policy.asked.lock().expect("unbroken").join("\n=====\n");
        assert!(policy.replies.lock().expect("unbroken").is_empty(), "asked too little");
        (verdicts, asked)
    }

    fn label(verdicts: &[Verdict]) -> Option<StepLabel> {
        verdicts.first().and_then(|verdict| verdict.label)
    }

    #[test]
    fn a_verdict_is_a_call_or_a_word_and_anything_else_abstains() {
        let one = || settings(1, 0, Merge::Majority);
        let (verdicts, asked) = judged(one(), &[GOOD]);
        assert_eq!(label(&verdicts), Some(StepLabel::Good));
        assert!(verdicts[0].evidence.is_empty(), "an opinion");
        assert!(asked.contains("How many?") && asked.contains("The step to judge"));
        assert!(asked.contains("verdict") && !asked.contains("{{tools}}"));
        let (verdicts, asked) = judged(one(), &[NOISE, BAD]);
        assert_eq!(label(&verdicts), Some(StepLabel::Bad));
        assert!(asked.contains("that is no verdict"), "{asked}");
        let (verdicts, _) = judged(one(), &[NOISE, NOISE]);
        assert_eq!(verdicts, [], "an abstention is silence");
        let (verdicts, _) = judged(one(), &["<answer>perhaps: no</answer>", COUNT]);
        assert_eq!(verdicts, [], "neither another word nor another tool");
    }

    #[test]
    fn a_reply_of_two_verdicts_is_none() {
        for reply in [
            concat!(
                "<tool_call>\n{\"name\": \"verdict\", \"arguments\": ",
                "{\"reason\": \"r\", \"label\": \"good\"}}\n</tool_call>\n<tool_call>\n",
                "{\"name\": \"verdict\", \"arguments\": ",
                "{\"reason\": \"r\", \"label\": \"bad\"}}\n</tool_call>"
            ),
            concat!(
                "<tool_call>\n{\"name\": \"verdict\", \"arguments\": ",
                "{\"label\": \"good\", \"reason\": \"r\", \"label\": \"bad\"}}\n</tool_call>"
            ),
            r#"<answer>{"label": "good", "reason": "r", "label": "bad"}</answer>"#,
            "<answer>good: it helps</answer>\n<answer>bad: it does not</answer>",
        ] {
            let (verdicts, _) = judged(settings(1, 0, Merge::Majority), &[reply, reply]);
            assert_eq!(verdicts, [], "{reply}");
            let (verdicts, _) = judged(settings(1, 0, Merge::Majority), &[reply, GOOD]);
            assert_eq!(label(&verdicts), Some(StepLabel::Good), "it is asked again");
        }
    }

    #[test]
    fn a_reason_is_cut_in_either_form() {
        let long = "y".repeat(3 * SHOWN_BYTES_MAX);
        let call = format!(
            "<tool_call>\n{}\n</tool_call>",
            json!({ "name": "verdict", "arguments": { "reason": long, "label": "bad" } })
        );
        for reply in [call, format!("<answer>bad: {long}</answer>")] {
            let reply: &'static str = String::leak(reply);
            let (verdicts, _) = judged(settings(1, 0, Merge::Majority), &[reply]);
            assert_eq!(label(&verdicts), Some(StepLabel::Bad));
            let bytes = verdicts[0].reason.len();
            assert!(bytes < 2 * SHOWN_BYTES_MAX, "{bytes} bytes");
        }
    }

    #[test]
    fn more_than_half_of_the_votes_decide() {
        let three = || settings(3, 0, Merge::Majority);
        let (verdicts, _) = judged(three(), &[GOOD, BAD, GOOD]);
        assert_eq!(label(&verdicts), Some(StepLabel::Good));
        assert_eq!(verdicts[0].confidence, Some(2.0 / 3.0));
        let (verdicts, _) = judged(three(), &[GOOD, BAD, NOISE, NOISE]);
        assert_eq!(label(&verdicts), None, "one of three is no majority");
        assert_eq!(verdicts[0].value["abstained"], 1);
    }

    #[test]
    fn the_last_word_is_shown_every_judgement() {
        let (verdicts, asked) =
            judged(settings(2, 0, Merge::Critique), &[GOOD, GOOD, BAD]);
        assert_eq!(label(&verdicts), Some(StepLabel::Bad));
        let last = asked.rsplit("=====").next().expect("three questions");
        assert!(last.contains("1. good: it helps") && last.contains("2. good"), "{last}");
    }

    #[test]
    fn an_active_judge_calls_tools_on_a_fork_and_keeps_what_can_be_made_again() {
        let (verdicts, asked) =
            judged(settings(1, 2, Merge::Majority), &[COUNT, COUNT, GOOD]);
        assert!(asked.contains("1 so far") && asked.contains("2 so far"), "{asked}");
        assert_eq!(label(&verdicts), Some(StepLabel::Good));
        let [Evidence::Execution { call, .. }] = verdicts[0].evidence.as_slice() else {
            panic!("only the first call met the state: {:?}", verdicts[0].evidence);
        };
        assert_eq!((call.tool.as_str(), verdicts[0].cost.calls), ("count", 2));
        let (verdicts, _) =
            judged(settings(1, 1, Merge::Majority), &[COUNT, COUNT, NOISE]);
        assert_eq!(verdicts, [], "no third round, and two messages without a verdict");
    }
}
