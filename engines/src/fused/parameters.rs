//! The layout of trained weights in an engine's memory: padded to whole blocks of channels, in the order that the kernels read.

use super::buffer::Buffer;
use crate::weights::{Plan, WeightEntry};
use plusminus_kernels::BLOCK;
use std::ops::Range;

/// The number of channels in memory: padded to whole blocks.
pub(crate) fn stored_channels(channels: usize) -> usize {
    channels.next_multiple_of(BLOCK)
}

/// The order of a convolution's or linear layer's stored weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WeightOrder {
    /// `[panel of outputs, tap, input, output]`, for the CPU's matrix products.
    #[default]
    Panels,
    /// `[output, tap, input]`, for cuDNN.
    Rows,
}

/// How an array of the plan is stored.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// `[channel]`.
    Vector,
    /// `[output, input, tap]` in the plan, and this order in memory.
    Weights { order: WeightOrder, inputs: usize, taps: usize, stored_inputs: usize },
}

/// An array with its ranges in the plan and in memory.
#[derive(Clone, Debug)]
struct Array {
    plan: Range<usize>,
    stored: Range<usize>,
    layout: Layout,
}

impl Array {
    /// The index in memory of the array's i-th value.
    fn index(&self, i: usize) -> usize {
        self.stored.start
            + match self.layout {
                Layout::Vector => i,
                Layout::Weights { order, inputs, taps, stored_inputs } => {
                    let (output, input, tap) = (i / (inputs * taps), i / taps % inputs, i % taps);
                    match order {
                        WeightOrder::Panels => {
                            ((output / BLOCK * taps + tap) * stored_inputs + input) * BLOCK + output % BLOCK
                        }
                        WeightOrder::Rows => (output * taps + tap) * stored_inputs + input,
                    }
                }
            }
    }
}

/// The layout of all trained arrays of a network. Padding is zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    arrays: Vec<Array>,
    length: usize,
    order: WeightOrder,
}

impl Parameters {
    /// An empty layout.
    pub fn new(order: WeightOrder) -> Self {
        Parameters { order, ..Parameters::default() }
    }

    /// Adds a vector. Returns its range in memory.
    pub fn vector(&mut self, entry: &WeightEntry) -> Range<usize> {
        self.push(entry, Layout::Vector, stored_channels(entry.range.len()))
    }

    /// Adds kernels of `taps` taps over `inputs` channels, of which `stored_inputs` are in memory. Returns their range in memory.
    pub fn weights(&mut self, entry: &WeightEntry, inputs: usize, taps: usize, stored_inputs: usize) -> Range<usize> {
        let outputs = entry.range.len() / (inputs * taps);
        self.push(
            entry,
            Layout::Weights { order: self.order, inputs, taps, stored_inputs },
            stored_channels(outputs) * taps * stored_inputs,
        )
    }

    /// Adds rows of `values` values, each padded to `stored` values. Returns their range in memory.
    pub fn rows(&mut self, entry: &WeightEntry, values: usize, stored: usize) -> Range<usize> {
        let layout = Layout::Weights { order: WeightOrder::Rows, inputs: values, taps: 1, stored_inputs: stored };
        self.push(entry, layout, stored_channels(entry.range.len() / values) * stored)
    }

    fn push(&mut self, entry: &WeightEntry, layout: Layout, length: usize) -> Range<usize> {
        let stored = self.length..self.length + length;
        self.length = stored.end;
        self.arrays.push(Array { plan: entry.range.clone(), stored: stored.clone(), layout });
        stored
    }

    /// The number of values in memory, with padding.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the layout has every trained value of `plan`.
    pub fn covers(&self, plan: &Plan) -> bool {
        self.arrays.iter().map(|array| array.plan.len()).sum::<usize>() == plan.trained()
    }

    /// Copies values from the plan's order to a new buffer in this layout.
    pub fn store(&self, values: &[f32]) -> Buffer {
        let mut stored = Buffer::zeros(self.length);
        for array in &self.arrays {
            for (i, value) in values[array.plan.clone()].iter().enumerate() {
                stored[array.index(i)] = *value;
            }
        }
        stored
    }

    /// Copies values from this layout to `values`, in the plan's order.
    pub fn restore(&self, stored: &[f32], values: &mut [f32]) {
        for array in &self.arrays {
            for (i, value) in values[array.plan.clone()].iter_mut().enumerate() {
                *value = stored[array.index(i)];
            }
        }
    }
}
