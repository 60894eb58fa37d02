//! The tool `open`: a whole document by its id or title.

use std::sync::Arc;

use async_trait::async_trait;
use plumbline::{Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec};
use serde_json::{Value, json};

use crate::index::{Index, IndexError};
use crate::search::one_line;
use crate::{Document, Hit};

/// What the model calls the tool.
const NAME: &str = "open";
/// Titles that are suggested where none fits.
const SUGGESTIONS: usize = 5;
/// Ids that are listed where several documents have one title.
const IDS_SHOWN: usize = 10;
/// Characters of a name that a message repeats.
const NAME_CHARS_SHOWN: usize = 80;

/// Reads a whole document. Its data is `{"documents": [{"id", "title"}]}`.
pub struct Open {
    index: Arc<Index>,
    spec: ToolSpec,
}

/// What a name leads to.
enum Lookup {
    One(Document),
    Several(Vec<Document>),
    None(Vec<Hit>),
}

impl Open {
    /// A reader of the documents of this index.
    pub fn new(index: Arc<Index>) -> Self {
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description: "Read one whole document by its title.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "title": {
                        "type": "string",
                        "minLength": 1,
                        "description": "The title, or the id.",
                    },
                },
                "required": ["title"],
                "additionalProperties": false,
            }),
            pinned: Digest::of_json(&(NAME, index.digest())),
        };
        Self { index, spec }
    }

    /// Finds a document by id first, then by title: models mix the two up, so one argument
    /// serves for both.
    fn look_up(&self, name: &str) -> Result<Lookup, IndexError> {
        if let Some(document) = self.index.document(name)? {
            return Ok(Lookup::One(document));
        }
        let mut documents = self.index.titled(name)?;
        match documents.len() {
            0 => Ok(Lookup::None(self.index.search_titles(name, SUGGESTIONS)?)),
            1 => Ok(Lookup::One(documents.remove(0))),
            _ => Ok(Lookup::Several(documents)),
        }
    }
}

#[async_trait]
impl Tool for Open {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(
        &self,
        args: &Value,
        _scratch: &mut Scratch,
        _limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let Some(name) = args.get("title").and_then(Value::as_str) else {
            return Ok(Observation::fault(Fault::BadArgs, "open needs a title"));
        };
        let lookup = self.look_up(name).map_err(|error| ToolError::Engine {
            tool: NAME.to_owned(),
            message: error.to_string(),
        })?;
        Ok(match lookup {
            Lookup::One(document) => show(document),
            Lookup::Several(documents) => {
                let ids: Vec<String> = documents
                    .iter()
                    .take(IDS_SHOWN)
                    .map(|document| format!("{:?}", document.id))
                    .collect();
                let (count, ids) = (documents.len(), ids.join(", "));
                let name = quoted(name);
                Observation::fault(
                    Fault::Refused,
                    format!("{count} documents are called {name}. Open one by id: {ids}"),
                )
            }
            Lookup::None(near) => {
                let titles: Vec<String> =
                    near.iter().map(|hit| quoted(&hit.document.title)).collect();
                let advice = if titles.is_empty() {
                    "Search for it first.".to_owned()
                } else {
                    format!("The nearest titles: {}", titles.join(", "))
                };
                let name = quoted(name);
                Observation::fault(
                    Fault::Refused,
                    format!("There is no document {name}. {advice}"),
                )
            }
        })
    }
}

fn show(document: Document) -> Observation {
    let Document { id, title, text } = document;
    let data = json!({ "documents": [{ "id": id, "title": title }] });
    Observation::Output { text: format!("{}\n{text}", one_line(&title)), data }
}

/// A name on one line, in quotes, and not too much of it.
fn quoted(name: &str) -> String {
    let name = one_line(name);
    let head: String = name.chars().take(NAME_CHARS_SHOWN).collect();
    if head.len() < name.len() { format!("\"{head}…\"") } else { format!("\"{head}\"") }
}
