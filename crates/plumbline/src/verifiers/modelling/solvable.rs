//! `model-solvable@1`: the model has an optimum.

use std::sync::Arc;

use serde_json::Value;

use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls a model bad that is infeasible, and names the constraints that contradict each
    /// other, or that is unbounded, and names the direction: a problem that asks for an
    /// optimum has one. Probes are neutral. The value is the status. Sees nothing but the
    /// path.
    pub fn solvable(environment: Arc<Environment>) -> Self {
        Self::new("model-solvable@1", Sight::ONLINE, find, environment)
    }
}

fn find(model: &Model<'_>, _beside: Option<&Beside>) -> Option<Finding> {
    let status = model.status();
    let data = model.observation.data();
    let names = |field: &Value, key: Option<&str>| -> String {
        let name = |value: &Value| {
            let named = key.map_or(Some(value), |key| value.get(key));
            named.and_then(Value::as_str).map(str::to_owned)
        };
        let names: Vec<String> =
            field.as_array().into_iter().flatten().filter_map(name).take(6).collect();
        names.join(", ")
    };
    let reason = match status {
        "optimal" => {
            let reason = "the model has an optimum".to_owned();
            return Some(Finding::unlabelled(status, reason));
        }
        "infeasible" => {
            let rows = names(&data["conflict"]["constraints"], None);
            let bounds = names(&data["conflict"]["bounds"], Some("variable"));
            let bounds = match bounds.is_empty() {
                true => String::new(),
                false => format!(" with the bounds of {bounds}"),
            };
            format!("no point satisfies the model: {rows}{bounds} contradict each other")
        }
        "unbounded" => {
            let ray = data["ray"].as_object();
            let ray: Vec<&str> = ray
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .take(6)
                .collect();
            format!("nothing bounds the objective along {}", ray.join(", "))
        }
        _ => return None,
    };
    Some(match model.is_probe {
        true => Finding::neutral(Zero::Neutral, status, format!("a probe: {reason}")),
        false => Finding::bad(status, reason),
    })
}
