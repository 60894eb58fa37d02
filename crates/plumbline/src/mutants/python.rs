//! Faults and no-ops in Python that works on frames, by changing its tokens.

use std::ops::Range;

use crate::mutants::{Columns, Effect, Mutant};

/// Mutants of one class and script.
const SITES_MAX: usize = 4;
/// Begins a cell of a script, as editors of notebooks write it.
const CELL: &str = "# %%\n";

/// Methods, and others that give something of the same sort.
const AGGREGATES: [(&str, &str); 12] = [
    ("mean", "median"),
    ("median", "mean"),
    ("sum", "mean"),
    ("std", "var"),
    ("max", "min"),
    ("min", "max"),
    ("idxmax", "idxmin"),
    ("idxmin", "idxmax"),
    ("nlargest", "nsmallest"),
    ("nunique", "count"),
    ("corr", "cov"),
    ("isna", "notna"),
];
/// Methods that clean a frame, and do nothing else.
const CLEANING: [&str; 2] = ["dropna", "drop_duplicates"];
/// Methods that clean texts, after `.str`.
const TIDYING: [&str; 4] = ["strip", "title", "lower", "upper"];
const FLIPPED: [(&str, &str); 6] =
    [(">", "<"), ("<", ">"), (">=", "<="), ("<=", ">="), ("==", "!="), ("!=", "==")];

/// Puts the cells of a solution together as one script; [`python_cells`] takes it apart.
pub fn python_script(cells: &[&str]) -> String {
    cells.iter().map(|cell| format!("{CELL}{}\n", cell.trim_end())).collect()
}

/// The cells of a script.
pub fn python_cells(script: &str) -> Vec<&str> {
    script.split(CELL).map(str::trim_end).filter(|cell| !cell.is_empty()).collect()
}

/// Every mutant of a script, class after class; at most four of a class. `columns` are those
/// of the tables it reads, and `answer` is what its last cell prints.
///
/// Faults: `wrong-column`, `dropped-filter`, `dropped-cleaning`, `dropped-tidying`,
/// `discarded-result`, `shifted-constant`, `misspelt-value`, `wrong-aggregate`,
/// `flipped-comparison`, `wrong-join`, `hard-coded`. No-ops: `renamed`, `reordered`,
/// `commented`, `equivalent-method`, `named-result`.
///
/// The script is read as tokens, not as a tree: it is meant for the solutions of tasks, which
/// are known to be right, and a mutant of another script need not be what its class says.
pub fn python_mutants(script: &str, columns: &Columns, answer: &str) -> Vec<Mutant> {
    let tokens = tokens(script);
    let script = Script { text: script, tokens: &tokens };
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut add = |class, effect, edits: Vec<Vec<Edit>>| {
        let texts = edits.into_iter().map(|edits| script.edited(edits));
        let mut texts: Vec<String> = texts.filter(|text| text != script.text).collect();
        texts.dedup();
        texts.truncate(SITES_MAX);
        mutants.extend(texts.into_iter().map(|text| Mutant { class, effect, text }));
    };
    add("wrong-column", Effect::Fault, script.wrong_columns(columns));
    add("dropped-filter", Effect::Fault, script.dropped_filters());
    add("dropped-cleaning", Effect::Fault, script.dropped_methods(&CLEANING, ""));
    add("dropped-tidying", Effect::Fault, script.dropped_methods(&TIDYING, "str"));
    add("discarded-result", Effect::Fault, script.discarded());
    add("shifted-constant", Effect::Fault, script.shifted());
    add("misspelt-value", Effect::Fault, script.misspelt());
    add("wrong-aggregate", Effect::Fault, script.aggregates());
    add("flipped-comparison", Effect::Fault, script.flipped());
    add("wrong-join", Effect::Fault, script.joins());
    add("hard-coded", Effect::Fault, script.hard_coded(answer));
    add("renamed", Effect::NoOp, script.renamed());
    add("reordered", Effect::NoOp, script.reordered());
    add("commented", Effect::NoOp, script.commented());
    add("equivalent-method", Effect::NoOp, script.equivalent());
    add("named-result", Effect::NoOp, script.named_result());
    mutants
}

/// A range of bytes, and what stands there instead.
type Edit = (Range<usize>, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Number,
    /// A text without a prefix, quotes included.
    Text,
    /// A text with a prefix, or a part of an f-string outside its braces.
    OtherText,
    Mark,
    Newline,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    range: Range<usize>,
}

struct Script<'s> {
    text: &'s str,
    tokens: &'s [Token],
}

/// The tokens of a script without its comments. What stands in the braces of an f-string is
/// tokens like any other; its format is part of the text.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    read(text, 0..text.len(), &mut tokens);
    tokens
}

fn read(text: &str, within: Range<usize>, tokens: &mut Vec<Token>) {
    let bytes = text.as_bytes();
    let mut at = within.start;
    while at < within.end {
        let start = at;
        let run = |of: fn(u8) -> bool| {
            let more = bytes[start..within.end].iter().take_while(|byte| of(**byte));
            start + more.count()
        };
        let kind = match bytes[at] {
            b'\n' => {
                at += 1;
                Kind::Newline
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'#' => {
                at = run(|byte| byte != b'\n');
                continue;
            }
            byte if byte.is_ascii_digit() => {
                at = run(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
                Kind::Number
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                at = run(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80);
                if at < within.end && matches!(bytes[at], b'"' | b'\'') && at - start <= 2
                {
                    let is_format = text[start..at].to_lowercase().contains('f');
                    at = string_end(bytes, at, within.end);
                    if is_format {
                        read_format(text, start..at, tokens);
                        continue;
                    }
                    Kind::OtherText
                } else {
                    Kind::Name
                }
            }
            b'"' | b'\'' => {
                at = string_end(bytes, at, within.end);
                Kind::Text
            }
            byte => {
                let two =
                    matches!(bytes.get(at + 1), Some(b'=')) && b"=!<>".contains(&byte);
                at += 1 + usize::from(two);
                Kind::Mark
            }
        };
        tokens.push(Token { kind, range: start..at });
    }
}

/// Where a text that begins with its quote ends.
fn string_end(bytes: &[u8], start: usize, end: usize) -> usize {
    let quote = bytes[start];
    let long = bytes[start..end].starts_with(&[quote; 3]);
    let close: &[u8] = if long { &[quote; 3] } else { &[quote] };
    let mut at = start + close.len();
    while at < end {
        if bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at..end].starts_with(close) {
            return at + close.len();
        } else {
            at += 1;
        }
    }
    end
}

fn read_format(text: &str, within: Range<usize>, tokens: &mut Vec<Token>) {
    let bytes = text.as_bytes();
    let mut at = within.start;
    let mut literal = at;
    while at < within.end {
        if bytes[at] != b'{' {
            at += 1;
            continue;
        }
        tokens.push(Token { kind: Kind::OtherText, range: literal..at + 1 });
        let start = at + 1;
        let (mut depth, mut end) = (0usize, start);
        while end < within.end {
            match bytes[end] {
                b'(' | b'[' | b'{' => depth += 1,
                b'}' | b':' if depth == 0 => break,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' | b'\'' => end = string_end(bytes, end, within.end) - 1,
                _ => {}
            }
            end += 1;
        }
        read(text, start..end.min(within.end), tokens);
        literal = end.min(within.end);
        let close = bytes[literal..within.end].iter().position(|byte| *byte == b'}');
        at = literal + close.unwrap_or(0) + 1;
    }
    tokens.push(Token { kind: Kind::OtherText, range: literal..within.end.max(literal) });
}

impl<'s> Script<'s> {
    fn edited(&self, mut edits: Vec<Edit>) -> String {
        edits.sort_by_key(|(range, _)| range.start);
        let mut text = self.text.to_owned();
        for (range, new) in edits.into_iter().rev() {
            text.replace_range(range, &new);
        }
        text
    }

    fn word(&self, index: usize) -> &'s str {
        self.tokens.get(index).map_or("", |token| &self.text[token.range.clone()])
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    /// The index of the bracket that closes the one at an index.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for index in open..self.tokens.len() {
            match self.word(index) {
                "(" | "[" | "{" if self.kind(index) == Some(Kind::Mark) => depth += 1,
                ")" | "]" | "}" if self.kind(index) == Some(Kind::Mark) => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(index);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Bytes from one token's start to another's end.
    fn span(&self, from: usize, to: usize) -> Range<usize> {
        self.tokens[from].range.start..self.tokens[to].range.end
    }

    /// Whether the name at an index is called as a method.
    fn is_method(&self, index: usize) -> bool {
        index > 0
            && self.kind(index) == Some(Kind::Name)
            && self.word(index - 1) == "."
            && self.word(index + 1) == "("
    }

    /// One edit for each token that something is put in place of.
    fn each(&self, change: impl Fn(usize) -> Option<String>) -> Vec<Vec<Edit>> {
        let changed = (0..self.tokens.len()).filter_map(|index| {
            let new = change(index)?;
            Some(vec![(self.tokens[index].range.clone(), new)])
        });
        changed.collect()
    }

    /// Another column of the same table where one is named in brackets.
    fn wrong_columns(&self, columns: &Columns) -> Vec<Vec<Edit>> {
        self.each(|index| {
            let word = self.word(index);
            let is_place = matches!(self.word(index.wrapping_sub(1)), "[" | "," | "(");
            if self.kind(index) != Some(Kind::Text) || !is_place {
                return None;
            }
            let name = word.trim_matches(['"', '\'']);
            let table = columns.values().find(|table| table.iter().any(|c| c == name))?;
            let at = table.iter().position(|column| column == name)?;
            let other = &table[(at + 1) % table.len()];
            Some(word.replace(name, other))
        })
    }

    /// Whether brackets hold a condition.
    fn is_condition(&self, open: usize, close: usize) -> bool {
        (open..close).any(|index| {
            let compares = FLIPPED.iter().any(|(mark, _)| self.word(index) == *mark);
            let is_negated = self.word(index) == "~";
            compares || is_negated || matches!(self.word(index), "isin" | "between")
        })
    }

    /// A selection of rows that selects all of them: `frame[..]`, `frame.loc[.., column]`.
    fn dropped_filters(&self) -> Vec<Vec<Edit>> {
        let dropped = (1..self.tokens.len()).filter_map(|open| {
            let before = self.kind(open - 1) == Some(Kind::Name);
            if self.word(open) != "[" || !before {
                return None;
            }
            let close = self.closing(open)?;
            if !self.is_condition(open, close) {
                return None;
            }
            if self.word(open - 1) == "loc" {
                let column = (open..close).rev().find(|i| self.word(*i) == ",")?;
                let range = self.tokens[open].range.end..self.tokens[column].range.start;
                return Some(vec![(range, ":".to_owned())]);
            }
            Some(vec![(self.span(open, close), String::new())])
        });
        dropped.collect()
    }

    /// Calls of methods left out; `after` names the accessor that stands before them.
    fn dropped_methods(&self, methods: &[&str], after: &str) -> Vec<Vec<Edit>> {
        let dropped = (1..self.tokens.len()).filter_map(|index| {
            if !self.is_method(index) || !methods.contains(&self.word(index)) {
                return None;
            }
            let close = self.closing(index + 1)?;
            let first = match after {
                "" => index - 1,
                after if index >= 3 && self.word(index - 2) == after => index - 3,
                _ => return None,
            };
            Some(vec![(self.span(first, close), String::new())])
        });
        dropped.collect()
    }

    /// `frame = frame.method(..)` without the assignment, where more lines follow it.
    fn discarded(&self) -> Vec<Vec<Edit>> {
        let lines = self.lines();
        let dropped = lines.windows(2).filter_map(|pair| {
            let [first, second] = [pair[0].start, pair[0].start + 1];
            let between = self.span(pair[0].end - 1, pair[1].start);
            let goes_on = !self.text[between].contains(CELL);
            let is_own = self.word(first) == self.word(first + 2)
                && self.word(second) == "="
                && self.word(first + 3) == ".";
            let range = self.tokens.get(first)?.range.start
                ..self.tokens.get(first + 2)?.range.start;
            (is_own && goes_on).then(|| vec![(range, String::new())])
        });
        dropped.collect()
    }

    /// Numbers a tenth larger, whole ones at least by one.
    fn shifted(&self) -> Vec<Vec<Edit>> {
        self.each(|index| {
            // How many rows are looked at makes no difference to anything.
            let looked = matches!(self.word(index.wrapping_sub(2)), "head" | "tail");
            if self.kind(index) != Some(Kind::Number) || looked {
                return None;
            }
            let word = self.word(index);
            if word.contains('.') {
                let number: f64 = word.parse().ok()?;
                return Some(format!("{}", number * 1.1));
            }
            let number: u64 = word.parse().ok()?;
            Some((number + (number / 10).max(1)).to_string())
        })
    }

    /// Texts that something is compared with, two of their letters exchanged.
    fn misspelt(&self) -> Vec<Vec<Edit>> {
        self.each(|index| {
            let before = self.word(index.wrapping_sub(1));
            let compared = matches!(before, "==" | "!=");
            if self.kind(index) != Some(Kind::Text) || !compared {
                return None;
            }
            let mut letters: Vec<char> = self.word(index).chars().collect();
            let end = letters.len().checked_sub(3)?;
            if end < 1 || letters[end] == letters[end - 1] {
                return None;
            }
            letters.swap(end - 1, end);
            Some(letters.into_iter().collect())
        })
    }

    fn aggregates(&self) -> Vec<Vec<Edit>> {
        self.each(|index| {
            let other = AGGREGATES.iter().find(|(name, _)| *name == self.word(index))?;
            self.is_method(index).then(|| other.1.to_owned())
        })
    }

    fn flipped(&self) -> Vec<Vec<Edit>> {
        self.each(|index| {
            let other = FLIPPED.iter().find(|(mark, _)| *mark == self.word(index))?;
            (self.kind(index) == Some(Kind::Mark)).then(|| other.1.to_owned())
        })
    }

    /// Joins that keep what has no partner, and selections by what has one turned round.
    fn joins(&self) -> Vec<Vec<Edit>> {
        let mut edits = Vec::new();
        for index in 1..self.tokens.len() {
            if self.is_method(index) && self.word(index) == "merge" {
                let Some(close) = self.closing(index + 1) else { continue };
                let how = (index..close).find(|i| self.word(*i) == "how");
                edits.push(match how {
                    Some(how) => {
                        vec![(self.span(how, how + 2), "how=\"outer\"".to_owned())]
                    }
                    None => {
                        let at = self.tokens[close].range.start;
                        vec![(at..at, ", how=\"outer\"".to_owned())]
                    }
                });
            }
            if self.word(index) == "~" {
                edits.push(vec![(self.tokens[index].range.clone(), String::new())]);
            }
        }
        edits
    }

    /// The right answer, printed without being computed.
    fn hard_coded(&self, answer: &str) -> Vec<Vec<Edit>> {
        let Some(last) = self.last_print() else { return vec![] };
        let Some(close) = self.closing(last + 1) else { return vec![] };
        let text = format!("print({})", serde_json::json!(answer));
        vec![vec![(self.span(last, close), text)]]
    }

    fn last_print(&self) -> Option<usize> {
        (0..self.tokens.len()).rev().find(|index| self.word(*index) == "print")
    }

    /// A name given to something, replaced wherever it stands for that.
    fn renamed(&self) -> Vec<Vec<Edit>> {
        let assigned = self.lines().into_iter().filter_map(|line| {
            let is_plain = self.word(line.start + 1) == "="
                && self.kind(line.start) == Some(Kind::Name);
            is_plain.then(|| self.word(line.start))
        });
        let mut names: Vec<&str> = assigned.collect();
        names.sort_unstable();
        names.dedup();
        let rename = |name: &&str| {
            let places = (0..self.tokens.len()).filter(|index| {
                let is_attribute = self.word(index.wrapping_sub(1)) == ".";
                let is_keyword = self.word(index + 1) == "="
                    && matches!(self.word(index.wrapping_sub(1)), "(" | ",");
                self.kind(*index) == Some(Kind::Name)
                    && self.word(*index) == *name
                    && !is_attribute
                    && !is_keyword
            });
            let new = format!("{name}_here");
            places.map(|i| (self.tokens[i].range.clone(), new.clone())).collect()
        };
        names.iter().map(rename).collect()
    }

    /// Two assignments in a row that do not name each other, exchanged.
    fn reordered(&self) -> Vec<Vec<Edit>> {
        let lines = self.lines();
        let swapped = lines.windows(2).filter_map(|pair| {
            let range = |line: &Range<usize>| self.span(line.start, line.end - 1);
            let (one, two) = (range(&pair[0]), range(&pair[1]));
            // Nothing but a line end between them, and no continued line among them.
            if self.text[one.end..two.start].trim_matches(' ') != "\n" {
                return None;
            }
            let assigns = |line: &Range<usize>| {
                let name = self.word(line.start);
                (self.word(line.start + 1) == "=").then_some(name)
            };
            let (first, second) = (assigns(&pair[0])?, assigns(&pair[1])?);
            let names = |line: &Range<usize>, name: &str| {
                line.clone().any(|index| self.word(index) == name)
            };
            if names(&pair[0], second) || names(&pair[1], first) {
                return None;
            }
            let (first, second) = (&self.text[one.clone()], &self.text[two.clone()]);
            Some(vec![(one, second.to_owned()), (two, first.to_owned())])
        });
        swapped.collect()
    }

    /// A comment and an empty line at the head of each cell.
    fn commented(&self) -> Vec<Vec<Edit>> {
        let heads = self.text.match_indices(CELL).map(|(at, mark)| at + mark.len());
        heads.map(|at| vec![(at..at, "# The next step.\n\n".to_owned())]).collect()
    }

    /// Other ways to say the same: `len(x)`, `.mean()`, `.nunique()`.
    fn equivalent(&self) -> Vec<Vec<Edit>> {
        let changed = (0..self.tokens.len()).filter_map(|index| {
            let word = self.word(index);
            let is_empty = self.word(index + 1) == "(" && self.word(index + 2) == ")";
            if word == "len" && self.word(index + 1) == "(" {
                let close = self.closing(index + 1)?;
                let is_name =
                    close == index + 3 && self.kind(index + 2) == Some(Kind::Name);
                let text = format!("{}.shape[0]", self.word(index + 2));
                return is_name.then(|| vec![(self.span(index, close), text)]);
            }
            if self.is_method(index)
                && is_empty
                && matches!(word, "mean" | "median" | "std")
            {
                let text = format!("agg('{word}')");
                return Some(vec![(self.span(index, index + 2), text)]);
            }
            None
        });
        changed.collect()
    }

    /// What is printed last, given a name first.
    fn named_result(&self) -> Vec<Vec<Edit>> {
        let Some(last) = self.last_print() else { return vec![] };
        let Some(close) = self.closing(last + 1) else { return vec![] };
        let inside = self.tokens[last + 1].range.end..self.tokens[close].range.start;
        let text = format!("line = {}\nprint(line)", &self.text[inside]);
        vec![vec![(self.span(last, close), text)]]
    }

    /// The tokens of each line that is a statement of its own: not indented, brackets closed.
    fn lines(&self) -> Vec<Range<usize>> {
        let mut lines = Vec::new();
        let (mut start, mut depth) = (0, 0usize);
        for (index, token) in self.tokens.iter().enumerate() {
            match self.word(index) {
                "(" | "[" | "{" if token.kind == Kind::Mark => depth += 1,
                ")" | "]" | "}" if token.kind == Kind::Mark => {
                    depth = depth.saturating_sub(1);
                }
                _ if token.kind == Kind::Newline && depth == 0 => {
                    if index > start {
                        lines.push(start..index);
                    }
                    start = index + 1;
                }
                _ => {}
            }
        }
        lines.retain(|line| {
            let at = self.tokens[line.start].range.start;
            at == 0 || self.text.as_bytes()[at - 1] == b'\n'
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "import pandas as pd\nt = pd.read_csv(\"/data/t.csv\")\nt.head()";
    const SECOND: &str = "t = t.drop_duplicates()\n\
        low = 3\n\
        big = t[t[\"size\"] > 30]\n\
        print(f\"@mean[{big['cost'].mean():.2f}] @n[{len(big)}]\")";

    fn of_class(class: &str) -> Vec<String> {
        let script = python_script(&[FIRST, SECOND]);
        assert_eq!(python_cells(&script), [FIRST, SECOND]);
        let columns = ["name", "size", "cost"].map(str::to_owned).to_vec();
        let columns = Columns::from([("t".to_owned(), columns)]);
        let mutants = python_mutants(&script, &columns, "@mean[1.00] @n[2]");
        let mutants = mutants.into_iter().filter(|mutant| mutant.class == class);
        mutants
            .map(|mutant| python_cells(&mutant.text).last().unwrap().to_string())
            .collect()
    }

    #[track_caller]
    fn check(class: &str, changed: &[&str]) {
        let found = of_class(class);
        assert_eq!(found.len(), changed.len(), "{class}: {found:#?}");
        for (found, part) in found.iter().zip(changed) {
            assert!(found.contains(part), "{class}: {part} is not in\n{found}");
        }
    }

    #[test]
    fn faults_are_planted_where_they_belong() {
        check("wrong-column", &["t[\"cost\"] > 30", "big['name'].mean()"]);
        check("dropped-filter", &["big = t\n"]);
        check("dropped-cleaning", &["t = t\n"]);
        check("discarded-result", &["t.drop_duplicates()\nlow"]);
        check("shifted-constant", &["low = 4", "> 33]"]);
        check("wrong-aggregate", &["big['cost'].median():.2f"]);
        check("flipped-comparison", &["t[\"size\"] < 30"]);
        check("hard-coded", &["print(\"@mean[1.00] @n[2]\")"]);
        check("misspelt-value", &[]);
    }

    #[test]
    fn no_ops_say_the_same_in_other_words() {
        check(
            "renamed",
            &["big_here = t[", "low_here = 3", "t_here[t_here[\"size\"] > 30]"],
        );
        check("reordered", &["low = 3\nt = t.drop", "> 30]\nlow = 3"]);
        check("commented", &["t = t.drop", "# The next step.\n\nt = t"]);
        check("equivalent-method", &["agg('mean')", "@n[{big.shape[0]}]"]);
        check("named-result", &["line = f\"@mean[{big"]);
    }
}
