//! `plumb export`: writes a run's trajectories in a published format, with the labels of a
//! view, and a header beside them that says what they are. One task is held at a time. A run
//! that was imported from that format goes back out as it came, byte for byte.

mod files;
mod header;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plumbline::explore::{Method, Number};
use plumbline::export::{
    Advantages, Forged, Format, Group, Rewards, Rows, Settings, Told, Worth, Zeros,
    agent_process_bench, declaration, openai_chat,
};
use plumbline::import::{Origin, TrajectoryFormat};
use plumbline::store::{Index, each_origin};
use plumbline::{
    CallCache, Environment, Gold, GradeError, NodeId, Outcome, Step, StepLabel, Task,
    TaskId, Tree, Verdict, VerifierId, View, Zero, explore, grade, outcome,
};

use crate::failure::{Failure, Kind, Result};
use crate::fork::forged_step;
use crate::import::trajectories::source;
use crate::label::{
    environment_of, is_current, known_task, named, stale_in_words, tasks_of,
    tells_otherwise, unknown_task, view, warn_of_missing,
};
use crate::manifest::EnvironmentFolder;
use crate::progress::Progress;
use crate::recording::warn_of_losses;
use files::Files;
use header::Tally;

/// What is remembered of calls that the grading of one task makes.
const GRADING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The view that training formats are labelled by unless another is named.
const VIEW: View = View::StrictLocal;

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The run's folder.
    run: PathBuf,
    /// agentprocessbench, openai-chat, atif: trajectories. skyrl, verl, verifiers, atropos:
    /// tokens with rewards. trl, openrlhf, prm: process reward models. pairs: preferences.
    /// verdict-chat: judges. parquet: everything.
    #[arg(long, value_name = "F")]
    format: Format,
    /// The folder to write into; the files in it must not exist.
    #[arg(short = 'o', long, value_name = "DIR")]
    out: PathBuf,
    /// Labels to write, as a view reads them off the verdicts. Default: strict-local; for
    /// agentprocessbench those the source of an imported run had, none for a run of our own.
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
    /// Use only this verifier's verdicts; repeat for several. Default: all there are.
    #[arg(long = "verifier", value_name = "V")]
    verifiers: Vec<String>,
    /// What becomes of labels that are neither good nor bad: drop, keep or positive. Default:
    /// keep, and drop where the format knows only yes and no.
    #[arg(long, value_name = "Z")]
    zeros: Option<Zeros>,
    /// Say the numbers that a verifier gives steps (chances, values, rewards) in the place of
    /// labels; takes one --verifier.
    #[arg(long, requires = "verifiers")]
    numbers: bool,
    /// What a step earns: step (its label, the default), outcome (of the trajectory, on the
    /// last step), both, or ppr (process plus outcome minus one).
    #[arg(long, value_name = "R", value_parser = rewards)]
    rewards: Option<Rewards>,
    /// What rewards are compared with: grpo (the default) or rloo (trajectories of one task),
    /// turn or sibling (steps taken from one state), gae (what trajectories through a state
    /// earn), tree (the outcomes below a step), dual (outcomes and steps, each among
    /// themselves).
    #[arg(long, value_name = "A", value_parser = advantages)]
    advantages: Option<Advantages>,
    /// Write trajectories with a forged observation too where the format cannot say that no
    /// tool gave it.
    #[arg(long)]
    forged: bool,
    /// A run with labels by people, judged by the same verifiers: how often the view is wrong
    /// about its steps goes into the header.
    #[arg(long, value_name = "RUN")]
    error_from: Option<PathBuf>,
}

fn rewards(name: &str) -> std::result::Result<Rewards, plumbline::export::NameError> {
    name.parse()
}

fn advantages(
    name: &str,
) -> std::result::Result<Advantages, plumbline::export::NameError> {
    name.parse()
}

impl ExportArgs {
    fn settings(&self) -> Result<Settings> {
        let zeros = self.zeros.unwrap_or_else(|| self.format.zeros());
        if self.format.is_binary() && zeros == Zeros::Keep {
            let message = format!(
                "--zeros keep: the labels of {} are yes or no; drop them, or let them count \
                 as positive",
                self.format
            );
            return Err(Failure::say(Kind::Usage, message));
        }
        let refuse = |option: &str, what: &str| {
            let message = format!("{option}: the rows of {} have no {what}", self.format);
            Err(Failure::say(Kind::Usage, message))
        };
        if self.numbers && !self.format.has_numbers() {
            return refuse(
                "--numbers",
                "numbers; those of openrlhf, prm, pairs and of the formats of tokens do",
            );
        }
        if self.rewards.is_some() && !self.format.has_rewards() {
            return refuse("--rewards", "rewards");
        }
        if self.advantages.is_some() && !self.format.has_advantages() {
            return refuse(
                "--advantages",
                "advantages; those of verl, verifiers and atropos do",
            );
        }
        Ok(Settings {
            zeros,
            worth: if self.numbers { Worth::Number } else { Worth::Label },
            rewards: self.rewards.unwrap_or(Rewards::Step),
            advantages: self.advantages.unwrap_or(Advantages::Grpo),
            forged: if self.forged { Forged::Keep } else { Forged::Refuse },
        })
    }

    /// The view that labels are read by; `None` where nothing is labelled, or labels are the
    /// source's own.
    fn view(&self) -> Result<Option<View>> {
        match (&self.view, self.format) {
            (Some(name), _) => view(name).map(Some),
            (None, Format::AgentProcessBench | Format::OpenaiChat) => {
                let option = match (self.verifiers.as_slice(), self.zeros) {
                    ([], None) => return Ok(None),
                    ([], Some(_)) => "--zeros",
                    _ => "--verifier",
                };
                let message = format!(
                    "{option} needs --view, for this format has labels of its own"
                );
                Err(Failure::say(Kind::Usage, message))
            }
            (None, _) => Ok(Some(VIEW)),
        }
    }
}

pub(crate) async fn export(args: &ExportArgs, json: bool) -> Result<()> {
    let settings = args.settings()?;
    let view = args.view()?;
    let index = Index::open(&args.run)?;
    warn_of_losses(&args.run)?;
    let only = match args.verifiers.as_slice() {
        [] => None,
        names => Some(named(&args.run, names)?),
    };
    if let Some(only) = only.as_ref().filter(|only| args.numbers && only.len() != 1) {
        let names: Vec<&str> = only.iter().map(|id| id.0.as_str()).collect();
        let message = format!(
            "--numbers: those of several verifiers are of several kinds; name one of {}",
            names.join(", ")
        );
        return Err(Failure::say(Kind::Usage, message));
    }
    if args.format == Format::OpenRlhf && args.numbers {
        refuse_rewards(only.iter().flatten())?;
    }
    let run = Run::open(args, &index, view, only, json).await?;
    run.check_verdicts(&args.run)?;
    let mut tally = Tally::default();
    let mut files = Files::create(&args.out, args.format)?;
    if run.goes_back() {
        run.give_back(args, settings.zeros, &mut files, &mut tally)?;
    } else {
        run.walk(&settings, &mut files, &mut tally, json).await?;
    }
    if !tally.stale.is_empty() {
        let message = stale_in_words(&args.run, &tally.stale);
        return Err(Failure::say(Kind::Input, message));
    }
    if tally.rows() == 0 {
        let message = format!(
            "no row was written in the format {}{}",
            args.format,
            tally.refusals_in_words()
        );
        return Err(Failure::say(Kind::Finding, message));
    }
    if !tally.left_out.is_empty() {
        let left_out: Vec<String> = tally.left_out.iter().cloned().collect();
        let view = view.map(|view| view.to_string()).unwrap_or_default();
        eprintln!("left out by view {view}: {}", left_out.join(", "));
    }
    let header = header::header(args, &index, &settings, view, &tally)?;
    let written = files.finish(&header)?;
    tally.print(&written, json);
    Ok(())
}

/// A run and what is read of it for every task.
struct Run<'r> {
    index: &'r Index,
    format: Format,
    view: Option<View>,
    only: Option<BTreeSet<VerifierId>>,
    tasks: BTreeMap<TaskId, Task>,
    gold: BTreeMap<TaskId, Gold>,
    /// `None` for a run that goes back out as it came.
    environment: Option<Environment>,
}

/// What is read of one task.
struct Read {
    tree: Tree,
    verdicts: Vec<Verdict>,
    told: Told,
    told_otherwise: BTreeMap<NodeId, Told>,
}

impl<'r> Run<'r> {
    async fn open(
        args: &ExportArgs,
        index: &'r Index,
        view: Option<View>,
        only: Option<BTreeSet<VerifierId>>,
        json: bool,
    ) -> Result<Self> {
        let folder = EnvironmentFolder::of_run(&args.run, index.header())?;
        let tasks = tasks_of(&folder, index.header())?;
        let (gold, environment) = match index.is_imported()
            && !args.format.wants_outcomes()
        {
            true => (folder.gold()?, None),
            false => {
                let environment = environment_of(&folder, index.header(), json).await?;
                let is_own = !index.is_imported();
                if is_own
                    && args.format.tells()
                    && tells_otherwise(&environment, index.header())
                {
                    return Err(never_told(&folder));
                }
                (folder.gold()?, Some(environment))
            }
        };
        let format = args.format;
        Ok(Self { index, format, view, only, tasks, gold, environment })
    }

    /// Refuses verdicts on tasks that the run is not of, and says what verifiers have not
    /// judged, where labels are read off verdicts.
    fn check_verdicts(&self, run: &Path) -> Result<()> {
        if self.view.is_none() {
            return Ok(());
        }
        let chosen =
            |id: &VerifierId| self.only.as_ref().is_none_or(|only| only.contains(id));
        for (verifier, judged) in self.index.judged().filter(|(id, _)| chosen(id)) {
            for (task, line) in &judged {
                known_task(run, verifier, task, *line, &self.tasks)?;
            }
            let tasks: Vec<&TaskId> = self.index.tasks().collect();
            let is_judged = |task: &TaskId| judged.contains_key(task);
            warn_of_missing(verifier, tasks.into_iter(), is_judged, &self.gold);
        }
        Ok(())
    }

    /// Whether the run holds chats that were imported and chats are asked for: they go out as
    /// they came, or not at all.
    fn goes_back(&self) -> bool {
        let source = source(self.index.header());
        let chat = matches!(
            source,
            Some(TrajectoryFormat::AgentProcessBench | TrajectoryFormat::OpenaiChat)
        );
        chat && matches!(self.format, Format::AgentProcessBench | Format::OpenaiChat)
    }

    /// Writes every task's group.
    async fn walk(
        &self,
        settings: &Settings,
        files: &mut Files,
        tally: &mut Tally,
        json: bool,
    ) -> Result<()> {
        let count = self.index.tasks().count() as u64;
        let progress = Progress::new("tasks exported", count, json);
        let forged = forged_step(self.index.header());
        for (number, id) in (0..).zip(self.index.tasks()) {
            let task = self.tasks.get(id).ok_or_else(|| unknown_task(id))?;
            let read = self.read(id, tally)?;
            let outcomes = self.outcomes(task, &read.tree).await?;
            let labels = match self.view {
                Some(view) => view.labels(&task.prompt, &read.tree, &read.verdicts),
                None => BTreeMap::new(),
            };
            let group = Group {
                index: number,
                task,
                gold: self.gold.get(id),
                policy: &self.index.header().policy,
                told: &read.told,
                told_otherwise: &read.told_otherwise,
                tree: &read.tree,
                forged: forged.as_ref().filter(|(of, _)| of == id).map(|(_, node)| *node),
                verdicts: &read.verdicts,
                labels,
                numbers: numbers(&read.verdicts),
                outcomes,
            };
            let rows = self.format.rows(&group, settings);
            tally.add(&group, &rows);
            files.push(rows)?;
            progress.set(number + 1, |_| id.to_string());
        }
        progress.finish();
        Ok(())
    }

    fn read(&self, id: &TaskId, tally: &mut Tally) -> Result<Read> {
        let tree = self.index.tree(id)?;
        let verdicts = self.verdicts(id, tally)?;
        if !self.index.is_imported() {
            let own = self.environment.as_ref().expect("a run of our own has one");
            let tools = own.specs().iter().map(declaration).collect();
            let told = Told { system: own.system().to_owned(), tools };
            return Ok(Read { tree, verdicts, told, told_otherwise: BTreeMap::new() });
        }
        let mut told: Option<Told> = None;
        let mut told_otherwise = BTreeMap::new();
        for origin in self.index.origins(id)? {
            let own = Told { system: origin.system().to_owned(), tools: origin.tools() };
            let first = told.get_or_insert_with(|| own.clone());
            if let (true, Some(leaf)) = (own != *first, origin.leaf) {
                told_otherwise.insert(leaf, own);
            }
        }
        Ok(Read { tree, verdicts, told: told.unwrap_or_default(), told_otherwise })
    }

    /// The verdicts that the view admits. Those that were named and that it cannot use are an
    /// error: see [`View::require`].
    fn verdicts(&self, id: &TaskId, tally: &mut Tally) -> Result<Vec<Verdict>> {
        let Some(view) = self.view else { return Ok(vec![]) };
        let mut verdicts = Vec::new();
        for (verifier, judged) in self.index.judged_by(id, self.only.as_ref())? {
            let current = |task| is_current(verifier, &judged, task, self.gold.get(id));
            let is_used = judged.verdicts.iter().any(|verdict| view.admits(verdict));
            if is_used && !self.tasks.get(id).is_none_or(current) {
                *tally.stale.entry(verifier.clone()).or_default() += 1;
            }
            verdicts.extend(judged.verdicts);
        }
        if self.only.is_some() {
            view.require(&verdicts).map_err(|error| Failure::new(Kind::Usage, error))?;
        }
        verdicts.retain(|verdict| {
            let admitted = view.admits(verdict);
            if !admitted {
                tally.left_out.insert(verdict.verifier.to_string());
            }
            admitted
        });
        Ok(verdicts)
    }

    /// What became of each trajectory, where the format asks and there is gold.
    async fn outcomes(
        &self,
        task: &Task,
        tree: &Tree,
    ) -> Result<BTreeMap<NodeId, Outcome>> {
        let (true, Some(gold), Some(environment)) =
            (self.format.wants_outcomes(), self.gold.get(&task.id), &self.environment)
        else {
            return Ok(BTreeMap::new());
        };
        let cache = CallCache::new(GRADING_BYTES_MAX);
        let compared = match grade(environment, task, gold, tree, Some(&cache)).await {
            Ok(compared) => compared,
            // Its tools are not here, and the comparison may need them.
            Err(GradeError::Act(_)) if self.index.is_imported() => {
                return Ok(BTreeMap::new());
            }
            Err(error @ GradeError::Gold { .. }) => {
                return Err(Failure::new(Kind::Input, error));
            }
            Err(error) => return Err(Failure::new(Kind::External, error)),
        };
        let of = |leaf| (leaf, outcome(tree, leaf, gold, &compared));
        Ok(tree.leaves().into_iter().map(of).collect())
    }

    /// Writes the trajectories of an imported run in the format they came in, in the order
    /// they came.
    fn give_back(
        &self,
        args: &ExportArgs,
        zeros: Zeros,
        files: &mut Files,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut held: Option<(TaskId, Tree, Vec<Verdict>, Option<Labels>)> = None;
        each_origin(&args.run, |origin| {
            if held.as_ref().is_none_or(|(task, ..)| *task != origin.task) {
                let tree = self.index.tree(&origin.task)?;
                let verdicts = self.verdicts(&origin.task, tally)?;
                tally.task(&verdicts);
                let question = self.tasks.get(&origin.task);
                let question = question.map_or("", |task| task.prompt.as_str());
                let labels: Option<Labels> = self.view.map(|view| {
                    let labels = view.labels(question, &tree, &verdicts);
                    labels.iter().map(|(node, l)| (*node, (l.label, l.zero))).collect()
                });
                held = Some((origin.task.clone(), tree, verdicts, labels));
            }
            let (_, tree, verdicts, labels) = held.as_ref().expect("it was just read");
            let own = labels.as_ref().map(|labels| {
                let label = |(index, node): &(u32, NodeId)| {
                    let (label, zero) = *labels.get(node)?;
                    Some((*index, zeros.treat(label, zero)?))
                };
                let steps = origin.messages.iter().filter_map(label).collect();
                agent_process_bench::Labels::of(steps, verdicts)
            });
            files.push_line(&self.line(args, &origin, tree, own.as_ref())?)?;
            tally.line();
            if let Some(labels) = labels {
                let of_path = origin.messages.iter();
                of_path.for_each(|(_, node)| tally.step(labels.get(node).copied()));
            }
            Ok::<(), Failure>(())
        })
    }

    /// A trajectory that was imported, in the format it came in.
    fn line(
        &self,
        args: &ExportArgs,
        origin: &Origin,
        tree: &Tree,
        labels: Option<&agent_process_bench::Labels>,
    ) -> Result<String> {
        let path = match origin.leaf {
            Some(leaf) if tree.get(leaf).is_some() => tree.path(leaf),
            _ => vec![],
        };
        let steps: Vec<&Step> = path.iter().map(|(_, node)| &node.step).collect();
        let line = match args.format {
            Format::AgentProcessBench => {
                agent_process_bench::line(&origin.rest, &steps, labels)
            }
            _ => openai_chat::line(&origin.rest, &steps),
        };
        line.ok_or_else(|| {
            let message = format!(
                "{}: task {} was imported from another format than {}",
                args.run.display(),
                origin.task,
                args.format
            );
            Failure::say(Kind::Usage, message)
        })
    }
}

/// Refuses numbers that are no chances, where labels are: what of them happens to lie between 0
/// and 1 would be taken for one.
fn refuse_rewards<'v>(mut verifiers: impl Iterator<Item = &'v VerifierId>) -> Result<()> {
    let gives_rewards = |verifier: &&VerifierId| {
        let method = Method::find(verifier.name());
        matches!(method.and_then(|method| method.number), Some(Number::Reward(_)))
    };
    match verifiers.find(gives_rewards) {
        None => Ok(()),
        Some(verifier) => {
            let message = format!(
                "--numbers: those of {verifier} are rewards and no chances, which soft labels \
                 are; the formats prm and pairs and those of tokens take any number"
            );
            Err(Failure::say(Kind::Usage, message))
        }
    }
}

/// The numbers that verdicts give steps.
fn numbers(verdicts: &[Verdict]) -> BTreeMap<NodeId, f64> {
    let of = |verdict: &Verdict| Some((verdict.node, explore::number(verdict)?));
    verdicts.iter().filter_map(of).collect()
}

/// Instructions that no model was given are not written.
fn never_told(folder: &EnvironmentFolder) -> Failure {
    let message = format!(
        "{}: its prompt, protocol or list of tools is not what the run's model was told, which \
         the rows would say; restore prompt.md and environment.toml, or make a new run",
        folder.dir.display()
    );
    Failure::say(Kind::Input, message)
}

/// What a view makes of the steps of one tree.
type Labels = BTreeMap<NodeId, (StepLabel, Option<Zero>)>;
