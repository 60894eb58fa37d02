//! The expressions of the JSON algebra, parsed: `cap: sum(p in P) use[p]*x[p] <= 40`.
//!
//! ```text
//! constraint = [name ":"] sum relation sum [relation sum] ["for" clauses]
//! sum        = product { ("+" | "-") product }
//! product    = factor { ("*" | "/") factor }
//! factor     = number ["%"] | name ["[" index {"," index} "]"] | "(" sum ")" | "-" factor
//!            | "sum" "(" clauses ")" product | "sum" "(" clauses ":" sum ")"
//!            | "sum" "(" sum "for" clauses ")"
//! clauses    = clause { ("," | "for" | "where" | "if" | "and") clause }
//! clause     = name "in" name | "(" name {"," name} ")" "in" name | sum comparison sum
//! index      = (name | number | quoted) [("+" | "-") number]
//! ```

use crate::program::lp::number_length;
use crate::program::short;

/// How deep an expression may nest.
const DEPTH_MAX: u32 = 40;

/// A relation of a constraint, or a comparison of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    AtMost,
    AtLeast,
    Equal,
    Less,
    Greater,
    Unequal,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Number(f64),
    /// The element itself, in conditions.
    Quoted(String),
    /// A parameter, a variable, or an index that a clause binds.
    Name {
        name: String,
        indices: Vec<Index>,
    },
    Negate(Box<Expression>),
    Add(Box<Expression>, Box<Expression>),
    Subtract(Box<Expression>, Box<Expression>),
    Multiply(Box<Expression>, Box<Expression>),
    Divide(Box<Expression>, Box<Expression>),
    Sum {
        clauses: Vec<Clause>,
        body: Box<Expression>,
    },
}

/// One place between brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    /// An index that a clause binds, or an element.
    pub(super) base: String,
    /// Whether it can only be an element.
    pub(super) is_element: bool,
    /// Added to it.
    pub(super) shift: i64,
}

/// What `for` and `sum` range over.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Clause {
    Each { names: Vec<String>, set: String },
    If { left: Expression, relation: Relation, right: Expression },
}

/// A parsed constraint.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constraint {
    pub(super) name: Option<String>,
    pub(super) first: Expression,
    pub(super) rest: Vec<(Relation, Expression)>,
    pub(super) clauses: Vec<Clause>,
}

/// Parses a whole constraint; the message says where it stops making sense.
pub(super) fn constraint(text: &str) -> Result<Constraint, String> {
    let mut parser = Parser::new(text)?;
    let mut name = None;
    if let [Token::Name(label), Token::Sign(':'), ..] = parser.tokens.as_slice() {
        name = Some(label.clone());
        parser.at = 2;
    }
    let first = parser.sum(0)?;
    let mut rest = Vec::new();
    while let Some(Token::Relation(relation)) = parser.peek() {
        let relation = *relation;
        if matches!(relation, Relation::Less | Relation::Greater | Relation::Unequal) {
            return Err(
                parser.error("a constraint takes <=, >= or =, which include equality")
            );
        }
        parser.at += 1;
        rest.push((relation, parser.sum(0)?));
    }
    if rest.is_empty() {
        return Err(parser.error("<=, >= or = is missing here"));
    }
    if rest.len() > 2 {
        return Err(parser.error("a constraint has one relation, or two: 0 <= x <= 4"));
    }
    let clauses = if parser.eat_word("for") { parser.clauses(0)? } else { vec![] };
    parser.end()?;
    Ok(Constraint { name, first, rest, clauses })
}

/// Parses an expression without a relation.
pub(super) fn expression(text: &str) -> Result<Expression, String> {
    let mut parser = Parser::new(text)?;
    let sum = parser.sum(0)?;
    parser.end()?;
    Ok(sum)
}

/// Whether a text is a name: letters, digits and underscores, not beginning with a digit.
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
        && !WORDS.contains(&text)
}

const WORDS: [&str; 6] = ["sum", "for", "in", "where", "if", "and"];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Word(&'static str),
    Quoted(String),
    /// One of `+ - * / ( ) [ ] { } , : %`.
    Sign(char),
    Relation(Relation),
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// Where each token begins, in bytes.
    starts: Vec<usize>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, String> {
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        let mut rest = text.trim_start();
        while let Some(c) = rest.chars().next() {
            let (token, length) =
                token(rest, c).map_err(|message| format!("{} {message}", near(rest)))?;
            starts.push(text.len() - rest.len());
            tokens.push(token);
            rest = rest[length..].trim_start();
        }
        Ok(Self { text, tokens, starts, at: 0 })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn error(&self, message: &str) -> String {
        match self.starts.get(self.at) {
            Some(start) => format!("{} {message}", near(&self.text[*start..])),
            None => format!("at the end: {message}"),
        }
    }

    fn eat(&mut self, sign: char) -> bool {
        let is_next = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.eat(sign) {
            return Ok(());
        }
        Err(self.error(&format!("{sign:?} is missing here")))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Word(next)) if *next == word);
        self.at += usize::from(is_next);
        is_next
    }

    fn end(&self) -> Result<(), String> {
        if self.at == self.tokens.len() {
            return Ok(());
        }
        Err(self.error("this is not expected here"))
    }

    fn deeper(&self, depth: u32) -> Result<u32, String> {
        if depth >= DEPTH_MAX {
            return Err(format!("the expression nests deeper than {DEPTH_MAX} levels"));
        }
        Ok(depth + 1)
    }

    // Long sums are chains to the left: they are folded without recursion here, and
    // dropped and evaluated by the length of a text that is bounded.
    fn sum(&mut self, depth: u32) -> Result<Expression, String> {
        let depth = self.deeper(depth)?;
        let mut terms = vec![self.product(depth)?];
        loop {
            if self.eat('+') {
                terms.push(self.product(depth)?);
            } else if self.eat('-') {
                terms.push(Expression::Negate(Box::new(self.product(depth)?)));
            } else {
                return Ok(balanced(terms));
            }
        }
    }

    fn product(&mut self, depth: u32) -> Result<Expression, String> {
        let depth = self.deeper(depth)?;
        let mut product = self.factor(depth)?;
        for _ in 0..DEPTH_MAX {
            // "3 x" and "3(x + y)" are products; a name needs its sign.
            let implied = matches!(product, Expression::Number(_))
                && matches!(
                    self.peek(),
                    Some(Token::Name(_) | Token::Sign('(') | Token::Word("sum"))
                );
            if self.eat('*') || implied {
                let factor = self.factor(depth)?;
                product = Expression::Multiply(Box::new(product), Box::new(factor));
            } else if self.eat('/') {
                let factor = self.factor(depth)?;
                product = Expression::Divide(Box::new(product), Box::new(factor));
            } else {
                return Ok(product);
            }
        }
        Err(self.error(&format!("a product has more than {DEPTH_MAX} factors")))
    }

    fn factor(&mut self, depth: u32) -> Result<Expression, String> {
        let depth = self.deeper(depth)?;
        if self.eat('-') {
            return Ok(Expression::Negate(Box::new(self.factor(depth)?)));
        }
        if self.eat('+') {
            return self.factor(depth);
        }
        if self.eat('(') {
            let sum = self.sum(depth)?;
            self.expect(')')?;
            return Ok(sum);
        }
        if self.eat_word("sum") {
            return self.big_sum(depth);
        }
        match self.peek().cloned() {
            Some(Token::Number(number)) => {
                self.at += 1;
                let share = if self.eat('%') { number / 100.0 } else { number };
                Ok(Expression::Number(share))
            }
            Some(Token::Quoted(text)) => {
                self.at += 1;
                Ok(Expression::Quoted(text))
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                let indices = if self.eat('[') { self.indices()? } else { vec![] };
                Ok(Expression::Name { name, indices })
            }
            _ => Err(self.error("a number or a name is missing here")),
        }
    }

    fn indices(&mut self) -> Result<Vec<Index>, String> {
        let mut indices = Vec::new();
        loop {
            let (base, is_element) = match self.peek().cloned() {
                Some(Token::Name(name)) => (name, false),
                Some(Token::Quoted(text)) => (text, true),
                Some(Token::Number(number)) if is_whole(number) => {
                    (format!("{number}"), true)
                }
                _ => return Err(self.error("an index is a name or a whole number")),
            };
            self.at += 1;
            let sign = match self.peek() {
                Some(Token::Sign('+')) => 1,
                Some(Token::Sign('-')) => -1,
                _ => 0,
            };
            let mut shift = 0;
            if sign != 0 {
                self.at += 1;
                let Some(Token::Number(number)) = self.peek().cloned() else {
                    return Err(self.error("a whole number is missing here"));
                };
                if !is_whole(number) {
                    return Err(self.error("an index is moved by a whole number"));
                }
                self.at += 1;
                shift = sign * number as i64;
            }
            indices.push(Index { base, is_element, shift });
            if self.eat(']') {
                return Ok(indices);
            }
            self.expect(',')?;
        }
    }

    /// What follows the word `sum`.
    fn big_sum(&mut self, depth: u32) -> Result<Expression, String> {
        let close = if self.eat('(') {
            ')'
        } else if self.eat('{') {
            '}'
        } else {
            return Err(self.error("sum is written: sum(i in I) x[i]"));
        };
        if self.begins_clause() {
            let clauses = self.clauses(depth)?;
            let body = if self.eat(':') {
                let body = self.sum(depth)?;
                self.expect(close)?;
                body
            } else {
                self.expect(close)?;
                self.product(depth)?
            };
            return Ok(Expression::Sum { clauses, body: Box::new(body) });
        }
        let body = Box::new(self.sum(depth)?);
        if !self.eat_word("for") {
            return Err(self.error("sum is written: sum(i in I) x[i]"));
        }
        let clauses = self.clauses(depth)?;
        self.expect(close)?;
        Ok(Expression::Sum { clauses, body })
    }

    /// Whether `i in` or `(i, j) in` stands here.
    fn begins_clause(&self) -> bool {
        let rest = &self.tokens[self.at.min(self.tokens.len())..];
        match rest {
            [Token::Name(_), Token::Word("in"), ..] => true,
            [Token::Sign('('), Token::Name(_), rest @ ..] => {
                let mut rest = rest;
                while let [Token::Sign(','), Token::Name(_), after @ ..] = rest {
                    rest = after;
                }
                matches!(rest, [Token::Sign(')'), Token::Word("in"), ..])
            }
            _ => false,
        }
    }

    fn clauses(&mut self, depth: u32) -> Result<Vec<Clause>, String> {
        let mut clauses = Vec::new();
        loop {
            clauses.push(self.clause(depth)?);
            let more = self.eat(',')
                || ["for", "where", "if", "and"].iter().any(|word| self.eat_word(word));
            if !more {
                break;
            }
        }
        if !clauses.iter().any(|clause| matches!(clause, Clause::Each { .. })) {
            return Err(self.error("say over which set: for i in I"));
        }
        Ok(clauses)
    }

    fn clause(&mut self, depth: u32) -> Result<Clause, String> {
        if !self.begins_clause() {
            let left = self.sum(depth)?;
            let Some(Token::Relation(relation)) = self.peek().cloned() else {
                return Err(
                    self.error("a clause is i in I, or a comparison such as i != j")
                );
            };
            self.at += 1;
            return Ok(Clause::If { left, relation, right: self.sum(depth)? });
        }
        let tuple = self.eat('(');
        let mut names = Vec::new();
        while let Some(Token::Name(name)) = self.peek().cloned() {
            self.at += 1;
            names.push(name);
            if !tuple || !self.eat(',') {
                break;
            }
        }
        if tuple {
            self.expect(')')?;
        }
        self.eat_word("in");
        let Some(Token::Name(set)) = self.peek().cloned() else {
            return Err(self.error("the name of a set is missing here"));
        };
        self.at += 1;
        Ok(Clause::Each { names, set })
    }
}

/// A sum of many terms as a tree of small depth.
fn balanced(mut terms: Vec<Expression>) -> Expression {
    while terms.len() > 1 {
        let mut paired = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            paired.push(match rest.next() {
                Some(Expression::Negate(right)) => {
                    Expression::Subtract(Box::new(left), right)
                }
                Some(right) => Expression::Add(Box::new(left), Box::new(right)),
                None => left,
            });
        }
        terms = paired;
    }
    terms.pop().expect("a sum has a term")
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 1e9
}

/// The place of an error as a message begins.
fn near(rest: &str) -> String {
    let shown: String = rest.chars().take(20).collect();
    format!("near {}:", short(&shown))
}

fn token(rest: &str, c: char) -> Result<(Token, usize), String> {
    for (sign, relation) in [
        ("<=", Relation::AtMost),
        ("=<", Relation::AtMost),
        ("≤", Relation::AtMost),
        (">=", Relation::AtLeast),
        ("=>", Relation::AtLeast),
        ("≥", Relation::AtLeast),
        ("!=", Relation::Unequal),
        ("≠", Relation::Unequal),
        ("<>", Relation::Unequal),
        ("==", Relation::Equal),
        ("=", Relation::Equal),
        ("<", Relation::Less),
        (">", Relation::Greater),
    ] {
        if rest.starts_with(sign) {
            return Ok((Token::Relation(relation), sign.len()));
        }
    }
    match c {
        '+' | '-' | '*' | '/' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' | '%' => {
            return Ok((Token::Sign(c), 1));
        }
        '−' => return Ok((Token::Sign('-'), c.len_utf8())),
        '×' | '·' => return Ok((Token::Sign('*'), c.len_utf8())),
        '∑' => return Ok((Token::Word("sum"), c.len_utf8())),
        '\'' | '"' => {
            let end = rest[1..].find(c).ok_or("the quote is not closed")?;
            return Ok((Token::Quoted(rest[1..1 + end].to_owned()), end + 2));
        }
        '^' => return Err("powers are not linear".to_owned()),
        _ => {}
    }
    if c.is_ascii_digit() || c == '.' {
        let length = number_length(rest);
        let number = rest[..length].parse::<f64>();
        let number = number.map_err(|_| format!("{c:?} is no number"))?;
        if !number.is_finite() {
            return Err("this is beyond every number".to_owned());
        }
        return Ok((Token::Number(number), length));
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    if !(c.is_alphabetic() || c == '_') {
        return Err(format!("the character {c:?} has no meaning here"));
    }
    let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let name = &rest[..length];
    let word = WORDS.into_iter().find(|word| *word == name);
    Ok((word.map_or_else(|| Token::Name(name.to_owned()), Token::Word), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        constraint(text).expect_err("it is refused")
    }

    #[test]
    fn the_three_ways_to_write_a_sum_are_one() {
        let one = expression("sum(i in I, j in J) c[i,j]*x[i,j] + 1").expect("AMPL");
        let two = expression("sum(i in I, j in J: c[i,j]*x[i,j]) + 1").expect("colon");
        let three =
            expression("sum(c[i,j]*x[i,j] for i in I for j in J) + 1").expect("Python");
        assert_eq!(one, two);
        assert_eq!(one, three);
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        assert!(error("x + y").contains("at the end: <="));
        assert!(error("x < 4").contains("include equality"));
        assert!(constraint("x <= 4 y").is_ok(), "4 y is a product");
        assert!(error("x^2 <= 4").contains("near \"^2 <= 4\": powers"));
        assert!(error("x <= 1e400").contains("beyond every number"));
        assert!(error("x[] <= 4").contains("an index is"));
        assert!(error("sum x[i] <= 4").contains("sum is written"));
        assert!(error(&format!("{}x <= 4", "(".repeat(5000))).contains("nests deeper"));
        assert!(error(&format!("{}x <= 4", "2*".repeat(5000))).contains("factors"));
    }

    #[test]
    fn a_sum_of_many_terms_is_a_shallow_tree() {
        let long = format!("{} <= 1", vec!["x"; 200_000].join(" + "));
        drop(constraint(&long).expect("long and flat"));
    }
}
