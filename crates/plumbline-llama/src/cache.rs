//! Which tokens lie in the attention cache, and whose they are: a pure mirror of what the
//! engine has made llama.cpp hold.
//!
//! Every sequence is a list of tokens with the cell each lies in. Sequences that were forked
//! share cells, so a cell counts its owners. A sequence that is no longer in use stays as
//! idle: its tokens may begin a later prompt. Idle sequences are dropped, the longest unused
//! first, when cells or sequence ids run out.
//!
//! They are also dropped when they have been idle for too long, because they are not free:
//! attention passes over every cell in use, whosever it is, for every token. After some 400
//! turns a cell has cost what evaluating its token again would (README.md). Most sequences
//! are taken up again at once or never, so what is waited for is a multiple of the longest
//! wait that has lately been worth it, and at most that. Turns are counted, not timed: what
//! is dropped depends on the requests alone.

use std::collections::VecDeque;

/// Turns after which keeping an idle cell has cost as much as evaluating its token again.
const PATIENCE_TURNS_MAX: u64 = 400;

/// Turns that an idle sequence is kept at least.
const PATIENCE_TURNS_MIN: u64 = 64;

/// How many times the longest wait of late a sequence is kept.
const PATIENCE_FACTOR: u64 = 4;

/// Waits that are remembered.
const WAITS_MAX: usize = 64;

/// A change for llama.cpp to make, in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// The first `length` tokens of `from` become the beginning of `to`, which is empty.
    Fork {
        /// Which sequence is copied.
        from: u32,
        /// Which one begins like it.
        to: u32,
        /// How many tokens they share.
        length: u32,
    },
    /// Only the first `length` tokens of a sequence stay.
    Truncate {
        /// Which sequence.
        sequence: u32,
        /// What stays.
        length: u32,
    },
}

/// A sequence that has been taken into use for a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Which sequence.
    pub(crate) sequence: u32,
    /// How many tokens of the prompt it holds already.
    pub(crate) reused: u32,
    /// What llama.cpp must do first.
    pub(crate) edits: Vec<Edit>,
}

/// The mirror.
#[derive(Debug)]
pub(crate) struct Cache {
    sequences: Vec<Sequence>,
    /// How many sequences hold each cell.
    owners: Vec<u32>,
    free: Vec<u32>,
    /// Cells that sequences in use may still ask for.
    promised: usize,
    clock: u64,
    turn: u64,
    /// How many turns the last idle sequences that were taken up again had waited.
    waits: VecDeque<u64>,
    /// Whether prompts begin with what is held.
    reuse: bool,
}

#[derive(Debug, Default)]
struct Sequence {
    tokens: Vec<u32>,
    cells: Vec<u32>,
    use_: Use,
    /// When it was last used, for telling which one was used longest ago.
    touched: u64,
    /// The turn of that.
    touched_turn: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Use {
    #[default]
    Idle,
    /// In use. So many more cells are promised to it, and so many of its first tokens are
    /// there for others to share: what comes after them may be taken back.
    Busy { promised: usize, shared: usize },
}

impl Cache {
    /// An empty cache of so many sequences and cells.
    pub(crate) fn new(sequences: u32, cells: u32) -> Self {
        Self {
            sequences: (0..sequences).map(|_| Sequence::default()).collect(),
            owners: vec![0; cells as usize],
            free: (0..cells).rev().collect(),
            promised: 0,
            clock: 0,
            turn: 0,
            waits: VecDeque::new(),
            reuse: true,
        }
    }

    /// The same cache, or one in which every prompt is read from its first token. What is
    /// sampled from one prompt shares its cells all the same.
    pub(crate) fn reusing(self, reuse: bool) -> Self {
        Self { reuse, ..self }
    }

    /// Begins a turn, and drops sequences that have been idle for too long.
    pub(crate) fn turn(&mut self) -> Vec<Edit> {
        self.turn += 1;
        let patience = self.patience();
        let mut edits = Vec::new();
        for at in 0..self.sequences.len() {
            let sequence = &self.sequences[at];
            if !sequence.is_busy() && self.turn - sequence.touched_turn > patience {
                self.truncate(at, 0, &mut edits);
            }
        }
        edits
    }

    fn patience(&self) -> u64 {
        if self.waits.len() < WAITS_MAX {
            return PATIENCE_TURNS_MAX;
        }
        let longest = self.waits.iter().copied().max().unwrap_or(0);
        (PATIENCE_FACTOR * longest).clamp(PATIENCE_TURNS_MIN, PATIENCE_TURNS_MAX)
    }

    /// How many sequences are in use.
    pub(crate) fn busy(&self) -> usize {
        self.sequences.iter().filter(|sequence| sequence.is_busy()).count()
    }

    /// How many tokens at the beginning of a prompt lie in the cache. The last token of a
    /// prompt never counts: it is evaluated for the sake of its logits.
    pub(crate) fn held(&self, prompt: &[u32]) -> usize {
        self.best(prompt).map_or(0, |(_, length)| length)
    }

    /// Takes a sequence into use for a prompt and at most `growth` sampled tokens, and
    /// promises the cells for both. `None` if that must wait until others are released.
    pub(crate) fn acquire(&mut self, prompt: &[u32], growth: usize) -> Option<Lease> {
        let (source, reused) = match self.best(prompt) {
            Some((source, reused)) if reused > 0 => (Some(source), reused),
            _ => (None, 0),
        };
        let needed = prompt.len() - reused + growth;
        if !self.could_free(needed, source, reused) {
            return None;
        }
        if let Some(at) = source.filter(|&at| !self.sequences[at].is_busy()) {
            self.waits.truncate(WAITS_MAX - 1);
            self.waits.push_front(self.turn - self.sequences[at].touched_turn);
        }
        let mut edits = Vec::new();
        let sequence = match source {
            // Nobody else can want the sequence for more than this prompt extends.
            Some(at) if self.is_prefix(at, reused) => at,
            Some(at) => match self.vacate(Some(at), &mut edits) {
                Some(to) => {
                    self.share(at, to, reused, &mut edits);
                    to
                }
                // The source is the only idle sequence: it gives up its tail.
                None if !self.sequences[at].is_busy() => {
                    self.truncate(at, reused, &mut edits);
                    at
                }
                None => return None,
            },
            None => self.vacate(None, &mut edits)?,
        };
        self.occupy(sequence, needed, prompt.len(), &mut edits);
        Some(Lease { sequence: number(sequence), reused: number(reused), edits })
    }

    /// Takes another sequence into use that begins with the first `length` tokens of one in
    /// use, for at most `growth` tokens after them.
    pub(crate) fn fork(
        &mut self,
        from: u32,
        length: u32,
        growth: usize,
    ) -> Option<(u32, Vec<Edit>)> {
        let (at, length) = (from as usize, length as usize);
        assert!(
            length <= self.sequences[at].tokens.len(),
            "only what is there is shared"
        );
        if !self.could_free(growth, Some(at), length) {
            return None;
        }
        let mut edits = Vec::new();
        let to = self.vacate(Some(at), &mut edits)?;
        self.share(at, to, length, &mut edits);
        self.occupy(to, growth, length, &mut edits);
        Some((number(to), edits))
    }

    /// Takes a sequence in use back to its prompt, so that it can grow once more as far as
    /// was promised.
    pub(crate) fn rewind(&mut self, sequence: u32) -> Vec<Edit> {
        let at = sequence as usize;
        let Use::Busy { promised, shared } = self.sequences[at].use_ else {
            panic!("only sequences in use are rewound");
        };
        let grown = self.sequences[at].tokens.len().saturating_sub(shared);
        let mut edits = Vec::new();
        // Nobody else holds these cells: each one is free again, and promised again.
        self.truncate(at, shared, &mut edits);
        self.sequences[at].use_ = Use::Busy { promised: promised + grown, shared };
        self.promised += grown;
        edits
    }

    /// Records a token that llama.cpp has been given for a sequence in use. Returns its
    /// position.
    pub(crate) fn append(&mut self, sequence: u32, token: u32) -> u32 {
        let Use::Busy { promised, .. } = &mut self.sequences[sequence as usize].use_
        else {
            panic!("tokens are appended to sequences in use");
        };
        assert!(*promised > 0, "a sequence stays within what it was promised");
        *promised -= 1;
        self.promised -= 1;
        let cell = self.free.pop().expect("promised cells are free");
        self.owners[cell as usize] = 1;
        let sequence = &mut self.sequences[sequence as usize];
        sequence.tokens.push(token);
        sequence.cells.push(cell);
        number(sequence.tokens.len() - 1)
    }

    /// Ends the use of a sequence. Its tokens stay for as long as there is room.
    pub(crate) fn release(&mut self, sequence: u32) {
        self.withdraw(sequence as usize);
        self.touch(sequence as usize);
    }

    /// Ends the use of a sequence whose tokens llama.cpp may not hold as recorded.
    pub(crate) fn forget(&mut self, sequence: u32) -> Vec<Edit> {
        let mut edits = Vec::new();
        self.withdraw(sequence as usize);
        self.truncate(sequence as usize, 0, &mut edits);
        edits
    }

    /// The sequence that begins most like a prompt, and how many tokens they share. Among
    /// equals a sequence that ends there, which is taken over rather than copied; then the
    /// one used last.
    fn best(&self, prompt: &[u32]) -> Option<(usize, usize)> {
        if !self.reuse {
            return None;
        }
        let prompt = &prompt[..prompt.len().saturating_sub(1)];
        let shared = |at: usize| common_prefix(self.sequences[at].shared(), prompt);
        (0..self.sequences.len()).map(|at| (at, shared(at))).max_by_key(
            |&(at, length)| {
                (length, self.is_prefix(at, length), self.sequences[at].touched)
            },
        )
    }

    /// Whether a sequence is idle and holds no more than `length` tokens.
    fn is_prefix(&self, at: usize, length: usize) -> bool {
        !self.sequences[at].is_busy() && self.sequences[at].tokens.len() == length
    }

    /// Whether `needed` cells can be had beyond those promised, if all idle sequences are
    /// dropped, but for the first `kept` tokens of one.
    fn could_free(&self, needed: usize, keep: Option<usize>, kept: usize) -> bool {
        let free = self.free.len() - self.promised;
        if free >= needed {
            return true;
        }
        // What stays is what sequences in use hold, and the prefix that is kept.
        let mut stays = vec![false; self.owners.len()];
        for (at, sequence) in self.sequences.iter().enumerate() {
            let length = match keep {
                _ if sequence.is_busy() => sequence.cells.len(),
                Some(keep) if keep == at => kept,
                _ => 0,
            };
            for &cell in &sequence.cells[..length] {
                stays[cell as usize] = true;
            }
        }
        let stays = stays.iter().filter(|&&stays| stays).count();
        self.owners.len() - stays - self.promised >= needed
    }

    /// Empties a sequence that is not in use: an empty one, or the longest unused, but not
    /// `keep`.
    fn vacate(&mut self, keep: Option<usize>, edits: &mut Vec<Edit>) -> Option<usize> {
        let at = (0..self.sequences.len())
            .filter(|&at| Some(at) != keep && !self.sequences[at].is_busy())
            .min_by_key(|&at| {
                let sequence = &self.sequences[at];
                (!sequence.tokens.is_empty(), sequence.touched)
            })?;
        self.truncate(at, 0, edits);
        Some(at)
    }

    fn share(&mut self, from: usize, to: usize, length: usize, edits: &mut Vec<Edit>) {
        self.touch(from);
        let tokens = self.sequences[from].tokens[..length].to_vec();
        let cells = self.sequences[from].cells[..length].to_vec();
        for &cell in &cells {
            self.owners[cell as usize] += 1;
        }
        self.sequences[to].tokens = tokens;
        self.sequences[to].cells = cells;
        let (from, to, length) = (number(from), number(to), number(length));
        edits.push(Edit::Fork { from, to, length });
    }

    /// Marks a sequence as in use, and drops idle ones until its promise can be kept.
    fn occupy(
        &mut self,
        at: usize,
        promised: usize,
        shared: usize,
        edits: &mut Vec<Edit>,
    ) {
        self.sequences[at].use_ = Use::Busy { promised, shared };
        self.promised += promised;
        self.touch(at);
        while self.free.len() < self.promised {
            let idle = (0..self.sequences.len())
                .filter(|&at| {
                    !self.sequences[at].is_busy() && !self.sequences[at].tokens.is_empty()
                })
                .min_by_key(|&at| self.sequences[at].touched);
            let at = idle.expect("`could_free` has counted what idle sequences hold");
            self.truncate(at, 0, edits);
        }
    }

    fn withdraw(&mut self, at: usize) {
        if let Use::Busy { promised, .. } = self.sequences[at].use_ {
            self.promised -= promised;
            self.sequences[at].use_ = Use::Idle;
        }
    }

    fn truncate(&mut self, at: usize, length: usize, edits: &mut Vec<Edit>) {
        let sequence = &mut self.sequences[at];
        if sequence.tokens.len() <= length {
            return;
        }
        sequence.tokens.truncate(length);
        for cell in sequence.cells.drain(length..) {
            let owners = &mut self.owners[cell as usize];
            *owners -= 1;
            if *owners == 0 {
                self.free.push(cell);
            }
        }
        edits.push(Edit::Truncate { sequence: number(at), length: number(length) });
    }

    fn touch(&mut self, at: usize) {
        self.clock += 1;
        self.sequences[at].touched = self.clock;
        self.sequences[at].touched_turn = self.turn;
    }
}

impl Sequence {
    /// The tokens that others may begin with.
    fn shared(&self) -> &[u32] {
        match self.use_ {
            Use::Busy { shared, .. } => &self.tokens[..shared.min(self.tokens.len())],
            Use::Idle => &self.tokens,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self.use_, Use::Busy { .. })
    }
}

/// How many tokens two texts have in common at their beginning.
pub(crate) fn common_prefix(left: &[u32], right: &[u32]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// Sequences and their lengths are counted in `u32`, as llama.cpp counts them.
fn number(count: usize) -> u32 {
    u32::try_from(count)
        .expect("lengths are bounded by the cells, which are counted in u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acquires, and appends what the prompt still lacks.
    fn read(cache: &mut Cache, prompt: &[u32], growth: usize) -> Lease {
        let lease = cache.acquire(prompt, growth).expect("there is room");
        for &token in &prompt[lease.reused as usize..] {
            cache.append(lease.sequence, token);
        }
        lease
    }

    #[test]
    fn the_next_step_extends_the_sequence_of_the_last() {
        let mut cache = Cache::new(4, 100);
        let first = read(&mut cache, &[1, 2, 3], 2);
        assert_eq!((first.reused, first.edits), (0, vec![]));
        assert_eq!(cache.append(first.sequence, 4), 3);
        cache.release(first.sequence);
        let second = read(&mut cache, &[1, 2, 3, 4, 5, 6], 2);
        assert_eq!(second, Lease { sequence: first.sequence, reused: 4, edits: vec![] });
    }

    #[test]
    fn without_reuse_every_prompt_is_read_from_its_first_token() {
        let mut cache = Cache::new(2, 100).reusing(false);
        let first = read(&mut cache, &[1, 2, 3], 1);
        cache.release(first.sequence);
        assert_eq!(cache.held(&[1, 2, 3, 4]), 0);
        assert_eq!(read(&mut cache, &[1, 2, 3, 4], 1).reused, 0);
    }

    #[test]
    fn prompts_share_the_prefix_of_a_sequence_in_use() {
        let mut cache = Cache::new(4, 100);
        let first = read(&mut cache, &[1, 2, 3], 10);
        let second = read(&mut cache, &[1, 2, 9], 10);
        assert_eq!(second.reused, 2);
        let (from, to) = (first.sequence, second.sequence);
        assert_eq!(second.edits, [Edit::Fork { from, to, length: 2 }]);
        assert_eq!(cache.free.len(), 96, "the two shared tokens are held once");
    }

    #[test]
    fn the_last_token_of_a_repeated_prompt_is_evaluated_again() {
        let mut cache = Cache::new(4, 100);
        let first = read(&mut cache, &[1, 2, 3], 1);
        cache.release(first.sequence);
        assert_eq!(cache.held(&[1, 2, 3]), 2);
        assert_eq!(cache.acquire(&[1, 2, 3], 1).expect("room").reused, 2);
    }

    #[test]
    fn idle_sequences_make_room_the_longest_unused_first() {
        let mut cache = Cache::new(8, 10);
        for start in [10, 20, 30] {
            let lease = read(&mut cache, &[start, 1, 2], 0);
            cache.release(lease.sequence);
        }
        read(&mut cache, &[40, 1, 2], 1);
        let held = [10, 20, 30].map(|start| cache.held(&[start, 1, 2, 3]));
        assert_eq!(held, [0, 3, 3]);
    }

    #[test]
    fn idle_sequences_are_kept_for_as_long_as_it_has_been_worth() {
        let mut cache = Cache::new(8, 1000);
        let turns = |cache: &mut Cache, turns: u64| {
            (0..turns).flat_map(|_| cache.turn()).collect::<Vec<_>>()
        };
        let never = read(&mut cache, &[9, 9, 9], 0);
        cache.release(never.sequence);
        assert_eq!(turns(&mut cache, PATIENCE_TURNS_MAX), []);
        let dropped = [Edit::Truncate { sequence: never.sequence, length: 0 }];
        assert_eq!(turns(&mut cache, 1), dropped, "while nothing is known");

        let never = read(&mut cache, &[9, 9, 9], 0);
        cache.release(never.sequence);
        let mut prompt = vec![1, 2];
        let mut edits = vec![];
        for token in 0..=WAITS_MAX as u32 {
            prompt.push(token);
            let step = read(&mut cache, &prompt, 0);
            cache.release(step.sequence);
            edits.extend(turns(&mut cache, 1));
        }
        let dropped = [Edit::Truncate { sequence: never.sequence, length: 0 }];
        assert_eq!(edits, dropped, "once sequences are known to be taken up at once");
        assert_eq!(cache.held(&[prompt, vec![7]].concat()), WAITS_MAX + 3);
    }

    #[test]
    fn what_is_promised_is_not_promised_twice() {
        let mut cache = Cache::new(8, 10);
        let first = cache.acquire(&[1, 2], 5).expect("room");
        assert!(cache.acquire(&[3, 4], 2).is_none());
        let second = cache.acquire(&[3, 4], 1).expect("exactly room");
        cache.release(first.sequence);
        cache.release(second.sequence);
        assert!(cache.acquire(&[5; 10], 0).is_some());
        assert_eq!(cache.busy(), 1);
    }

    #[test]
    fn a_prompt_waits_while_every_sequence_is_in_use() {
        let mut cache = Cache::new(1, 10);
        let first = read(&mut cache, &[1, 2], 1);
        assert!(cache.acquire(&[1, 2, 3], 1).is_none());
        cache.release(first.sequence);
        // The only sequence gives up what it holds beyond the shared part.
        let second = cache.acquire(&[1, 3, 4], 1).expect("released");
        let edits = [Edit::Truncate { sequence: 0, length: 1 }];
        assert_eq!((second.reused, &second.edits[..]), (1, &edits[..]));
    }

    #[test]
    fn forks_and_rewinds_keep_the_count_of_cells() {
        let mut cache = Cache::new(3, 12);
        let lead = read(&mut cache, &[1, 2, 3], 2);
        let (other, edits) = cache.fork(lead.sequence, 3, 2).expect("room");
        assert_eq!(edits, [Edit::Fork { from: lead.sequence, to: other, length: 3 }]);
        cache.append(lead.sequence, 7);
        cache.append(other, 8);
        assert_eq!(cache.free.len(), 7);
        let edits = cache.rewind(lead.sequence);
        assert_eq!(edits, [Edit::Truncate { sequence: lead.sequence, length: 3 }]);
        assert_eq!(cache.free.len(), 8);
        cache.release(lead.sequence);
        cache.forget(other);
        assert_eq!((cache.free.len(), cache.promised), (9, 0));
        assert_eq!(cache.held(&[1, 2, 3, 4]), 3);
    }
}
