//! The CPLEX LP format: a reader, and a writer that it reads back.
//!
//! What is read is the format as CPLEX documents it, without quadratic parts, special
//! ordered sets, semi-continuous variables, indicators and lazy constraints, each of which
//! is refused by name; and a little more, because models write it: variables and constants
//! on both sides, `*` between coefficient and variable, `≤` and `≥`. A variable that stands
//! only under bounds or among the integers is refused: it is a misspelt one as a rule.

use std::collections::BTreeMap;

use crate::program::{
    Column, Program, ProgramError, Row, Sense, Size, bound, hint, merged, short,
};

/// Reads a program.
pub fn read(text: &str, size: &Size) -> Result<Program, ProgramError> {
    if text.len() > size.text_bytes_max {
        let what = format!("a text of {} bytes", text.len());
        return Err(ProgramError::too_large(what, size.text_bytes_max));
    }
    let tokens = tokens(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        size,
        names: BTreeMap::new(),
        nonzeros: 0,
        program: Program {
            sense: Sense::Minimize,
            offset: 0.0,
            columns: vec![],
            rows: vec![],
        },
    };
    reader.all()?;
    let program = reader.program;
    program.check(size)?;
    Ok(program)
}

/// Writes a program so that [`read`] gives it back, with names of its own where the
/// program's cannot stand in this format: `x1`, `x2` for all columns, `c1`, `c2` for rows.
pub fn write(program: &Program) -> String {
    use std::fmt::Write;
    let columns: Vec<&str> = program.columns.iter().map(|c| c.name.as_str()).collect();
    let rows: Vec<&str> = program.rows.iter().map(|row| row.name.as_str()).collect();
    let columns = writable(&columns, 'x');
    let rows = writable(&rows, 'c');
    let mut text = String::new();
    let sum = |terms: &[(usize, f64)], text: &mut String| {
        for (column, coefficient) in terms {
            let sign = if coefficient.is_sign_negative() { '-' } else { '+' };
            let (size, name) = (coefficient.abs(), &columns[*column]);
            // A String takes whatever is written to it.
            let _ = write!(text, " {sign} {size:?} {name}");
        }
        if terms.is_empty() {
            let _ = write!(text, " 0 {}", columns[0]);
        }
    };
    text.push_str(program.sense.as_str());
    text.push_str("\n objective:");
    let costs: Vec<(usize, f64)> =
        (0..).zip(&program.columns).map(|(at, column)| (at, column.cost)).collect();
    sum(&costs, &mut text);
    if program.offset != 0.0 {
        let sign = if program.offset < 0.0 { '-' } else { '+' };
        let _ = write!(text, " {sign} {:?}", program.offset.abs());
    }
    text.push_str("\nsubject to\n");
    for (row, name) in program.rows.iter().zip(&rows) {
        let _ = write!(text, " {name}:");
        let (lower, upper) = (row.lower, row.upper);
        let two_sided = lower.is_finite() && upper.is_finite() && lower != upper;
        if two_sided || (lower.is_infinite() && upper.is_infinite()) {
            let _ = write!(text, " {} <=", limit(lower));
        }
        sum(&row.terms, &mut text);
        let _ = if lower == upper {
            writeln!(text, " = {}", limit(lower))
        } else if lower.is_finite() && !two_sided {
            writeln!(text, " >= {}", limit(lower))
        } else {
            writeln!(text, " <= {}", limit(upper))
        };
    }
    text.push_str("bounds\n");
    for (column, name) in program.columns.iter().zip(&columns) {
        let (lower, upper) = (column.lower, column.upper);
        if lower != 0.0 || upper.is_finite() {
            let _ = writeln!(text, " {} <= {name} <= {}", limit(lower), limit(upper));
        }
    }
    let integers: Vec<&str> = (program.columns.iter().zip(&columns))
        .filter(|(column, _)| column.integer)
        .map(|(_, name)| name.as_str())
        .collect();
    if !integers.is_empty() {
        let _ = writeln!(text, "general\n {}", integers.join("\n "));
    }
    text.push_str("end\n");
    text
}

fn limit(value: f64) -> String {
    if value == f64::INFINITY {
        "inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-inf".to_owned()
    } else {
        format!("{value:?}")
    }
}

/// The names if every one of them reads back as itself, else numbered ones.
fn writable(names: &[&str], letter: char) -> Vec<String> {
    let fits = |name: &&str| {
        name.starts_with(starts_name)
            && name_length(name) == name.len()
            && no_variable(name).is_none()
            && !["inf", "infinity", "free"].contains(&name.to_lowercase().as_str())
    };
    if names.iter().all(fits) {
        return names.iter().map(|name| (*name).to_owned()).collect();
    }
    (1..=names.len()).map(|number| format!("{letter}{number}")).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'t> {
    Number(f64),
    Name(&'t str),
    /// One of `+ - * / ^ ( ) [ ] : ,`.
    Sign(char),
    AtMost,
    AtLeast,
    Equal,
}

#[derive(Debug, Clone, Copy)]
struct Placed<'t> {
    token: Token<'t>,
    line: usize,
    /// Whether it is the first of its line.
    first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Objective(Sense),
    Rows,
    Bounds,
    Integer,
    Binary,
    End,
    Unsupported,
}

impl Section {
    fn of(word: &str) -> Option<Self> {
        // A keyword is short; what is long need not be turned into lower case.
        if word.len() > 16 {
            return None;
        }
        Some(match word.to_lowercase().as_str() {
            "maximize" | "maximise" | "maximum" | "max" => {
                Section::Objective(Sense::Maximize)
            }
            "minimize" | "minimise" | "minimum" | "min" => {
                Section::Objective(Sense::Minimize)
            }
            "st" | "s.t." | "st." | "s.t" => Section::Rows,
            "bounds" | "bound" => Section::Bounds,
            "general" | "generals" | "gen" | "integer" | "integers" | "int" => {
                Section::Integer
            }
            "binary" | "binaries" | "bin" => Section::Binary,
            "end" => Section::End,
            "sos" | "sos1" | "sos2" | "semi-continuous" | "semis" | "semi" | "sec" => {
                Section::Unsupported
            }
            _ => return None,
        })
    }
}

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || "_!\"#$%&;?@`'{}~".contains(c)
}

/// Bytes of the name that a text begins with. Brackets may follow a letter, with an index
/// in them: `x[1,2]`.
fn name_length(text: &str) -> usize {
    let mut depth = 0u32;
    for (at, c) in text.char_indices() {
        let holds = c.is_alphanumeric() || "_.!\"#$%&;?@`'{}~".contains(c);
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' if depth > 0 => depth -= 1,
            ',' | '-' if depth > 0 => {}
            _ if holds => {}
            _ => return at,
        }
    }
    text.len()
}

/// Bytes of the number that a text begins with; an exponent needs its digits.
pub(super) fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if end > 0 && matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let after = (end + 1 + sign).min(bytes.len());
        let exponent = digits(after);
        if exponent > after {
            return exponent;
        }
    }
    end
}

fn tokens(text: &str) -> Result<Vec<Placed<'_>>, ProgramError> {
    let mut tokens = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        let row = row.split('\\').next().unwrap_or("");
        let mut rest = row.trim_start();
        let mut first = true;
        while let Some(c) = rest.chars().next() {
            let (token, length) =
                token(rest, c).map_err(|message| ProgramError::line(line, message))?;
            tokens.push(Placed { token, line, first });
            first = false;
            rest = rest[length..].trim_start();
        }
    }
    Ok(tokens)
}

fn token(rest: &str, c: char) -> Result<(Token<'_>, usize), String> {
    for (sign, token) in [
        ("<=", Token::AtMost),
        ("=<", Token::AtMost),
        ("≤", Token::AtMost),
        (">=", Token::AtLeast),
        ("=>", Token::AtLeast),
        ("≥", Token::AtLeast),
    ] {
        if rest.starts_with(sign) {
            return Ok((token, sign.len()));
        }
    }
    match c {
        // The format takes the strict signs for the others.
        '<' => return Ok((Token::AtMost, 1)),
        '>' => return Ok((Token::AtLeast, 1)),
        '=' => return Ok((Token::Equal, 1 + usize::from(rest.starts_with("==")))),
        '−' => return Ok((Token::Sign('-'), c.len_utf8())),
        '+' | '-' | '*' | '/' | '^' | '(' | ')' | '[' | ']' | ':' | ',' => {
            return Ok((Token::Sign(c), 1));
        }
        _ => {}
    }
    if c.is_ascii_digit() || c == '.' {
        let length = number_length(rest);
        let digits = &rest[..length];
        let number = digits.parse::<f64>().map_err(|_| format!("{c:?} is no number"))?;
        if !number.is_finite() {
            return Err(format!("{} is beyond every number", short(digits)));
        }
        return Ok((Token::Number(number), length));
    }
    if !starts_name(c) {
        return Err(format!("the character {c:?} has no meaning here"));
    }
    // "semi-continuous" is the one keyword with a sign in it.
    const SEMI: &str = "semi-continuous";
    if rest.get(..SEMI.len()).is_some_and(|word| word.eq_ignore_ascii_case(SEMI)) {
        return Ok((Token::Name(&rest[..SEMI.len()]), SEMI.len()));
    }
    let length = name_length(rest);
    Ok((Token::Name(&rest[..length]), length))
}

/// A sum of terms and a constant.
#[derive(Default)]
struct Sum {
    terms: Vec<(usize, f64)>,
    constant: f64,
}

struct Reader<'t> {
    tokens: &'t [Placed<'t>],
    at: usize,
    size: &'t Size,
    names: BTreeMap<&'t str, usize>,
    nonzeros: usize,
    program: Program,
}

impl<'t> Reader<'t> {
    fn all(&mut self) -> Result<(), ProgramError> {
        let mut section = self.section();
        if !matches!(section, Some(Section::Objective(_))) {
            let message = "begin with maximize or minimize on a line of its own";
            return Err(self.error(message));
        }
        let mut seen_objective = false;
        while let Some(now) = section {
            match now {
                Section::Objective(sense) => {
                    if std::mem::replace(&mut seen_objective, true) {
                        return Err(self.error("a second objective; there is one"));
                    }
                    self.program.sense = sense;
                    self.objective()?;
                }
                Section::Rows => self.rows()?,
                Section::Bounds => self.bounds()?,
                Section::Integer => self.kinds(None)?,
                Section::Binary => self.kinds(Some((0.0, 1.0)))?,
                Section::End => return Ok(()),
                Section::Unsupported => {
                    // Where the keyword stands, not what follows it.
                    self.at = self.at.saturating_sub(1);
                    let message = "this section is not supported; only linear constraints, \
                                   bounds, general and binary are";
                    return Err(self.error(message));
                }
            }
            section = self.section();
            if section.is_none() && self.peek().is_some() {
                return Err(self.error("this does not continue the section above"));
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at).map(|placed| placed.token)
    }

    fn peek_after(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at + 1).map(|placed| placed.token)
    }

    /// Whether the next token begins a line.
    fn at_line_start(&self) -> bool {
        self.tokens.get(self.at).is_none_or(|placed| placed.first)
    }

    fn error(&self, message: impl Into<String>) -> ProgramError {
        let placed = self.tokens.get(self.at).or(self.tokens.last());
        ProgramError::line(placed.map_or(1, |placed| placed.line), message)
    }

    fn eat(&mut self, token: Token<'_>) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    /// The section that begins here, and how many tokens its keyword has.
    fn section_here(&self) -> Option<(Section, usize)> {
        let Some(Token::Name(word)) = self.peek() else { return None };
        let after = self.peek_after();
        if let Some(Token::Name(second)) = after {
            let pair = [("subject", "to"), ("such", "that")].into_iter().any(|(a, b)| {
                word.eq_ignore_ascii_case(a) && second.eq_ignore_ascii_case(b)
            });
            if pair {
                return Some((Section::Rows, 2));
            }
        }
        if !self.at_line_start() {
            return None;
        }
        let section = Section::of(word)?;
        let related = [Some(Token::AtMost), Some(Token::AtLeast), Some(Token::Equal)];
        let labels = after == Some(Token::Sign(':'))
            && !matches!(section, Section::Objective(_) | Section::Rows);
        (!labels && !related.contains(&after)).then_some((section, 1))
    }

    /// Goes past a section's keyword, and the colon that some write after it.
    fn section(&mut self) -> Option<Section> {
        let (section, words) = self.section_here()?;
        self.at += words;
        self.eat(Token::Sign(':'));
        Some(section)
    }

    /// A name with a colon after it.
    fn label(&mut self) -> Option<&'t str> {
        let (Some(Token::Name(name)), Some(Token::Sign(':'))) =
            (self.peek(), self.peek_after())
        else {
            return None;
        };
        self.at += 2;
        Some(name)
    }

    fn objective(&mut self) -> Result<(), ProgramError> {
        self.label();
        let empty = self.peek().is_none() || self.section_here().is_some();
        let sum = if empty { Sum::default() } else { self.sum(Lines::Many)? };
        self.program.offset = sum.constant;
        for (column, cost) in sum.terms {
            self.program.columns[column].cost += cost;
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<(), ProgramError> {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        while self.peek().is_some() && self.section_here().is_none() {
            let line = self.tokens[self.at].line;
            let label = self.label();
            let number = self.program.rows.len() + 1;
            let name = label.map_or_else(|| format!("c{number}"), str::to_owned);
            if let Some(earlier) = names.insert(name.clone(), line) {
                let name = short(&name);
                let message = format!("{name} already names the row of line {earlier}");
                return Err(ProgramError::line(line, message));
            }
            self.row(name)?;
            if self.program.rows.len() > self.size.rows_max {
                let what = "too many constraints";
                return Err(ProgramError::too_large(what, self.size.rows_max));
            }
        }
        Ok(())
    }

    fn row(&mut self, name: String) -> Result<(), ProgramError> {
        let left = self.sum(Lines::Many)?;
        let Some(relation) = self.relation() else {
            if self.peek() == Some(Token::Sign(':')) {
                return Err(self.error("a name without its constraint before it"));
            }
            return Err(self.error("the constraint needs <=, >= or ="));
        };
        let middle = self.right_side(left.terms.is_empty())?;
        let (mut lower, mut upper) = (f64::NEG_INFINITY, f64::INFINITY);
        if let Some(second) = self.relation() {
            if second != relation || relation == Token::Equal || !left.terms.is_empty() {
                let message = "a constraint with two signs reads: low <= terms <= high";
                return Err(self.error(message));
            }
            let right = self.right_side(false)?;
            if !right.terms.is_empty() {
                return Err(self.error("variables belong between the two signs"));
            }
            let (low, high) = match relation {
                Token::AtMost => (left.constant, right.constant),
                _ => (right.constant, left.constant),
            };
            let terms = merged(middle.terms);
            (lower, upper) =
                (bound(low - middle.constant), bound(high - middle.constant));
            self.program.rows.push(Row { name, lower, upper, terms });
            return Ok(());
        }
        // left relation middle: everything with a variable to the left.
        let limit = bound(middle.constant - left.constant);
        let flip = left.terms.is_empty();
        let negated = |terms: Vec<(usize, f64)>| terms.into_iter().map(|(c, v)| (c, -v));
        // "5 >= x" stays a constraint on x, not on -x.
        let (terms, limit, at_most) = if flip {
            (merged(middle.terms), bound(-limit), relation == Token::AtLeast)
        } else {
            let terms = left.terms.into_iter().chain(negated(middle.terms));
            (merged(terms), limit, relation == Token::AtMost)
        };
        if relation == Token::Equal {
            (lower, upper) = (limit, limit);
        } else if at_most {
            upper = limit;
        } else {
            lower = limit;
        }
        // An infinite limit is none; "x <= -inf" is left for the check to refuse.
        self.program.rows.push(Row { name, lower, upper, terms });
        Ok(())
    }

    fn relation(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        let relates = matches!(token, Token::AtMost | Token::AtLeast | Token::Equal);
        self.at += usize::from(relates);
        relates.then_some(token)
    }

    fn right_side(&mut self, continues: bool) -> Result<Sum, ProgramError> {
        self.sum(if continues { Lines::Signed } else { Lines::One })
    }

    /// Terms until something that is none.
    fn sum(&mut self, lines: Lines) -> Result<Sum, ProgramError> {
        let mut sum = Sum::default();
        let mut first = true;
        loop {
            let signed = matches!(self.peek(), Some(Token::Sign('+' | '-')));
            if !first {
                let ends = match lines {
                    Lines::Many => false,
                    Lines::Signed => self.at_line_start() && !signed,
                    Lines::One => self.at_line_start(),
                };
                if ends || !signed || self.section_here().is_some() {
                    return Ok(sum);
                }
            }
            self.term(&mut sum)?;
            first = false;
        }
    }

    fn term(&mut self, sum: &mut Sum) -> Result<(), ProgramError> {
        let mut factor = 1.0;
        while let Some(Token::Sign(sign @ ('+' | '-'))) = self.peek() {
            factor = if sign == '-' { -factor } else { factor };
            self.at += 1;
        }
        let mut number = None;
        if let Some(Token::Number(value)) = self.peek() {
            self.at += 1;
            number = Some(value);
            if matches!(self.peek(), Some(Token::Number(_))) && !self.at_line_start() {
                return Err(self.error("two numbers in a row: a sign is missing"));
            }
            self.eat(Token::Sign('*'));
        }
        match self.peek() {
            Some(Token::Name(name))
                if !(number.is_some() && (self.at_line_start() || self.is_label())) =>
            {
                if is_infinity(name) && number.is_none() {
                    self.at += 1;
                    sum.constant += factor * f64::INFINITY;
                    return Ok(());
                }
                if self.section_here().is_some() {
                    return Err(self.error("a term is missing before this section"));
                }
                self.at += 1;
                self.refuse_products()?;
                let column = self.column(name)?;
                self.nonzeros += 1;
                if self.nonzeros > self.size.nonzeros_max + self.size.columns_max {
                    let what = "too many coefficients";
                    return Err(ProgramError::too_large(what, self.size.nonzeros_max));
                }
                sum.terms.push((column, factor * number.unwrap_or(1.0)));
            }
            _ => {
                self.refuse_products()?;
                let Some(number) = number else {
                    return Err(self.error("a number or a variable is missing here"));
                };
                sum.constant += factor * number;
            }
        }
        Ok(())
    }

    fn is_label(&self) -> bool {
        self.peek_after() == Some(Token::Sign(':'))
    }

    /// Refuses what cannot follow a term.
    fn refuse_products(&self) -> Result<(), ProgramError> {
        let message = match self.peek() {
            Some(Token::Sign('(' | ')')) => {
                "the LP format has no parentheses: multiply out, or use the JSON model"
            }
            Some(Token::Sign('[' | '^')) => "only linear terms are supported",
            Some(Token::Sign('*')) => {
                "write a product as number, then variable: 3 x; products of variables are \
                 not linear"
            }
            Some(Token::Sign('/')) => "the LP format has no division: write 0.5 x",
            Some(Token::Sign('-')) if self.is_indicator() => {
                "indicator constraints are not supported: use a large constant"
            }
            _ => return Ok(()),
        };
        Err(self.error(message))
    }

    fn is_indicator(&self) -> bool {
        self.peek_after() == Some(Token::AtLeast)
            && matches!(
                self.tokens.get(self.at + 2),
                Some(Placed { token: Token::Name(_), .. })
            )
    }

    fn column(&mut self, name: &'t str) -> Result<usize, ProgramError> {
        if let Some(column) = self.names.get(name) {
            return Ok(*column);
        }
        if let Some(message) = no_variable(name) {
            // The name has just been passed.
            self.at -= 1;
            return Err(self.error(message));
        }
        let column = self.program.columns.len();
        if column >= self.size.columns_max {
            let what = "too many variables";
            return Err(ProgramError::too_large(what, self.size.columns_max));
        }
        self.names.insert(name, column);
        self.program.columns.push(Column {
            name: name.to_owned(),
            cost: 0.0,
            lower: 0.0,
            upper: f64::INFINITY,
            integer: false,
        });
        Ok(column)
    }

    /// A column that the objective or a constraint has.
    fn known(&mut self) -> Result<usize, ProgramError> {
        let Some(Token::Name(name)) = self.peek() else {
            return Err(self.error("a variable is missing here"));
        };
        let Some(column) = self.names.get(name) else {
            let hint = hint(name, self.names.keys().copied());
            let message = format!(
                "no objective or constraint has a variable {}{hint}",
                short(name)
            );
            return Err(self.error(message));
        };
        let column = *column;
        self.at += 1;
        Ok(column)
    }

    fn bounds(&mut self) -> Result<(), ProgramError> {
        while self.peek().is_some() && self.section_here().is_none() {
            let low = match self.peek() {
                Some(Token::Name(name)) if !is_infinity(name) => None,
                _ => {
                    let value = self.value()?;
                    let Some(relation) = self.relation() else {
                        return Err(self.error("a bound reads: 0 <= x <= 4, or x free"));
                    };
                    Some((value, relation))
                }
            };
            let column = self.known()?;
            if let Some((value, relation)) = low {
                self.set_bound(column, value, flipped(relation));
            } else if matches!(self.peek(), Some(Token::Name(word)) if word.eq_ignore_ascii_case("free"))
            {
                self.at += 1;
                self.set_bound(column, f64::NEG_INFINITY, Token::AtLeast);
                self.set_bound(column, f64::INFINITY, Token::AtMost);
                continue;
            }
            match self.relation() {
                Some(relation) => {
                    let value = self.value()?;
                    self.set_bound(column, value, relation);
                }
                None if low.is_some() => {}
                None => {
                    return Err(self.error("a bound reads: 0 <= x <= 4, or x free"));
                }
            }
        }
        Ok(())
    }

    /// A number with its sign, or an infinity.
    fn value(&mut self) -> Result<f64, ProgramError> {
        let mut factor = 1.0;
        while let Some(Token::Sign(sign @ ('+' | '-'))) = self.peek() {
            factor = if sign == '-' { -factor } else { factor };
            self.at += 1;
        }
        let value = match self.peek() {
            Some(Token::Number(number)) => bound(factor * number),
            Some(Token::Name(name)) if is_infinity(name) => factor * f64::INFINITY,
            _ => return Err(self.error("a number is missing here")),
        };
        self.at += 1;
        Ok(value)
    }

    fn set_bound(&mut self, column: usize, value: f64, relation: Token<'_>) {
        let column = &mut self.program.columns[column];
        match relation {
            Token::AtMost => column.upper = value,
            Token::AtLeast => column.lower = value,
            _ => (column.lower, column.upper) = (value, value),
        }
    }

    /// Columns that are whole numbers, and their bounds where the section gives them.
    fn kinds(&mut self, bounds: Option<(f64, f64)>) -> Result<(), ProgramError> {
        while self.peek().is_some() && self.section_here().is_none() {
            if self.eat(Token::Sign(',')) {
                continue;
            }
            let column = self.known()?;
            let column = &mut self.program.columns[column];
            column.integer = true;
            if let Some((lower, upper)) = bounds {
                (column.lower, column.upper) = (lower, upper);
            }
        }
        Ok(())
    }
}

/// How far a sum may go on.
#[derive(Clone, Copy)]
enum Lines {
    /// Over any number of lines: a relation or a section must end it.
    Many,
    /// Over lines that begin with a sign.
    Signed,
    /// To the end of the line, unless a term is still missing there.
    One,
}

fn flipped(relation: Token<'_>) -> Token<'_> {
    match relation {
        Token::AtMost => Token::AtLeast,
        Token::AtLeast => Token::AtMost,
        other => other,
    }
}

/// Why a name cannot be that of a variable, though its characters could: whoever wrote it
/// meant something else.
fn no_variable(name: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("nan") {
        return Some("nan is no number a model can have".to_owned());
    }
    if name.starts_with('%') {
        return Some("the LP format has no percentages: write 0.5 x for 50 %".to_owned());
    }
    Section::of(name).map(|_| {
        format!(
            "{name} is a keyword: begin a line with it, or give the variable another name"
        )
    })
}

fn is_infinity(name: &str) -> bool {
    name.eq_ignore_ascii_case("inf") || name.eq_ignore_ascii_case("infinity")
}
