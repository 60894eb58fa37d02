//! Plays changed copies of good trajectories, and counts what verifiers make of them.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use super::plan::{Plan, play, shows, solve};
use crate::mutants::{Effect, Good, mutants};
use crate::{
    ActError, Action, CallCache, Environment, Gold, GradeError, NodeId, Observation,
    StepLabel, Task, Tree, Verdict, Verifier, VerifierError, View, document_ids, grade,
    label, outcomes,
};

/// Bytes of observations that are kept: copies of a trajectory differ in one call.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Mutants that are played and judged at the same time.
const PLANTED_AT_ONCE: usize = 4;

/// What became of one mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Equivalent,
    Missed,
    Hit,
}

/// What became of the mutants of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Planted, without those that are not shown to be faults.
    pub planted: u64,
    /// Called worse than the good trajectory. For a canary: rewarded.
    pub hits: u64,
    /// Faults that changed nothing: the answer is still right, or the document still found.
    pub equivalent: u64,
}

impl Row {
    /// The share that was hit.
    pub fn rate(&self) -> Option<f64> {
        (self.planted > 0).then(|| self.hits as f64 / self.planted as f64)
    }
}

/// The mutation score of an environment's verifiers under a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MutationScore {
    /// By what the change does, then by its class.
    pub rows: BTreeMap<(Effect, &'static str), Row>,
    /// Tasks whose good trajectory is called good all through.
    pub tasks: u64,
    /// Tasks left out because it is not: what is wrong with it cannot be told from what is
    /// planted.
    pub left_out: u64,
}

impl MutationScore {
    /// All classes of one effect taken together.
    pub fn total(&self, effect: Effect) -> Row {
        let rows = self.rows.iter().filter(|((of, _), _)| *of == effect);
        rows.fold(Row::default(), |sum, (_, row)| Row {
            planted: sum.planted + row.planted,
            hits: sum.hits + row.hits,
            equivalent: sum.equivalent + row.equivalent,
        })
    }
}

/// Why a mutation score could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A tool failed.
    #[error(transparent)]
    Act(#[from] ActError),
    /// A verifier failed.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// An answer could not be compared.
    #[error(transparent)]
    Grade(#[from] GradeError),
}

/// What is measured.
pub struct Subject<'s> {
    /// The world that tasks are played in.
    pub environment: &'s Environment,
    /// Whose verdicts count.
    pub verifiers: &'s [Box<dyn Verifier>],
    /// How they become a label.
    pub view: View,
}

/// Plants every mutant into every task's good trajectory.
///
/// A fault is killed if, from where it was planted, some step is bad that was not, or the
/// very step is no longer good; a no-op that meets the same is a false kill. A canary is
/// rewarded if a step is good from where it turns degenerate.
pub async fn mutation_score(
    subject: &Subject<'_>,
    tasks: &[(&Task, &Gold)],
    mut progress: impl FnMut(usize),
) -> Result<MutationScore, MeasureError> {
    let cache = CallCache::new(CACHE_BYTES_MAX);
    let environment = subject.environment;
    let mut solutions: Vec<(&Task, &Gold, Vec<Action>)> = Vec::new();
    for (task, gold) in tasks {
        if let Some(actions) = solve(environment, task, gold, &cache).await? {
            solutions.push((task, gold, actions));
        }
    }
    let mut score = MutationScore::default();
    for (index, (task, gold, actions)) in solutions.iter().enumerate() {
        progress(index + 1);
        let base = Plan::new("none", Effect::NoOp, actions.clone(), 0);
        let tree = play(environment, task, &base, &cache).await?;
        let labels = subject.labels(task, gold, &tree).await?;
        if labels.values().any(|label| *label == StepLabel::Bad) {
            score.left_out += 1;
            continue;
        }
        score.tasks += 1;
        let after = solutions[index + 1..].iter().chain(&solutions[..index]);
        let other =
            after.map(|(.., other)| other).find(|other| other.last() != actions.last());
        let plans = match other {
            Some(other) => {
                let (tree, actions) = (&tree, actions.as_slice());
                let good = Good { task, gold, actions, tree, other };
                mutants(environment, good, &cache).await?
            }
            None => vec![],
        };
        let base =
            Base { subject, task, gold, tree: &tree, labels: &labels, cache: &cache };
        let plant = |plan| base.plant(plan);
        // Tools that compute do so on threads of their own: several keep the cores busy.
        let mut planted =
            stream::iter(plans).map(plant).buffer_unordered(PLANTED_AT_ONCE);
        while let Some((plan, fate)) = planted.try_next().await? {
            let row = score.rows.entry((plan.effect, plan.class)).or_default();
            row.planted += u64::from(fate != Fate::Equivalent);
            row.equivalent += u64::from(fate == Fate::Equivalent);
            row.hits += u64::from(fate == Fate::Hit);
        }
    }
    Ok(score)
}

type Labels = BTreeMap<NodeId, StepLabel>;

/// A good trajectory with its labels, which mutants of it are held against.
struct Base<'b> {
    subject: &'b Subject<'b>,
    task: &'b Task,
    gold: &'b Gold,
    tree: &'b Tree,
    labels: &'b Labels,
    cache: &'b CallCache,
}

impl Base<'_> {
    async fn plant(&self, plan: Plan) -> Result<(Plan, Fate), MeasureError> {
        let Base { subject, task, gold, cache, .. } = self;
        let changed = play(subject.environment, task, &plan, cache).await?;
        let trees = [self.tree, &changed];
        if plan.effect == Effect::Fault
            && subject.is_harmless(task, gold, &plan, trees, cache).await?
        {
            return Ok((plan, Fate::Equivalent));
        }
        let found = subject.labels(task, gold, &changed).await?;
        let is_hit = match plan.effect {
            Effect::Canary => is_rewarded(&plan, &found),
            Effect::Fault | Effect::NoOp => is_worse(&plan, self.labels, &found),
        };
        Ok((plan, if is_hit { Fate::Hit } else { Fate::Missed }))
    }
}

impl Subject<'_> {
    async fn labels(
        &self,
        task: &Task,
        gold: &Gold,
        tree: &Tree,
    ) -> Result<Labels, VerifierError> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        for verifier in self.verifiers {
            verdicts.extend(label(verifier.as_ref(), task, Some(gold), tree).await?);
        }
        let labels = self.view.labels(&task.prompt, tree, &verdicts);
        Ok(labels.into_iter().map(|(node, labelled)| (node, labelled.label)).collect())
    }
}

fn is_worse(plan: &Plan, good: &Labels, found: &Labels) -> bool {
    let site = NodeId(u32::try_from(plan.site).expect("plans are short"));
    let was_good = good.get(&site) == Some(&StepLabel::Good);
    let is_good = found.get(&site) == Some(&StepLabel::Good);
    let bad = found.range(site..).any(|(_, label)| *label == StepLabel::Bad);
    bad || was_good && !is_good
}

fn is_rewarded(plan: &Plan, found: &Labels) -> bool {
    let site = NodeId(u32::try_from(plan.site).expect("plans are short"));
    found.range(site..).any(|(_, label)| *label == StepLabel::Good)
}

impl Subject<'_> {
    /// Whether a fault is none as far as the data can tell: a call that still finds a
    /// supporting document or comes to the same optimum, evidence that still shows the answer,
    /// an answer that is still right.
    async fn is_harmless(
        &self,
        task: &Task,
        gold: &Gold,
        plan: &Plan,
        [good, tree]: [&Tree; 2],
        cache: &CallCache,
    ) -> Result<bool, GradeError> {
        let site = NodeId(u32::try_from(plan.site).expect("plans are short"));
        let observations = |tree: &Tree| -> Vec<Observation> {
            tree.get(site).map(|node| node.step.observations.clone()).unwrap_or_default()
        };
        let calls = plan.actions[plan.site].calls();
        Ok(match (plan.class, calls.first().map(|call| call.tool.as_str())) {
            ("repeated-query" | "hard-coded", _) => false,
            ("dropped-hop" | "truncated-evidence", _) => !shows(tree, gold).is_empty(),
            (_, None | Some("python")) => {
                let environment = self.environment;
                let compared = grade(environment, task, gold, tree, Some(cache)).await?;
                let outcomes = outcomes(tree, gold, &compared);
                outcomes.iter().all(|o| o.score().is_some_and(|score| score.exact_match))
            }
            (_, Some("solve")) => {
                let optimum = |observations: &[Observation]| {
                    let data = observations.first().map(Observation::data);
                    data.map(|data| (data["status"].clone(), data["objective"].clone()))
                };
                optimum(&observations(good)) == optimum(&observations(tree))
            }
            (_, Some(_)) => {
                let supporting = gold.supporting();
                let shown = observations(tree);
                let mut ids = shown.iter().flat_map(document_ids);
                ids.any(|id| supporting.contains(&id))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::Protocol;
    use crate::verifiers::{
        AnswerCorrect, AnswerSupport, Repeat, RetrievalGain, WellFormed,
    };
    use crate::{
        Digest, EnvironmentParts, Limits, Scratch, TaskId, Tool, ToolError, ToolSpec,
    };

    const DOCUMENTS: [(&str, &str, &str); 4] = [
        ("mill", "The Tide Mill", "The Tide Mill at Orrin was built by Hanne Voss."),
        ("voss", "Hanne Voss", "Hanne Voss was a millwright. She was born in Felling."),
        ("light", "Orrin Light", "The lighthouse of Orrin was lit in 1802 by Ben Dace."),
        ("dace", "Ben Dace", "Ben Dace kept bees and died in Marsk."),
    ];

    /// A shelf of four documents: `search` shows the one whose title stands in the query, or
    /// that shares most words with it, `open` the one of that id or title.
    struct Shelf(ToolSpec);

    impl Shelf {
        fn tool(name: &str) -> Arc<dyn Tool> {
            Arc::new(Self(ToolSpec {
                name: name.to_owned(),
                description: "Reads.".to_owned(),
                parameters: json!({ "type": "object" }),
                pinned: Digest::of(name.as_bytes()),
            }))
        }
    }

    #[async_trait::async_trait]
    impl Tool for Shelf {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        async fn call(
            &self,
            args: &Value,
            _scratch: &mut Scratch,
            _limits: &Limits,
        ) -> Result<Observation, ToolError> {
            let wanted = |name| args[name].as_str().unwrap_or("").to_lowercase();
            let (query, title) = (wanted("query"), wanted("title"));
            let score = |(id, name, text): &&(&str, &str, &str)| -> usize {
                let opened = *id == title || name.to_lowercase() == title;
                let words = format!("{name} {text}").to_lowercase();
                let shared =
                    query.split(' ').filter(|w| w.len() > 2 && words.contains(w)).count();
                let named = usize::from(query.contains(&name.to_lowercase()));
                shared + 10 * named + 100 * usize::from(opened)
            };
            let best = DOCUMENTS.iter().rev().max_by_key(score);
            let (id, name, text) = best.expect("there are four");
            let data = json!({ "documents": [{ "id": id, "title": name }] });
            Ok(Observation::Output { text: format!("[1] {name}: {text}"), data })
        }
    }

    fn environment() -> Environment {
        Environment::new(EnvironmentParts {
            name: "shelf".to_owned(),
            prompt: "Answer.".to_owned(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits { steps_max: 20, calls_max: 20, ..Limits::default() },
            tools: vec![Shelf::tool("search"), Shelf::tool("open")],
        })
        .expect("the parts fit")
    }

    fn questions() -> [(Task, Gold); 2] {
        let of = |id: &str, prompt: &str, gold: Value| {
            let (id, prompt) = (TaskId(id.to_owned()), prompt.to_owned());
            (Task { id, prompt, inputs: Value::Null }, Gold(gold))
        };
        [
            of(
                "q1",
                "Where was the builder of the Tide Mill at Orrin born?",
                json!({"answer": "Felling", "aliases": [], "supporting": ["mill", "voss"]}),
            ),
            of(
                "q2",
                "Where did the man who lit the lighthouse of Orrin die?",
                json!({"answer": "Marsk", "aliases": [], "supporting": ["light", "dace"]}),
            ),
        ]
    }

    async fn score(verifiers: &[Box<dyn Verifier>]) -> MutationScore {
        let environment = environment();
        let questions = questions();
        let tasks: Vec<(&Task, &Gold)> = questions.iter().map(|(t, g)| (t, g)).collect();
        let subject =
            Subject { environment: &environment, verifiers, view: View::StrictLocal };
        mutation_score(&subject, &tasks, |_| ()).await.expect("nothing fails")
    }

    #[tokio::test]
    async fn faults_are_killed_no_ops_pass_and_canaries_go_without() {
        let verifiers: [Box<dyn Verifier>; 5] = [
            Box::new(WellFormed::default()),
            Box::new(Repeat::default()),
            Box::new(RetrievalGain::default()),
            Box::new(AnswerSupport::default()),
            Box::new(AnswerCorrect::default()),
        ];
        let score = score(&verifiers).await;
        assert_eq!((score.tasks, score.left_out), (2, 0));
        let rate = |effect| score.total(effect).rate().expect("some are planted");
        assert!(rate(Effect::Fault) >= 0.8, "{:#?}", score.rows);
        assert!(rate(Effect::NoOp) <= 0.1, "{:#?}", score.rows);
        assert_eq!(score.total(Effect::Canary).hits, 0, "{:#?}", score.rows);
        for class in [
            "swapped-entity",
            "swapped-answer",
            "fabricated-answer",
            "truncated-evidence",
            "dropped-hop",
            "repeated-query",
        ] {
            let row =
                score.rows.get(&(Effect::Fault, class)).copied().unwrap_or_default();
            assert!(row.planted > 0, "{class}: {:#?}", score.rows);
        }
    }

    /// Whoever never objects must score nothing.
    #[tokio::test]
    async fn a_verifier_that_says_nothing_kills_nothing() {
        let silent = score(&[]).await;
        assert_eq!(silent.total(Effect::Fault).hits, 0);
        assert!(silent.total(Effect::Fault).planted > 0);
    }
}
