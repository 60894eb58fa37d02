use std::borrow::Cow;

use crate::protocol::{Grammar, Message, Reading};
use crate::{Action, ToolSpec, Turn};

pub(super) const STOPS: &[&str] = &[];

pub(super) fn instructions(_tools: &[ToolSpec]) -> String {
    unreachable!()
}

pub(super) fn parse(_text: &str) -> Reading {
    unreachable!()
}

pub(super) fn render(_action: &Action) -> Option<String> {
    unreachable!()
}

pub(super) fn observations(_turn: &Turn<'_>, _texts: &[Cow<'_, str>]) -> Vec<Message> {
    unreachable!()
}

pub(super) fn grammar(_tools: &[ToolSpec], _thought_chars_max: u32) -> Grammar {
    unreachable!()
}
