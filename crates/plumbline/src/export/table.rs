//! The columns of a table, for formats that are no lines of JSON.

/// A column: its name, and what stands in it. Any value may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What it is called.
    pub name: &'static str,
    /// What stands in it.
    pub kind: Kind,
}

impl Column {
    /// A column.
    pub fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }
}

/// What stands in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// True or false.
    Truth,
    /// A whole number of 64 bits with a sign.
    Whole,
    /// A seed: a whole number of 64 bits without one.
    Seed,
    /// A number of double precision.
    Real,
    /// A list of such.
    List(Box<Kind>),
    /// A record of named values.
    Record(Vec<Column>),
}

impl Kind {
    /// A list of such.
    pub fn list(of: Kind) -> Self {
        Kind::List(Box::new(of))
    }
}
