//! What counts as a word, in documents and queries alike.

use std::str::CharIndices;

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, Stemmer, TextAnalyzer,
    Token, TokenStream, Tokenizer,
};

/// Bytes of a word that is indexed; longer ones are no words anybody searches for.
const WORD_BYTES_MAX: usize = 64;

/// Makes the analyzer: words in lower case, without accents, reduced to their English stem.
pub(crate) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(Words::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// Splits at everything that is neither letter nor digit. Scripts that put no spaces
/// between words give a word a character, since nothing better is known without a dictionary.
#[derive(Clone, Default)]
struct Words {
    token: Token,
}

struct WordStream<'a> {
    text: &'a str,
    chars: CharIndices<'a>,
    token: &'a mut Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, chars: text.char_indices(), token: &mut self.token }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        self.token.text.clear();
        self.token.position = self.token.position.wrapping_add(1);
        let Some((start, first)) = self.chars.find(|(_, c)| c.is_alphanumeric()) else {
            return false;
        };
        let mut end = start + first.len_utf8();
        if !stands_alone(first) {
            let rest = &self.text[end..];
            let belongs = |c: char| c.is_alphanumeric() && !stands_alone(c);
            end += rest.find(|c| !belongs(c)).unwrap_or(rest.len());
            // Skips to the end of the word: the iterator gives offsets into the whole text.
            while self.chars.offset() < end {
                self.chars.next();
            }
        }
        self.token.offset_from = start;
        self.token.offset_to = end;
        self.token.text.push_str(&self.text[start..end]);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Chinese characters and Japanese syllables.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut analyzer = analyzer();
        let mut stream = analyzer.token_stream(text);
        let mut words = Vec::new();
        stream.process(&mut |token| words.push(token.text.clone()));
        assert_eq!(words, expected, "{text:?}");
    }

    #[test]
    fn words_are_folded_and_stemmed() {
        check("Beyoncé's running DOGS, 1999!", &["beyonc", "s", "run", "dog", "1999"]);
        check(" -- ... \u{0} 🦀 ", &[]);
        check(&"x".repeat(65), &[]);
    }

    #[test]
    fn characters_of_unspaced_scripts_are_words() {
        check("GPU東京ab", &["gpu", "東", "京", "ab"]);
    }
}
