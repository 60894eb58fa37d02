//! One document for each entity, in sentences chosen from its kind's templates.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use plumbline::Digest;
use serde::Serialize;

use crate::facts::{Entity, EntityId, Facts, Holds};

/// A line of `documents.jsonl`.
#[derive(Serialize)]
pub(crate) struct Document {
    /// The entity's key.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) text: String,
}

/// Writes the documents, in the order of entities.
pub(crate) fn compose(facts: &Facts) -> anyhow::Result<Vec<Document>> {
    check_introductions(facts)?;
    facts.ids().map(|id| document(facts, id)).collect()
}

/// A question that names an entity must name no other.
fn check_introductions(facts: &Facts) -> anyhow::Result<()> {
    let mut introduced: BTreeMap<String, EntityId> = BTreeMap::new();
    for id in facts.ids() {
        let text = introduce(facts, id)?;
        if let Some(other) = introduced.insert(text.to_lowercase(), id) {
            let (Entity { kind, key, .. }, other) =
                (facts.entity(id), facts.entity(other));
            bail!("{kind}.toml: {key}: name: {} is called the same, {text:?}", other.key);
        }
    }
    Ok(())
}

fn document(facts: &Facts, id: EntityId) -> anyhow::Result<Document> {
    let entity = facts.entity(id);
    let kind = facts.kind_of(id);
    let mut sentences = Vec::with_capacity(kind.sentences.len());
    for (slot, templates) in kind.sentences.iter().enumerate() {
        let written: Vec<(usize, String)> = templates
            .iter()
            .map(|template| fill(facts, entity, template))
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(|| format!("{}.toml: sentences", entity.kind))?
            .into_iter()
            .flatten()
            .collect();
        // Of the sentences that can be written, those that say most; of these, one that the
        // key decides, so that neighbours read differently and nothing changes by itself.
        let most = written.iter().map(|(holes, _)| *holes).max();
        let mut best: Vec<String> = written
            .into_iter()
            .filter(|(holes, _)| Some(*holes) == most)
            .map(|(_, text)| text)
            .collect();
        if best.is_empty() {
            continue;
        }
        let slot = slot.to_string();
        let digest = Digest::of_parts(&[entity.key.as_bytes(), slot.as_bytes()]);
        let choice = digest.to_u64() % best.len() as u64;
        sentences.push(best.swap_remove(choice as usize));
    }
    let text = sentences.join(" ");
    for (name, field, value) in facts.known(id) {
        let words = facts.words(value);
        ensure!(
            field.holds == Holds::Text && field.ask.is_none()
                || text.to_lowercase().contains(&words.to_lowercase()),
            "{}.toml: {}: {name}: no sentence of its document says {words:?}",
            entity.kind,
            entity.key
        );
    }
    Ok(Document { id: entity.key.clone(), title: entity.title.clone(), text })
}

/// A template with its holes filled and the number of facts it says; `None` if the entity
/// lacks a field.
/// `{field}` is the value; `{Field}` is the value with a capital letter.
fn fill(
    facts: &Facts,
    entity: &Entity,
    template: &str,
) -> anyhow::Result<Option<(usize, String)>> {
    let mut filled = String::new();
    let mut rest = template;
    let mut holes = 0;
    while let Some(start) = rest.find('{') {
        let end =
            rest.find('}').with_context(|| format!("{template:?}: {{ without }}"))?;
        let hole = &rest[start + 1..end];
        let field = hole.to_lowercase();
        let words = match (field.as_str(), entity.values.get(&field)) {
            ("name", _) => entity.name.clone(),
            (_, Some(value)) => facts.words(value),
            (_, None) if facts.kind(&entity.kind).fields.contains_key(&field) => {
                return Ok(None);
            }
            _ => bail!("{template:?}: {hole} is not a field"),
        };
        filled.push_str(&rest[..start]);
        let capital = hole.starts_with(char::is_uppercase);
        filled.push_str(&if capital { capitalised(&words) } else { words });
        holes += usize::from(field != "name");
        rest = &rest[end + 1..];
    }
    filled.push_str(rest);
    Ok(Some((holes, filled)))
}

/// How a question names an entity.
pub(crate) fn introduce(facts: &Facts, id: EntityId) -> anyhow::Result<String> {
    let entity = facts.entity(id);
    let filled = fill(facts, entity, &facts.kind_of(id).introduce)?;
    let (_, text) = filled.with_context(|| {
        format!("{}.toml: {}: lacks a field of `introduce`", entity.kind, entity.key)
    })?;
    Ok(text)
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}
