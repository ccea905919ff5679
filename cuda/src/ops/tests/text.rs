//! Compares embeddings, concatenation and tanh with the crate `kernels` (bit for bit) or with sums in the documented order.

use super::*;

#[test]
fn tanh_and_its_gradient_equal_those_of_the_cpu() {
    let count = 48 * 40;
    let x: Vec<f32> = noise(1, count).iter().enumerate().map(|(i, x)| x * [12.0, 1.0, 2e-3][i % 3]).collect();
    let (d, before, views) = (noise(2, count), noise(3, count), Views::new(48));
    for (affine, rectify) in VIEWS {
        let found = on_any_grid(|device| {
            let input = views.of_device(device, &x, affine, rectify);
            let [gradient, output, total] = [upload(device, &d), uninitialised(device, count), upload(device, &before)];
            let tanh = Tanh { output, channels: 48 };
            tanh.run(device, input).unwrap();
            tanh.back(device, gradient, total, true).unwrap();
            [output, total].map(|memory| read(device, memory)).concat()
        });
        let mut expected = vec![0.0; count];
        let inputs = [Some((&x[..], views.of_kernels(affine, rectify))), None];
        plusminus_kernels::Join { inputs, channels: 48, rectify: false, output: &mut expected }.run(best());
        expected.iter_mut().for_each(|y| *y = plusminus_kernels::tanh(*y));
        let of_y: Vec<f32> = (0..count).map(|i| before[i] + d[i] * (1.0 - expected[i] * expected[i])).collect();
        assert_eq!(bits(&found), bits(&[expected, of_y].concat()));
    }
    let mut twin = Twin::new();
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
    let (x, output) = (upload(&mut twin, &special), uninitialised(&mut twin, 4));
    Tanh { output, channels: 4 }.run(&mut twin, TensorView::plain(x)).unwrap();
    assert_eq!(bits(&read(&twin, output))[1..], bits(&special.map(plusminus_kernels::tanh))[1..]);
}

#[test]
fn concatenated_channels_receive_their_own_gradients() {
    let (pixels, views) = (5, Views::new(16));
    let (x, d, before) = (noise(1, pixels * 16), noise(2, pixels * 32), noise(3, pixels * 16));
    let place = ConcatPart { stored: 16, channels: 9, wide: 32, start: 20 };
    let found = on_any_grid(|device| {
        let input = views.of_device(device, &x, true, true);
        let (wide, gradient) = (upload(device, &vec![7.0; pixels * 32]), upload(device, &d));
        let (written, added) = (uninitialised(device, x.len()), upload(device, &before));
        place.run(device, input, wide).unwrap();
        place.back(device, gradient, written, false).unwrap();
        place.back(device, gradient, added, true).unwrap();
        [wide, written, added].map(|memory| read(device, memory)).concat()
    });
    let (wide, rest) = found.split_at(pixels * 32);
    let (written, added) = rest.split_at(x.len());
    for (i, value) in wide.iter().enumerate() {
        let (pixel, channel) = (i / 32, i % 32);
        let own = (20..29).contains(&channel).then(|| channel - 20);
        let expected = own.map_or(7.0, |c| x[pixel * 16 + c].mul_add(views.scale[c], views.shift[c]).max(0.0));
        assert_eq!(*value, expected, "pixel {pixel}, channel {channel}");
    }
    for i in 0..x.len() {
        let expected = if i % 16 < 9 { d[i / 16 * 32 + 20 + i % 16] } else { 0.0 };
        assert_eq!((written[i], added[i]), (expected, before[i] + expected));
    }
    let mut twin = Twin::new();
    let [narrow, wide] = [uninitialised(&mut twin, 16), uninitialised(&mut twin, 32)];
    for wrong in
        [ConcatPart { channels: 17, ..place }, ConcatPart { start: 24, ..place }, ConcatPart { wide: 31, ..place }]
    {
        assert!(wrong.run(&mut twin, TensorView::plain(narrow), wide).is_err(), "{wrong:?}");
    }
    assert_eq!(twin.launches, 0);
}

/// Tokens of which one occurs at many positions; others occur within one chunk or in several.
fn tokens(places: usize, vocabulary: usize) -> Vec<f32> {
    let of = |i: usize| if i.is_multiple_of(3) { 0 } else { (i * i + i / 7) % (vocabulary - 1) };
    (0..places).map(|i| of(i) as f32).collect()
}

#[test]
fn a_tokens_gradient_adds_up_its_positions_in_order() {
    let (vocabulary, stored) = (40, 16);
    for places in [1, 63, 64, 65, 300] {
        let (tokens, vectors) = (tokens(places, vocabulary), noise(1, vocabulary * stored));
        let d = noise(2, places * stored);
        let found = on_any_grid(|device| {
            let embedding = Embedding { tokens: upload(device, &tokens), stored, vocabulary };
            let (vectors, y, gradient) = (upload(device, &vectors), uninitialised(device, d.len()), upload(device, &d));
            let of_vectors = uninitialised(device, vectors.len());
            let links = device.allocate(Kind::Ints, Embedding::links(places)).unwrap();
            let scratch = uninitialised(device, Embedding::scratch(places, stored));
            embedding.run(device, vectors, y).unwrap();
            embedding.back(device, gradient, of_vectors, [links, scratch]).unwrap();
            [y, of_vectors].map(|memory| read(device, memory)).concat()
        });
        let (y, of_vectors) = found.split_at(d.len());
        for (place, token) in tokens.iter().enumerate() {
            assert_eq!(y[place * stored..][..stored], vectors[*token as usize * stored..][..stored]);
        }
        // Sums within chunks first, then the sums of the chunks.
        let mut expected: Vec<Option<f32>> = vec![None; vocabulary * stored];
        for (chunk, tokens) in tokens.chunks(64).enumerate() {
            let mut sums: Vec<Option<f32>> = vec![None; vocabulary * stored];
            for (place, token) in tokens.iter().enumerate() {
                for channel in 0..stored {
                    let sum = &mut sums[*token as usize * stored + channel];
                    let value = d[(chunk * 64 + place) * stored + channel];
                    *sum = Some(sum.map_or(value, |sum| sum + value));
                }
            }
            for (total, sum) in expected.iter_mut().zip(sums) {
                *total = total.map_or(sum, |total| Some(sum.map_or(total, |sum| total + sum)));
            }
        }
        let expected: Vec<f32> = expected.into_iter().map(|sum| sum.unwrap_or(0.0)).collect();
        assert_eq!(bits(of_vectors), bits(&expected), "{places} places");
    }
}

#[test]
fn an_invalid_token_reads_as_nan_and_writes_nothing() {
    let mut twin = Twin::new();
    let tokens = upload(&mut twin, &[0.0, 3.0, -1.0, f32::NAN, 2.0]);
    let embedding = Embedding { tokens, stored: 2, vocabulary: 3 };
    let (vectors, y) = (upload(&mut twin, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), uninitialised(&mut twin, 10));
    embedding.run(&mut twin, vectors, y).unwrap();
    let found = read(&twin, y);
    assert_eq!((&found[..2], &found[8..]), (&[1.0, 2.0][..], &[5.0, 6.0][..]));
    assert!(found[2..8].iter().all(|value| value.is_nan()));
    let links = twin.allocate(Kind::Ints, 10).unwrap();
    let (d, scratch) = (upload(&mut twin, &[1.0; 10]), uninitialised(&mut twin, 10));
    embedding.back(&mut twin, d, vectors, [links, scratch]).unwrap();
    assert_eq!(read(&twin, vectors), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    assert!(embedding.back(&mut twin, d, vectors, [links.part(0, 9), scratch]).is_err());
}
