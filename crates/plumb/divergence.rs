//! How two texts that should be one are shown: a few lines of a unified diff.

use std::fmt::Write;

use plumbline::{Divergence, Tree};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::terminal::printable;

/// Lines of a diff that are shown.
const LINES_MAX: usize = 24;
/// Lines around a change.
const CONTEXT_LINES: usize = 2;
/// Characters after which a line is broken at the next space: a document is often one line.
const LINE_CHARS: usize = 80;
/// Lines of each text that are compared, from the first difference on: finding the shortest
/// diff takes time with the square of what differs.
const COMPARED_LINES_MAX: usize = 1000;

/// A divergence in words: trajectory, task, step, field, and what differs in it.
pub(crate) fn describe(divergence: &Divergence, tree: &Tree) -> String {
    let Divergence { task, node, field, recorded, found } = divergence;
    let leaf = divergence.leaf(tree);
    format!(
        "trajectory {task}:{leaf} (task {task}, step {node}): {field} differs\n{}",
        diff(&readable(recorded), &readable(found), "recorded", "now")
    )
}

/// The same for programs.
pub(crate) fn to_json(divergence: &Divergence, tree: &Tree) -> Value {
    let Divergence { task, node, field, recorded, found } = divergence;
    serde_json::json!({
        "task": task,
        "trajectory": format!("{task}:{}", divergence.leaf(tree)),
        "step": node,
        "field": field.to_string(),
        "recorded": recorded,
        "found": found,
    })
}

/// A unified diff of two texts, cut to a few lines.
pub(crate) fn diff(one: &str, two: &str, one_name: &str, two_name: &str) -> String {
    let (one, two) = (broken(one), broken(two));
    let (one, two): (Vec<&str>, Vec<&str>) =
        (one.split_inclusive('\n').collect(), two.split_inclusive('\n').collect());
    let same = one.iter().zip(&two).take_while(|(one, two)| one == two).count();
    let skipped = same.saturating_sub(CONTEXT_LINES);
    let compared = |lines: &[&str]| -> String {
        lines[skipped..].iter().take(COMPARED_LINES_MAX).copied().collect()
    };
    let (one, two) = (compared(&one), compared(&two));
    let diff = TextDiff::from_lines(&one, &two);
    let mut lines = vec![format!("--- {one_name}"), format!("+++ {two_name}")];
    for group in diff.grouped_ops(CONTEXT_LINES) {
        lines.push(format!("@@ line {} @@", skipped + group[0].old_range().start + 1));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let mark = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            lines.push(format!("{mark}{}", change.value().trim_end_matches('\n')));
        }
    }
    let missing = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if missing > 0 {
        lines.push(format!("(and {missing} more lines)"));
    }
    let mut text = String::new();
    for line in lines {
        writeln!(text, "  {}", printable(&line)).expect("a string takes any text");
    }
    text.truncate(text.trim_end().len());
    text
}

/// An observation's text as it was shown, and its data below, a value a line. What is no
/// observation stays as it is.
pub(crate) fn readable(text: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    let shown = ["text", "message"].iter().find_map(|name| fields.remove(*name));
    let shown = shown.as_ref().and_then(Value::as_str).unwrap_or_default();
    let rest = serde_json::to_string_pretty(&fields).unwrap_or_default();
    format!("{shown}\n{rest}\n")
}

/// The same text with long lines broken at spaces.
fn broken(text: &str) -> String {
    let mut broken = String::with_capacity(text.len() + 1);
    for line in text.lines() {
        let mut chars = 0;
        for word in line.split_inclusive(' ') {
            let length = word.chars().count();
            if chars > 0 && chars + length > LINE_CHARS {
                broken.push('\n');
                chars = 0;
            }
            broken.push_str(word);
            chars += length;
        }
        broken.push('\n');
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_in_a_long_line_is_shown_with_its_surroundings() {
        let words: Vec<String> = (0..200).map(|word| format!("word{word}")).collect();
        let one = words.join(" ");
        let shown = diff(&one, &one.replace("word100 ", "wort100 "), "recorded", "now");
        assert!(shown.contains("-") && shown.contains("wort100"), "{shown}");
        assert!(shown.lines().count() < 12, "{shown}");
        assert!(!shown.contains("word3 "), "far from the change:\n{shown}");
    }

    #[test]
    fn what_differs_far_down_a_long_text_is_shown_by_its_line() {
        let one = "a\n".repeat(20_000);
        let two = format!("{one}b\n");
        let shown = diff(&one, &two, "recorded", "now");
        assert!(shown.contains("@@ line 19999 @@") && shown.ends_with("+b"), "{shown}");
    }

    #[test]
    fn a_diff_is_bounded_and_an_observation_readable() {
        let shown = diff(&"a\n".repeat(500), &"b\n".repeat(500), "recorded", "now");
        assert_eq!(shown.lines().count(), LINES_MAX + 1);
        assert!(shown.ends_with("more lines)"), "{shown}");
        let text = readable(r#"{"type":"output","text":"two\nlines","data":{"n":1}}"#);
        assert!(text.starts_with("two\nlines\n{"), "{text}");
        assert_eq!(readable("12"), "12");
    }
}
