//! The tool `search`: the best documents of a corpus for a query.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use plumbline::{Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::index::{Found, Index};
use crate::{QUERY_BYTES_MAX, QUERY_WORDS_MAX};

/// What the model calls the tool.
pub(crate) const NAME: &str = "search";

/// Up to this many documents a search runs where it is called. It takes 50 µs among 400
/// documents, where handing it to another thread costs a sixth of the rate at which 64
/// episodes search. From 20,000 documents on (180 µs) the rate is the same either way, and
/// on other threads the runtime notices its timers sooner; among 200,000 it is 0.6 ms.
/// (`block_in_place` would do both, but panics in a runtime of one thread.)
const INLINE_DOCUMENTS_MAX: u64 = 10_000;

/// How much a search shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchSettings {
    /// Documents shown where the model does not say how many; at least 1.
    pub top_k: u32,
    /// Documents shown at most.
    pub top_k_max: u32,
    /// Characters of each document's text that are shown; the cut is marked.
    pub passage_chars_max: u32,
}

/// Finds documents by words. Its data is `{"documents": [{"id", "title", "score"}]}` in the
/// order shown.
pub struct Search {
    index: Arc<Index>,
    settings: SearchSettings,
    spec: ToolSpec,
}

impl Search {
    /// A search of this index. `top_k_max` is raised to `top_k` where it is less.
    pub fn new(index: Arc<Index>, settings: SearchSettings) -> Self {
        let top_k = settings.top_k.max(1);
        let top_k_max = settings.top_k_max.max(top_k);
        let settings = SearchSettings { top_k, top_k_max, ..settings };
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description: "Search the documents by words. Shows the best matches.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "query": {
                        "type": "string",
                        "minLength": 1,
                        "description": "Names and words to look for.",
                    },
                    "top_k": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": top_k_max,
                        "description": format!("How many to show. Usually {top_k}."),
                    },
                },
                "required": ["query"],
                "additionalProperties": false,
            }),
            pinned: Digest::of_json(&(NAME, index.digest(), settings)),
        };
        Self { index, settings, spec }
    }

    /// Searches on this thread where that is a matter of microseconds, else on another.
    async fn find(&self, query: &str, top_k: usize) -> Result<Found, String> {
        if self.index.documents() <= INLINE_DOCUMENTS_MAX {
            return self.index.search(query, top_k).map_err(|error| error.to_string());
        }
        let (index, query) = (self.index.clone(), query.to_owned());
        let search = move || index.search(&query, top_k);
        let found = tokio::task::spawn_blocking(search).await;
        found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn show(&self, found: &Found) -> String {
        let mut text = String::new();
        if found.reading.is_empty {
            text.push_str("The query has no words. Write names or words to look for.");
            return text;
        }
        if found.reading.is_cut {
            let _ = writeln!(
                text,
                "The query was too long: only {QUERY_WORDS_MAX} words and {QUERY_BYTES_MAX} bytes were used."
            );
        }
        if found.hits.is_empty() {
            text.push_str("Nothing found. Try other words.");
            return text;
        }
        if found.reading.is_relaxed {
            text.push_str("No document has exactly that. The closest:\n");
        }
        let chars_max = self.settings.passage_chars_max as usize;
        for (rank, hit) in (1..).zip(&found.hits) {
            let title = one_line(&hit.document.title);
            let passage = passage(&hit.document.text, chars_max);
            let _ = writeln!(text, "[{rank}] {title}: {passage}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[async_trait]
impl Tool for Search {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(
        &self,
        args: &Value,
        _scratch: &mut Scratch,
        _limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let Some(query) = args.get("query").and_then(Value::as_str) else {
            return Ok(Observation::fault(Fault::BadArgs, "search needs a query"));
        };
        let top_k = match args.get("top_k") {
            None | Some(Value::Null) => u64::from(self.settings.top_k),
            Some(value) => match value.as_u64() {
                Some(top_k) => top_k.clamp(1, u64::from(self.settings.top_k_max)),
                None => {
                    let message = "top_k is a whole number, at least 1";
                    return Ok(Observation::fault(Fault::BadArgs, message));
                }
            },
        };
        let top_k = usize::try_from(top_k).expect("clamped to 32 bits");
        let found = self
            .find(query, top_k)
            .await
            .map_err(|message| ToolError::Engine { tool: NAME.to_owned(), message })?;
        let documents: Vec<Value> = found
            .hits
            .iter()
            .map(|hit| {
                let (id, title) = (&hit.document.id, &hit.document.title);
                json!({ "id": id, "title": title, "score": rounded(hit.score) })
            })
            .collect();
        let data = json!({ "documents": documents });
        Ok(Observation::Output { text: self.show(&found), data })
    }
}

/// A score to three decimals.
fn rounded(score: f64) -> f64 {
    (score * 1000.0).round() / 1000.0
}

/// The beginning of a text, on one line, so that a document cannot pass for two.
fn passage(text: &str, chars_max: usize) -> String {
    let text = one_line(text);
    match text.char_indices().nth(chars_max) {
        None => text,
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

/// A text with a single space for every stretch of white space.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
