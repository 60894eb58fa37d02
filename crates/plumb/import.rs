//! `plumb import`: turns a published question set into an environment, texts into a corpus,
//! or trajectories of others into a run. Nothing stands under `--out` until all of it does.

mod programs;
mod spider;
mod tables;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use plumbline::import::{
    Document, DocumentPool, Format, ImportError, Importer, Incomplete, Intake, PROMPT,
    ProblemFormat, Record, Records, Skip, TrajectoryFormat,
};
use plumbline::protocol::Protocol;
use serde::Serialize;

use crate::failure::{Blame, Failure, Kind, Result};
use crate::imported;
use crate::manifest;
use crate::problems;
use crate::progress::Progress;

/// Bytes of one `.txt` or `.md` file.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Folders within folders that are looked into.
const FOLDER_DEPTH_MAX: usize = 64;
/// Characters of reasoning that a constrained message may begin with.
const THOUGHT_CHARS_MAX: u32 = 200;
/// Documents that a search returns, as in the papers' retrieval baselines.
const TOP_K: u32 = 3;
/// Records between two updates of the progress.
const PROGRESS_EVERY: u64 = 64;
/// What a corpus says of its texts where nobody told.
const NOT_STATED: &str = "not stated";
const VERIFIERS: [&str; 6] = [
    "well-formed",
    "repeat",
    "retrieval-gain",
    "retrieval-gain-gold",
    "answer-support",
    "answer-correct",
];

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// hotpotqa, 2wiki or musique: questions with their paragraphs become an environment.
    /// spider: questions to SQLite databases, dabench: to tables, nl4opt, nlp4lp or mamo:
    /// optimisation problems, humaneval or mbpp: programs to be written become one. corpus:
    /// documents alone become a corpus. agentprocessbench, openai-chat, reflexion,
    /// who-and-when or sql-labels: what others recorded becomes a run, to be labelled and
    /// scored.
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

impl ImportArgs {
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn out(&self) -> &Path {
        &self.out
    }
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
        Subject::Spider | Subject::Tables | Subject::Programs => {
            println!("next: plumb env check {}", out.display());
        }
        Subject::Problems(_) => {
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
            write_environment(args, format, &name, staging.dir(), json)?
        }
        Subject::Spider => spider::write(args, &name, staging.dir(), json)?,
        Subject::Tables => tables::write(args, &name, staging.dir(), json)?,
        Subject::Programs => programs::write(args, &name, staging.dir(), json)?,
        Subject::Corpus => write_corpus(args, &name, staging.dir(), json)?,
        Subject::Trajectories(format) => {
            imported::write_run(args, format, &name, staging.dir(), json)?
        }
        Subject::Problems(format) => {
            problems::write_environment(args, format, &name, staging.dir(), json)?
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

/// The folder that becomes `--out` once all is in it.
#[derive(Debug)]
struct Staging {
    dir: PathBuf,
    out: PathBuf,
}

impl Staging {
    fn begin(out: &Path) -> Result<Self> {
        let usage = |problem: &str| {
            let message = format!(
                "--out {}: {problem}; name a new folder, or remove this one first",
                out.display()
            );
            Failure::say(Kind::Usage, message)
        };
        let Some(name) = out.file_name() else {
            return Err(usage("not a folder to make"));
        };
        match fs::read_dir(out) {
            Ok(entries) => {
                if entries.count() > 0 {
                    return Err(usage("the folder is not empty"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(usage("there is a file of that name"));
            }
            Err(error) => return Err(at(out)(error)),
        }
        // Beside the target, so that it can be renamed; by process, so that two can run.
        let dir = out.with_file_name(format!(
            ".{}.partial-{}",
            name.to_string_lossy(),
            std::process::id()
        ));
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::create_dir_all(parent.unwrap_or(Path::new("."))).map_err(at(out))?;
        fs::create_dir(&dir).map_err(at(&dir))?;
        Ok(Self { dir, out: out.to_owned() })
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn finish(self) -> Result<()> {
        match fs::remove_dir(&self.out) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&self.out)(error));
            }
            _ => {}
        }
        fs::rename(&self.dir, &self.out).map_err(at(&self.out))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Renamed away if all went well; otherwise nobody is left to tell of a failure.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::say(Kind::External, format!("{}: {error}", path.display()))
}

fn write_environment(
    args: &ImportArgs,
    format: Format,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    let incomplete =
        if args.skip_incomplete { Incomplete::Skip } else { Incomplete::Refuse };
    let mut importer = Importer::new(format, incomplete);
    let corpus = dir.join("corpus");
    fs::create_dir(&corpus).map_err(at(&corpus))?;
    let mut documents = JsonLines::create(corpus.join("documents.jsonl"))?;
    let mut tasks = JsonLines::create(dir.join("tasks.jsonl"))?;
    let mut gold = JsonLines::create(dir.join("gold.jsonl"))?;
    let mut report = ImportReport::default();
    for file in &args.corpus {
        each_record(file, json, |record| {
            documents.push_all(importer.pool().add_record(record)?)
        })?;
    }
    for file in &args.files {
        each_record(file, json, |record| match importer.add(record)? {
            Intake::Question(question) => {
                report.questions += 1;
                tasks.push(&question.task)?;
                gold.push(&question.gold)?;
                documents.push_all(question.documents)
            }
            Intake::Skipped(Skip::Unanswerable) => {
                report.unanswerable += 1;
                Ok(())
            }
            Intake::Skipped(Skip::Incomplete) => {
                report.incomplete += 1;
                Ok(())
            }
        })?;
    }
    if report.questions == 0 {
        let message = format!(
            "no question is left: {} unanswerable, {} without their documents; check that \
             the files have the format {format}",
            report.unanswerable, report.incomplete
        );
        return Err(Failure::say(Kind::Input, message));
    }
    report.documents = importer.pool().len() as u64;
    report.merged = importer.pool().merged();
    for lines in [documents, tasks, gold] {
        lines.finish()?;
    }
    let texts = CorpusToml {
        name: name.to_owned(),
        description: format!("Paragraphs that came with the {format} questions."),
        source: args.source.clone().unwrap_or_else(|| format.source().to_owned()),
        licence: args.licence.clone().unwrap_or_else(|| format.licence().to_owned()),
    };
    texts.write(&corpus)?;
    let description = format!("{} questions imported from {format}.", report.questions);
    let environment = EnvironmentToml {
        name,
        description,
        protocol: args.protocol,
        thought_chars_max: THOUGHT_CHARS_MAX,
        verifiers: VERIFIERS,
        tools: tools(args.protocol),
    };
    write_toml(&dir.join("environment.toml"), &environment)?;
    write_file(&dir.join("prompt.md"), PROMPT)?;
    Ok(report)
}

fn write_corpus(
    args: &ImportArgs,
    name: &str,
    dir: &Path,
    json: bool,
) -> Result<ImportReport> {
    if !args.corpus.is_empty() {
        let message = "--corpus adds documents to questions; name the files of a corpus \
                       after the word corpus";
        return Err(Failure::say(Kind::Usage, message));
    }
    let mut pool = DocumentPool::new();
    let mut documents = JsonLines::create(dir.join("documents.jsonl"))?;
    for path in &args.files {
        if path.is_dir() || is_text(path) {
            for (id, file) in texts(path)? {
                documents.push_all(add_text(&mut pool, id, &file)?)?;
            }
        } else {
            each_record(path, json, |record| {
                documents.push_all(pool.add_record(record)?)
            })?;
        }
    }
    documents.finish()?;
    let texts = CorpusToml {
        name: name.to_owned(),
        description: format!("{} documents, imported.", pool.len()),
        source: args.source.clone().unwrap_or_else(|| NOT_STATED.to_owned()),
        licence: args.licence.clone().unwrap_or_else(|| NOT_STATED.to_owned()),
    };
    texts.write(dir)?;
    let (documents, merged) = (pool.len() as u64, pool.merged());
    Ok(ImportReport { documents, merged, ..ImportReport::default() })
}

/// Visits the records of a file and shows how far it is.
pub(crate) fn each_record(
    path: &Path,
    json: bool,
    mut visit: impl FnMut(&Record) -> Result<()>,
) -> Result<()> {
    let name = path.display().to_string();
    let open = || {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    };
    let (file, bytes) =
        open().map_err(|source| ImportError::Read { file: name.clone(), source })?;
    let progress = Progress::new("kB read", bytes.div_ceil(1000), json);
    let mut reader = BufReader::with_capacity(1 << 18, &file);
    let mut read = || -> Result<()> {
        for (number, record) in (1u64..).zip(Records::new(&name, &mut reader)) {
            visit(&record?)?;
            if number.is_multiple_of(PROGRESS_EVERY) {
                // A pipe has no position; then the bar stays where it is.
                let position = (&file).stream_position().unwrap_or(0);
                progress.set(position / 1000, |_| format!("{number} records"));
            }
        }
        Ok(())
    };
    let done = read();
    progress.finish();
    done
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt" || extension == "md")
}

/// The text files of a folder and the folders in it, by id and in its order; a file is
/// itself. The id is the path below the folder. Links and hidden names are passed over.
fn texts(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !path.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, path.to_owned())]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), path.to_owned(), 0)];
    while let Some((prefix, folder, depth)) = folders.pop() {
        if depth > FOLDER_DEPTH_MAX {
            let message = format!(
                "{}: more than {FOLDER_DEPTH_MAX} folders deep; move the documents up",
                folder.display()
            );
            return Err(Failure::say(Kind::Input, message));
        }
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(at(&folder))?);
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                let message =
                    format!("{}: the name is not UTF-8; rename it", path.display());
                return Err(Failure::say(Kind::Input, message));
            };
            let id = format!("{prefix}{name}");
            if name.starts_with('.') {
                continue;
            } else if kind.is_dir() {
                folders.push((format!("{id}/"), path, depth + 1));
            } else if kind.is_file() && is_text(&path) {
                found.push((id, path));
            }
        }
    }
    if found.is_empty() {
        let message =
            format!("{}: no .txt or .md file in it; check the path", path.display());
        return Err(Failure::say(Kind::Input, message));
    }
    found.sort();
    Ok(found)
}

fn add_text(
    pool: &mut DocumentPool,
    id: String,
    path: &Path,
) -> Result<Option<Document>> {
    let length = fs::metadata(path).map_err(at(path))?.len();
    if length > TEXT_BYTES_MAX {
        let message = format!(
            "{}: {length} bytes, more than {TEXT_BYTES_MAX}; split the document",
            path.display()
        );
        return Err(Failure::say(Kind::Input, message));
    }
    let text = manifest::read(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let title = title(path, text);
    let document = Document { id, title, text: text.to_owned() };
    pool.add_named(document).map_err(|error| {
        Failure::say(Kind::Input, format!("{}: {error}", path.display()))
    })
}

/// The first Markdown heading of an `.md` file, else the file's name without its ending.
fn title(path: &Path, text: &str) -> String {
    let markdown = path.extension().is_some_and(|extension| extension == "md");
    let heading = text.lines().filter(|_| markdown).find_map(|line| {
        let heading = line.strip_prefix('#')?.trim_start_matches('#');
        heading.strip_prefix(' ').map(str::trim).filter(|title| !title.is_empty())
    });
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    heading.map_or_else(stem, str::to_owned)
}

/// A file of JSON lines in the making.
pub(crate) struct JsonLines {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl JsonLines {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(at(&path))?;
        Ok(Self { path, writer: BufWriter::with_capacity(1 << 18, file) })
    }

    pub(crate) fn push(&mut self, row: &impl Serialize) -> Result<()> {
        let written =
            serde_json::to_writer(&mut self.writer, row).map_err(io::Error::from);
        written.and_then(|()| self.writer.write_all(b"\n")).map_err(at(&self.path))
    }

    pub(crate) fn push_all<T: Serialize>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.push(&row))
    }

    pub(crate) fn finish(self) -> Result<()> {
        let Self { path, writer } = self;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(at(&path))
    }
}

#[derive(Serialize)]
struct EnvironmentToml<'a> {
    name: &'a str,
    description: String,
    protocol: Protocol,
    thought_chars_max: u32,
    verifiers: [&'static str; 6],
    tools: Vec<ToolToml>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolToml {
    Search { corpus: &'static str, top_k: u32 },
    Open { corpus: &'static str },
}

/// Both tools over the corpus; Search-R1's tags can say nothing but a search.
fn tools(protocol: Protocol) -> Vec<ToolToml> {
    let search = ToolToml::Search { corpus: "corpus", top_k: TOP_K };
    match protocol {
        Protocol::SearchR1 => vec![search],
        Protocol::React | Protocol::Hermes | Protocol::Openai => {
            vec![search, ToolToml::Open { corpus: "corpus" }]
        }
    }
}

/// What `corpus.toml` says besides where its documents are.
struct CorpusToml {
    name: String,
    description: String,
    source: String,
    licence: String,
}

impl CorpusToml {
    /// Writes the manifest beside the finished `documents.jsonl`.
    fn write(self, dir: &Path) -> Result<()> {
        let documents = "documents.jsonl";
        let sha256 = manifest::sha256(&dir.join(documents))?;
        let Self { name, description, source, licence } = self;
        let rows = [
            ("name", name.as_str()),
            ("description", &description),
            ("source", &source),
            ("licence", &licence),
            ("documents", documents),
            ("sha256", &sha256),
        ];
        let row = |(key, text): (&str, &str)| (key.to_owned(), toml::Value::from(text));
        let table: toml::Table = rows.into_iter().map(row).collect();
        write_toml(&dir.join("corpus.toml"), &table)
    }
}

pub(crate) fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value).blame(Kind::External)?;
    write_file(path, &text)
}

pub(crate) fn write_file(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(at(path))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::manifest::EnvironmentFolder;

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
            for verifier in &folder.manifest.verifiers {
                assert!(crate::catalog::VERIFIERS.contains(&verifier.as_str()));
            }
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
