//! Chains of facts: from an entity through references to a value, a document a link.

use crate::documents::introduce;
use crate::facts::{EntityId, Facts, Field, Value};

/// A way through the table. Each of its documents states one fact: where the next document
/// is to be found, or, in the last, the value.
#[derive(Clone)]
pub(crate) struct Chain<'f> {
    /// What stands in each document, in order; never empty.
    pub(crate) links: Vec<Link<'f>>,
    /// What the last document says.
    pub(crate) value: &'f Value,
}

/// One document of a chain and the fact it is read for.
#[derive(Clone, Copy)]
pub(crate) struct Link<'f> {
    pub(crate) entity: EntityId,
    pub(crate) name: &'f str,
    pub(crate) field: &'f Field,
}

impl<'f> Chain<'f> {
    /// Every chain of `length` documents that begins at `start`. All of its references can
    /// be put into words, and it visits no document twice.
    pub(crate) fn from(facts: &'f Facts, start: EntityId, length: usize) -> Vec<Self> {
        let mut chains = vec![];
        let mut links = Vec::with_capacity(length);
        extend(facts, start, length, &mut links, &mut chains);
        chains
    }

    /// Every chain of `length` documents in the table.
    pub(crate) fn all(facts: &'f Facts, length: usize) -> Vec<Self> {
        facts.ids().flat_map(|start| Self::from(facts, start, length)).collect()
    }

    pub(crate) fn start(&self) -> EntityId {
        self.links[0].entity
    }

    pub(crate) fn last(&self) -> Link<'f> {
        *self.links.last().expect("a chain has a link")
    }

    /// The documents, in order.
    pub(crate) fn documents(&self) -> Vec<EntityId> {
        self.links.iter().map(|link| link.entity).collect()
    }

    /// Describes the entity of the last document without naming it, unless it is the first:
    /// `the birthplace of the painter of Guernica`.
    pub(crate) fn holder(&self, facts: &Facts) -> anyhow::Result<String> {
        Ok(self.holder_from(introduce(facts, self.start())?))
    }

    /// The same, from another description of the first entity.
    pub(crate) fn holder_from(&self, first: String) -> String {
        let references = &self.links[..self.links.len() - 1];
        references.iter().fold(first, |inner, link| {
            let of = link.field.of.as_deref().expect("chains follow fields with `of`");
            of.replacen("{}", &inner, 1)
        })
    }

    /// What sort of chain it is: chains of one signature make questions that look alike.
    pub(crate) fn signature(&self, facts: &Facts) -> String {
        let names: Vec<&str> = self.links.iter().map(|link| link.name).collect();
        format!("{}.{}", facts.entity(self.start()).kind, names.join("."))
    }
}

fn extend<'f>(
    facts: &'f Facts,
    entity: EntityId,
    length: usize,
    links: &mut Vec<Link<'f>>,
    chains: &mut Vec<Chain<'f>>,
) {
    if links.iter().any(|link| link.entity == entity) {
        return;
    }
    for (name, field, value) in facts.known(entity) {
        links.push(Link { entity, name, field });
        if links.len() == length {
            chains.push(Chain { links: links.clone(), value });
        } else if let (Value::Entity(next), Some(_)) = (value, &field.of) {
            extend(facts, *next, length, links, chains);
        }
        links.pop();
    }
}
