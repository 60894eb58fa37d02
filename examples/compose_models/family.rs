//! A family of problems: one model, the words it is told in, and the instances.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use plumbline::Limits;
use plumbline::program::{Program, Size, read};
use plumbline_solve::{SolveSettings, answer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Posed;
use crate::template::{Source, fill};

/// One file of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    /// What results are broken down by.
    family: String,
    /// The model without sets and parameters, as JSON.
    model: String,
    /// The same problem in other words; instances take turns.
    texts: Vec<String>,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    id: String,
    #[serde(default)]
    words: BTreeMap<String, String>,
    /// How elements are called, where their name does not do.
    #[serde(default)]
    called: BTreeMap<String, String>,
    #[serde(default)]
    sets: Map<String, Value>,
    #[serde(default)]
    parameters: Map<String, Value>,
}

impl Family {
    /// Reads every file of the table, in the order of their names.
    pub(crate) fn read_all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("{}: no table of facts", folder.display()))?;
        let mut paths: Vec<_> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|end| end == "toml"));
        paths.sort();
        paths
            .iter()
            .map(|path| {
                let text = std::fs::read_to_string(path)?;
                toml::from_str(&text).with_context(|| path.display().to_string())
            })
            .collect()
    }

    /// Poses every instance and solves it.
    pub(crate) fn pose(&self) -> anyhow::Result<Vec<Posed>> {
        ensure!(!self.texts.is_empty(), "{}: no texts", self.family);
        let instances = self.instances.iter().zip(self.texts.iter().cycle());
        instances
            .map(|(instance, text)| {
                self.pose_one(instance, text)
                    .with_context(|| format!("{}, instance {}", self.family, instance.id))
            })
            .collect()
    }

    fn pose_one(&self, instance: &Instance, text: &str) -> anyhow::Result<Posed> {
        let mut model = Map::new();
        if !instance.sets.is_empty() {
            model.insert("sets".to_owned(), json!(instance.sets));
        }
        if !instance.parameters.is_empty() {
            model.insert("parameters".to_owned(), json!(instance.parameters));
        }
        let frame: Map<String, Value> =
            serde_json::from_str(&self.model).context("its model is no JSON")?;
        model.extend(frame);
        let model = Value::Object(model);
        let args = json!({ "model": model });
        let program = read(&args, &Size::default())?;
        let limits = Limits::default();
        let solved = answer(&args, &SolveSettings::default(), &limits)?;
        let objective = solved.data()["objective"].as_f64();
        let Some(objective) = objective else { bail!("{}", solved.text()) };
        // The model is a text as well: what it says must be said in the problem.
        let answer = format!("{}", (objective * 1e6).round() / 1e6);
        Ok(Posed {
            id: format!("{}-{}", self.family, instance.id),
            prompt: fill(text, instance)?,
            answer,
            groups: json!({
                "family": self.family,
                "integrality": integrality(&program),
                "size": match program.columns.len() {
                    0..=4 => "small",
                    5..=12 => "medium",
                    _ => "large",
                },
            }),
            model,
        })
    }
}

fn integrality(program: &Program) -> &'static str {
    match program.integers() {
        0 => "continuous",
        some if some == program.columns.len() => "integer",
        _ => "mixed",
    }
}

impl Source for Instance {
    fn elements(&self, set: &str) -> Option<Vec<Vec<String>>> {
        let name = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.sets.get(set)? {
            Value::Array(elements) => {
                let parts = |element: &Value| match element {
                    Value::Array(parts) => parts.iter().map(name).collect(),
                    single => vec![name(single)],
                };
                Some(elements.iter().map(parts).collect())
            }
            Value::String(range) => {
                let (from, to) = range.split_once("..")?;
                let (from, to) = (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?);
                Some((from..=to).map(|number| vec![number.to_string()]).collect())
            }
            _ => None,
        }
    }

    fn called(&self, element: &str) -> String {
        let called = self.called.get(element).cloned();
        called.unwrap_or_else(|| element.replace('_', " "))
    }

    fn text(&self, name: &str, at: &[(String, usize)]) -> Option<String> {
        if let Some(word) = self.words.get(name).filter(|_| at.is_empty()) {
            return Some(word.clone());
        }
        let mut value = self.parameters.get(name)?;
        for (index, (element, position)) in at.iter().enumerate() {
            let joined: Vec<&str> =
                at[index..].iter().map(|(element, _)| element.as_str()).collect();
            value = match value {
                Value::Array(values) => values.get(*position)?,
                Value::Object(map) => match map.get(&joined.join(",")) {
                    Some(value) => return Some(value.to_string()),
                    None => map.get(element)?,
                },
                // A list over tuples has one number for all parts of a tuple.
                number => number,
            };
        }
        Some(match value.as_f64() {
            Some(number) if number.fract() == 0.0 => format!("{number}"),
            _ => value.to_string(),
        })
    }
}
