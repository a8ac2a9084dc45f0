//! Finds patterns in a stream: leftmost first, the longest at the same position, in linear time and independently of
//! how the stream is split.
//!
//! The automaton reports each occurrence when its last byte arrives. An occurrence is chosen once none that starts
//! earlier, and no longer one at the same position, can still come. Until then it is a candidate. Where no pattern
//! is a part of another, each occurrence is chosen at once.

use super::searcher::Searcher;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::noncontiguous::NFA;
use aho_corasick::{Anchored, BuildError, MatchKind, PatternID};
use std::collections::VecDeque;

/// A set of patterns, prepared for searching.
pub(super) struct Patterns {
    automaton: NFA,
    start: StateID,
    /// The length of the longest beginning of a pattern that the text ends with, by state: so many bytes may become
    /// part of an occurrence.
    open: Vec<usize>,
    /// The longest other pattern that a pattern ends with, by pattern.
    endings: Vec<Option<PatternID>>,
    searcher: Searcher,
}

impl Patterns {
    /// Prepares patterns, none of which is empty.
    ///
    /// # Errors
    ///
    /// If they have more than 2³¹ bytes.
    pub(super) fn new<P: AsRef<[u8]>>(patterns: &[P]) -> Result<Self, BuildError> {
        let automaton = NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(patterns.iter().map(AsRef::as_ref))?;
        // Searches without an anchor are always supported.
        let start = automaton.start_state(Anchored::No).unwrap_or_default();
        let open = open_lengths(&automaton, start, patterns);
        let endings = endings(&automaton, start, patterns);
        let searcher = Searcher::new(patterns);
        Ok(Self { automaton, start, open, endings, searcher })
    }

    /// Whether a text may contain one of the patterns: `false` is certain.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        self.searcher.find(text).is_some()
    }

    fn longest(&self) -> usize {
        self.automaton.max_pattern_len()
    }

    fn open(&self, state: StateID) -> usize {
        self.open.get(state.as_usize()).copied().unwrap_or(0)
    }
}

/// Computes [`Patterns::open`].
fn open_lengths<P: AsRef<[u8]>>(automaton: &NFA, start: StateID, patterns: &[P]) -> Vec<usize> {
    let mut open: Vec<usize> = Vec::new();
    let mut ends: Vec<(&[u8], StateID)> = Vec::new();
    for pattern in patterns {
        let mut state = start;
        for (depth, &byte) in pattern.as_ref().iter().enumerate() {
            if open.len() <= state.as_usize() {
                open.resize(state.as_usize() + 1, 0);
            }
            open[state.as_usize()] = depth;
            state = automaton.next_state(Anchored::No, state, byte);
        }
        ends.push((pattern.as_ref(), state));
    }
    // A whole pattern that no other continues: its longest proper ending that begins a pattern counts, which is that of
    // the state after all but its first byte. That state is of a shorter text, hence the order.
    ends.sort_by_key(|(pattern, _)| pattern.len());
    for (pattern, end) in ends {
        if open.len() <= end.as_usize() {
            open.resize(end.as_usize() + 1, 0);
        }
        if open[end.as_usize()] != 0 {
            continue;
        }
        let rest = pattern.iter().skip(1);
        let state = rest.fold(start, |state, &byte| automaton.next_state(Anchored::No, state, byte));
        open[end.as_usize()] = open.get(state.as_usize()).copied().unwrap_or(0);
    }
    open
}

/// Computes [`Patterns::endings`]. The patterns of a state are sorted by length: the state's own comes first. Asking the
/// automaton for the others takes it as many steps as there are before.
fn endings<P: AsRef<[u8]>>(automaton: &NFA, start: StateID, patterns: &[P]) -> Vec<Option<PatternID>> {
    let ending = |pattern: &P| {
        let pattern = pattern.as_ref().iter();
        let state = pattern.fold(start, |state, &byte| automaton.next_state(Anchored::No, state, byte));
        let own = automaton.pattern_len(automaton.match_pattern(state, 0));
        (1..automaton.match_len(state))
            .map(|index| automaton.match_pattern(state, index))
            .find(|&other| automaton.pattern_len(other) < own)
    };
    patterns.iter().map(ending).collect()
}

/// A chosen occurrence. Positions count from the start of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occurrence {
    /// The index of the pattern.
    pub(super) pattern: usize,
    /// The position of its first byte.
    pub(super) start: u64,
    /// The position after its last byte.
    pub(super) end: u64,
}

/// The state of a search.
#[derive(Clone)]
pub(super) struct Matcher {
    state: StateID,
    /// The position after the last byte.
    end: u64,
    /// The position after the last occurrence that was chosen.
    floor: u64,
    /// The longest candidate at each position from `origin`. Without candidates it is empty; otherwise there is one at
    /// `origin`.
    candidates: VecDeque<Option<PatternID>>,
    origin: u64,
}

impl Matcher {
    /// Starts a search.
    pub(super) fn new(patterns: &Patterns) -> Self {
        Self { state: patterns.start, end: 0, floor: 0, candidates: VecDeque::new(), origin: 0 }
    }

    /// Skips bytes at the start of `text` that are part of no occurrence, and returns their number. `text` is a part of
    /// the stream, and at its end an occurrence may have begun.
    pub(super) fn skip(&mut self, patterns: &Patterns, text: &[u8]) -> usize {
        // The end of the text is left to `step`, for it may be the beginning of an occurrence. It is so short that it
        // would be searched in vain again and again, too.
        let last = text.len().saturating_sub(patterns.longest().saturating_sub(1));
        if self.state != patterns.start || !self.candidates.is_empty() || last == 0 {
            return 0;
        }
        let found = patterns.searcher.find(text).unwrap_or(text.len());
        let skipped = found.min(last);
        self.end += skipped as u64;
        skipped
    }

    /// Searches the next byte.
    pub(super) fn step(&mut self, patterns: &Patterns, byte: u8) {
        let automaton = &patterns.automaton;
        self.state = automaton.next_state(Anchored::No, self.state, byte);
        self.end += 1;
        if !automaton.is_match(self.state) {
            return;
        }
        let mut next = Some(automaton.match_pattern(self.state, 0));
        while let Some(pattern) = next {
            self.add(self.end - automaton.pattern_len(pattern) as u64, pattern);
            next = patterns.endings[pattern.as_usize()];
        }
    }

    fn add(&mut self, start: u64, pattern: PatternID) {
        if start < self.floor {
            return;
        }
        if self.candidates.is_empty() {
            self.origin = start;
        }
        while start < self.origin {
            self.candidates.push_front(None);
            self.origin -= 1;
        }
        // The length of the longest pattern at most.
        let index = (start - self.origin) as usize;
        if self.candidates.len() <= index {
            self.candidates.resize(index + 1, None);
        }
        // A later candidate at the same position is longer.
        self.candidates[index] = Some(pattern);
    }

    /// Chooses the next occurrence, if nothing that follows can change it.
    pub(super) fn choose(&mut self, patterns: &Patterns) -> Option<Occurrence> {
        if self.candidates.is_empty() || self.origin >= self.end - patterns.open(self.state) as u64 {
            return None;
        }
        self.choose_last(patterns)
    }

    /// Chooses the next occurrence at the end of the stream.
    pub(super) fn choose_last(&mut self, patterns: &Patterns) -> Option<Occurrence> {
        let pattern = self.candidates.front().copied().flatten()?;
        let start = self.origin;
        let length = patterns.automaton.pattern_len(pattern);
        self.floor = start + length as u64;
        if self.floor == self.end {
            self.state = patterns.start;
        }
        self.drop_candidates(length.min(self.candidates.len()));
        let none = self.candidates.iter().take_while(|candidate| candidate.is_none()).count();
        self.drop_candidates(none);
        Some(Occurrence { pattern: pattern.as_usize(), start, end: self.floor })
    }

    fn drop_candidates(&mut self, count: usize) {
        self.candidates.drain(..count);
        self.origin += count as u64;
    }

    /// The position of the first byte that may be a part of a later occurrence.
    pub(super) fn open(&self, patterns: &Patterns) -> u64 {
        let open = self.floor.max(self.end - patterns.open(self.state) as u64);
        if self.candidates.is_empty() { open } else { open.min(self.origin) }
    }
}
