//! What the `compose_*` examples share: files made from facts, written or checked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

/// Writes the files, by path under the repository's root, that are not what they should be.
/// With `--check` on the command line it writes none, and the exit code tells whether it
/// would have.
pub(crate) fn settle(files: Vec<(PathBuf, String)>) -> anyhow::Result<ExitCode> {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("the only argument is --check"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale = 0;
    for (path, content) in files {
        if std::fs::read(root.join(&path)).unwrap_or_default() == content.as_bytes() {
            continue;
        }
        stale += 1;
        let verb = if check { "differs from the facts" } else { "written" };
        println!("{}: {verb}", path.display());
        if !check {
            replace(&root.join(&path), &content)?;
        }
    }
    Ok(if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes a file whole or not at all.
fn replace(path: &Path, content: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("our paths have a folder")?;
    std::fs::create_dir_all(folder)?;
    let written = path.with_extension("new");
    std::fs::write(&written, content)
        .and_then(|()| std::fs::rename(&written, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// One line of JSON an item.
pub(crate) fn lines(
    items: impl Iterator<Item = impl Serialize>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    for item in items {
        text.push_str(&serde_json::to_string(&item)?);
        text.push('\n');
    }
    Ok(text)
}
