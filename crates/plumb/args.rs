//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::audit::AuditArgs;
use crate::diff::DiffArgs;
use crate::explore::ExploreCommand;
use crate::export::ExportArgs;
use crate::fork::ForkArgs;
use crate::import::ImportArgs;
use crate::new::{NewEnvArgs, NewToolArgs, NewVerifierArgs};
use crate::score::ScoreCommand;

/// Run language-model agents against sandboxed tools, label every step by execution, and
/// record all of it.
///
/// Exit codes: 0 done; 1 a finding (a divergence, a failed check); 2 wrong usage; 3 bad
/// input; 4 a missing component (the message says how to get it); 5 an external failure.
#[derive(Debug, Parser)]
#[command(name = "plumb", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print machine-readable JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run episodes of an environment and record them.
    Run(RunArgs),
    /// Label the steps of a run.
    Label(LabelArgs),
    /// Execute the tool calls of a run again and compare.
    Replay(ReplayArgs),
    /// Judge steps by growing trees from them: one run, any number of methods, each of which takes
    /// up what the others sampled.
    Explore(Box<ExploreCommand>),
    /// Change one step of a trajectory, keep everything before it, have a policy go on, and
    /// compare the success with what it is without the change.
    Fork(ForkArgs),
    /// Compare two runs: outcomes, labels, and where their trajectories part.
    Diff(DiffArgs),
    /// Show a run, or one trajectory with its labels, reasons and evidence.
    Show(ShowArgs),
    /// Turn a dataset into an environment, or others' trajectories into a run.
    Import(ImportArgs),
    /// Check what every verdict of a run rests on: calls are made again, spans looked up.
    Audit(AuditArgs),
    /// Write a run's trajectories in a published format.
    Export(ExportArgs),
    /// Measure labels: against people, judges, planted faults.
    #[command(subcommand)]
    Score(ScoreCommand),
    /// List environments, check one against its own gold, or write a new one.
    #[command(subcommand)]
    Env(EnvCommand),
    /// List the tools of an environment, call one by hand, try them out, or write a new one.
    #[command(subcommand)]
    Tool(ToolCommand),
    /// List the verifiers of an environment, try them out, or write a new one.
    #[command(subcommand)]
    Verifier(VerifierCommand),
    /// Serve an environment's tools to an MCP client, over standard input and output.
    Mcp(McpArgs),
    /// Say which components are there, and how to get those that are not.
    Doctor,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// An environment's name (a folder under environments/) or the path of one.
    pub(crate) environment: String,
    /// llama:default, llama:FILE.gguf, llama:OWNER/REPO or llama:OWNER/REPO:FILE, openai:MODEL@URL,
    /// scripted:FILE or baseline.
    #[arg(short = 'm', long)]
    pub(crate) policy: Option<String>,
    /// Tasks to run, instead of the environment's own.
    #[arg(long, value_name = "FILE")]
    pub(crate) tasks: Option<PathBuf>,
    /// Run only the first N tasks.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Episodes for each task; they share one prefix.
    #[arg(short = 'r', long, value_name = "K")]
    pub(crate) samples: Option<u32>,
    /// Grow a tree for each task instead: children of the question, of each of those, and so
    /// on. 3,3,3 is a tree of up to 27 trajectories.
    #[arg(long, value_name = "W,W,…", value_delimiter = ',', conflicts_with = "samples")]
    pub(crate) tree: Option<Vec<u32>>,
    /// Seed of everything that is sampled.
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Episodes in the making at once.
    #[arg(short = 'c', long, value_name = "C")]
    pub(crate) concurrency: Option<u32>,
    /// The run's folder; the same command with the same folder resumes. Default: a name made
    /// from environment, policy and settings, under runs/.
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Steps of one episode.
    #[arg(long, value_name = "N")]
    pub(crate) steps_max: Option<u32>,
    /// Tokens sampled over one episode.
    #[arg(long, value_name = "N")]
    pub(crate) tokens_max: Option<u32>,
    /// Tool calls of one episode.
    #[arg(long, value_name = "N")]
    pub(crate) calls_max: Option<u32>,
    /// Seconds one episode may take; a longer one is aborted.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_max: Option<u64>,
    /// Temperature; 0 is greedy.
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Nucleus sampling; 1 keeps every token.
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Keeps tokens at least this many times as probable as the best.
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// Lets a local model write freely instead of by the protocol's grammar.
    #[arg(long)]
    pub(crate) unconstrained: bool,
    /// How often a step that failed outside is tried again, also when a run is resumed.
    #[arg(long, value_name = "N")]
    pub(crate) retry_on_error: Option<u32>,
    /// Stop once more than this share of episodes (below 1) or this many are aborted.
    #[arg(long, value_name = "F")]
    pub(crate) fail_on_error: Option<f64>,
    /// Settings from a file; flags overrule it, it overrules the manifest.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Print what would be run, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// A verifier; repeat for several. Default: those the environment names.
    #[arg(long = "verifier", value_name = "V")]
    pub(crate) verifiers: Vec<String>,
    /// How verdicts become one label a step: strict-local, propagated, execution-only,
    /// consensus>=K or online.
    #[arg(long, default_value = "strict-local", value_name = "NAME")]
    pub(crate) view: String,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// A policy that judges every step as a language model does: an opinion. Without
    /// --verifier it is the only one that judges.
    #[arg(id = "judge", long = "judge", value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// What the judge goes by: step, chain, active, or a file with {{tools}} in it.
    #[arg(long, default_value = "step", value_name = "R", requires = "judge")]
    pub(crate) rubric: String,
    /// Independent judgements of each step; more than half must agree.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "judge",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) votes: u32,
    /// Messages in which the judge may call the environment's tools first, on a fork of the
    /// state.
    #[arg(long, default_value_t = 0, value_name = "N", requires = "judge",
          value_parser = clap::value_parser!(u32).range(0..=10))]
    pub(crate) rounds: u32,
    /// One more judgement is shown all of them and has the last word.
    #[arg(long, requires = "judge")]
    pub(crate) critique: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// Take the messages from the record and execute their tool calls (the default).
    #[arg(long, conflicts_with_all = ["execute", "regenerate"])]
    pub(crate) tape: bool,
    /// As --tape, and execute the evidence of every verdict too.
    #[arg(long, conflicts_with = "regenerate")]
    pub(crate) execute: bool,
    /// Ask the policy itself again for every message, at the recorded prefix and with the
    /// recorded seed, one at a time and without a reused prefix. Differences are reported and
    /// are no failure.
    #[arg(long)]
    pub(crate) regenerate: bool,
    /// The policy to ask instead of the run's own.
    #[arg(short = 'm', long, value_name = "P", requires = "regenerate")]
    pub(crate) policy: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// A trajectory: a task's id, or TASK:STEP for the one that ends in that step. Without
    /// it, every trajectory is listed.
    pub(crate) trajectory: Option<String>,
    /// How verdicts become one label a step.
    #[arg(long, default_value = "strict-local", value_name = "NAME")]
    pub(crate) view: String,
    /// Show observations whole instead of their beginning.
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// List the environments under environments/.
    List,
    /// Write an environment that works, to start from.
    New(NewEnvArgs),
    /// Check manifest, tasks and gold, and run the gold answers through the environment's
    /// own verifiers and metrics.
    Check {
        /// An environment's name or path.
        environment: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    /// An environment's name or path.
    pub(crate) environment: String,
    /// The task whose inputs the tools are given. Default: the environment's first.
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ToolCheckArgs {
    /// An environment's name or path.
    pub(crate) environment: String,
    /// The tools. Default: all of them.
    pub(crate) tools: Vec<String>,
    /// Arguments to try besides those made from the schema and those of solutions, as JSON;
    /// repeat for several.
    #[arg(long, value_name = "JSON")]
    pub(crate) args: Vec<String>,
    /// The task whose inputs the tools are given. Default: the environment's first.
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ToolCommand {
    /// Write a tool that works, to start from.
    New(NewToolArgs),
    /// List the tools of an environment with their schemas.
    List {
        /// An environment's name or path.
        environment: String,
    },
    /// Try tools out: determinism, hidden state, forks, replays, limits, and whether the schema
    /// is honest. Exits 1 if one breaks a promise.
    Check(ToolCheckArgs),
    /// Call a tool once.
    Call {
        /// The tool.
        tool: String,
        /// Its arguments, as JSON.
        args: String,
        /// An environment's name or path. Default: the first under environments/ that has
        /// such a tool.
        #[arg(long, value_name = "ENV")]
        environment: Option<String>,
        /// The task whose inputs the tool is given. Default: the environment's first.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        #[command(flatten)]
        earlier: EarlierCalls,
        /// Tell a digest of the state after the call as well, on standard error.
        #[arg(long)]
        state: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VerifierCommand {
    /// Write a verifier that works, to start from.
    New(NewVerifierArgs),
    /// List the verifiers of an environment, with what each is shown.
    List {
        /// An environment's name or path.
        environment: String,
    },
    /// Try verifiers out on good, honest and degenerate trajectories: determinism, hidden
    /// state, hindsight, evidence, canaries, limits. Exits 1 if one breaks a promise.
    Check(VerifierCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifierCheckArgs {
    /// An environment's name or path.
    pub(crate) environment: String,
    /// The verifiers. Default: those the environment names.
    pub(crate) verifiers: Vec<String>,
    /// Try them on trajectories of the first N tasks.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct EarlierCalls {
    /// Arguments of a call that another episode makes first, as JSON; repeat for several.
    #[arg(long, value_name = "JSON")]
    pub(crate) elsewhere: Vec<String>,
    /// Arguments of a call that the same episode makes before; repeat for several.
    #[arg(long, value_name = "JSON")]
    pub(crate) before: Vec<String>,
    /// Arguments of a call that is made on a fork of the state in between; repeat for several.
    #[arg(long, value_name = "JSON")]
    pub(crate) aside: Vec<String>,
}
