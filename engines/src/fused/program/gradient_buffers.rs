//! Assigns buffers to the gradients of the backward pass.

use super::ir::{GradientFlow, Program, Step, ValueId};

/// Assigns a buffer to every gradient. Gradients share a buffer if they are not in use at the same time.
pub(super) fn assign(program: &mut Program) {
    let Program { values, steps, gradient_buffers, logits, .. } = program;
    let mut pool = Pool { lengths: gradient_buffers, free: Vec::new(), users: Vec::new() };
    values[*logits].gradient_buffer = Some(pool.acquire(values[*logits].shape.len()));
    let Uses { first_reader, readers, maker } = Uses::of(steps, values.len());
    // Steps that do not modify their output's gradient: they neither mask it nor pass its buffer on.
    let only_reads: Vec<bool> = steps
        .iter()
        .map(|step| match step {
            Step::Join { .. } => false,
            Step::Convolution(_) | Step::Linear { .. } => true,
            _ => !values[step.output()].rectify,
        })
        .collect();
    for (index, step) in steps.iter_mut().enumerate().rev() {
        let output = step.output();
        let Some(buffer) = values[output].gradient_buffer else { continue };
        let join = matches!(step, Step::Join { .. });
        let mut sharing: Option<ValueId> = None;
        for input in step.inputs() {
            let value = input.value;
            input.completes = first_reader[value] == index;
            input.flow = if value == 0 {
                GradientFlow::None
            } else if values[value].gradient_buffer.is_some() {
                GradientFlow::Add
            } else {
                // If two inputs share a buffer, the first gradient must be complete and consumed unmodified before the second is
                // added to or masked: the first's maker comes after the second's readers and only reads.
                let safe = sharing.is_none_or(|other| {
                    let grows = readers[value].iter().all(|reader| *reader == index || *reader < maker[other]);
                    let reads = only_reads[maker[other]] && (maker[value] < maker[other] || only_reads[maker[value]]);
                    grows && reads && readers[other].len() == 1
                });
                if join && safe && values[value].shape == values[output].shape {
                    sharing = Some(value);
                    pool.share(buffer);
                    values[value].gradient_buffer = Some(buffer);
                    GradientFlow::Share
                } else {
                    values[value].gradient_buffer = Some(pool.acquire(values[value].shape.len()));
                    GradientFlow::Write
                }
            };
        }
        pool.release(buffer);
    }
}

/// The steps that make and read each value, by their indices.
struct Uses {
    /// `usize::MAX` for a value without readers.
    first_reader: Vec<usize>,
    readers: Vec<Vec<usize>>,
    /// `usize::MAX` for the network's input.
    maker: Vec<usize>,
}

impl Uses {
    fn of(steps: &mut [Step], values: usize) -> Self {
        let mut uses = Uses {
            first_reader: vec![usize::MAX; values],
            readers: vec![Vec::new(); values],
            maker: vec![usize::MAX; values],
        };
        for (index, step) in steps.iter_mut().enumerate() {
            uses.maker[step.output()] = index;
            for input in step.inputs() {
                uses.first_reader[input.value] = uses.first_reader[input.value].min(index);
                uses.readers[input.value].push(index);
            }
        }
        uses
    }
}

/// The buffers and their use at one point of the backward pass.
struct Pool<'a> {
    /// Values per sample of each buffer.
    lengths: &'a mut Vec<usize>,
    free: Vec<usize>,
    /// Gradients in each buffer.
    users: Vec<usize>,
}

impl Pool<'_> {
    /// A free buffer: the smallest that suffices, otherwise the largest after enlarging it, otherwise a new one.
    fn acquire(&mut self, length: usize) -> usize {
        let lengths = &*self.lengths;
        let sufficient =
            self.free.iter().copied().filter(|buffer| lengths[*buffer] >= length).min_by_key(|buffer| lengths[*buffer]);
        let buffer = sufficient.or_else(|| self.free.iter().copied().max_by_key(|buffer| lengths[*buffer]));
        match buffer {
            Some(buffer) => {
                self.free.retain(|free| *free != buffer);
                self.lengths[buffer] = self.lengths[buffer].max(length);
                self.users[buffer] = 1;
                buffer
            }
            None => {
                self.lengths.push(length);
                self.users.push(1);
                self.lengths.len() - 1
            }
        }
    }

    fn share(&mut self, buffer: usize) {
        self.users[buffer] += 1;
    }

    fn release(&mut self, buffer: usize) {
        self.users[buffer] -= 1;
        if self.users[buffer] == 0 {
            self.free.push(buffer);
        }
    }
}
