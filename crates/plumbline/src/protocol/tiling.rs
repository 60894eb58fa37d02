//! Parts that tile a text, because of how they are made.

use crate::Action;
use crate::protocol::{Part, PartKind, Reading};

/// Cuts a text into parts from its first byte on. Every part begins where the last one
/// ended, so parts tile the text whatever a parser does.
pub(super) struct Tiling<'a> {
    text: &'a str,
    parts: Vec<Part>,
    end: usize,
}

impl<'a> Tiling<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, parts: vec![], end: 0 }
    }

    /// Says what the text is from where the last part ended up to byte `end`, which stands
    /// at a character boundary. White space at its edges becomes markup.
    pub(super) fn push(&mut self, kind: PartKind, end: usize) {
        let Some(section) = self.text.get(self.end..end) else {
            debug_assert!(end < self.end, "{end} stands inside a character");
            return;
        };
        let indent = section.len() - section.trim_start().len();
        let core = section.trim().len();
        self.append(PartKind::Markup, indent);
        self.append(kind, core);
        self.append(PartKind::Markup, section.len() - indent - core);
    }

    fn append(&mut self, kind: PartKind, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let start = self.end;
        self.end += bytes;
        match self.parts.last_mut() {
            Some(last) if last.kind == kind => last.range.end = self.end,
            _ => self.parts.push(Part { kind, range: start..self.end }),
        }
    }

    /// What the whole text came to; the rest of it is stray.
    pub(super) fn finish(mut self, action: Result<Action, String>) -> Reading {
        self.push(PartKind::Stray, self.text.len());
        let action = action.unwrap_or_else(|reason| Action::Malformed { reason });
        Reading { action, parts: self.parts }
    }
}
