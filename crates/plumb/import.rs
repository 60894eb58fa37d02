//! `plumb import`: turns a published question set into an environment, texts into a corpus,
//! or trajectories of others into a run. Nothing stands under `--out` until all of it does.

mod corpus;
mod environment;
mod files;
mod problems;
mod programs;
mod questions;
mod spider;
mod tables;
pub(crate) mod trajectories;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use plumbline::import::{Format, ImportError, ProblemFormat, TrajectoryFormat};
use plumbline::protocol::Protocol;
use serde::Serialize;

use crate::failure::{Failure, Kind, Result};
use crate::import::files::Staging;
pub(crate) use crate::import::files::each_record;

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// hotpotqa, 2wiki or musique: questions with their paragraphs become an environment.
    /// spider: questions to SQLite databases, dabench: to tables, nl4opt, nlp4lp or mamo:
    /// optimisation problems, humaneval or mbpp: programs to be written become one. corpus:
    /// documents alone become a corpus. agentprocessbench, openai-chat, reflexion,
    /// who-and-when, sql-labels or atif: what others recorded becomes a run, to be labelled
    /// and scored.
    #[arg(value_name = "FORMAT")]
    subject: Subject,
    /// JSON lines, or a JSON array of records; for a corpus also folders of .txt and .md.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder to make; it must not exist, or be empty.
    #[arg(short = 'o', long, value_name = "DIR")]
    out: PathBuf,
    /// What it is called. Default: the name of the folder.
    #[arg(long)]
    name: Option<String>,
    /// How calls and answers are written: hermes, search-r1, react or openai.
    #[arg(long, default_value = "hermes", value_name = "P")]
    protocol: Protocol,
    /// Documents beside the questions' own, {title, text} each; questions without
    /// paragraphs find theirs here. Repeat for several.
    #[arg(long, value_name = "FILE")]
    corpus: Vec<PathBuf>,
    /// The folder of the databases. Default: where the questions are, or in `database`,
    /// `databases` or `dev_databases` there.
    #[arg(long, value_name = "DIR")]
    databases: Option<PathBuf>,
    /// The file with the answers to questions about tables. Default: `labels.jsonl` beside
    /// the questions. Repeat for several.
    #[arg(long, value_name = "FILE")]
    labels: Vec<PathBuf>,
    /// The folder of the tables. Default: `tables` beside the questions, or where they are.
    #[arg(long, value_name = "DIR")]
    tables: Option<PathBuf>,
    /// Leave out questions of which a supporting document is nowhere to be found.
    #[arg(long)]
    skip_incomplete: bool,
    /// Where the texts are from. Default: what is known of the format.
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// The licence of the texts. Default: what is known of the format.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
}

/// What is imported.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Questions(Format),
    Spider,
    Tables,
    Programs,
    Corpus,
    Trajectories(TrajectoryFormat),
    Problems(ProblemFormat),
}

impl FromStr for Subject {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> std::result::Result<Self, anyhow::Error> {
        match name {
            "corpus" => return Ok(Subject::Corpus),
            "spider" => return Ok(Subject::Spider),
            "dabench" => return Ok(Subject::Tables),
            "humaneval" | "mbpp" => return Ok(Subject::Programs),
            _ => {}
        }
        if let Ok(format) = name.parse::<TrajectoryFormat>() {
            return Ok(Subject::Trajectories(format));
        }
        if let Ok(format) = name.parse::<ProblemFormat>() {
            return Ok(Subject::Problems(format));
        }
        let format = name.parse::<Format>().map(Subject::Questions);
        let others = TrajectoryFormat::ALL.map(TrajectoryFormat::name).join(", ");
        let problems = ProblemFormat::ALL.map(ProblemFormat::name).join(", ");
        format.map_err(|error| {
            let more = "spider, dabench, humaneval, mbpp, corpus";
            anyhow::anyhow!("{error}, {more}, {others}, {problems}")
        })
    }
}

/// What an import came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ImportReport {
    pub(crate) out: PathBuf,
    pub(crate) questions: u64,
    /// Left out: the dataset says that their paragraphs do not answer them.
    pub(crate) unanswerable: u64,
    /// Left out: a supporting document is nowhere to be found.
    pub(crate) incomplete: u64,
    pub(crate) documents: u64,
    /// Documents that came more than once and were kept once.
    pub(crate) merged: u64,
    pub(crate) databases: u64,
    pub(crate) tables: u64,
    pub(crate) trajectories: u64,
    pub(crate) steps: u64,
    /// Labels by people that came along.
    pub(crate) labels: u64,
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let kind = match &error {
            ImportError::Read { source, .. } => kind_of(source),
            ImportError::Empty { .. }
            | ImportError::Json { .. }
            | ImportError::TooDeep { .. }
            | ImportError::TooLong { .. }
            | ImportError::Field { .. } => Kind::Input,
        };
        Failure::new(kind, error)
    }
}

/// A file that is not there was named wrongly; any other trouble is the system's.
fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Kind::Input,
        _ => Kind::External,
    }
}

pub(crate) fn import(args: &ImportArgs, json: bool) -> Result<()> {
    let report = write(args, json)?;
    if json {
        println!("{}", serde_json::json!(report));
        return Ok(());
    }
    let ImportReport {
        out, questions, unanswerable, incomplete, documents, merged, ..
    } = &report;
    let rows = match args.subject {
        Subject::Trajectories(_) => vec![
            ("tasks", questions),
            ("trajectories", &report.trajectories),
            ("steps", &report.steps),
            ("human labels", &report.labels),
        ],
        Subject::Spider => {
            vec![("questions", questions), ("databases", &report.databases)]
        }
        Subject::Tables => vec![("questions", questions), ("tables", &report.tables)],
        Subject::Programs => vec![("programs", questions)],
        Subject::Problems(_) => {
            vec![("problems", questions), ("left out, no optimum", unanswerable)]
        }
        Subject::Questions(_) | Subject::Corpus => vec![
            ("questions", questions),
            ("left out, unanswerable", unanswerable),
            ("left out, incomplete", incomplete),
            ("documents", documents),
            ("documents merged", merged),
        ],
    };
    for (name, count) in rows {
        println!("{name:<23} {count}");
    }
    match args.subject {
        Subject::Trajectories(_) => println!("next: plumb label {}", out.display()),
        Subject::Questions(_) => {
            println!("next: plumb run {} --policy baseline", out.display());
        }
        Subject::Spider | Subject::Programs => {
            println!("next: plumb env check {}", out.display());
        }
        Subject::Tables | Subject::Problems(_) => {
            println!("next: plumb run {} --policy llama:default", out.display());
        }
        Subject::Corpus => println!("written to {}", out.display()),
    }
    Ok(())
}

fn write(args: &ImportArgs, json: bool) -> Result<ImportReport> {
    let name = name(args)?;
    let staging = Staging::begin(&args.out)?;
    let mut report = match args.subject {
        Subject::Questions(format) => {
            questions::write(args, format, &name, staging.dir(), json)?
        }
        Subject::Spider => spider::write(args, &name, staging.dir(), json)?,
        Subject::Tables => tables::write(args, &name, staging.dir(), json)?,
        Subject::Programs => programs::write(args, &name, staging.dir(), json)?,
        Subject::Corpus => corpus::write(args, &name, staging.dir(), json)?,
        Subject::Trajectories(format) => {
            trajectories::write(args, format, &name, staging.dir(), json)?
        }
        Subject::Problems(format) => {
            problems::write(args, format, &name, staging.dir(), json)?
        }
    };
    staging.finish()?;
    report.out.clone_from(&args.out);
    Ok(report)
}

fn name(args: &ImportArgs) -> Result<String> {
    let of_folder = args.out.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or(of_folder).unwrap_or_default();
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        let out = args.out.display();
        let message = format!("--out {out}: name a new folder, or give a --name");
        return Err(Failure::say(Kind::Usage, message));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;
    use plumbline::import::Document;

    use super::*;
    use crate::manifest::{self, EnvironmentFolder, VerifierManifest};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ImportArgs,
    }

    pub(super) fn run(line: &[&str]) -> Result<ImportReport> {
        let line = Line::try_parse_from(["import"].iter().chain(line));
        let args = line.unwrap_or_else(|error| panic!("{error}")).args;
        write(&args, true)
    }

    /// Whether all verifiers of a new environment are there.
    pub(super) fn names_ours(folder: &EnvironmentFolder) -> bool {
        let is_ours = |it: &VerifierManifest| match it {
            VerifierManifest::Named(name) => {
                crate::catalog::verifier::VERIFIERS.contains(&name.as_str())
            }
            VerifierManifest::Guest(_) => false,
        };
        folder.manifest.verifiers.iter().all(is_ours)
    }

    pub(super) struct Place(tempfile::TempDir);

    impl Place {
        pub(super) fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary folder"))
        }

        pub(super) fn path(&self, name: &str) -> String {
            self.0.path().join(name).to_str().expect("UTF-8").to_owned()
        }

        pub(super) fn file(&self, name: &str, text: &str) -> String {
            let path = self.path(name);
            let parent = Path::new(&path).parent().expect("it lies in the folder");
            fs::create_dir_all(parent).expect("a folder");
            fs::write(&path, text).expect("a file");
            path
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).expect("the folder is there");
            let name = |entry: io::Result<fs::DirEntry>| {
                entry.expect("an entry").file_name().to_string_lossy().into_owned()
            };
            let mut names: Vec<String> = entries.map(name).collect();
            names.sort();
            names
        }
    }

    const GOOD: &str = r#"{"id": "q1", "question": "Who?", "answer": "Ada",
        "supporting_facts": [["Elm", 0]], "context": [["Elm", ["Ada."]], ["Oak", ["Oh."]]]}"#;

    #[test]
    fn an_environment_is_written_whole_and_reads_back() {
        let place = Place::new();
        let file = place.file("q.json", &format!("[{GOOD}]"));
        let corpus = place.file("c.jsonl", r#"{"title": "Elm", "text": "Ada."}"#);
        for (protocol, tools) in [("hermes", 2), ("search-r1", 1)] {
            let out = place.path(&format!("deep/{protocol}"));
            let line = ["hotpotqa", &file, "--corpus", &corpus, "--out", &out];
            let report = run(&[&line[..], &["--protocol", protocol]].concat());
            let report = report.unwrap_or_else(|failure| panic!("{}", failure.message()));
            assert_eq!((report.questions, report.documents, report.merged), (1, 2, 1));
            let folder = EnvironmentFolder::open(&out).expect("the manifest is read");
            assert_eq!(folder.manifest.name, protocol);
            assert_eq!(folder.manifest.protocol.name(), protocol);
            assert_eq!(folder.manifest.tools.len(), tools);
            assert!(names_ours(&folder));
            let tasks = folder.tasks(None).expect("the tasks are read");
            let gold = folder.gold().expect("the gold is read");
            assert_eq!(gold[&tasks[0].id].supporting(), ["Elm"]);
            let corpus = Path::new(&out).join("corpus");
            let read: manifest::CorpusManifest =
                manifest::read_toml(&corpus.join("corpus.toml")).expect("it is read");
            let documents = corpus.join(read.documents);
            let sha256 = manifest::sha256(&documents).expect("the documents are there");
            assert_eq!(read.sha256, Some(sha256));
            let lines = fs::read_to_string(documents).expect("the documents are there");
            assert_eq!(lines.lines().count(), 2);
        }
    }

    #[test]
    fn a_bad_line_leaves_nothing_behind() {
        let place = Place::new();
        let good = GOOD.replace('\n', " ");
        let file = place.file("q.jsonl", &format!("{good}\n{{\"id\": \"q2\"}}\n"));
        let out = place.path("out");
        let failure = run(&["hotpotqa", &file, "--out", &out]).expect_err("a bad line");
        assert_eq!(failure.kind(), Kind::Input);
        assert!(failure.message().contains("q.jsonl:2: field"), "{}", failure.message());
        assert_eq!(place.names(), ["q.jsonl"]);
        let none = place.path("none.jsonl");
        let failure = run(&["musique", &none, "--out", &out]).expect_err("no such file");
        assert_eq!(failure.kind(), Kind::Input);
        assert_eq!(place.names(), ["q.jsonl"]);
    }

    #[test]
    fn a_folder_that_is_not_empty_is_left_alone() {
        let place = Place::new();
        let file = place.file("q.jsonl", &GOOD.replace('\n', " "));
        place.file("full/notes.txt", "mine");
        for out in ["full", "q.jsonl"] {
            let failure = run(&["hotpotqa", &file, "--out", &place.path(out)]);
            let failure = failure.expect_err("it is taken");
            assert_eq!(failure.kind(), Kind::Usage, "{}", failure.message());
        }
        assert_eq!(place.names(), ["full", "q.jsonl"]);
        fs::create_dir(place.path("empty")).expect("a folder");
        run(&["hotpotqa", &file, "--out", &place.path("empty")]).expect("it is free");
        assert_eq!(place.names(), ["empty", "full", "q.jsonl"]);
    }

    #[test]
    fn questions_without_their_documents_are_left_out_when_asked() {
        let place = Place::new();
        let lost = GOOD.replace("[[\"Elm\", 0]]", "[[\"Ash\", 0]]").replace("q1", "q2");
        let file = place.file("q.json", &format!("[{GOOD}, {lost}]"));
        let out = place.path("out");
        let line = ["hotpotqa", file.as_str(), "--out", &out];
        let failure = run(&line).expect_err("one document is missing");
        assert!(failure.message().contains("--skip-incomplete"), "{}", failure.message());
        let report =
            run(&[&line[..], &["--skip-incomplete"]].concat()).expect("left out");
        assert_eq!((report.questions, report.incomplete), (1, 1));
        let only = place.file("lost.json", &format!("[{lost}]"));
        let again = place.path("again");
        let line = ["hotpotqa", &only, "--out", &again, "--skip-incomplete"];
        assert_eq!(run(&line).expect_err("nothing is left").kind(), Kind::Input);
    }

    #[test]
    fn folders_of_texts_become_a_corpus() {
        let place = Place::new();
        place.file("texts/b.md", "intro\n#not\n## Beech \nA tree.");
        place.file("texts/a/one.txt", "# no heading in a plain text");
        place.file("texts/.hidden.txt", "no");
        place.file("texts/picture.png", "no");
        let lines = place.file("more.jsonl", r#"{"id": 5, "title": "Elm", "text": "x"}"#);
        let (texts, out) = (place.path("texts"), place.path("out"));
        let report =
            run(&["corpus", &texts, &lines, "--out", &out, "--licence", "CC0-1.0"]);
        assert_eq!(report.expect("a corpus").documents, 3);
        let written = fs::read_to_string(Path::new(&out).join("documents.jsonl"));
        let written = written.expect("the documents are there");
        let found: Vec<Document> = written
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let found: Vec<_> =
            found.iter().map(|d| (d.id.as_str(), d.title.as_str())).collect();
        assert_eq!(found, [("a/one.txt", "one"), ("b.md", "Beech"), ("5", "Elm")]);
        let manifest = fs::read_to_string(Path::new(&out).join("corpus.toml"));
        assert!(manifest.expect("it is there").contains("licence = \"CC0-1.0\""));
        let empty = place.path("empty");
        fs::create_dir(&empty).expect("a folder");
        let failure = run(&["corpus", &empty, "--out", &place.path("none")]);
        assert_eq!(failure.expect_err("no text").kind(), Kind::Input);
    }
}
