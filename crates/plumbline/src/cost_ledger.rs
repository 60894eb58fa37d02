//! What a method cost on one task.

use serde::{Deserialize, Serialize};

/// What a method cost on one task: what it would have cost alone, and how much of that was
/// there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CostLedger {
    /// Steps judged.
    pub verdicts: u64,
    /// Trajectories that were followed to their end.
    pub rollouts: Split,
    /// Tokens sampled.
    pub sampled: Split,
    /// Tool calls of those steps.
    pub calls: Split,
    /// Prompt tokens of the steps that are new, after what each had in common with its path.
    pub prompt_new: u64,
    /// Prompt tokens that those steps had in common with their paths.
    pub prompt_kept: u64,
    /// Verdicts of other verifiers asked for.
    pub checks: u64,
    /// How often rollouts succeeded from behind a step after which none did.
    pub recoveries: u64,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Time in tools, in seconds, over all branches.
    pub tool_seconds: f64,
    /// Rollouts that something outside stopped before their first step, and that nobody took up
    /// again. What is taken for judged has none, unless some were allowed.
    #[serde(skip)]
    pub missing: u64,
    /// Whether the budget was used up before the method came to its end.
    pub spent: bool,
}

/// A count of what was made and of what was there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// Made for this method.
    pub fresh: u64,
    /// Found in the tree.
    pub reused: u64,
}

impl Split {
    /// Both: what the method would have cost alone.
    pub fn total(self) -> u64 {
        self.fresh + self.reused
    }

    pub(crate) fn add(&mut self, is_fresh: bool, count: u64) {
        *if is_fresh { &mut self.fresh } else { &mut self.reused } += count;
    }
}

impl std::ops::AddAssign for Split {
    fn add_assign(&mut self, other: Self) {
        self.fresh += other.fresh;
        self.reused += other.reused;
    }
}

impl std::ops::AddAssign for CostLedger {
    fn add_assign(&mut self, other: Self) {
        self.verdicts += other.verdicts;
        self.rollouts += other.rollouts;
        self.sampled += other.sampled;
        self.calls += other.calls;
        self.prompt_new += other.prompt_new;
        self.prompt_kept += other.prompt_kept;
        self.checks += other.checks;
        self.recoveries += other.recoveries;
        self.missing += other.missing;
        self.seconds += other.seconds;
        self.tool_seconds += other.tool_seconds;
        self.spent |= other.spent;
    }
}
