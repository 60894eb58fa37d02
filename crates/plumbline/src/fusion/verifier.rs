//! `fusion-online@1` and `fusion-gold@1`.

use async_trait::async_trait;
use serde_json::json;

use crate::features::{Kind, StepFeatures, features};
use crate::fusion::{Fusion, Judgement, LABELS};
use crate::{
    Cost, Digest, Effort, NodeId, Seen, Sight, StepLabel, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero,
};

/// Labels retrieval steps as people are likely to: see [`fusion`](crate::fusion).
///
/// The value is `{"bad": …, "neutral": …, "good": …}`, probabilities to four decimals, and the
/// confidence that of the label. A label is neutral for an unknown reason where no label is
/// likely enough, and where the model would say good while the step is of a kind that must not
/// be rewarded (see [`Doubt`](crate::features::Doubt)); it is neutral for an external reason
/// where the calls failed outside. Steps that are no part of retrieval get no verdict.
///
/// The evidence is the step's message, with the earlier step that it resembles or that showed
/// its answer.
#[derive(Debug)]
pub struct FusionVerifier {
    id: VerifierId,
    fusion: Fusion,
}

/// Terms that a reason names.
const REASONS_MAX: usize = 2;

impl FusionVerifier {
    /// A verifier that labels with this model, called `fusion-online` or `fusion-gold` by what
    /// the model sees. The id's settings are the model's digest.
    pub fn new(fusion: Fusion) -> Self {
        let name = if fusion.sight.gold { "fusion-gold" } else { "fusion-online" };
        let digest = Digest::of(fusion.to_json().as_bytes()).short();
        Self { id: VerifierId(format!("{name}@1+{digest}")), fusion }
    }

    fn verdict(
        &self,
        step: &StepFeatures,
        judgement: Option<Judgement>,
    ) -> Option<Verdict> {
        let verdict = |label, zero, confidence, value, reason| Verdict {
            node: step.node,
            verifier: self.id.clone(),
            value,
            label: Some(label),
            zero,
            confidence,
            reason,
            evidence: step.evidence.clone(),
            saw: self.fusion.sight,
            cost: Cost::default(),
        };
        let Some(Judgement { probabilities, chosen, shares }) = judgement else {
            let reason = "the calls failed for a reason outside the agent".to_owned();
            let value = json!({ "bad": 0.0, "neutral": 1.0, "good": 0.0 });
            let label = StepLabel::Neutral;
            return (step.kind == Kind::Outside)
                .then(|| verdict(label, Some(Zero::External), None, value, reason));
        };
        let [bad, neutral, good] = probabilities.map(super::round);
        let value = json!({ "bad": bad, "neutral": neutral, "good": good });
        let odds = format!("bad {bad:.2}, neutral {neutral:.2}, good {good:.2}");
        let unknown = |reason: String| {
            let confidence = Some(neutral);
            verdict(
                StepLabel::Neutral,
                Some(Zero::Unknown),
                confidence,
                value.clone(),
                format!("{reason} ({odds})"),
            )
        };
        let Some(label) = chosen else {
            return Some(unknown("no label is likely enough".to_owned()));
        };
        let why = self.why(step, &shares);
        if let Some(doubt) = step.doubt.filter(|_| LABELS[label] == StepLabel::Good) {
            return Some(unknown(format!("it {}: not to be called good", doubt.says())));
        }
        let zero = (LABELS[label] == StepLabel::Neutral).then_some(Zero::Neutral);
        let confidence = Some([bad, neutral, good][label]);
        let reason = format!("{odds}: {why}");
        Some(verdict(LABELS[label], zero, confidence, value, reason))
    }

    /// The terms that speak most for the label, in words.
    fn why(&self, step: &StepFeatures, shares: &[f64]) -> String {
        let mut ranked: Vec<(usize, f64)> = shares.iter().copied().enumerate().collect();
        ranked.retain(|(_, share)| *share > 0.05);
        ranked.sort_by(|one, two| two.1.total_cmp(&one.1));
        let say = |(index, _): &(usize, f64)| {
            let term = &self.fusion.terms[*index];
            match &term.reads {
                super::Reads::Feature { name } => {
                    let value = step.values.get(name.as_str()).copied().unwrap_or(0.0);
                    format!("it {} ({name} {value:.2})", term.says())
                }
                _ => format!("it {}", term.says()),
            }
        };
        let said: Vec<String> = ranked.iter().take(REASONS_MAX).map(say).collect();
        match said.as_slice() {
            [] => format!("most steps of the kind {} are", step.kind.as_str()),
            said => said.join(", "),
        }
    }
}

#[async_trait]
impl Verifier for FusionVerifier {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        self.fusion.sight
    }

    fn effort(&self) -> Effort {
        Effort::Estimate
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        if self.fusion.sight.gold
            && seen.gold.is_none_or(|gold| gold.answers().is_empty())
        {
            let message = "the gold has no answer; add \"answer\" to its line in \
                           gold.jsonl, or use fusion-online";
            return Err(seen.lacks(&self.id, message));
        }
        let mut verdicts = Vec::with_capacity(nodes.len());
        for node in nodes {
            let path = features(tree, *node, seen.task, seen.gold);
            let judgement = self.fusion.judge(&path).pop().flatten();
            verdicts.extend(path.last().and_then(|step| self.verdict(step, judgement)));
        }
        Ok(verdicts)
    }
}
