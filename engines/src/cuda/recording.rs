//! Recorded parts of a step.

use plusminus_cuda::Recording;

/// Where a part of a step reads its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Inputs that the host has copied.
    Host,
    /// The samples that the device holds.
    Held {
        /// Whether samples have transforms.
        transformed: bool,
    },
}

/// The part of a step that one recording covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// From the inputs to the logits.
    Forward(Source),
    /// From the gradient of the logits to new weights.
    Backward,
    /// From the inputs to new weights, with the loss on the device.
    Whole(Source),
    /// From the inputs to the logits, without dropout.
    Evaluation(Source),
}

/// After this many failed recordings the engine records no more.
pub(super) const MAX_FAILURES: usize = 3;

/// The recordings of an engine.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    /// By part and number of samples.
    pub parts: Vec<(Part, usize, Recording)>,
    /// Parts that have run once, launch by launch.
    pub launched: Vec<(Part, usize)>,
    /// Failed recordings.
    pub failures: usize,
}

impl Recordings {
    /// Removes everything but the count of failures, after memory has moved.
    pub fn clear(&mut self) {
        *self = Recordings { failures: self.failures, ..Recordings::default() };
    }

    /// The recording of a part, if there is one.
    pub fn find(&self, part: Part, samples: usize) -> Option<Recording> {
        let found = self.parts.iter().find(|(p, s, _)| (*p, *s) == (part, samples));
        found.map(|(_, _, recording)| *recording)
    }
}
