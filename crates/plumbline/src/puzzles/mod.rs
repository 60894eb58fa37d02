//! Puzzles: worlds in which every move can be judged exactly, by solving what is left. One file
//! a game.

mod nim;
mod sudoku;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Digest, Effect, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec,
};

/// The games there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Game {
    /// Heaps of pieces; whoever takes the last piece wins. The tool plays the other side, and
    /// makes no mistake. Inputs: `{"heaps": [3, 4, 5]}`.
    Nim,
    /// Digits 1 to 4, each once in every row, column and quarter. Inputs: `{"rows": ["1...",
    /// ...]}`, with one solution.
    Sudoku,
}

/// What a move is worth to whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It keeps the way to the end open.
    Keeps,
    /// It gives that away.
    Loses,
    /// There was none to keep.
    Lost,
}

/// A position, as JSON: what the tool keeps in the scratch, and shows in the data of its
/// observations as `position`.
type Position = Value;

impl Game {
    /// What the model calls the tool, and the key of its state.
    pub fn name(self) -> &'static str {
        match self {
            Game::Nim => "nim",
            Game::Sudoku => "sudoku",
        }
    }

    /// The game of a tool.
    pub fn of_tool(tool: &str) -> Option<Self> {
        [Game::Nim, Game::Sudoku].into_iter().find(|game| game.name() == tool)
    }

    /// The position that a task begins with; in words what is wrong with its inputs.
    pub fn start(self, inputs: &Value) -> Result<Position, String> {
        match self {
            Game::Nim => nim::start(inputs),
            Game::Sudoku => sudoku::start(inputs),
        }
    }

    /// What a move is worth in a position: exactly. `None` if it cannot be made.
    pub fn worth(self, position: &Position, args: &Value) -> Option<Worth> {
        match self {
            Game::Nim => nim::worth(position, args),
            Game::Sudoku => sudoku::worth(position, args),
        }
    }

    fn play(self, position: &Position, args: &Value) -> Result<Played, String> {
        match self {
            Game::Nim => nim::play(position, args),
            Game::Sudoku => sudoku::play(position, args),
        }
    }

    fn spec(self) -> ToolSpec {
        let whole =
            |maximum: u32| json!({ "type": "integer", "minimum": 1, "maximum": maximum });
        let (description, properties) = match self {
            Game::Nim => (
                "Takes pieces off one heap; the other side then does the same. Whoever takes \
                 the last piece of all wins, and is told a word.",
                json!({ "heap": whole(9), "take": whole(99) }),
            ),
            Game::Sudoku => (
                "Writes a digit into a cell, or empties it with the digit 0.",
                json!({
                    "row": whole(4),
                    "column": whole(4),
                    "digit": { "type": "integer", "minimum": 0, "maximum": 4 },
                }),
            ),
        };
        let required: Vec<&String> =
            properties.as_object().into_iter().flat_map(|p| p.keys()).collect();
        ToolSpec {
            name: self.name().to_owned(),
            description: description.to_owned(),
            parameters: json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }),
            pinned: Digest::of(format!("{}@1", self.name()).as_bytes()),
        }
    }
}

/// What a move came to.
struct Played {
    position: Position,
    text: String,
}

/// A game as a tool.
#[derive(Debug)]
pub struct Puzzle {
    game: Game,
    spec: ToolSpec,
}

impl Puzzle {
    /// The tool of a game.
    pub fn new(game: Game) -> Self {
        Self { game, spec: game.spec() }
    }
}

#[async_trait]
impl Tool for Puzzle {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Stateful
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        _limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let key = self.game.name();
        let position = match scratch.get(key) {
            Some(position) => Ok(position.clone()),
            None => self.game.start(scratch.inputs()),
        };
        let position = position.map_err(|message| ToolError::Engine {
            tool: key.to_owned(),
            message: format!("the task's inputs: {message}"),
        })?;
        Ok(match self.game.play(&position, args) {
            Ok(Played { position, text }) => {
                scratch.set(key, position.clone());
                Observation::Output { text, data: json!({ "position": position }) }
            }
            Err(refusal) => Observation::fault(Fault::Refused, refusal),
        })
    }
}

/// A word that nobody can guess and every machine makes alike.
fn word(of: &Value) -> String {
    Digest::of_json(of).short()[..6].to_owned()
}

fn number(args: &Value, name: &str) -> Option<usize> {
    args.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}
