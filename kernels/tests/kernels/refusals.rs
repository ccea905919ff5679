//! Mismatched extents are refused before anything is read.

use plusminus_kernels::{
    Adam, Add, Average, ChannelMoments, Correlation, Extents, GradientApply, GradientSums, InputGradient,
    InputTransform, Instructions, Join, KernelGradient, KernelTransform, Mask, MaxPool, MaxPoolGradient, OuterSum,
    OutputGradient, OutputTransform, Pad, Sgd, Strides, Tiles, View, Windows,
};

/// Tests that running each kernel panics with the message.
macro_rules! refuses {
    ($($test:ident: $sentence:literal, $kernel:expr;)*) => {
        $(
            #[test]
            #[should_panic(expected = $sentence)]
            fn $test() {
                $kernel.run(Instructions::best());
            }
        )*
    };
}

fn correlation<'a>(x: &'a [f32], weights: &'a [f32], y: &'a mut [f32]) -> Correlation<'a> {
    Correlation {
        extents: Extents::matrix(4),
        x,
        x_strides: Strides::matrix(3),
        rows: 1,
        row: 0,
        length: 3,
        weights,
        panel: 48,
        outputs: 32,
        y,
        y_strides: Strides::matrix(32),
        accumulate: false,
    }
}

fn outer<'a>(x: &'a [f32], d: &'a [f32], weights: &'a mut [f32]) -> OuterSum<'a> {
    let (extents, x_strides, d_strides) = (Extents::matrix(4), Strides::matrix(3), Strides::matrix(32));
    OuterSum { extents, x, x_strides, rows: 1, row: 0, length: 3, d, d_strides, weights, panel: 48, outputs: 32 }
}

refuses! {
    a_window_beyond_x: "every window lies within x", correlation(&[0.0; 11], &[0.0; 96], &mut [0.0; 128]);
    a_panel_beyond_the_weights: "every panel lies within the weights", correlation(&[0.0; 12], &[0.0; 95], &mut [0.0; 128]);
    an_output_beyond_y: "every output lies within y", correlation(&[0.0; 12], &[0.0; 96], &mut [0.0; 127]);
    an_empty_window: "a window has values",
        Correlation { length: 0, ..correlation(&[0.0; 12], &[0.0; 96], &mut [0.0; 128]) };
    outputs_outside_blocks: "the outputs are in blocks of 16",
        Correlation { outputs: 24, ..correlation(&[0.0; 12], &[0.0; 96], &mut [0.0; 128]) };
    panels_outside_blocks: "panels consist of whole blocks",
        Correlation { panel: 47, ..correlation(&[0.0; 12], &[0.0; 96], &mut [0.0; 128]) };
    a_sums_window_beyond_x: "every window lies within x", outer(&[0.0; 11], &[0.0; 128], &mut [0.0; 96]);
    a_sums_gradient_beyond_d: "every gradient lies within d", outer(&[0.0; 12], &[0.0; 127], &mut [0.0; 96]);
    a_sum_beyond_the_weights: "every panel lies within the weights", outer(&[0.0; 12], &[0.0; 128], &mut [0.0; 95]);
    a_sum_of_an_empty_window: "a window has values",
        OuterSum { rows: 0, ..outer(&[0.0; 12], &[0.0; 128], &mut [0.0; 96]) };
    sums_outside_blocks: "the outputs are in blocks of 16",
        OuterSum { outputs: 8, ..outer(&[0.0; 12], &[0.0; 128], &mut [0.0; 96]) };
}

/// One tile of 16 channels.
fn tile() -> Tiles {
    Tiles { rows: 0..1, columns: 1, first: 0, place: 16 }
}

refuses! {
    a_tile_without_a_place: "every tile lies within its place",
        InputTransform {
            image: &[0.0; 256], row: 64, channels: 16, tiles: Tiles { first: 1, ..tile() }, transform: &mut [0.0; 256],
        };
    a_place_beyond_the_transform: "every place lies within the transform",
        InputGradient { transform: &[0.0; 255], tiles: tile(), channels: 16, image: &mut [0.0; 256], row: 64 };
    tiles_of_channels_outside_blocks: "the channels are in blocks of 16",
        InputTransform { image: &[0.0; 256], row: 64, channels: 8, tiles: tile(), transform: &mut [0.0; 256] };
    tile_outputs_of_a_partial_image: "the image has all its pixels",
        OutputTransform { transform: &[0.0; 256], tiles: tile(), extent: [2, 2], channels: 16, image: &mut [0.0; 63] };
    tile_gradients_of_a_partial_image: "the image has all its pixels",
        OutputGradient { image: &[0.0; 65], extent: [2, 2], channels: 16, tiles: tile(), transform: &mut [0.0; 256] };
    a_tile_beyond_the_border: "every tile lies within the image and its border",
        InputTransform { image: &[0.0; 255], row: 64, channels: 16, tiles: tile(), transform: &mut [0.0; 256] };
    a_tile_beyond_a_row: "every tile lies within the image and its border",
        InputGradient { transform: &[0.0; 256], tiles: tile(), channels: 16, image: &mut [0.0; 256], row: 48 };
    a_tile_without_an_output: "every tile lies within the image",
        OutputTransform {
            transform: &[0.0; 768], tiles: Tiles { columns: 2, place: 48, ..tile() }, extent: [2, 2], channels: 16,
            image: &mut [0.0; 64],
        };
    a_tile_without_a_gradient: "every tile lies within the image",
        OutputGradient {
            image: &[0.0; 64], extent: [2, 2], channels: 16, tiles: Tiles { rows: 0..2, place: 48, ..tile() },
            transform: &mut [0.0; 768],
        };
    kernels_outside_panels: "whole panels of 3×3×2 kernels",
        KernelTransform { kernels: &[0.0; 287], inputs: 2, transform: &mut [0.0; 512], transposed: false };
    a_transform_of_other_kernels: "the transform matches the kernels",
        KernelGradient { transform: &[0.0; 511], inputs: 2, kernels: &mut [0.0; 288] };
    transposed_kernels_outside_blocks: "the input channels are in blocks of 16",
        KernelTransform { kernels: &[0.0; 288], inputs: 2, transform: &mut [0.0; 512], transposed: true };
}

fn pad<'a>(image: &'a [f32], padded: &'a mut [f32]) -> Pad<'a> {
    Pad { image, extent: [2, 2], channels: 16, view: View::default(), padded, columns: 3, before: [1, 1] }
}

fn apply<'a>(gradient: &'a [f32], image: &'a [f32], padded: &'a mut [f32]) -> GradientApply<'a> {
    let (extent, view, before) = ([2, 2], View::default(), [1, 1]);
    GradientApply { gradient, image, extent, channels: 16, view, factors: None, padded, columns: 3, before }
}

refuses! {
    a_pad_of_half_an_image: "the image has all its pixels", pad(&[0.0; 63], &mut [0.0; 144]);
    a_pad_into_a_short_image: "the image fits into the padded image", pad(&[0.0; 64], &mut [0.0; 143]);
    a_join_of_images_of_two_lengths: "the images have the same length",
        Join { inputs: [Some((&[0.0; 32], View::default())), None], channels: 16, rectify: false, output: &mut [0.0; 16] };
    a_join_without_a_first_image: "the first image is given",
        Join { inputs: [None, None], channels: 16, rectify: false, output: &mut [0.0; 16] };
    a_view_of_other_channels: "scale and shift have one value for each of 16 channels",
        Join {
            inputs: [Some((&[0.0; 16], View { affine: Some((&[1.0; 32], &[0.0; 32])), rectify: false })), None],
            channels: 16,
            rectify: false,
            output: &mut [0.0; 16],
        };
    a_mask_of_another_length: "one gradient per value", Mask { output: &[0.0; 32], gradient: &mut [0.0; 16] };
    a_mask_outside_blocks: "the values are in blocks of 16", Mask { output: &[0.0; 8], gradient: &mut [0.0; 8] };
    totals_of_another_length: "values and total have the same length", Add { values: &[0.0; 32], total: &mut [0.0; 16] };
    moments_of_an_empty_image: "the image has whole pixels of 16 channels", ChannelMoments { image: &[], mean: &mut [0.0; 16], squares: &mut [0.0; 16] };
    moments_of_channels_outside_blocks: "the channels are in blocks of 16",
        ChannelMoments { image: &[0.0; 8], mean: &mut [0.0; 8], squares: &mut [0.0; 8] };
    sums_of_another_length: "both sums have one value for each of 16 channels",
        GradientSums {
            gradient: &[0.0; 16], image: &[0.0; 16], view: View::default(), mean: &[0.0; 16], sum: &mut [0.0; 16],
            product: &mut [0.0; 15],
        };
    a_gradient_of_half_an_image: "the image has all its pixels", apply(&[0.0; 63], &[0.0; 63], &mut [0.0; 144]);
    a_gradient_of_another_image: "one gradient per value", apply(&[0.0; 63], &[0.0; 64], &mut [0.0; 144]);
    a_gradient_into_a_short_image: "the image fits into the padded image", apply(&[0.0; 64], &[0.0; 64], &mut [0.0; 143]);
    a_short_factor: "each factor has one value per channel",
        GradientApply {
            factors: Some([&[0.0; 16], &[0.0; 16], &[0.0; 15]]), ..apply(&[0.0; 64], &[0.0; 64], &mut [0.0; 144])
        };
}

const WINDOWS: Windows = Windows { extent: [2, 2], kernel: [2, 2], stride: 1, padding: 0, channels: 16 };

refuses! {
    a_window_larger_than_the_image: "a window fits into the padded image",
        MaxPool {
            image: &[0.0; 64], view: View::default(), windows: Windows { kernel: [3, 1], ..WINDOWS }, output: &mut [0.0; 16],
        };
    windows_that_are_mostly_outside: "the padding is at most half a window",
        MaxPool {
            image: &[0.0; 64], view: View::default(), windows: Windows { padding: 2, ..WINDOWS }, output: &mut [0.0; 400],
        };
    windows_without_a_stride: "windows have a positive extent and stride",
        MaxPool { image: &[0.0; 64], view: View::default(), windows: Windows { stride: 0, ..WINDOWS }, output: &mut [0.0; 16] };
    windows_with_too_many_pixels: "one output pixel per window",
        MaxPool { image: &[0.0; 64], view: View::default(), windows: WINDOWS, output: &mut [0.0; 32] };
    a_pools_gradient_of_half_an_image: "the image has all its pixels",
        MaxPoolGradient {
            image: &[0.0; 64], view: View::default(), windows: WINDOWS, output: &[0.0; 16], gradient: &[0.0; 16],
            image_gradient: &mut [0.0; 48],
        };
    a_mean_of_half_pixels: "the image has whole pixels of 16 channels",
        Average { image: &[0.0; 24], view: View::default(), output: &mut [0.0; 16] };
}

fn sgd<'a>(weights: &'a mut [f32], gradient: &'a [f32], velocity: &'a mut [f32]) -> Sgd<'a> {
    Sgd { weights, gradient, velocity, lr: 0.1, momentum: 0.9, decay: 0.0, nesterov: false }
}

fn adam<'a>(weights: &'a mut [f32], gradient: &'a [f32], mean: &'a mut [f32], square: &'a mut [f32]) -> Adam<'a> {
    let [beta1, beta2] = [[0.9, 0.1], [0.999, 0.001]];
    Adam { weights, gradient, mean, square, rate: 0.1, root: 1.0, beta1, beta2, epsilon: 1e-8, decay: 0.0 }
}

refuses! {
    a_step_without_a_gradient: "one gradient per weight", sgd(&mut [0.0; 3], &[0.0; 2], &mut [0.0; 3]);
    a_step_without_a_velocity: "one velocity per weight", sgd(&mut [0.0; 3], &[0.0; 3], &mut [0.0; 2]);
    a_step_of_adam_without_a_gradient: "one gradient per weight",
        adam(&mut [0.0; 3], &[0.0; 2], &mut [0.0; 3], &mut [0.0; 3]);
    a_step_of_adam_without_a_moment: "two moments per weight",
        adam(&mut [0.0; 3], &[0.0; 3], &mut [0.0; 3], &mut [0.0; 2]);
}
