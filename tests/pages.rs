//! The pages of `examples/README.md`, word for word, each in an empty folder.

use std::path::PathBuf;
use std::process::Command;

use crate::world::World;

/// Runs the commands of one page. `before` is what a shell does first, in the same folder.
fn run_page(title: &str, before: &str) {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/examples/README.md"));
    let text = text.expect("the pages");
    let (_, page) = text.split_once(&format!("\n## {title}\n")).expect("the page");
    let page = page.split("\n## ").next().unwrap_or(page);
    let fences = page.split("```console\n").skip(1);
    let mut script = format!("set -euo pipefail\nmkdir empty\ncd empty\n{before}\n");
    for line in fences.flat_map(|it| it.split("```").next().unwrap_or("").lines()) {
        // What has no prompt is the rest of a document that a command reads.
        script += line.strip_prefix("$ ").unwrap_or(line);
        script += "\n";
    }
    let outcome = World::new().shell(&script);
    assert_eq!(outcome.code, 0, "{script}\n{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn the_page_of_programs() {
    run_page("A program", "");
}

/// Where `make guests` has put what the other pages install.
fn guests(page: &str) -> Option<String> {
    let folder = std::env::var("PLUMBLINE_GUESTS").ok();
    let folder = folder.filter(|folder| PathBuf::from(folder).join("bin/pip").is_file());
    if folder.is_none() {
        println!("the page of {page}: skipped, its programs are not there: make guests");
    }
    folder
}

#[test]
fn the_page_of_servers() {
    let Some(guests) = guests("servers") else { return };
    run_page("An MCP server", &format!("npm() {{ ln -s {guests}/node_modules .; }}"));
}

#[test]
fn the_page_of_components() {
    let Some(guests) = guests("components") else { return };
    run_page(
        "A component",
        &format!(
            "pip() {{ true; }}\nexport PATH={guests}/bin:$PATH PYTHONDONTWRITEBYTECODE=1"
        ),
    );
}

#[test]
fn the_page_of_verifiers() {
    run_page("A verifier", "");
}

#[test]
fn the_page_of_verifiers_in_components() {
    let Some(guests) = guests("verifiers in components") else { return };
    run_page(
        "A verifier in a component",
        &format!(
            "pip() {{ true; }}\nexport PATH={guests}/bin:$PATH PYTHONDONTWRITEBYTECODE=1"
        ),
    );
}

/// The essays beside the pages. Cargo builds them where it builds every test.
#[test]
fn the_essays_do_what_they_say() {
    let plumb = PathBuf::from(env!("CARGO_BIN_EXE_plumb"));
    let examples = plumb.with_file_name("examples");
    for (essay, words) in [
        ("custom_tool", &["calls, ", " answered"][..]),
        ("custom_policy", &["<answer>at 6:41</answer>", "Answered after 2 steps"]),
        ("custom_verifier", &["step 2: Some(Bad): step 0 asked almanac the same"]),
    ] {
        let program = examples.join(essay);
        if !program.is_file() {
            println!(
                "{essay}: skipped, it was not built: cargo build --release --examples"
            );
            continue;
        }
        let output = Command::new(program).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{essay}: {said}");
        for word in words {
            assert!(said.contains(word), "{essay}: {said}");
        }
        assert!(!said.contains("broken"), "{essay}: {said}");
    }
}
