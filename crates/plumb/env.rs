//! `plumb env`: lists environments, and checks one against its own gold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plumbline::{
    Action, CallCache, Ending, Environment, Episode, Gold, Node, Proposal, StepLabel,
    Task, ToolCall, Tree, Verifier, grade, label, outcomes,
};
use serde_json::json;

use crate::args::EnvCommand;
use crate::catalog;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::{EnvironmentFolder, list};

/// An answer that no question of any environment has.
const WRONG: &str = "zzyzx qwfpg";

pub(crate) async fn env(command: &EnvCommand, json: bool) -> Result<()> {
    match command {
        EnvCommand::List => {
            for EnvironmentFolder { manifest, .. } in list()? {
                if json {
                    let row = json!({ "name": manifest.name, "description": manifest.description });
                    println!("{row}");
                } else {
                    println!("{:<20} {}", manifest.name, manifest.description);
                }
            }
            Ok(())
        }
        EnvCommand::New(args) => crate::new::environment(args, json),
        EnvCommand::Check { environment } => check(environment, json).await,
    }
}

/// Runs the gold answers through the environment's own verifiers and metrics, each after the
/// calls that lead to it; then does the same with wrong answers.
async fn check(name: &str, json: bool) -> Result<()> {
    let folder = EnvironmentFolder::open(name)?;
    let tasks = folder.tasks(None)?;
    let gold = folder.gold()?;
    let environment =
        Arc::new(catalog::environment(&folder, &folder.manifest.limits, json).await?);
    let mut problems = matching(&tasks, &gold);
    let verifiers = catalog::verifiers(&folder, &[], &environment).await?;
    let cache = CallCache::new(64 * 1024 * 1024);
    let (mut right, mut wrong) = (0u64, 0u64);
    for task in &tasks {
        let Some(gold) = gold.get(&task.id) else { continue };
        let Some(answer) = gold.answers().first().map(|answer| (*answer).to_owned())
        else {
            problems.push(format!("task {}: its gold has no answer", task.id));
            continue;
        };
        let probe = Probe { environment: &environment, cache: &cache, task, gold };
        let good = probe.judge(&probe.play(&answer).await?, &verifiers).await?;
        match good.problem() {
            None => right += 1,
            Some(problem) => {
                problems
                    .push(format!("task {}: gold answer {answer:?}: {problem}", task.id));
            }
        }
        let bad = probe.judge(&probe.play(WRONG).await?, &verifiers).await?;
        if !bad.exact && (verifiers.is_empty() || bad.refusal.is_some()) {
            wrong += 1;
        } else {
            problems.push(format!("task {}: a wrong answer passes", task.id));
        }
    }
    report(tasks.len(), right, wrong, &problems, json)
}

fn report(
    tasks: usize,
    right: u64,
    wrong: u64,
    problems: &[String],
    json: bool,
) -> Result<()> {
    if json {
        let row = json!({ "tasks": tasks, "gold_answers_right": right,
            "wrong_answers_wrong": wrong, "problems": problems });
        println!("{row}");
    } else {
        println!("tasks                 {tasks}");
        println!("gold answers right    {right}");
        println!("wrong answers wrong   {wrong}");
    }
    if problems.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = problems.iter().take(20).map(String::as_str).collect();
    let more = problems.len().saturating_sub(shown.len());
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    let message = format!("{} problems:\n{}{more}", problems.len(), shown.join("\n"));
    Err(Failure::say(Kind::Finding, message).reported())
}

/// Tasks without gold and gold without a task.
fn matching(tasks: &[Task], gold: &BTreeMap<plumbline::TaskId, Gold>) -> Vec<String> {
    let ids: BTreeSet<_> = tasks.iter().map(|task| &task.id).collect();
    let without_gold = tasks
        .iter()
        .filter(|task| !gold.contains_key(&task.id))
        .map(|task| format!("task {}: gold.jsonl has no line for it", task.id));
    let without_task = gold
        .keys()
        .filter(|id| !ids.contains(id))
        .map(|id| format!("gold {id}: tasks.jsonl has no line for it"));
    without_gold.chain(without_task).collect()
}

/// Plays one task as somebody would who knows the gold.
struct Probe<'p> {
    environment: &'p Environment,
    cache: &'p CallCache,
    task: &'p Task,
    gold: &'p Gold,
}

impl Probe<'_> {
    /// Makes the calls of the gold's `solution`, or else reads every supporting document where
    /// there is a tool for it; then answers.
    async fn play(&self, answer: &str) -> Result<Tree> {
        let inputs = &self.task.inputs;
        let mut episode = Episode::new(self.environment, inputs, Some(self.cache));
        let mut tree = Tree::new(self.task.id.clone());
        let mut parent = None;
        let steps =
            self.calls()?.into_iter().map(|call| Action::Calls { calls: vec![call] });
        let last = Action::Answer { text: answer.to_owned() };
        for action in steps.chain([last]) {
            let protocol = self.environment.protocol();
            let text = protocol.render(&action).ok_or_else(|| {
                let message =
                    format!("task {}: {protocol} cannot say {action:?}", self.task.id);
                Failure::say(Kind::Input, message)
            })?;
            let action = protocol.parse(&text).action;
            let proposal =
                Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
            let step = episode.act(proposal).await.blame(Kind::External)?;
            let id = tree.push(Arc::new(Node { parent, step })).blame(Kind::External)?;
            parent = Some(id);
        }
        tree.end(parent, Ending::Answered).blame(Kind::External)?;
        Ok(tree)
    }

    /// The calls that lead to the answer.
    fn calls(&self) -> Result<Vec<ToolCall>> {
        let call = |tool: &str, args| ToolCall {
            id: "call_0".into(),
            tool: tool.to_owned(),
            args,
        };
        let solution = self.gold.solution().map_err(|message| {
            Failure::say(Kind::Input, format!("gold of task {}: {message}", self.task.id))
        })?;
        if !solution.is_empty() || self.environment.tool("open").is_none() {
            return Ok(solution
                .into_iter()
                .map(|(tool, args)| call(tool, args))
                .collect());
        }
        let supporting = self.gold.supporting().into_iter();
        Ok(supporting.map(|id| call("open", json!({ "title": id }))).collect())
    }

    /// What metrics and verifiers make of a tree. Where nothing is known of the way to an
    /// answer, verifiers that saw no gold judge a way that nobody would go, and are not asked.
    async fn judge(
        &self,
        tree: &Tree,
        verifiers: &[Box<dyn Verifier>],
    ) -> Result<Judgement> {
        let fault = tree
            .nodes()
            .flat_map(|(_, node)| &node.step.observations)
            .find(|observation| observation.as_fault().is_some())
            .map(|observation| observation.text().to_owned());
        let (task, gold) = (self.task, self.gold);
        let compared = grade(self.environment, task, gold, tree, Some(self.cache)).await;
        let scores = outcomes(tree, gold, &compared.blame(Kind::External)?);
        let exact =
            scores.iter().all(|o| o.score().is_some_and(|score| score.exact_match));
        let is_bare = tree.len() == 1 && !self.environment.specs().is_empty();
        let asked = verifiers.iter().filter(|it| it.sight().gold || !is_bare);
        let mut refusal = None;
        for verifier in asked {
            let verdicts =
                label(verifier.as_ref(), self.task, Some(self.gold), tree).await;
            let mut verdicts = verdicts.blame(Kind::Input)?.into_iter();
            let bad = verdicts.find(|verdict| verdict.label == Some(StepLabel::Bad));
            let said = bad.map(|bad| format!("{}: {}", bad.verifier, bad.reason));
            refusal = refusal.or(said);
        }
        Ok(Judgement { fault, exact, refusal })
    }
}

/// What an environment's own metrics and verifiers make of an answer.
struct Judgement {
    /// Why a call of the solution failed.
    fault: Option<String>,
    /// Whether every trajectory's answer matches the gold.
    exact: bool,
    /// The first bad verdict.
    refusal: Option<String>,
}

impl Judgement {
    /// What speaks against it being right.
    fn problem(self) -> Option<String> {
        let inexact = (!self.exact).then(|| "exact match fails".to_owned());
        let unread = self.fault.map(|fault| format!("on the way to it: {fault}"));
        unread.or(inexact).or(self.refusal)
    }
}
