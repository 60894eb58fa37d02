//! The world an agent acts in: instructions, a protocol, tools, limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::protocol::Protocol;
use crate::{Action, CallCache, Digest, Effect, Limits, Tool, ToolCall, ToolSpec};

/// Bytes of what verifiers had executed that are kept.
const CHECKS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A world an agent acts in. Tasks are put to it; gold is no part of it.
pub struct Environment {
    name: String,
    system: String,
    protocol: Protocol,
    thought_chars_max: u32,
    limits: Limits,
    specs: Vec<ToolSpec>,
    equipped: Vec<Equipped>,
    digest: Digest,
    checks: CallCache,
}

/// A tool with its schema compiled.
pub(crate) struct Equipped {
    pub(crate) tool: Arc<dyn Tool>,
    schema: Validator,
}

/// What an environment is made of. Everything is given; nothing has a default.
pub struct EnvironmentParts {
    /// What users call it: `multihop-qa`.
    pub name: String,
    /// The instructions, as a template: `{{tools}}` stands for the protocol's description
    /// of the tools, `{{call NAME ARGS}}` and `{{answer TEXT}}` for examples in the
    /// protocol's own words.
    pub prompt: String,
    /// How calls and answers are written.
    pub protocol: Protocol,
    /// Characters of reasoning that a constrained message may begin with.
    pub thought_chars_max: u32,
    /// The bounds of each episode.
    pub limits: Limits,
    /// The tools, in the order the model is told of them.
    pub tools: Vec<Arc<dyn Tool>>,
}

/// Why an environment cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Two tools have one name.
    #[error("environment {environment}: two tools are called {tool:?}")]
    DuplicateTool {
        /// Which environment.
        environment: String,
        /// The name.
        tool: String,
    },
    /// A tool's parameters are no JSON Schema.
    #[error(
        "environment {environment}: tool {tool}: parameters are not a JSON Schema: {message}"
    )]
    Schema {
        /// Which environment.
        environment: String,
        /// Which tool.
        tool: String,
        /// What is wrong.
        message: String,
    },
    /// The prompt template cannot be filled in.
    #[error("environment {environment}: prompt: {message}")]
    Prompt {
        /// Which environment.
        environment: String,
        /// What is wrong, and where.
        message: String,
    },
}

impl Environment {
    /// Puts an environment together and checks that the parts fit.
    pub fn new(parts: EnvironmentParts) -> Result<Self, EnvironmentError> {
        let EnvironmentParts { name, prompt, protocol, thought_chars_max, limits, tools } =
            parts;
        let mut equipped: Vec<Equipped> = Vec::with_capacity(tools.len());
        for tool in tools {
            let spec = tool.spec();
            if equipped.iter().any(|other| other.tool.spec().name == spec.name) {
                let tool = spec.name.clone();
                return Err(EnvironmentError::DuplicateTool { environment: name, tool });
            }
            let schema =
                jsonschema::validator_for(&spec.parameters).map_err(|error| {
                    EnvironmentError::Schema {
                        environment: name.clone(),
                        tool: spec.name.clone(),
                        message: error.to_string(),
                    }
                })?;
            equipped.push(Equipped { tool, schema });
        }
        let specs: Vec<ToolSpec> =
            equipped.iter().map(|e| e.tool.spec().clone()).collect();
        let system = fill(&prompt, protocol, &specs).map_err(|message| {
            EnvironmentError::Prompt { environment: name.clone(), message }
        })?;
        let mut environment = Self {
            name,
            system,
            protocol,
            thought_chars_max,
            limits,
            specs,
            equipped,
            digest: Digest::of(b""),
            checks: CallCache::new(CHECKS_BYTES_MAX),
        };
        environment.digest = environment.digest_over(&BTreeMap::new());
        Ok(environment)
    }

    /// What users call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole system message.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// How calls and answers are written.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Characters of reasoning that a constrained message may begin with.
    pub fn thought_chars_max(&self) -> u32 {
        self.thought_chars_max
    }

    /// The bounds of each episode.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The tools, in the order the model is told of them.
    pub fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// A tool by name.
    pub fn tool(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.find(name).map(|equipped| &equipped.tool)
    }

    /// Whether a tool answers from a world that nobody can put back.
    pub fn is_external(&self, tool: &str) -> bool {
        self.tool(tool).is_some_and(|tool| tool.effect() == Effect::External)
    }

    /// Digest of everything an observation depends on besides task and actions: prompt,
    /// protocol, limits, and each tool's spec with its pinned data.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the digest would be if these tools had these data. If it is that of a run, the run's
    /// model was told what a model would be told now.
    pub fn digest_over(&self, pinned: &BTreeMap<String, Digest>) -> Digest {
        let over = |spec: &ToolSpec| {
            let pinned = pinned.get(&spec.name).copied().unwrap_or(spec.pinned);
            ToolSpec { pinned, ..spec.clone() }
        };
        let specs: Vec<ToolSpec> = self.specs.iter().map(over).collect();
        let Self { name, system, protocol, limits, .. } = self;
        Digest::of_json(&(name, system, protocol, limits, specs))
    }

    /// What verifiers had executed on forks: several of them ask the same of one state, and
    /// samples of one task lead to the same states.
    pub(crate) fn checks(&self) -> &CallCache {
        &self.checks
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Equipped> {
        self.equipped.iter().find(|equipped| equipped.tool.spec().name == name)
    }
}

impl Drop for Environment {
    /// A tool may be known to others still; what it keeps running ends here.
    fn drop(&mut self) {
        self.equipped.iter().for_each(|equipped| equipped.tool.forget());
    }
}

impl Equipped {
    /// What is wrong with these arguments, in words a model can act on; `None` if they fit.
    pub(crate) fn misfit(&self, args: &Value) -> Option<String> {
        let errors: Vec<String> = self
            .schema
            .iter_errors(args)
            .take(3)
            .map(|error| {
                let at = error.instance_path().to_string();
                let text = crate::limits::cut(error.to_string(), 300);
                if at.is_empty() { text } else { format!("{at}: {text}") }
            })
            .collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }
}

/// Fills a prompt template in.
fn fill(
    template: &str,
    protocol: Protocol,
    specs: &[ToolSpec],
) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        filled.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        // Arguments have braces of their own: the placeholder closes after them.
        let own = arguments(after).unwrap_or(0);
        let mut end = own + after[own..].find("}}").ok_or("a {{ without its }}")?;
        while after[end + 2..].starts_with('}') {
            end += 1;
        }
        filled.push_str(&placeholder(&after[..end], protocol, specs)?);
        rest = &after[end + 2..];
    }
    filled.push_str(rest);
    Ok(filled.trim_end().to_owned())
}

/// Where the arguments of a placeholder `call` end, if they are JSON.
fn arguments(body: &str) -> Option<usize> {
    let args = body.trim_start().strip_prefix("call ")?.trim_start().split_once(' ')?.1;
    let mut values = serde_json::Deserializer::from_str(args).into_iter::<Value>();
    values.next()?.ok()?;
    Some(body.len() - args.len() + values.byte_offset())
}

fn placeholder(
    body: &str,
    protocol: Protocol,
    specs: &[ToolSpec],
) -> Result<String, String> {
    let (word, rest) = body.trim().split_once(' ').unwrap_or((body.trim(), ""));
    let action = match word {
        "tools" => return Ok(protocol.instructions(specs)),
        "answer" => Action::Answer { text: rest.to_owned() },
        "call" => {
            let (tool, args) =
                rest.split_once(' ').ok_or("{{call}} needs NAME and ARGS")?;
            let args = serde_json::from_str(args)
                .map_err(|error| format!("the arguments of {{{{{body}}}}}: {error}"))?;
            Action::Calls {
                calls: vec![ToolCall { id: "call_0".into(), tool: tool.into(), args }],
            }
        }
        _ => return Err(format!("{{{{{word}}}}} is none of tools, call, answer")),
    };
    let cannot = || format!("the protocol {protocol} cannot say {{{{{body}}}}}");
    protocol.render(&action).ok_or_else(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_may_hold_any_braces() {
        let fill = |template: &str| fill(template, Protocol::Hermes, &[]);
        let args = r#"{"a": {"b": {"c": 1}}, "d": {"e": {}}}"#;
        let filled = fill(&format!("Say {{{{call go {args}}}}} now.")).expect("JSON");
        assert!(filled.contains(args) && filled.ends_with(" now."), "{filled}");
        assert!(fill("{{call go {\"a\": }}").is_err(), "no JSON");
        assert!(fill("{{answer 4").expect_err("not closed").contains("without its"));
        assert!(fill("{{answer {4}}}").expect("braces").contains("{4}"));
    }
}
