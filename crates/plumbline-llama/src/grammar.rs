//! Grammars as masks over the vocabulary.

use std::collections::VecDeque;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use plumbline::protocol::Grammar;
use toktrie::{SimpleVob, TokEnv};

/// Parsed grammars that are kept. A run needs one or two for each environment.
const PARSED_MAX: usize = 32;

/// Parses grammars for one vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
    /// The latest first.
    parsed: VecDeque<(Grammar, Matcher)>,
}

/// Why a grammar cannot be followed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("grammar: {0}")]
pub(crate) struct GrammarError(String);

impl Grammars {
    /// Builds the tables that every grammar of this vocabulary shares.
    pub(crate) fn new(environment: &TokEnv) -> Result<Self, GrammarError> {
        let mut factory = ParserFactory::new_simple(environment)
            .map_err(|error| GrammarError(error.to_string()))?;
        factory.quiet();
        Ok(Self { factory, parsed: VecDeque::new() })
    }

    /// A follower of a grammar, before its first token.
    pub(crate) fn follow(&mut self, grammar: &Grammar) -> Result<Follower, GrammarError> {
        let at = self.parsed.iter().position(|(known, _)| known == grammar);
        let entry = match at.and_then(|at| self.parsed.remove(at)) {
            Some(entry) => entry,
            None => {
                let lark = TopLevelGrammar::from_lark(grammar.0.clone());
                let matcher = Matcher::new(self.factory.create_parser(lark));
                if let Some(error) = matcher.get_error() {
                    return Err(GrammarError(error));
                }
                (grammar.clone(), matcher)
            }
        };
        // Clones share the tables that a grammar fills in while it is followed.
        let matcher = entry.1.clone();
        self.parsed.push_front(entry);
        self.parsed.truncate(PARSED_MAX);
        Ok(Follower(matcher))
    }
}

/// A place in a grammar.
pub(crate) struct Follower(Matcher);

impl Follower {
    /// The tokens that may come next. Where the grammar can end, those that end a message
    /// are among them.
    pub(crate) fn allowed(&mut self) -> Result<SimpleVob, GrammarError> {
        self.0.compute_mask_or_eos().map_err(|error| GrammarError(error.to_string()))
    }

    /// Goes on by one token. Returns whether the grammar has ended with it: nothing more can
    /// be said.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, GrammarError> {
        self.0.consume_token(token).map_err(|error| GrammarError(error.to_string()))?;
        Ok(self.0.is_stopped())
    }
}
