//! Texts become a corpus: JSON lines of documents, and a manifest with their digest.

use std::fs;
use std::path::{Path, PathBuf};

use plumbline::import::{Document, DocumentPool};

use super::files::{JsonLines, each_record, write_toml};
use super::{ImportArgs, ImportReport};
use crate::failure::{Failure, Kind, Result, at};
use crate::manifest;

/// Bytes of one `.txt` or `.md` file.
const TEXT_BYTES_MAX: u64 = 8 << 20;
/// Folders within folders that are looked into.
const FOLDER_DEPTH_MAX: usize = 64;
/// What a corpus says of its texts where nobody told.
const NOT_STATED: &str = "not stated";

pub(super) fn write(
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

/// What `corpus.toml` says besides where its documents are.
pub(super) struct CorpusToml {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) source: String,
    pub(super) licence: String,
}

impl CorpusToml {
    /// Writes the manifest beside the finished `documents.jsonl`.
    pub(super) fn write(self, dir: &Path) -> Result<()> {
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
