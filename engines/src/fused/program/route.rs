//! Which buffer each gradient stands in on the way back.

use super::{Flow, Id, Program, Step};

impl Program {
    /// Finds a buffer for every gradient, the same for several where their times do not overlap.
    pub(super) fn route(&mut self) {
        let Program { values, steps, slots, logits, .. } = self;
        let mut pool = Pool { slots, free: Vec::new(), users: Vec::new() };
        values[*logits].slot = Some(pool.take(values[*logits].shape.len()));
        // First steps to read a value, and makers: by their place.
        let mut first_reader = vec![usize::MAX; values.len()];
        let mut readers = vec![Vec::new(); values.len()];
        let mut maker = vec![usize::MAX; values.len()];
        for (place, step) in steps.iter_mut().enumerate() {
            maker[step.output()] = place;
            for input in step.inputs() {
                first_reader[input.value] = first_reader[input.value].min(place);
                readers[input.value].push(place);
            }
        }
        // Makers that leave the gradient of what they made as it is: they neither mask it nor pass its buffer on.
        let reads_only: Vec<bool> = steps
            .iter()
            .map(|step| match step {
                Step::Join { .. } => false,
                Step::Convolution(_) | Step::Linear { .. } => true,
                _ => !values[step.output()].rectify,
            })
            .collect();
        for (place, step) in steps.iter_mut().enumerate().rev() {
            let output = step.output();
            let Some(slot) = values[output].slot else { continue };
            let join = matches!(step, Step::Join { .. });
            let mut sharing: Option<Id> = None;
            for input in step.inputs() {
                let value = input.value;
                input.completes = first_reader[value] == place;
                input.flow = if value == 0 {
                    Flow::None
                } else if values[value].slot.is_some() {
                    Flow::Add
                } else {
                    // Of two that share a buffer the first must be complete, and used up, as it is, before the second grows or is
                    // masked: its maker comes after the second's readers, and only reads.
                    let safe = sharing.is_none_or(|other| {
                        let grows = readers[value].iter().all(|reader| *reader == place || *reader < maker[other]);
                        let reads =
                            reads_only[maker[other]] && (maker[value] < maker[other] || reads_only[maker[value]]);
                        grows && reads && readers[other].len() == 1
                    });
                    if join && safe && values[value].shape == values[output].shape {
                        sharing = Some(value);
                        pool.share(slot);
                        values[value].slot = Some(slot);
                        Flow::Share
                    } else {
                        values[value].slot = Some(pool.take(values[value].shape.len()));
                        Flow::Write
                    }
                };
            }
            pool.release(slot);
        }
    }
}

/// Buffers for gradients, and which are in use.
struct Pool<'a> {
    slots: &'a mut Vec<usize>,
    free: Vec<usize>,
    users: Vec<usize>,
}

impl Pool<'_> {
    /// A free buffer: the smallest that is large enough, else the largest, enlarged, else a new one.
    fn take(&mut self, length: usize) -> usize {
        let slots = &*self.slots;
        let fitting = self.free.iter().copied().filter(|slot| slots[*slot] >= length).min_by_key(|slot| slots[*slot]);
        let slot = fitting.or_else(|| self.free.iter().copied().max_by_key(|slot| slots[*slot]));
        match slot {
            Some(slot) => {
                self.free.retain(|free| *free != slot);
                self.slots[slot] = self.slots[slot].max(length);
                self.users[slot] = 1;
                slot
            }
            None => {
                self.slots.push(length);
                self.users.push(1);
                self.slots.len() - 1
            }
        }
    }

    fn share(&mut self, slot: usize) {
        self.users[slot] += 1;
    }

    fn release(&mut self, slot: usize) {
        self.users[slot] -= 1;
        if self.users[slot] == 0 {
            self.free.push(slot);
        }
    }
}
