//! A small modelling language in JSON: sets, parameters, variables, an objective, and
//! constraints as texts.
//!
//! ```
//! use plumbline::program::{Size, algebra};
//!
//! let model = serde_json::json!({
//!     "sets": { "PLANTS": ["north", "south"], "SHOPS": ["a", "b", "c"] },
//!     "parameters": {
//!         "supply": { "north": 60, "south": 50 },
//!         "demand": [30, 40, 20],
//!         "cost": { "north": [4, 6, 9], "south": [5, 3, 8] }
//!     },
//!     "variables": { "ship": { "over": ["PLANTS", "SHOPS"] } },
//!     "objective": { "minimize": "sum(p in PLANTS, s in SHOPS) cost[p,s]*ship[p,s]" },
//!     "constraints": [
//!         "from: sum(s in SHOPS) ship[p,s] <= supply[p] for p in PLANTS",
//!         "to: sum(p in PLANTS) ship[p,s] >= demand[s] for s in SHOPS"
//!     ]
//! });
//! let program = algebra::read(&model, &Size::default())?;
//! assert_eq!((program.columns.len(), program.rows.len()), (6, 5));
//! assert_eq!(program.rows[0].name, "from[north]");
//! # Ok::<(), plumbline::program::ProgramError>(())
//! ```
//!
//! A list gives values in the order of the set that its index runs over; an object gives
//! them by element, nested or under keys such as `"north,a"`.

mod values;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::program::expression::{
    Clause, Constraint, Expression, Index, Relation, constraint, expression, is_name,
};
use crate::program::{
    Column, Program, ProgramError, Row, Sense, Size, bound, hint, short,
};

use values::{compare, look_up, not_a_number, object, parts, set};

/// Expressions looked at while sums are written out, for each coefficient allowed.
const WORK_PER_NONZERO: usize = 20;

/// The JSON Schema of a model, with an example: what [`read`] takes.
pub fn schema() -> Value {
    let bound = |which: &str| {
        json!({
            "description": format!("{which}: a number, or a parameter's name"),
            "type": ["number", "string"]
        })
    };
    json!({
        "type": "object",
        "description": "A linear model. Example: {\"sets\": {\"P\": [\"desk\", \"chair\"]}, \
            \"parameters\": {\"profit\": {\"desk\": 30, \"chair\": 12}, \"hours\": [4, 1.5], \
            \"available\": 40}, \"variables\": {\"make\": {\"over\": [\"P\"], \"type\": \
            \"integer\"}}, \"objective\": {\"maximize\": \"sum(p in P) profit[p]*make[p]\"}, \
            \"constraints\": [\"labour: sum(p in P) hours[p]*make[p] <= available\", \
            \"limit: make[p] <= 8 for p in P\"]}",
        "properties": {
            "sets": {
                "type": "object",
                "description": "Name to elements: [\"a\", \"b\"], a range \"1..12\", or tuples \
                    [[\"a\", \"b\"], [\"b\", \"c\"]] used as (i, j) in ARCS",
                "additionalProperties": { "type": ["array", "string"] }
            },
            "parameters": {
                "type": "object",
                "description": "Name to a number, a list in the order of its set, or an object \
                    by element; nest them for more than one index",
                "additionalProperties": { "type": ["number", "array", "object"] }
            },
            "variables": {
                "type": "object",
                "minProperties": 1,
                "description": "Name to its kind; the lower bound is 0 unless given",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "over": { "type": "array", "items": { "type": "string" },
                            "description": "The sets it is indexed by" },
                        "type": { "enum": ["continuous", "integer", "binary"] },
                        "lower": bound("Smallest value"),
                        "upper": bound("Largest value"),
                        "free": { "type": "boolean",
                            "description": "true: no lower bound" }
                    },
                    "additionalProperties": false
                }
            },
            "objective": {
                "type": "object",
                "description": "{\"maximize\": EXPRESSION} or {\"minimize\": EXPRESSION}",
                "properties": {
                    "maximize": { "type": "string" },
                    "minimize": { "type": "string" }
                },
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": false
            },
            "constraints": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Each is \"[name:] EXPRESSION <= EXPRESSION [for i in I, j in J, \
                    i != j]\", with <=, >= or =. x[t-1] is the element before"
            }
        },
        "required": ["variables", "objective"],
        "additionalProperties": false
    })
}

/// Reads a model: parses its texts and writes out every sum.
pub fn read(model: &Value, size: &Size) -> Result<Program, ProgramError> {
    let model = model
        .as_object()
        .ok_or_else(|| ProgramError::field("model", "must be an object"))?;
    let bytes: usize = text_bytes(model);
    if bytes > size.text_bytes_max {
        let what = format!("a model of {bytes} bytes");
        return Err(ProgramError::too_large(what, size.text_bytes_max));
    }
    let mut compiler = Compiler::new(model, size)?;
    compiler.variables(model)?;
    compiler.objective(model)?;
    compiler.constraints(model)?;
    let program = compiler.program;
    program.check(size)?;
    Ok(program)
}

/// Bytes of all texts, and a few for everything else.
fn text_bytes(model: &Map<String, Value>) -> usize {
    let mut bytes = 0;
    let mut left: Vec<&Value> = Vec::new();
    let object =
        |map: &Map<String, Value>| -> usize { map.keys().map(|key| key.len() + 4).sum() };
    bytes += object(model);
    left.extend(model.values());
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => bytes += text.len() + 2,
            Value::Array(values) => left.extend(values),
            Value::Object(map) => {
                bytes += object(map);
                left.extend(map.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => bytes += 4,
        }
    }
    bytes
}

/// A set: each element has one name, or several where it is a tuple.
#[derive(Debug, Clone, Default)]
struct Set {
    elements: Vec<Vec<String>>,
}

/// What a clause binds an index to.
#[derive(Debug, Clone)]
struct Bound {
    name: String,
    element: String,
    /// Place in its set, for parameters that are lists.
    position: usize,
    /// The set, where its elements are no tuples.
    set: Option<String>,
    /// Parts of the same tuple that come after this one.
    parts_after: usize,
}

struct Variable {
    over: Vec<String>,
    /// Joined elements to column.
    columns: BTreeMap<String, usize>,
}

struct Compiler<'m> {
    size: &'m Size,
    sets: BTreeMap<&'m str, Set>,
    parameters: BTreeMap<&'m str, &'m Value>,
    declared: BTreeMap<&'m str, Variable>,
    program: Program,
    work_left: usize,
    bound: Vec<Bound>,
}

/// A linear expression, written out.
#[derive(Debug, Clone, Default)]
struct Linear {
    constant: f64,
    terms: BTreeMap<usize, f64>,
}

impl Linear {
    fn is_constant(&self) -> bool {
        self.terms.values().all(|coefficient| *coefficient == 0.0)
    }
}

/// What is wrong inside an expression: a message, or a bound that was reached.
enum Wrong {
    Message(String),
    TooLarge(ProgramError),
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Wrong::Message(message)
    }
}

impl Wrong {
    fn at(self, field: &str) -> ProgramError {
        match self {
            Wrong::Message(message) => ProgramError::field(field, message),
            Wrong::TooLarge(error) => error,
        }
    }
}

impl<'m> Compiler<'m> {
    fn new(model: &'m Map<String, Value>, size: &'m Size) -> Result<Self, ProgramError> {
        const FIELDS: [&str; 5] =
            ["sets", "parameters", "variables", "objective", "constraints"];
        if let Some(other) = model.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let known = FIELDS.join(", ");
            let message = format!(
                "{} is none of {known}{}",
                short(other),
                hint(other, FIELDS.into_iter())
            );
            return Err(ProgramError::field("model", message));
        }
        let mut compiler = Self {
            size,
            sets: BTreeMap::new(),
            parameters: BTreeMap::new(),
            declared: BTreeMap::new(),
            program: Program {
                sense: Sense::Minimize,
                offset: 0.0,
                columns: vec![],
                rows: vec![],
            },
            work_left: WORK_PER_NONZERO * size.nonzeros_max,
            bound: vec![],
        };
        for (name, value) in object(model, "sets")? {
            let field = format!("sets.{name}");
            compiler.name(name, &field)?;
            let set = set(value, size).map_err(|wrong| wrong.at(&field))?;
            compiler.sets.insert(name, set);
        }
        for (name, value) in object(model, "parameters")? {
            let field = format!("parameters.{name}");
            compiler.name(name, &field)?;
            if let Some(wrong) = not_a_number(value) {
                let message = format!("{wrong}: a parameter holds numbers");
                return Err(ProgramError::field(field, message));
            }
            compiler.parameters.insert(name, value);
        }
        Ok(compiler)
    }

    /// Checks a name, and that nothing else has it.
    fn name(&self, name: &str, field: &str) -> Result<(), ProgramError> {
        if !is_name(name) {
            let message = format!(
                "{} is no name: use letters, digits and underscores, none of sum, for, in, \
                 where, if, and",
                short(name)
            );
            return Err(ProgramError::field(field, message));
        }
        let taken = self.sets.contains_key(name)
            || self.parameters.contains_key(name)
            || self.declared.contains_key(name);
        if taken {
            let message = format!("{} names two things", short(name));
            return Err(ProgramError::field(field, message));
        }
        Ok(())
    }

    fn variables(&mut self, model: &'m Map<String, Value>) -> Result<(), ProgramError> {
        for (name, value) in object(model, "variables")? {
            let field = format!("variables.{name}");
            self.name(name, &field)?;
            let declared = value.as_object();
            let declared = declared
                .ok_or_else(|| ProgramError::field(&field, "must be an object"))?;
            self.variable(name, declared).map_err(|wrong| wrong.at(&field))?;
        }
        if self.declared.is_empty() {
            return Err(ProgramError::field("variables", "there are none"));
        }
        Ok(())
    }

    fn variable(
        &mut self,
        name: &'m str,
        declared: &'m Map<String, Value>,
    ) -> Result<(), Wrong> {
        let over: Vec<String> = match declared.get("over") {
            None => vec![],
            Some(Value::String(set)) => vec![set.clone()],
            Some(Value::Array(sets)) => sets
                .iter()
                .map(|set| set.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("over: must be a list of sets' names".to_owned())?,
            Some(_) => {
                return Err("over: must be a list of sets' names".to_owned().into());
            }
        };
        let kind = declared.get("type").map_or(Some("continuous"), Value::as_str);
        let integer = match kind {
            Some("continuous") => false,
            Some("integer" | "binary") => true,
            _ => return Err("type: is continuous, integer or binary".to_owned().into()),
        };
        let binary = kind == Some("binary");
        let free = declared.get("free") == Some(&Value::Bool(true));
        let mut columns = BTreeMap::new();
        for place in self.places(&over)? {
            if self.program.columns.len() >= self.size.columns_max {
                return Err(self.too_large("too many variables", self.size.columns_max));
            }
            let limit = |which: &str, default: f64| {
                let value = declared.get(which).filter(|value| !value.is_null());
                value.map_or(Ok(default), |value| self.limit(which, value, &place))
            };
            let lower = limit("lower", if free { f64::NEG_INFINITY } else { 0.0 })?;
            let upper = limit("upper", if binary { 1.0 } else { f64::INFINITY })?;
            let elements: Vec<&str> =
                place.iter().map(|bound| bound.element.as_str()).collect();
            let key = elements.join(",");
            let label =
                if key.is_empty() { name.to_owned() } else { format!("{name}[{key}]") };
            if columns.insert(key, self.program.columns.len()).is_some() {
                return Err(format!("{} occurs twice", short(&label)).into());
            }
            let column = Column { name: label, cost: 0.0, lower, upper, integer };
            self.program.columns.push(column);
        }
        self.declared.insert(name, Variable { over, columns });
        Ok(())
    }

    /// Every combination of the elements of some sets.
    fn places(&self, over: &[String]) -> Result<Vec<Vec<Bound>>, Wrong> {
        let mut places: Vec<Vec<Bound>> = vec![vec![]];
        for name in over {
            let set = self.set(name)?;
            let count = places.len().saturating_mul(set.elements.len());
            if count > self.size.columns_max {
                let what = format!("{count} variables");
                return Err(self.too_large(&what, self.size.columns_max));
            }
            let mut longer = Vec::with_capacity(count);
            for place in &places {
                for (position, element) in set.elements.iter().enumerate() {
                    let mut place = place.clone();
                    place.extend(parts(name, position, element));
                    longer.push(place);
                }
            }
            places = longer;
        }
        Ok(places)
    }

    fn set(&self, name: &str) -> Result<&Set, Wrong> {
        let found = self.sets.get(name);
        Ok(found.ok_or_else(|| {
            let hint = hint(name, self.sets.keys().copied());
            format!("there is no set {}{hint}", short(name))
        })?)
    }

    /// A bound of a variable: a number, or a parameter indexed as the variable is.
    fn limit(&self, which: &str, value: &Value, place: &[Bound]) -> Result<f64, Wrong> {
        let value = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(name) => {
                let parameter = self.parameters.get(name.as_str());
                let parameter = parameter.ok_or_else(|| {
                    format!("{which}: there is no parameter {}", short(name))
                })?;
                return Ok(bound(look_up(name, parameter, place)?));
            }
            _ => None,
        };
        let value = value.filter(|value| value.is_finite());
        Ok(bound(
            value.ok_or_else(|| {
                format!("{which}: must be a number or a parameter's name")
            })?,
        ))
    }

    fn objective(&mut self, model: &Map<String, Value>) -> Result<(), ProgramError> {
        let wrong = || {
            ProgramError::field(
                "objective",
                "write {\"maximize\": EXPRESSION} or minimize",
            )
        };
        let objective = model.get("objective").and_then(Value::as_object);
        let mut entries = objective.ok_or_else(wrong)?.iter();
        let (Some((sense, text)), None) = (entries.next(), entries.next()) else {
            return Err(wrong());
        };
        self.program.sense = match sense.as_str() {
            "maximize" => Sense::Maximize,
            "minimize" => Sense::Minimize,
            _ => return Err(wrong()),
        };
        let text = text.as_str().ok_or_else(wrong)?;
        let expression = expression(text)
            .map_err(|message| ProgramError::field("objective", message))?;
        let linear = self.linear(&expression).map_err(|wrong| wrong.at("objective"))?;
        self.program.offset = linear.constant;
        for (column, cost) in linear.terms {
            self.program.columns[column].cost = cost;
        }
        Ok(())
    }

    fn constraints(&mut self, model: &Map<String, Value>) -> Result<(), ProgramError> {
        let none = Value::Array(vec![]);
        let constraints = model.get("constraints").unwrap_or(&none).as_array();
        let constraints = constraints.ok_or_else(|| {
            ProgramError::field("constraints", "must be a list of texts")
        })?;
        for (number, text) in (1..).zip(constraints) {
            let field = format!("constraints[{}]", number - 1);
            let text = text.as_str();
            let text =
                text.ok_or_else(|| ProgramError::field(&field, "must be a text"))?;
            let parsed = constraint(text);
            let parsed =
                parsed.map_err(|message| ProgramError::field(&field, message))?;
            let name = parsed.name.clone().unwrap_or_else(|| format!("c{number}"));
            self.each(&parsed.clauses, 0, &mut |compiler| compiler.row(&name, &parsed))
                .map_err(|wrong| wrong.at(&field))?;
        }
        Ok(())
    }

    fn row(&mut self, name: &str, parsed: &Constraint) -> Result<(), Wrong> {
        if self.program.rows.len() >= self.size.rows_max {
            return Err(self.too_large("too many constraints", self.size.rows_max));
        }
        let elements: Vec<&str> =
            self.bound.iter().map(|bound| bound.element.as_str()).collect();
        let label = match elements.as_slice() {
            [] => name.to_owned(),
            elements => format!("{name}[{}]", elements.join(",")),
        };
        let (mut lower, mut upper) = (f64::NEG_INFINITY, f64::INFINITY);
        let terms;
        match parsed.rest.as_slice() {
            [(relation, right)] => {
                let mut left = self.linear(&parsed.first)?;
                self.add(right, -1.0, &mut left)?;
                let limit = bound(-left.constant);
                match relation {
                    Relation::AtMost => upper = limit,
                    Relation::AtLeast => lower = limit,
                    _ => (lower, upper) = (limit, limit),
                }
                terms = left.terms;
            }
            [(first, middle), (second, right)] => {
                let (left, right) = (self.linear(&parsed.first)?, self.linear(right)?);
                let middle = self.linear(middle)?;
                if first != second
                    || *first == Relation::Equal
                    || !left.is_constant()
                    || !right.is_constant()
                {
                    let message =
                        "a constraint with two relations reads: low <= terms <= high";
                    return Err(message.to_owned().into());
                }
                let (low, high) = match first {
                    Relation::AtMost => (left.constant, right.constant),
                    _ => (right.constant, left.constant),
                };
                (lower, upper) =
                    (bound(low - middle.constant), bound(high - middle.constant));
                terms = middle.terms;
            }
            _ => unreachable!("a parsed constraint has one relation or two"),
        }
        let terms = terms.into_iter().filter(|(_, value)| *value != 0.0).collect();
        self.program.rows.push(Row { name: label, lower, upper, terms });
        Ok(())
    }

    fn linear(&mut self, expression: &Expression) -> Result<Linear, Wrong> {
        let mut linear = Linear::default();
        self.add(expression, 1.0, &mut linear)?;
        Ok(linear)
    }

    fn constant(&mut self, expression: &Expression) -> Result<f64, Wrong> {
        let linear = self.linear(expression)?;
        if !linear.is_constant() {
            return Err("a variable cannot stand in a condition".to_owned().into());
        }
        Ok(linear.constant)
    }

    fn work(&mut self) -> Result<(), Wrong> {
        if self.work_left == 0 {
            return Err(self.too_large(
                "the sums have too many terms when written out",
                self.size.nonzeros_max,
            ));
        }
        self.work_left -= 1;
        Ok(())
    }

    fn too_large(&self, what: &str, max: usize) -> Wrong {
        Wrong::TooLarge(ProgramError::too_large(what, max))
    }

    /// Adds `factor` times an expression.
    fn add(
        &mut self,
        expression: &Expression,
        factor: f64,
        to: &mut Linear,
    ) -> Result<(), Wrong> {
        self.work()?;
        match expression {
            Expression::Number(number) => to.constant += factor * number,
            Expression::Quoted(text) => {
                let message = format!("the element {} is no number", short(text));
                return Err(message.into());
            }
            Expression::Name { name, indices } => {
                self.add_name(name, indices, factor, to)?
            }
            Expression::Negate(inner) => self.add(inner, -factor, to)?,
            Expression::Add(left, right) => {
                self.add(left, factor, to)?;
                self.add(right, factor, to)?;
            }
            Expression::Subtract(left, right) => {
                self.add(left, factor, to)?;
                self.add(right, -factor, to)?;
            }
            Expression::Multiply(left, right) => {
                let left = self.linear(left)?;
                if left.is_constant() {
                    self.add(right, factor * left.constant, to)?;
                    return Ok(());
                }
                let right = self.linear(right)?;
                if !right.is_constant() {
                    return Err("a product of two variables is not linear"
                        .to_owned()
                        .into());
                }
                let factor = factor * right.constant;
                to.constant += factor * left.constant;
                for (column, coefficient) in left.terms {
                    *to.terms.entry(column).or_insert(0.0) += factor * coefficient;
                }
            }
            Expression::Divide(left, right) => {
                let right = self.linear(right)?;
                if !right.is_constant() {
                    return Err("division by a variable is not linear".to_owned().into());
                }
                if right.constant == 0.0 {
                    return Err("division by zero".to_owned().into());
                }
                self.add(left, factor / right.constant, to)?;
            }
            Expression::Sum { clauses, body } => {
                self.each(clauses, 0, &mut |compiler| compiler.add(body, factor, to))?;
            }
        }
        Ok(())
    }

    fn add_name(
        &mut self,
        name: &str,
        indices: &[Index],
        factor: f64,
        to: &mut Linear,
    ) -> Result<(), Wrong> {
        if indices.is_empty()
            && let Some(bound) = self.bound.iter().rev().find(|bound| bound.name == name)
        {
            let number = bound.element.parse::<f64>().map_err(|_| {
                format!("the element {} is no number", short(&bound.element))
            })?;
            to.constant += factor * number;
            return Ok(());
        }
        let place: Vec<Bound> =
            indices.iter().map(|index| self.element(index)).collect::<Result<_, _>>()?;
        if let Some(parameter) = self.parameters.get(name) {
            to.constant += factor * look_up(name, parameter, &place)?;
            return Ok(());
        }
        let Some(variable) = self.declared.get(name) else {
            let known = self.declared.keys().chain(self.parameters.keys()).copied();
            let hint = hint(name, known);
            let message =
                format!("{} is neither variable nor parameter{hint}", short(name));
            return Err(message.into());
        };
        let elements: Vec<&str> =
            place.iter().map(|bound| bound.element.as_str()).collect();
        let key = elements.join(",");
        let column = variable.columns.get(&key).copied().ok_or_else(|| {
            let over = match variable.over.as_slice() {
                [] => "has no index".to_owned(),
                over => format!("is over {}", over.join(", ")),
            };
            let written = if key.is_empty() { name.to_owned() } else { format!("{name}[{key}]") };
            format!(
                "there is no {}: {name} {over}; leave the element out with a condition such as \
                 t > 1, or add it to the set",
                short(&written)
            )
        })?;
        *to.terms.entry(column).or_insert(0.0) += factor;
        Ok(())
    }

    /// The element that an index stands for.
    fn element(&self, index: &Index) -> Result<Bound, Wrong> {
        let bound = self.bound.iter().rev().find(|bound| bound.name == index.base);
        let bound = bound.filter(|_| !index.is_element);
        let Some(bound) = bound else {
            let element = match (index.shift, index.base.parse::<i64>()) {
                (0, _) => index.base.clone(),
                (shift, Ok(number)) => number.saturating_add(shift).to_string(),
                (_, Err(_)) => {
                    let message = format!("{} cannot be moved", short(&index.base));
                    return Err(message.into());
                }
            };
            // Its place in a set is not known: a list cannot be looked up with it.
            let (name, position) = (String::new(), usize::MAX);
            return Ok(Bound { name, element, position, set: None, parts_after: 0 });
        };
        if index.shift == 0 {
            return Ok(bound.clone());
        }
        let at = i64::try_from(bound.position).ok();
        let position = at.and_then(|at| at.checked_add(index.shift));
        let position = position.and_then(|at| usize::try_from(at).ok());
        let moved = |element: String| Bound {
            element,
            position: position.unwrap_or(usize::MAX),
            ..bound.clone()
        };
        if let Ok(number) = bound.element.parse::<i64>() {
            return Ok(moved(number.saturating_add(index.shift).to_string()));
        }
        let set = bound.set.as_deref().and_then(|set| self.sets.get(set));
        let element = position
            .and_then(|at| set?.elements.get(at))
            .map(|element| element[0].clone())
            .ok_or_else(|| {
                let (base, shift) = (&index.base, index.shift);
                format!(
                    "{base}{shift:+} leads out of the set at {}; leave that out with a condition",
                    short(&bound.element)
                )
            })?;
        Ok(moved(element))
    }

    /// Does something for each combination that clauses allow.
    fn each(
        &mut self,
        clauses: &[Clause],
        at: usize,
        body: &mut dyn FnMut(&mut Self) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let Some(clause) = clauses.get(at) else { return body(self) };
        self.work()?;
        match clause {
            Clause::If { left, relation, right } => {
                if self.holds(left, *relation, right)? {
                    self.each(clauses, at + 1, body)?;
                }
            }
            Clause::Each { names, set } => {
                let count = self.set(set)?.elements.len();
                for position in 0..count {
                    let element = &self.set(set)?.elements[position];
                    if element.len() != names.len() {
                        let message = format!(
                            "an element of {set} has {} parts, not {}",
                            element.len(),
                            names.len()
                        );
                        return Err(message.into());
                    }
                    let parts = parts(set, position, element).zip(names);
                    let bound: Vec<Bound> = parts
                        .map(|(part, name)| Bound { name: name.clone(), ..part })
                        .collect();
                    let depth = self.bound.len();
                    self.bound.extend(bound);
                    let done = self.each(clauses, at + 1, body);
                    self.bound.truncate(depth);
                    done?;
                }
            }
        }
        Ok(())
    }

    fn holds(
        &mut self,
        left: &Expression,
        relation: Relation,
        right: &Expression,
    ) -> Result<bool, Wrong> {
        if let (Some(left), Some(right)) = (self.as_element(left), self.as_element(right))
        {
            let numbers = (left.parse::<f64>(), right.parse::<f64>());
            match (numbers, relation) {
                ((Ok(left), Ok(right)), _) => return Ok(compare(left, relation, right)),
                (_, Relation::Equal) => return Ok(left == right),
                (_, Relation::Unequal) => return Ok(left != right),
                _ => {
                    let message = format!(
                        "{} and {} can be compared with = and != only",
                        short(&left),
                        short(&right)
                    );
                    return Err(message.into());
                }
            }
        }
        let (left, right) = (self.constant(left)?, self.constant(right)?);
        Ok(compare(left, relation, right))
    }

    /// The element that an expression is, if it is nothing but one.
    fn as_element(&self, expression: &Expression) -> Option<String> {
        match expression {
            Expression::Quoted(text) => Some(text.clone()),
            Expression::Number(number) => Some(format!("{number}")),
            Expression::Name { name, indices } if indices.is_empty() => {
                let bound = self.bound.iter().rev().find(|bound| &bound.name == name);
                match bound {
                    Some(bound) => Some(bound.element.clone()),
                    None if self.parameters.contains_key(name.as_str()) => None,
                    None => Some(name.clone()),
                }
            }
            _ => None,
        }
    }
}
