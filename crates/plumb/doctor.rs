//! `plumb doctor`: which components are there, and how to get those that are not.

use crate::catalog;
use crate::failure::{Failure, Kind, Result};

/// One component, and what to do if it is missing.
pub(crate) struct Component {
    pub(crate) name: &'static str,
    /// Where it is, or why it is not there and the command that gets it.
    pub(crate) state: std::result::Result<String, String>,
}

pub(crate) async fn doctor(json: bool) -> Result<()> {
    let components = catalog::components().await;
    for Component { name, state } in &components {
        match (json, state) {
            (true, Ok(text)) => {
                println!("{}", serde_json::json!({ "component": name, "found": text }));
            }
            (true, Err(text)) => {
                println!("{}", serde_json::json!({ "component": name, "missing": text }));
            }
            (false, Ok(text)) => println!("ok       {name:<18} {text}"),
            (false, Err(text)) => println!("missing  {name:<18} {text}"),
        }
    }
    let missing: Vec<&str> =
        components.iter().filter(|c| c.state.is_err()).map(|c| c.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::say(Kind::Missing, format!("missing: {}", missing.join(", "))))
}
