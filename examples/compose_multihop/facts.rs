//! The table of facts: read from `facts/*.toml`, one file for each kind of entity, and
//! checked as a whole. Whatever is wrong names the file, the entity and the field.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// Every kind and every entity.
pub(crate) struct Facts {
    kinds: BTreeMap<String, Kind>,
    entities: Vec<Entity>,
}

/// An entity's place in [`Facts`]; entities are in the order of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntityId(usize);

/// Something the corpus has a document on.
pub(crate) struct Entity {
    /// Unique in the whole table; also the document's id.
    pub(crate) key: String,
    /// Which kind, by name.
    pub(crate) kind: String,
    /// The document's title.
    pub(crate) title: String,
    /// What running text calls it, with its article: `the Louvre`.
    pub(crate) name: String,
    /// What else it may be called in an answer.
    pub(crate) aliases: Vec<String>,
    /// What is known of it, by field.
    pub(crate) values: BTreeMap<String, Value>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// Another entity.
    Entity(EntityId),
    /// A year of our era.
    Year(i64),
    /// Another number; its unit stands in the sentences.
    Number(i64),
    /// Words, and what else they may be in an answer.
    Text(String, Vec<String>),
}

/// How a kind is spoken of, and what may be known of its entities.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    /// The kind's name: the file's name without its ending.
    #[serde(skip)]
    name: String,
    /// How a question names an entity: `the painting {name}`.
    pub(crate) introduce: String,
    /// Begins a question for one: `Which painting`.
    pub(crate) which: String,
    /// Begins a description of some entity: `a painting that`.
    pub(crate) some: String,
    /// Begins a description of the only one of its year: `the painting that`. Without it no
    /// question picks an entity of this kind by its year.
    pub(crate) the: Option<String>,
    /// The last word of a name is an alias where no other entity's name ends in it.
    #[serde(default)]
    surnames: bool,
    /// Questions may begin at one: `false` for what readers know anyway.
    #[serde(default = "yes")]
    pub(crate) begins: bool,
    /// A document's sentences: one is chosen from each list.
    pub(crate) sentences: Vec<Vec<String>>,
    /// What may be known.
    pub(crate) fields: BTreeMap<String, Field>,
    /// The facts themselves, by entity.
    #[serde(default)]
    entities: BTreeMap<String, toml::Table>,
}

/// One thing that may be known of a kind's entities, and the words for it. `{}` stands for
/// the entity (`ask`, `of`, `when`), for the value (`is`, `inverse`) or for the two that
/// are compared (`lower`, `higher`). A question family uses the fields that have its words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub(crate) holds: Holds,
    /// The kinds a reference may lead to.
    #[serde(default)]
    refers: Vec<String>,
    /// Entities may lack it.
    #[serde(default)]
    optional: bool,
    /// Asks for the value: `Who painted {}?`
    pub(crate) ask: Option<String>,
    /// Asks the same with the entity at the end: long descriptions would split `ask`.
    ask_long: Option<String>,
    /// Names what a reference leads to: `the painter of {}`.
    pub(crate) of: Option<String>,
    /// Says the fact of its entity: `was painted by {}`.
    pub(crate) is: Option<String>,
    /// Says a reference the other way round: `painted {}`.
    pub(crate) inverse: Option<String>,
    /// Says what happened in a year: `{} was finished`.
    pub(crate) when: Option<String>,
    /// Asks which of two has the lower value: `Which is older, {} or {}?`
    pub(crate) lower: Option<String>,
    /// Asks which of two has the higher value.
    pub(crate) higher: Option<String>,
}

/// What a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holds {
    Reference,
    Year,
    Number,
    Text,
}

impl Facts {
    /// Reads and checks every `*.toml` in a folder.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let listing = std::fs::read_dir(folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        let mut tables = BTreeMap::new();
        for file in listing {
            let path = file?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let Some(kind) = name.strip_suffix(".toml") else { continue };
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            tables.insert(kind.to_owned(), text);
        }
        Self::parse(&tables)
    }

    /// The same from texts, by the name of their kind.
    fn parse(tables: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut kinds = BTreeMap::new();
        for (name, text) in tables {
            let mut kind: Kind =
                toml::from_str(text).with_context(|| format!("{name}.toml"))?;
            kind.name = name.clone();
            kinds.insert(name.clone(), kind);
        }
        Self::link(kinds)
    }

    /// Turns rows into entities: keys first, so that references can be resolved.
    fn link(kinds: BTreeMap<String, Kind>) -> anyhow::Result<Self> {
        let mut rows: BTreeMap<&str, (&Kind, &toml::Table)> = BTreeMap::new();
        for kind in kinds.values() {
            kind.check_fields(&kinds)?;
            for (key, row) in &kind.entities {
                if let Some((other, _)) = rows.insert(key, (kind, row)) {
                    bail!("{}: the key is also in {}.toml", kind.at(key), other.name);
                }
            }
        }
        let ids: BTreeMap<&str, (EntityId, &str)> = rows
            .iter()
            .enumerate()
            .map(|(i, (key, (kind, _)))| (*key, (EntityId(i), kind.name.as_str())))
            .collect();
        let mut entities = Vec::with_capacity(rows.len());
        for (key, (kind, row)) in &rows {
            entities.push(kind.entity(key, row, &ids)?);
        }
        add_surnames(&kinds, &mut entities);
        check_titles(&entities)?;
        Ok(Self { kinds, entities })
    }

    /// Every entity, in the order of keys.
    pub(crate) fn ids(&self) -> impl Iterator<Item = EntityId> + use<> {
        (0..self.entities.len()).map(EntityId)
    }

    pub(crate) fn entity(&self, id: EntityId) -> &Entity {
        &self.entities[id.0]
    }

    pub(crate) fn kind_of(&self, id: EntityId) -> &Kind {
        self.kind(&self.entity(id).kind)
    }

    pub(crate) fn kind(&self, name: &str) -> &Kind {
        &self.kinds[name]
    }

    /// The kinds, in the order of their names.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&str, &Kind)> {
        self.kinds.iter().map(|(name, kind)| (name.as_str(), kind))
    }

    /// What is known of an entity, with the words for it.
    pub(crate) fn known(
        &self,
        id: EntityId,
    ) -> impl Iterator<Item = (&str, &Field, &Value)> {
        let fields = &self.kind_of(id).fields;
        self.entity(id)
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), &fields[name], value))
    }

    /// A value in running text.
    pub(crate) fn words(&self, value: &Value) -> String {
        match value {
            Value::Entity(id) => self.entity(*id).name.clone(),
            Value::Year(number) | Value::Number(number) => number.to_string(),
            Value::Text(text, _) => text.clone(),
        }
    }
}

impl Kind {
    fn at(&self, key: &str) -> String {
        format!("{}.toml: {key}", self.name)
    }

    /// Do the words fit what each field holds?
    fn check_fields(&self, kinds: &BTreeMap<String, Kind>) -> anyhow::Result<()> {
        for (name, field) in &self.fields {
            let at = format!("{}.toml: fields.{name}", self.name);
            let reference = field.holds == Holds::Reference;
            ensure!(
                reference != field.refers.is_empty(),
                "{at}: exactly references have `refers`"
            );
            for kind in &field.refers {
                ensure!(kinds.contains_key(kind), "{at}: there is no {kind}.toml");
            }
            ensure!(
                reference || (field.of.is_none() && field.inverse.is_none()),
                "{at}: `of` and `inverse` are for references"
            );
            ensure!(
                field.holds == Holds::Year || field.when.is_none(),
                "{at}: `when` is for years"
            );
            ensure!(
                field.ask.is_some() || field.ask_long.is_none(),
                "{at}: `ask_long` goes with an `ask`"
            );
            let asks = [&field.ask, &field.ask_long];
            let words = [&field.of, &field.is, &field.inverse, &field.when];
            for template in asks.into_iter().chain(words).flatten() {
                let holes = template.matches("{}").count();
                ensure!(holes == 1, "{at}: {template:?} needs one {{}}");
            }
            for template in [&field.lower, &field.higher].into_iter().flatten() {
                let holes = template.matches("{}").count();
                ensure!(holes == 2, "{at}: {template:?} needs two {{}}");
            }
        }
        Ok(())
    }

    fn entity(
        &self,
        key: &str,
        row: &toml::Table,
        ids: &BTreeMap<&str, (EntityId, &str)>,
    ) -> anyhow::Result<Entity> {
        let at = self.at(key);
        let title = text_of(row, "title")
            .with_context(|| format!("{at}: title: there must be one"))?;
        let name = text_of(row, "name").unwrap_or_else(|| title.clone());
        let aliases = match row.get("aliases") {
            Some(aliases) => texts(aliases)
                .with_context(|| format!("{at}: aliases: must be a list of texts"))?,
            None => vec![],
        };
        let mut values = BTreeMap::new();
        for (field, value) in row {
            if ["title", "name", "aliases"].contains(&field.as_str()) {
                continue;
            }
            let at = format!("{at}: {field}");
            let known = self.fields.get(field).with_context(|| {
                let fields: Vec<&str> = self.fields.keys().map(String::as_str).collect();
                format!("{at}: not a field; there are: {}", fields.join(", "))
            })?;
            let value = known.value(value, ids).with_context(|| at)?;
            values.insert(field.clone(), value);
        }
        for (field, known) in &self.fields {
            let there = known.optional || values.contains_key(field);
            ensure!(there, "{at}: {field}: missing");
        }
        let kind = self.name.clone();
        Ok(Entity { key: key.to_owned(), kind, title, name, aliases, values })
    }
}

/// Descriptions with more characters than this are put at the end of a question.
const SPLIT_CHARS_MAX: usize = 70;

impl Field {
    /// Asks for the value of an entity, if there are words for it.
    pub(crate) fn question(&self, entity: &str) -> Option<String> {
        let ask = match &self.ask_long {
            Some(long) if entity.chars().count() > SPLIT_CHARS_MAX => long,
            _ => self.ask.as_ref()?,
        };
        Some(ask.replacen("{}", entity, 1))
    }

    fn value(
        &self,
        value: &toml::Value,
        ids: &BTreeMap<&str, (EntityId, &str)>,
    ) -> anyhow::Result<Value> {
        match self.holds {
            Holds::Reference => {
                let key = value.as_str().context("must be the key of an entity")?;
                let (id, kind) =
                    ids.get(key).with_context(|| format!("no entity is called {key}"))?;
                let fits = self.refers.iter().any(|name| name == kind);
                ensure!(fits, "{key} is a {kind}, not a {}", self.refers.join(" or a "));
                Ok(Value::Entity(*id))
            }
            Holds::Year => {
                let year = value.as_integer().context("must be a year")?;
                ensure!((1000..2100).contains(&year), "{year} is out of range");
                Ok(Value::Year(year))
            }
            Holds::Number => {
                let number = value.as_integer().context("must be a whole number")?;
                ensure!(number > 0, "{number} is out of range");
                Ok(Value::Number(number))
            }
            Holds::Text => {
                let mut texts = texts(value).context("must be a text, or several")?;
                ensure!(!texts.is_empty(), "must be a text, or several");
                let text = texts.remove(0);
                Ok(Value::Text(text, texts))
            }
        }
    }
}

fn yes() -> bool {
    true
}

/// A name without its article.
pub(crate) fn bare(name: &str) -> &str {
    name.strip_prefix("the ").unwrap_or(name)
}

fn text_of(row: &toml::Table, field: &str) -> Option<String> {
    row.get(field).and_then(toml::Value::as_str).map(str::to_owned)
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

/// Adds last words as aliases; a row that gives aliases has given all of them.
fn add_surnames(kinds: &BTreeMap<String, Kind>, entities: &mut [Entity]) {
    let last = |entity: &Entity| entity.name.split(' ').next_back().map(str::to_owned);
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for surname in entities.iter().filter_map(last) {
        *uses.entry(surname).or_default() += 1;
    }
    for entity in entities {
        if !kinds[&entity.kind].surnames || !entity.aliases.is_empty() {
            continue;
        }
        let surname = last(entity).filter(|s| *s != entity.name && uses[s] == 1);
        entity.aliases.extend(surname);
    }
}

/// Titles must tell entities apart. So must the words that questions name them by, but those
/// are put together elsewhere.
fn check_titles(entities: &[Entity]) -> anyhow::Result<()> {
    let mut titles: BTreeMap<String, &Entity> = BTreeMap::new();
    for entity in entities {
        let Entity { key, kind, title, .. } = entity;
        if let Some(other) = titles.insert(title.to_lowercase(), entity) {
            bail!("{kind}.toml: {key}: title: {} has the same, {title:?}", other.key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOWN: &str = r#"
        introduce = "{name}"
        which = "Which town"
        some = "a town that"
        sentences = [["{Name} lies on {river}."]]
        [fields.river]
        holds = "reference"
        refers = ["river"]
        [fields.year]
        holds = "year"
        optional = true
        [entities]
        bonn = { title = "Bonn", river = "rhine", year = 1244 }
    "#;
    const RIVER: &str = r#"
        introduce = "{name}"
        which = "Which river"
        some = "a river that"
        sentences = [["{Name} is a river."]]
        fields = {}
        [entities]
        rhine = { title = "Rhine", name = "the Rhine" }
    "#;

    /// Reads the two tables with one row put in the place of Bonn's.
    fn read(row: &str) -> Result<Facts, String> {
        let bonn = TOWN.lines().find(|line| line.contains("bonn =")).expect("a row");
        let tables = BTreeMap::from([
            ("town".to_owned(), TOWN.replace(bonn, row)),
            ("river".to_owned(), RIVER.to_owned()),
        ]);
        Facts::parse(&tables).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_table_is_read_and_its_references_are_resolved() {
        let facts = read(r#"bonn = { title = "Bonn", river = "rhine" }"#).expect("right");
        let bonn = facts.ids().next().expect("the first of two");
        let (name, _, value) = facts.known(bonn).next().expect("its river");
        assert_eq!((name, facts.words(value).as_str()), ("river", "the Rhine"));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        for (row, complaint) in [
            (
                r#"bonn = { river = "rhine" }"#,
                "town.toml: bonn: title: there must be one",
            ),
            (r#"bonn = { title = "Bonn" }"#, "town.toml: bonn: river: missing"),
            (
                r#"bonn = { title = "Bonn", river = "rhin" }"#,
                "town.toml: bonn: river: no entity is called rhin",
            ),
            (
                r#"bonn = { title = "Bonn", river = "bonn" }"#,
                "town.toml: bonn: river: bonn is a town, not a river",
            ),
            (
                r#"bonn = { title = "Bonn", river = "rhine", sea = "x" }"#,
                "town.toml: bonn: sea: not a field; there are: river, year",
            ),
            (
                r#"bonn = { title = "Bonn", river = "rhine", year = 12 }"#,
                "town.toml: bonn: year: 12 is out of range",
            ),
            (
                r#"bonn = { title = "RHINE", river = "rhine" }"#,
                r#"river.toml: rhine: title: bonn has the same, "Rhine""#,
            ),
            (
                r#"rhine = { title = "Bonn", river = "rhine" }"#,
                "town.toml: rhine: the key is also in river.toml",
            ),
        ] {
            assert_eq!(read(row).err().as_deref(), Some(complaint), "{row}");
        }
    }
}
