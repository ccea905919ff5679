//! The jobs that may be assigned, in their turn: those that any worker can train, and those that need a GPU.

use super::state::JobIndex;
use std::collections::BTreeSet;
use std::iter::Peekable;

/// A job's place: the sweep that asked first and the job's place in it, and which job it is.
pub(super) type Place = ((u32, u32), JobIndex);

/// Two lists, so that nobody goes through the jobs of the one to find those of the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    anywhere: BTreeSet<Place>,
    on_gpus: BTreeSet<Place>,
}

impl Queue {
    fn list(&mut self, gpu: bool) -> &mut BTreeSet<Place> {
        if gpu { &mut self.on_gpus } else { &mut self.anywhere }
    }

    pub fn insert(&mut self, place: Place, gpu: bool) {
        self.list(gpu).insert(place);
    }

    /// Whether it was there.
    pub fn remove(&mut self, place: Place, gpu: bool) -> bool {
        self.list(gpu).remove(&place)
    }

    /// Whether some need a GPU.
    pub fn waits_for_gpus(&self) -> bool {
        !self.on_gpus.is_empty()
    }

    /// Those that a worker with a GPU, or without, can train.
    pub fn in_turn(&self, gpu: bool) -> InTurn<impl Iterator<Item = Place>> {
        let others = gpu.then_some(&self.on_gpus);
        let lists = [Some(&self.anywhere), others].map(|list| list.into_iter().flatten().copied().peekable());
        InTurn { lists }
    }
}

/// The places of two lists as one.
pub(super) struct InTurn<I: Iterator<Item = Place>> {
    lists: [Peekable<I>; 2],
}

impl<I: Iterator<Item = Place>> Iterator for InTurn<I> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let [first, second] = &mut self.lists;
        match (first.peek(), second.peek()) {
            (Some(one), Some(other)) if other < one => second.next(),
            (Some(_), _) => first.next(),
            (None, _) => second.next(),
        }
    }
}
