//! Runs that earlier programs recorded, one of each version of the format, stay readable and
//! replay without a difference. `tests/runs` holds them, with the environment they were made
//! in. Each was made by a program of its time:
//!
//! ```text
//! $ cd tests/runs
//! $ plumb run world -m scripted:script.jsonl -c 1 -o v1.4
//! $ plumb label v1.4
//! ```

use std::fs;
use std::path::Path;

use plumbline::store::{FORMAT, read_header};

use crate::world::World;

/// One for each version there has been; the last is the one written now.
const VERSIONS: [&str; 5] = ["1.0", "1.1", "1.2", "1.3", "1.4"];

/// A copy of the recorded runs, beside the environment they were made in.
fn recorded() -> World {
    let world = World::new();
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs");
    copy(&runs, &world.path("."));
    world
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the repository") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("a file")),
        }
    }
}

#[test]
fn a_run_of_each_version_is_kept() {
    assert_eq!(VERSIONS.last().copied(), Some(FORMAT.to_string().as_str()));
    let world = recorded();
    for version in VERSIONS {
        let run = world.path(&format!("v{version}"));
        let header = read_header(&run).expect("it is read");
        assert_eq!(header.format.to_string(), version, "{}", run.display());
    }
}

#[test]
fn each_is_shown_replayed_audited_and_goes_on() {
    let world = recorded();
    for version in VERSIONS {
        let run = format!("v{version}");
        let shown = world.plumb(&["show", &run]);
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{run}");
        assert!(shown.stdout.contains("Felling") && shown.stdout.contains("1802"));
        assert!(shown.stdout.contains('+'), "it has labels: {}", shown.stdout);
        let replayed = world.ok(&["replay", &run, "--execute"]);
        assert!(replayed.contains("2 trees, 7 steps"), "{run}: {replayed}");
        assert!(replayed.contains("no divergence"), "{run}: {replayed}");
        let again = world.ok(&["replay", &run, "--regenerate"]);
        assert!(again.contains("7 the same, 0 different"), "{run}: {again}");
        let audited = world.ok(&["audit", &run, "--json"]);
        assert!(audited.contains("\"verdicts_flipped\":0"), "{run}: {audited}");
        let forked = format!("forked-{version}");
        world.ok(&["fork", &run, "q1:0", "--drop", "-r", "2", "-o", &forked]);
        let compared = world.ok(&["diff", &run, "v1.0"]);
        assert!(compared.contains("2 the same, 0 part"), "{run}: {compared}");
    }
}

#[test]
fn what_an_older_program_began_goes_on_as_it_began() {
    let world = recorded();
    for version in VERSIONS {
        let run = format!("v{version}");
        let file = format!("{run}/steps.jsonl");
        let whole = world.read(&file);
        let cut: String = whole.split_inclusive('\n').take(4).collect();
        world.write(&file, &cut);
        world.ok(&["run", "world", "-m", "scripted:script.jsonl", "-c", "1", "-o", &run]);
        assert_eq!(world.read(&file), whole, "{run}");
        // A verifier that judges it now writes as files are written now.
        world.ok(&["label", &run, "--verifier", "value-reached"]);
        world.ok(&["audit", &run]);
    }
}

#[test]
fn an_environment_of_another_digest_is_told_of_and_replays() {
    let world = recorded();
    // As where the digest was made otherwise: nothing that a step depends on has changed.
    let header: serde_json::Value =
        serde_json::from_str(&world.read("v1.0/run.json")).expect("JSON");
    let digest = header["environment_digest"].as_str().expect("a digest").to_owned();
    world.edit("v1.0/run.json", &digest, &"0".repeat(64));
    let replayed = world.plumb(&["replay", "v1.0", "--execute"]);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    assert!(
        replayed.stderr.contains("is not what the run was made in"),
        "{}",
        replayed.stderr
    );
    assert!(replayed.stdout.contains("no divergence"), "{}", replayed.stdout);
}
