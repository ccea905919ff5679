//! The jobs that may be assigned, in order: one list for jobs that any worker can train and one for jobs that require a GPU.

use super::device_class::DeviceClass;
use super::job_entry::{JobIndex, QueuePosition};
use std::collections::BTreeSet;
use std::iter::Peekable;

/// The sort key of a queued job. The index makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueKey {
    pub position: QueuePosition,
    pub job: JobIndex,
}

/// Two lists, so that a search for jobs of one class does not scan the jobs of the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    any_device: BTreeSet<QueueKey>,
    gpu_only: BTreeSet<QueueKey>,
}

impl Queue {
    fn list(&mut self, requires: DeviceClass) -> &mut BTreeSet<QueueKey> {
        match requires {
            DeviceClass::Cpu => &mut self.any_device,
            DeviceClass::Gpu => &mut self.gpu_only,
        }
    }

    pub fn insert(&mut self, key: QueueKey, requires: DeviceClass) {
        self.list(requires).insert(key);
    }

    /// Returns whether the key was in the queue.
    pub fn remove(&mut self, key: QueueKey, requires: DeviceClass) -> bool {
        self.list(requires).remove(&key)
    }

    /// Whether any queued job requires a GPU.
    pub fn has_gpu_jobs(&self) -> bool {
        !self.gpu_only.is_empty()
    }

    /// The jobs that a worker of this class can train, in queue order.
    pub fn trainable_on(&self, device: DeviceClass) -> Merged<impl Iterator<Item = QueueKey>> {
        let gpu_only = (device == DeviceClass::Gpu).then_some(&self.gpu_only);
        let lists = [Some(&self.any_device), gpu_only].map(|list| list.into_iter().flatten().copied().peekable());
        Merged { lists }
    }
}

/// Merges two sorted lists.
pub(super) struct Merged<I: Iterator<Item = QueueKey>> {
    lists: [Peekable<I>; 2],
}

impl<I: Iterator<Item = QueueKey>> Iterator for Merged<I> {
    type Item = QueueKey;

    fn next(&mut self) -> Option<QueueKey> {
        let [first, second] = &mut self.lists;
        match (first.peek(), second.peek()) {
            (Some(one), Some(other)) if other < one => second.next(),
            (Some(_), _) => first.next(),
            (None, _) => second.next(),
        }
    }
}
