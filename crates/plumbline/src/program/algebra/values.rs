//! The values of a model in the algebra: sets, their elements, parameters looked up.

use super::*;

/// What an element of a set binds: one index, or one for each part of a tuple.
pub(super) fn parts(
    set: &str,
    position: usize,
    element: &[String],
) -> impl Iterator<Item = Bound> {
    let count = element.len();
    (1..).zip(element).map(move |(number, part)| Bound {
        name: String::new(),
        element: part.clone(),
        position,
        set: Some(set.to_owned()).filter(|_| count == 1),
        parts_after: count - number,
    })
}

pub(super) fn compare(left: f64, relation: Relation, right: f64) -> bool {
    match relation {
        Relation::AtMost => left <= right,
        Relation::AtLeast => left >= right,
        Relation::Equal => left == right,
        Relation::Less => left < right,
        Relation::Greater => left > right,
        Relation::Unequal => left != right,
    }
}

pub(super) fn object<'v>(
    model: &'v Map<String, Value>,
    field: &str,
) -> Result<impl Iterator<Item = (&'v String, &'v Value)>, ProgramError> {
    let map = match model.get(field) {
        None => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => return Err(ProgramError::field(field, "must be an object")),
    };
    Ok(map.into_iter().flatten())
}

pub(super) fn set(value: &Value, size: &Size) -> Result<Set, Wrong> {
    let max = size.columns_max.max(size.rows_max);
    let too_many = |count: String| {
        Wrong::TooLarge(ProgramError::too_large(
            format!("a set of {count} elements"),
            max,
        ))
    };
    let elements: Vec<Vec<String>> = match value {
        Value::String(range) => {
            let wrong = || format!("{} is no range: write \"1..12\"", short(range));
            let (from, to) = range.split_once("..").ok_or_else(wrong)?;
            let parse = |text: &str| text.trim().parse::<i64>().map_err(|_| wrong());
            let (from, to) = (parse(from)?, parse(to)?);
            let count = i128::from(to) - i128::from(from) + 1;
            if count > max as i128 {
                return Err(too_many(count.to_string()));
            }
            if count < 1 {
                return Err(format!("the range {} is empty", short(range)).into());
            }
            (from..=to).map(|number| vec![number.to_string()]).collect()
        }
        Value::Array(elements) => {
            if elements.len() > max {
                return Err(too_many(elements.len().to_string()));
            }
            let parts = |element: &Value| match element {
                Value::Array(parts) => parts.iter().map(element_name).collect(),
                single => element_name(single).map(|name| vec![name]),
            };
            let elements: Result<_, _> = elements.iter().map(parts).collect();
            elements?
        }
        _ => return Err("a set is a list, or a range \"1..12\"".to_owned().into()),
    };
    let Some(first) = elements.first() else {
        return Err("the set is empty".to_owned().into());
    };
    if elements.iter().any(|element| element.is_empty() || element.len() != first.len()) {
        let message = "the elements of a set have one number of parts";
        return Err(message.to_owned().into());
    }
    let mut seen = std::collections::BTreeSet::new();
    for element in &elements {
        if !seen.insert(element) {
            return Err(
                format!("{} is in the set twice", short(&element.join(","))).into()
            );
        }
    }
    Ok(Set { elements })
}

pub(super) fn element_name(element: &Value) -> Result<String, Wrong> {
    match element {
        Value::String(name) if !name.is_empty() && !name.contains(',') => {
            Ok(name.clone())
        }
        Value::Number(number) if number.is_i64() => Ok(number.to_string()),
        _ => {
            let message = "an element is a text without commas, or a whole number";
            Err(message.to_owned().into())
        }
    }
}

/// What in a parameter is neither number nor made of numbers.
pub(super) fn not_a_number(value: &Value) -> Option<String> {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => {}
            Value::Array(values) => left.extend(values),
            Value::Object(map) => left.extend(map.values()),
            other => return Some(format!("{} is no number", short(&other.to_string()))),
        }
    }
    None
}

/// The value of a parameter at a place.
pub(super) fn look_up(
    name: &str,
    parameter: &Value,
    place: &[Bound],
) -> Result<f64, Wrong> {
    let missing = |what: &str| {
        let elements: Vec<&str> =
            place.iter().map(|bound| bound.element.as_str()).collect();
        let written = format!("{name}[{}]", elements.join(","));
        Wrong::Message(format!("the parameter has no {}: {what}", short(&written)))
    };
    let mut value = parameter;
    let mut rest = place;
    while let Some((bound, after)) = rest.split_first() {
        rest = after;
        value = match value {
            Value::Object(map) => {
                let joined: Vec<&str> = [bound]
                    .into_iter()
                    .chain(after)
                    .map(|b| b.element.as_str())
                    .collect();
                if let Some(value) =
                    map.get(&joined.join(",")).filter(|_| !after.is_empty())
                {
                    rest = &[];
                    value
                } else {
                    let inner = map.get(&bound.element);
                    inner.ok_or_else(|| missing("its object lacks the element"))?
                }
            }
            Value::Array(_) if bound.position == usize::MAX => {
                return Err(missing(
                    "a list is looked up by an index that runs over a set",
                ));
            }
            Value::Array(values) => {
                // A list over a set of tuples has one value for all parts of a tuple.
                rest = &after[bound.parts_after.min(after.len())..];
                let inner = values.get(bound.position);
                inner.ok_or_else(|| missing("its list is too short"))?
            }
            _ => return Err(missing("it has fewer indices")),
        };
    }
    value.as_f64().ok_or_else(|| missing("it has more indices"))
}
