//! `puzzle-oracle@1`: what a move in a puzzle is worth, exactly.

use async_trait::async_trait;
use serde_json::Value;

use crate::puzzles::{Game, Worth};
use crate::verifiers::{Finding, Path, calls, judge_each};
use crate::{
    NodeId, Seen, Sight, Task, Tree, Verdict, Verifier, VerifierError, VerifierId, Zero,
};

/// Solves what is left of a puzzle before a move and after it. Good if the move keeps the way to
/// the end open, bad if it gives that away or cannot be made, neutral if there was none to keep.
/// Of several moves in one message the worst counts. The value is 1, 0 or −1.
///
/// It sees the path alone: what a position is worth follows from the rules.
#[derive(Debug)]
pub struct PuzzleOracle {
    id: VerifierId,
}

impl Default for PuzzleOracle {
    fn default() -> Self {
        Self { id: VerifierId("puzzle-oracle@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for PuzzleOracle {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        Ok(judge_each(self, tree, nodes, seen.task, |path| find(path, seen.task)))
    }
}

fn find(path: &Path<'_>, task: &Task) -> Option<Finding> {
    let mut worst: Option<Finding> = None;
    let mut positions = Positions { task, path };
    for (index, (call, _)) in calls(path.step).enumerate() {
        let Some(game) = Game::of_tool(&call.tool) else { continue };
        let Some(position) = positions.before(game, index) else { continue };
        let finding = match game.worth(&position, &call.args) {
            Some(Worth::Keeps) => {
                Finding::good(1, "the move keeps the way to the end open".to_owned())
            }
            Some(Worth::Loses) => {
                Finding::bad(-1, "the move gives the end away".to_owned())
            }
            Some(Worth::Lost) => Finding::neutral(
                Zero::Neutral,
                0,
                "no move reaches the end from there".to_owned(),
            ),
            None => Finding::bad(-1, "the move cannot be made".to_owned()),
        };
        let evidence = path.execution(path.earlier.len(), index);
        let finding = finding.resting_on(evidence.into_iter().collect());
        let is_worse = worst.as_ref().is_none_or(|worst| finding.label < worst.label);
        if is_worse {
            worst = Some(finding);
        }
    }
    worst
}

/// Where a game stands: as the last move that was made shows, or as it begins.
struct Positions<'p> {
    task: &'p Task,
    path: &'p Path<'p>,
}

impl Positions<'_> {
    fn before(&mut self, game: Game, call: usize) -> Option<Value> {
        let own = calls(self.path.step).take(call);
        let earlier = self.path.earlier.iter().flat_map(|(_, step)| calls(step));
        let shown = earlier.chain(own).filter(|(call, _)| call.tool == game.name());
        let last = shown.filter_map(|(_, seen)| seen.data().get("position")).last();
        match last {
            Some(position) => Some(position.clone()),
            None => game.start(&self.task.inputs).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifiers::trajectory::check;

    #[test]
    fn moves_are_judged_by_where_the_game_stands() {
        check(
            &PuzzleOracle::default(),
            r#"
@ {"heaps": [1, 2]}
call nim {"heap": 2, "take": 2}                    | bad -1
  = you lost
  data {"position": {"heaps": [0, 0]}}
call nim {"heap": 1, "take": 1}                    | bad -1
  fault refused: no
answer won                                         |
"#,
        );
        check(
            &PuzzleOracle::default(),
            r#"
@ {"heaps": [1, 2]}
call nim {"heap": 2, "take": 1}                    | good 1
  = the other side
  data {"position": {"heaps": [0, 1]}}
call nim {"heap": 2, "take": 1}                    | good 1
  = won
"#,
        );
        check(
            &PuzzleOracle::default(),
            r#"
@ {"heaps": [2, 2]}
call nim {"heap": 2, "take": 1}                    | neutral 0
  = the other side
"#,
        );
    }
}
