//! A run's folder, damaged in one place: it is refused by file and line, or what was lost is
//! said; never less than there was without a word.

use std::fs;
use std::path::{Path, PathBuf};

use plumbline::store::{ReadError, Recording, losses, read_verdicts, verifiers};

use crate::world::{Outcome, World};

/// A labelled run with every kind of file: one document is so long that it lies in a blob.
fn labelled() -> World {
    let world = World::new();
    let long = format!("is 91 km long. {}", "Its banks are low. ".repeat(600));
    world.edit("corpus/documents.jsonl", "is 91 km long.", &long);
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-c", "1", "-o", "runs/a"]);
    world.ok(&["label", "runs/a"]);
    world
}

/// Every file of a folder, and what it holds.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => {
                let bytes = fs::read(&path).expect("a file");
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

/// Everything a run says, and what it says it has lost.
fn read(run: &Path) -> Result<(String, Vec<String>), ReadError> {
    let Recording { header, trees } = Recording::open(run)?;
    let losses = losses(run)?;
    let mut judged = Vec::new();
    for verifier in verifiers(run)? {
        judged.push((verifier.clone(), read_verdicts(run, &verifier)?));
    }
    Ok((format!("{header:?} {trees:?} {judged:?}"), losses))
}

/// Damages one file at a time and requires that nothing is lost without a word.
#[track_caller]
fn check(run: &Path, what: &str, path: &Path, damaged: Option<&[u8]>, whole: &str) {
    let bytes = fs::read(path).expect("the file is there");
    match damaged {
        Some(damaged) => fs::write(path, damaged).expect("the file is writable"),
        None => fs::remove_file(path).expect("the file is there"),
    }
    let found = read(run);
    fs::write(path, bytes).expect("the file is put back");
    match found {
        Err(error) => {
            let error = error.to_string();
            // A blob's reader names the blob; every other one file and line.
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let is_named = error.contains(&name) || path.ends_with("contents.jsonl");
            assert!(is_named, "{what} in {}: {error}", path.display());
        }
        Ok((text, losses)) => {
            let path = path.display();
            // Nothing is derived from the list of contents, and so nothing shows its loss.
            let shows = text != whole || path.to_string().ends_with("contents.jsonl");
            assert!(!shows || !losses.is_empty(), "{what} in {path}: not a word");
        }
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_to_what_is_no_file_of_the_run() {
    let world = labelled();
    let place = world.path("runs/a/verdicts/repeat@1.jsonl");
    let contents = world.path("runs/a/contents.jsonl");
    let theirs = world.path("theirs.txt");
    let text = "a line\nand one that does not end";
    let refused = |why: &str| {
        let before = fs::read(&contents).expect("the list of contents");
        world.fails(&["label", "runs/a"], 3, &[why, "repeat@1.jsonl"]);
        assert_eq!(fs::read(&contents).expect("the list of contents"), before);
    };
    fs::write(&theirs, text).expect("a new file");
    fs::remove_file(&place).expect("the verdicts are there");
    std::os::unix::fs::symlink(&theirs, &place).expect("a new link");
    refused("this is a link");
    assert_eq!(fs::read_to_string(&theirs).expect("theirs"), text);
    fs::remove_file(&place).expect("the link is there");
    fs::write(&place, text).expect("a new file");
    refused("begins otherwise");
    assert_eq!(fs::read_to_string(&place).expect("theirs"), text);
    fs::remove_file(&place).expect("it is there");
    world.ok(&["label", "runs/a"]);
}

#[test]
fn damage_in_any_single_place_is_told() {
    let world = labelled();
    let run = world.path("runs/a");
    let (whole, lost) = read(&run).expect("it is whole");
    assert_eq!(lost, Vec::<String>::new());
    let mut kinds = std::collections::BTreeSet::new();
    for (path, bytes) in files(&run) {
        let kind = path.parent().and_then(Path::file_name).expect("a folder");
        kinds.insert(kind.to_owned());
        let text = String::from_utf8(bytes.clone()).expect("our files are text");
        // Every place of a short file, some hundreds of a long one, another bit each time.
        let stride = (bytes.len() / 300).max(1);
        for at in (0..bytes.len()).step_by(stride).chain([bytes.len() - 1]) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            check(&run, &format!("a flipped bit at {at}"), &path, Some(&flipped), &whole);
            check(&run, &format!("cut at {at}"), &path, Some(&bytes[..at]), &whole);
        }
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for at in 0..lines.len() {
            let cut = lines[..at].concat();
            check(
                &run,
                &format!("cut before line {}", at + 1),
                &path,
                Some(cut.as_bytes()),
                &whole,
            );
            let twice = [&lines[..=at], &lines[at..]].concat().concat();
            check(
                &run,
                &format!("line {} twice", at + 1),
                &path,
                Some(twice.as_bytes()),
                &whole,
            );
            let without = [&lines[..at], &lines[at + 1..]].concat().concat();
            check(
                &run,
                &format!("no line {}", at + 1),
                &path,
                Some(without.as_bytes()),
                &whole,
            );
        }
        check(&run, "the file is missing", &path, None, &whole);
    }
    assert_eq!(kinds.len(), 3, "the run itself, its verdicts, its blobs: {kinds:?}");
    assert_eq!(read(&run).expect("it is whole again").0, whole);
}

#[test]
fn a_flipped_bit_is_named_by_its_line() {
    let world = labelled();
    let run = world.path("runs/a");
    for (path, bytes) in files(&run) {
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for at in (0..bytes.len() - 1).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            fs::write(&path, flipped).expect("the file is writable");
            let error = read(&run).expect_err("it is damaged").to_string();
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let place = format!("{}:{line}: ", path.display());
            assert!(error.starts_with(&place), "{at}: {error}");
        }
        fs::write(&path, &bytes).expect("the file is put back");
    }
}

#[test]
fn every_command_refuses_a_damaged_run_or_says_what_was_lost() {
    let world = labelled();
    let run = world.path("runs/a");
    let commands: [&[&str]; 8] = [
        &["show", "runs/a"],
        &["show", "runs/a", "q1"],
        &["replay", "runs/a", "--execute"],
        &["audit", "runs/a"],
        &["diff", "runs/a", "runs/a"],
        &["score", "disagreement", "runs/a"],
        &["fork", "runs/a", "q1:0", "--drop", "-r", "1", "-o", "runs/f"],
        &["label", "runs/a"],
    ];
    for (path, bytes) in files(&run) {
        let middle = bytes.len() / 2;
        let mut flipped = bytes.clone();
        flipped[middle] ^= 1;
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let short = lines[..lines.len() - 1].concat();
        for (what, damaged) in
            [("flipped", Some(flipped)), ("cut", Some(short)), ("missing", None)]
        {
            for command in commands {
                match &damaged {
                    Some(damaged) => fs::write(&path, damaged).expect("it is writable"),
                    None => fs::remove_file(&path).expect("it is there"),
                }
                let Outcome { code, stdout, stderr } = world.plumb(command);
                fs::write(&path, &bytes).expect("the file is put back");
                let shown = path.display();
                let said =
                    format!("{what} {shown}: {command:?}: {code}\n{stdout}{stderr}");
                assert!(!stderr.contains("panicked"), "{said}");
                let is_told = code == 3 || code == 0 && stderr.contains("warning: ");
                assert!(is_told, "{said}");
                let _ = fs::remove_dir_all(world.path("runs/f"));
            }
        }
    }
}

#[test]
fn a_missing_blob_is_named_with_the_step_that_needs_it() {
    let world = labelled();
    let mut blobs = files(&world.path("runs/a/blobs"));
    let (path, _) = blobs.pop().expect("a long observation");
    fs::remove_file(&path).expect("it is there");
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let words = ["steps.jsonl:", "step ", " of task q3", &name, "missing", "from a copy"];
    world.fails(&["show", "runs/a"], 3, &words);
}

#[test]
fn what_was_lost_can_be_made_again() {
    let world = labelled();
    let script = "scripted:script.jsonl";
    let steps = world.read("runs/a/steps.jsonl");
    let lines: Vec<&str> = steps.split_inclusive('\n').collect();
    world.write("runs/a/steps.jsonl", &lines[..9].concat());
    let shown = world.plumb(&["show", "runs/a"]);
    let lost =
        format!("steps.jsonl:10: {} of {} lines are lost", lines.len() - 9, lines.len());
    assert!(shown.stderr.contains(&lost), "{}", shown.stderr);
    let again = world.plumb(&["run", "world", "-m", script, "-c", "1", "-o", "runs/a"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains(&lost), "{}", again.stderr);
    assert_eq!(world.read("runs/a/steps.jsonl"), steps);
    let file = "runs/a/verdicts/answer-correct@2.jsonl";
    let verdicts = world.read(file);
    fs::remove_file(world.path(file)).expect("it is there");
    let shown = world.plumb(&["show", "runs/a"]);
    assert!(
        shown.stderr.contains("answer-correct@2.jsonl:1: the file is missing"),
        "{}",
        shown.stderr
    );
    world.ok(&["label", "runs/a"]);
    assert_eq!(world.read(file), verdicts);
    let shown = world.plumb(&["show", "runs/a"]);
    assert_eq!(shown.stderr, "");
}
