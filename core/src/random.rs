//! Named, seeded streams of random numbers.
//!
//! Each random choice of a job draws from a stream that is identified by its purpose and its epoch. No choice depends on how many numbers
//! another one used, nor on the slot, the worker or the thread. A checkpoint therefore stores no generator: the streams of an epoch follow
//! from the job's seeds.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The purpose of a stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The training samples that are held out for validation.
    Split,
    /// The labels that are corrupted, and their new values.
    Noise,
    /// The initial weights.
    Weights,
    /// The order of the training samples in an epoch.
    Order,
    /// Crops and flips in an epoch.
    Augmentation,
    /// Dropout masks in an epoch.
    Dropout,
    /// Shuffles after an epoch that measure what a diagnostic finds by chance.
    Diagnostics,
    /// Latent labels that a loss draws in an epoch.
    Latent,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Split => "split",
            Stream::Noise => "noise",
            Stream::Weights => "weights",
            Stream::Order => "order",
            Stream::Augmentation => "augmentation",
            Stream::Dropout => "dropout",
            Stream::Diagnostics => "diagnostics",
            Stream::Latent => "latent",
        }
    }
}

/// The random streams of one job.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    seed: u64,
    noise_seed: u64,
}

impl Streams {
    /// Streams of these seeds. `noise_seed` is used for [`Stream::Noise`] only, and `seed` for all others.
    pub fn new(seed: u64, noise_seed: u64) -> Self {
        Streams { seed, noise_seed }
    }

    /// The generator of `stream` in `epoch`. Choices that are made once per job use epoch 0.
    pub fn generator(&self, stream: Stream, epoch: u64) -> ChaCha8Rng {
        let seed = if stream == Stream::Noise { self.noise_seed } else { self.seed };
        let mut hasher = blake3::Hasher::new_derive_key("plusminus 1 random stream");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&epoch.to_le_bytes());
        hasher.update(stream.name().as_bytes());
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn first(streams: Streams, stream: Stream, epoch: u64) -> u64 {
        streams.generator(stream, epoch).random()
    }

    #[test]
    fn only_the_noise_stream_depends_on_the_noise_seed() {
        let (a, b) = (Streams::new(1, 7), Streams::new(2, 7));
        assert_eq!(first(a, Stream::Noise, 0), first(b, Stream::Noise, 0));
        assert_ne!(first(a, Stream::Order, 0), first(b, Stream::Order, 0));
        assert_ne!(first(a, Stream::Noise, 0), first(Streams::new(1, 8), Stream::Noise, 0));
    }

    /// If this fails, every result changes, and a new version has to announce it.
    #[test]
    fn the_first_numbers_of_every_stream_stay_the_same() {
        let streams = Streams::new(1, 2);
        let once = [Stream::Split, Stream::Noise, Stream::Weights].map(|stream| first(streams, stream, 0));
        assert_eq!(once, [1_453_485_823_189_183_510, 14_584_671_887_121_208_491, 4_301_483_992_070_535_238]);
        let epochs = |stream| [first(streams, stream, 1), first(streams, stream, 2)];
        assert_eq!(epochs(Stream::Order), [14_280_141_578_989_224_959, 3_774_238_121_487_804_208]);
        assert_eq!(epochs(Stream::Augmentation), [2_652_478_974_738_220_835, 15_932_229_730_320_717_787]);
        assert_eq!(epochs(Stream::Dropout), [2_466_409_802_009_585_818, 441_199_043_232_995_422]);
        assert_eq!(epochs(Stream::Latent), [13_054_626_521_798_925_175, 2_162_821_188_890_274_310]);
    }

    #[test]
    fn streams_and_epochs_share_no_numbers() {
        let streams = Streams::new(0, 0);
        let all = [
            Stream::Split,
            Stream::Noise,
            Stream::Weights,
            Stream::Order,
            Stream::Augmentation,
            Stream::Dropout,
            Stream::Diagnostics,
            Stream::Latent,
        ];
        let mut seen: Vec<u64> = all.iter().flat_map(|s| (0..3).map(|e| first(streams, *s, e))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all.len() * 3);
    }
}
