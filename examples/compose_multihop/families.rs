//! The question families: every question of each that the table can answer.

use std::collections::{BTreeMap, BTreeSet};

use plumbline::Digest;

use crate::chain::Chain;
use crate::documents::introduce;
use crate::facts::{EntityId, Facts, Value};
use crate::questions::{Candidate, Family};

/// Years that lie closer together than this are not compared: sources may count a work by
/// its first page or its last.
const YEARS_APART_MIN: i64 = 3;
/// How many others each chain is compared with; the selection needs far fewer.
const COMPARED_WITH: usize = 4;

/// Follow a chain to its end: *Which river flows through the birthplace of the painter of
/// Guernica?* One answer, because each field holds one value.
pub(crate) fn bridge(facts: &Facts, hops: usize) -> anyhow::Result<Vec<Candidate>> {
    let mut candidates = vec![];
    for chain in Chain::all(facts, hops) {
        let Some(prompt) = chain.last().field.question(&chain.holder(facts)?) else {
            continue;
        };
        if !facts.kind_of(chain.start()).begins {
            continue;
        }
        candidates.push(Candidate {
            family: Family::Bridge,
            prompt,
            answer: chain.value.clone(),
            supporting: chain.documents(),
            named: vec![chain.start()],
            signature: chain.signature(facts),
            asked: chain.last().name.to_owned(),
        });
    }
    Ok(candidates)
}

/// Follow two chains to values of one field and compare: *Who was born first, the painter
/// of Guernica or the composer of Aida?* One answer, because the values differ.
pub(crate) fn comparison(facts: &Facts, hops: usize) -> anyhow::Result<Vec<Candidate>> {
    let left = comparable(facts, hops / 2);
    let right = comparable(facts, hops - hops / 2);
    let mut candidates = vec![];
    for (group, left) in &left {
        let Some(right) = right.get(group) else { continue };
        for (i, a) in left.iter().enumerate() {
            for shift in 1..=COMPARED_WITH {
                let b = &right[(i + shift) % right.len()];
                let field = a.last().field;
                for (template, up) in [(&field.lower, false), (&field.higher, true)] {
                    let Some(template) = template else { continue };
                    candidates.extend(compare(facts, [a, b], template, up)?);
                }
            }
        }
    }
    Ok(candidates)
}

/// The chains that end in a number or a year, by kind and field, each group in an order
/// that the seed decides.
fn comparable(facts: &Facts, length: usize) -> BTreeMap<(&str, &str), Vec<Chain<'_>>> {
    let mut groups: BTreeMap<(&str, &str), Vec<Chain<'_>>> = BTreeMap::new();
    for chain in Chain::all(facts, length) {
        let last = chain.last();
        if last.field.lower.is_some() || last.field.higher.is_some() {
            let kind = facts.entity(last.entity).kind.as_str();
            groups.entry((kind, last.name)).or_default().push(chain);
        }
    }
    for chains in groups.values_mut() {
        chains.sort_by_cached_key(|chain| {
            let keys = chain.links.iter().map(|link| &facts.entity(link.entity).key);
            Digest::of_json(&keys.collect::<Vec<_>>())
        });
    }
    groups
}

fn compare(
    facts: &Facts,
    pair: [&Chain<'_>; 2],
    template: &str,
    up: bool,
) -> anyhow::Result<Option<Candidate>> {
    let [a, b] = pair;
    let (x, y) = match (a.value, b.value) {
        (Value::Year(x), Value::Year(y)) if x.abs_diff(*y) as i64 >= YEARS_APART_MIN => {
            (x, y)
        }
        (Value::Number(x), Value::Number(y)) if x != y => (x, y),
        _ => return Ok(None),
    };
    let (winner, loser) = if (x > y) == up { (a, b) } else { (b, a) };
    let mut supporting = loser.documents();
    supporting.extend(winner.documents());
    if supporting.iter().collect::<BTreeSet<_>>().len() < supporting.len() {
        return Ok(None);
    }
    // The order of the two must not give the answer away, so the template takes them as
    // the pair came.
    let prompt = template.replacen("{}", &a.holder(facts)?, 1);
    let prompt = prompt.replacen("{}", &b.holder(facts)?, 1);
    let asked = if up { "higher" } else { "lower" };
    Ok(Some(Candidate {
        family: Family::Comparison,
        prompt,
        answer: Value::Entity(winner.last().entity),
        supporting,
        named: vec![a.start(), b.start()],
        signature: format!("{}|{}", a.signature(facts), b.signature(facts)),
        asked: format!("{}.{asked}", a.last().name),
    }))
}

/// Something that is true of an entity, in words.
#[derive(Clone)]
struct Condition {
    target: EntityId,
    /// Goes on after *who* or *that*: `was born in a place that lies on the Arno`.
    words: String,
    /// Clauses within clauses of the words.
    depth: usize,
    /// The documents that together say so.
    documents: Vec<EntityId>,
    named: Vec<EntityId>,
    signature: String,
}

/// Find what satisfies two conditions: *Which person was born in Leiden and painted a
/// picture that hangs in the Rijksmuseum?* One answer, because of all entities in the table
/// one satisfies both; and both are needed, because several satisfy each.
pub(crate) fn intersection(facts: &Facts, hops: usize) -> anyhow::Result<Vec<Candidate>> {
    let conditions = conditions(facts)?;
    let mut extensions: BTreeMap<&str, BTreeSet<EntityId>> = BTreeMap::new();
    let mut by_target: BTreeMap<EntityId, Vec<&Condition>> = BTreeMap::new();
    for condition in &conditions {
        extensions.entry(&condition.words).or_default().insert(condition.target);
        by_target.entry(condition.target).or_default().push(condition);
    }
    // Two ways to the same words would leave open which documents are meant.
    for conditions in by_target.values_mut() {
        let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
        for condition in conditions.iter() {
            *ways.entry(&condition.words).or_default() += 1;
        }
        conditions.retain(|condition| ways[condition.words.as_str()] == 1);
    }
    let mut candidates = vec![];
    for (target, conditions) in &by_target {
        let kind = &facts.entity(*target).kind;
        // Words alone do not tell kinds apart: a book and a museum may both have opened.
        let same_kind = |id: &&EntityId| facts.entity(**id).kind == *kind;
        let several: Vec<(&Condition, BTreeSet<EntityId>)> = conditions
            .iter()
            .map(|condition| {
                let all = &extensions[condition.words.as_str()];
                (*condition, all.iter().filter(same_kind).copied().collect())
            })
            .filter(|(_, extension): &(_, BTreeSet<EntityId>)| extension.len() > 1)
            .collect();
        for (i, (a, with_a)) in several.iter().enumerate() {
            for (b, with_b) in &several[i + 1..] {
                let fits = with_a.intersection(with_b).count() == 1;
                candidates.extend(fits.then(|| intersect(facts, a, b, hops)).flatten());
            }
        }
    }
    Ok(candidates)
}

fn intersect(
    facts: &Facts,
    a: &Condition,
    b: &Condition,
    hops: usize,
) -> Option<Candidate> {
    // The plainer condition first: what follows a nested one would seem to belong to it.
    let (a, b) = if a.depth <= b.depth { (a, b) } else { (b, a) };
    let target = a.target;
    let documents: BTreeSet<EntityId> =
        a.documents.iter().chain(&b.documents).copied().collect();
    if documents.len() != hops || a.signature == b.signature {
        return None;
    }
    let mut supporting: Vec<EntityId> =
        documents.iter().copied().filter(|id| *id != target).collect();
    supporting.extend(documents.contains(&target).then_some(target));
    let which = &facts.kind_of(target).which;
    let and = if a.depth > 0 { ", and also" } else { " and" };
    Some(Candidate {
        family: Family::Intersection,
        prompt: format!("{which} {}{and} {}?", a.words, b.words),
        answer: Value::Entity(target),
        supporting,
        named: [&a.named[..], &b.named].concat(),
        signature: format!("{}|{}", a.signature, b.signature),
        asked: facts.entity(target).kind.clone(),
    })
}

/// Every condition of one or two documents: an entity's own facts, facts of what it refers
/// to, and facts of what refers to it.
fn conditions(facts: &Facts) -> anyhow::Result<Vec<Condition>> {
    let mut own = BTreeMap::new();
    for id in facts.ids() {
        own.insert(id, own_conditions(facts, id)?);
    }
    let mut nested: BTreeMap<EntityId, Vec<Condition>> = BTreeMap::new();
    for target in facts.ids() {
        for (name, field, value) in facts.known(target) {
            let (Value::Entity(other), Some(is)) = (value, &field.is) else { continue };
            let some = &facts.kind_of(*other).some;
            let through = own[other].iter().map(|inner| Condition {
                target,
                words: is.replacen("{}", &format!("{some} {}", inner.words), 1),
                depth: inner.depth + 1,
                documents: [&[target], &inner.documents[..]].concat(),
                named: inner.named.clone(),
                signature: format!("{name}.{}", inner.signature),
            });
            nested.entry(target).or_default().extend(through);
        }
    }
    let mut backwards = vec![];
    for source in facts.ids() {
        let kind = facts.kind_of(source);
        for (name, field, value) in facts.known(source) {
            let (Value::Entity(target), Some(inverse)) = (value, &field.inverse) else {
                continue;
            };
            let inner =
                own[&source].iter().chain(nested.get(&source).into_iter().flatten());
            for inner in inner.filter(|inner| !inner.signature.starts_with(name)) {
                backwards.push(Condition {
                    target: *target,
                    words: inverse.replacen(
                        "{}",
                        &format!("{} {}", kind.some, inner.words),
                        1,
                    ),
                    depth: inner.depth + 1,
                    documents: inner.documents.clone(),
                    named: inner.named.clone(),
                    signature: format!(
                        "{}<{name}.{}",
                        facts.entity(source).kind,
                        inner.signature
                    ),
                });
            }
        }
    }
    let own = own.into_values().flatten();
    Ok(own.chain(nested.into_values().flatten()).chain(backwards).collect())
}

fn own_conditions(facts: &Facts, target: EntityId) -> anyhow::Result<Vec<Condition>> {
    let mut conditions = vec![];
    for (name, field, value) in facts.known(target) {
        let Some(is) = &field.is else { continue };
        let (words, named) = match value {
            Value::Entity(id) => (introduce(facts, *id)?, vec![*id]),
            _ => (facts.words(value), vec![]),
        };
        conditions.push(Condition {
            target,
            words: is.replacen("{}", &words, 1),
            depth: 0,
            documents: vec![target],
            named,
            signature: name.to_owned(),
        });
    }
    Ok(conditions)
}

/// Find what happened in the year of something else: *Who composed the opera that was first
/// performed in the year in which Pablo Picasso was born?* One answer, because of all
/// entities of the kind one has that year.
pub(crate) fn temporal(facts: &Facts, hops: usize) -> anyhow::Result<Vec<Candidate>> {
    let dated = dated(facts);
    let mut candidates = vec![];
    for length in 1..hops {
        for head in Chain::all(facts, length) {
            let (Some(when), Value::Year(year)) = (&head.last().field.when, head.value)
            else {
                continue;
            };
            let Some(found) = dated.get(year) else { continue };
            for (target, name) in found {
                let field = &facts.kind_of(*target).fields[*name];
                let is = field.is.as_deref().expect("`dated` has fields with `is` only");
                let event = when.replacen("{}", &head.holder(facts)?, 1);
                let words = is.replacen("{}", &format!("the year in which {event}"), 1);
                let found = Found { head: &head, target: *target, name, words };
                candidates.extend(found.questions(facts, hops - length));
            }
        }
    }
    Ok(candidates)
}

/// What is alone of its kind in a year: by year, with the field that says so.
fn dated(facts: &Facts) -> BTreeMap<i64, Vec<(EntityId, &str)>> {
    let mut all: BTreeMap<(i64, &str, &str), Vec<EntityId>> = BTreeMap::new();
    for id in facts.ids().filter(|id| facts.kind_of(*id).the.is_some()) {
        for (name, field, value) in facts.known(id) {
            if let (Value::Year(year), Some(_)) = (value, &field.is) {
                let kind = facts.entity(id).kind.as_str();
                all.entry((*year, kind, name)).or_default().push(id);
            }
        }
    }
    let mut alone: BTreeMap<i64, Vec<(EntityId, &str)>> = BTreeMap::new();
    for ((year, _, name), ids) in all {
        if let [id] = ids[..] {
            alone.entry(year).or_default().push((id, name));
        }
    }
    alone
}

/// An entity picked by the year that a chain ends in.
struct Found<'f> {
    head: &'f Chain<'f>,
    target: EntityId,
    name: &'f str,
    /// Says the year without naming it.
    words: String,
}

impl Found<'_> {
    /// The questions for it, or for what a chain of `length` documents from it leads to.
    fn questions(&self, facts: &Facts, length: usize) -> Vec<Candidate> {
        let Self { head, target, name, words } = self;
        let kind = facts.kind_of(*target);
        let head_documents = head.documents();
        if head_documents.contains(target) {
            return vec![];
        }
        let mut candidates = vec![];
        let mut push = |prompt, answer, tail: &[EntityId], asked: String| {
            candidates.push(Candidate {
                family: Family::Temporal,
                prompt,
                answer,
                supporting: [&head_documents[..], tail].concat(),
                named: vec![head.start()],
                signature: format!("{}|{asked}", head.signature(facts)),
                asked,
            });
        };
        if length == 1 {
            let prompt = format!("{} {words}?", kind.which);
            let asked = facts.entity(*target).kind.clone();
            push(prompt, Value::Entity(*target), &[*target], asked);
        }
        let the = kind.the.as_deref().expect("`dated` has kinds with `the` only");
        for tail in Chain::from(facts, *target, length) {
            let found = tail.holder_from(format!("{the} {words}"));
            let Some(prompt) = tail.last().field.question(&found) else { continue };
            let apart = tail.links.iter().all(|l| !head_documents.contains(&l.entity));
            if apart && tail.last().name != *name {
                push(
                    prompt,
                    tail.value.clone(),
                    &tail.documents(),
                    tail.signature(facts),
                );
            }
        }
        candidates
    }
}
