//! Trained weights as the kernels want them: with zeroes for channels that are lacking, in panels for a processor, a row an output for
//! a GPU.

use super::memory::Buffer;
use crate::{Plan, WeightEntry};
use plusminus_kernels::BLOCK;
use std::ops::Range;

/// Channels as they are stored: whole blocks.
pub(crate) fn blocks(channels: usize) -> usize {
    channels.next_multiple_of(BLOCK)
}

/// In which order the weights of convolutions and linear layers stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Panel of outputs, tap, input, output: what the processor's products take.
    #[default]
    Panels,
    /// Output, tap, input: what cuDNN takes.
    Rows,
}

/// How an array of the plan is stored.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// A value a channel.
    Vector,
    /// \[output, input, tap\] in the plan; in this order here.
    Weights { order: Order, inputs: usize, taps: usize, stored_inputs: usize },
}

/// An array of the plan and where it is stored.
#[derive(Clone, Debug)]
struct Array {
    plan: Range<usize>,
    stored: Range<usize>,
    layout: Layout,
}

impl Array {
    /// Where the array's value number `i` is stored.
    fn place(&self, i: usize) -> usize {
        self.stored.start
            + match self.layout {
                Layout::Vector => i,
                Layout::Weights { order, inputs, taps, stored_inputs } => {
                    let (output, input, tap) = (i / (inputs * taps), i / taps % inputs, i % taps);
                    match order {
                        Order::Panels => {
                            ((output / BLOCK * taps + tap) * stored_inputs + input) * BLOCK + output % BLOCK
                        }
                        Order::Rows => (output * taps + tap) * stored_inputs + input,
                    }
                }
            }
    }
}

/// Where every trained array of a network stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    arrays: Vec<Array>,
    length: usize,
    order: Order,
}

impl Parameters {
    /// None yet.
    pub fn new(order: Order) -> Self {
        Parameters { order, ..Parameters::default() }
    }

    /// A place for a vector of the plan.
    pub fn vector(&mut self, entry: &WeightEntry) -> Range<usize> {
        self.push(entry, Layout::Vector, blocks(entry.range.len()))
    }

    /// A place for kernels of so many `taps` over `inputs` channels, which are stored as `stored_inputs`.
    pub fn weights(&mut self, entry: &WeightEntry, inputs: usize, taps: usize, stored_inputs: usize) -> Range<usize> {
        let outputs = entry.range.len() / (inputs * taps);
        self.push(
            entry,
            Layout::Weights { order: self.order, inputs, taps, stored_inputs },
            blocks(outputs) * taps * stored_inputs,
        )
    }

    /// A place for vectors of so many values each, which are stored as `stored` values.
    pub fn rows(&mut self, entry: &WeightEntry, values: usize, stored: usize) -> Range<usize> {
        let layout = Layout::Weights { order: Order::Rows, inputs: values, taps: 1, stored_inputs: stored };
        self.push(entry, layout, blocks(entry.range.len() / values) * stored)
    }

    fn push(&mut self, entry: &WeightEntry, layout: Layout, length: usize) -> Range<usize> {
        let stored = self.length..self.length + length;
        self.length = stored.end;
        self.arrays.push(Array { plan: entry.range.clone(), stored: stored.clone(), layout });
        stored
    }

    /// How many values are stored.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether every trained value of `plan` has a place.
    pub fn covers(&self, plan: &Plan) -> bool {
        self.arrays.iter().map(|array| array.plan.len()).sum::<usize>() == plan.trained()
    }

    /// The stored form of the trained values, a value a weight in the plan's order.
    pub fn store(&self, values: &[f32]) -> Buffer {
        let mut stored = Buffer::zeroes(self.length);
        for array in &self.arrays {
            for (i, value) in values[array.plan.clone()].iter().enumerate() {
                stored[array.place(i)] = *value;
            }
        }
        stored
    }

    /// Writes stored values to their places in a flat list in the plan's order.
    pub fn restore(&self, stored: &[f32], values: &mut [f32]) {
        for array in &self.arrays {
            for (i, value) in values[array.plan.clone()].iter_mut().enumerate() {
                *value = stored[array.place(i)];
            }
        }
    }
}
