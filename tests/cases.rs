//! Verifier tests as data: every Markdown file under `tests/cases/<verifier>/` holds
//! trajectories with the expected verdicts in the margin. `plumbline::cases` tells the words.

use std::fs;
use std::path::{Path, PathBuf};

use plumbline::Verifier;
use plumbline::cases::read_markdown;
use plumbline::verifiers::{
    AnswerCorrect, AnswerSolved, AnswerSupport, Repeat, RetrievalGain, RetrievalGainGold,
    WellFormed,
};

/// What the folder of a verifier is called is what users call the verifier. One that executes
/// is given its world here.
fn verifier(name: &str) -> Option<Box<dyn Verifier>> {
    Some(match name {
        "well-formed" => Box::new(WellFormed::default()),
        "repeat" => Box::new(Repeat::default()),
        "retrieval-gain" => Box::new(RetrievalGain::default()),
        "retrieval-gain-gold" => Box::new(RetrievalGainGold::default()),
        "answer-support" => Box::new(AnswerSupport::default()),
        "answer-correct" => Box::new(AnswerCorrect::default()),
        "answer-solved" => Box::new(AnswerSolved::default()),
        _ => return None,
    })
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder of the repository");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths
}

fn holds_cases(file: &Path) -> bool {
    let is_markdown = file.extension().is_some_and(|extension| extension == "md");
    is_markdown
        && fs::read_to_string(file).is_ok_and(|text| text.contains("```trajectory"))
}

/// Has a verifier judge every case of a file; each mismatch names file and line.
async fn check(verifier: &dyn Verifier, file: &Path) -> (usize, Vec<String>) {
    let name = file.display();
    let text = fs::read_to_string(file).expect("cases are UTF-8");
    let cases = match read_markdown(&text) {
        Ok(cases) => cases,
        Err(error) => return (0, vec![format!("{name}: {error}")]),
    };
    let mut problems = Vec::new();
    for case in &cases {
        let at = format!("{name}:{}: {}", case.line, case.title);
        match case.judge(verifier).await {
            Err(error) => problems.push(format!("{at}: {error}")),
            Ok(verdicts) => {
                let found = case.mismatches(&verdicts);
                problems.extend(found.iter().map(|mismatch| format!("{at}: {mismatch}")));
            }
        }
    }
    (cases.len(), problems)
}

#[tokio::test]
async fn verifiers_say_what_the_margins_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (mut count, mut problems) = (0, Vec::new());
    for folder in entries(&root) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let files: Vec<PathBuf> = match folder.is_dir() {
            true => {
                entries(&folder).into_iter().filter(|file| holds_cases(file)).collect()
            }
            false => vec![],
        };
        let Some(verifier) = verifier(name) else {
            // Cases in words of their own, such as queries, have a runner of their own.
            if !files.is_empty() {
                problems.push(format!("tests/cases/{name}: no verifier is called that"));
            }
            continue;
        };
        for file in files {
            let (cases, found) = check(verifier.as_ref(), &file).await;
            count += cases;
            problems.extend(found);
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(count >= 150, "only {count} cases are left");
}
