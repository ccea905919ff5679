//! The simulated GPUs ("cards"), and which of them a process sees.

use crate::settings::settings;
use std::sync::LazyLock;

/// Model of every card.
pub(crate) const NAME: &std::ffi::CStr = c"Stand-in GPU";

/// Compute capability 9.0, `sm_90`.
pub(crate) const CAPABILITY: [i32; 2] = [9, 0];

/// UUID of card `card`.
pub(crate) fn uuid(card: usize) -> [u8; 16] {
    let mut uuid = *b"Stand-in GPU\0\0\0\0";
    uuid[12..].copy_from_slice(&u32::try_from(card).unwrap_or(u32::MAX).to_be_bytes());
    uuid
}

/// Formats a UUID as users write it.
pub(crate) fn written(uuid: [u8; 16]) -> String {
    let digits = uuid.map(|byte| format!("{byte:02x}")).concat();
    format!("GPU-{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

/// The cards that this process sees, in its order.
pub(crate) fn visible() -> &'static [usize] {
    static VISIBLE: LazyLock<Vec<usize>> = LazyLock::new(|| {
        let chosen = std::env::var("CUDA_VISIBLE_DEVICES");
        chosen.map_or_else(|_| (0..settings().gpus).collect(), |list| choose(&list, settings().gpus))
    });
    &VISIBLE
}

/// Parses a list of indices or UUIDs as the driver does. A UUID may be abbreviated if the prefix matches one card only. The list ends at the
/// first entry that is invalid or repeated.
fn choose(list: &str, count: usize) -> Vec<usize> {
    let mut chosen = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let card = match entry.strip_prefix("GPU-") {
            Some(_) => {
                let mut like = (0..count)
                    .filter(|card| written(uuid(*card)).starts_with(&entry.to_lowercase().replace("gpu-", "GPU-")));
                like.next().filter(|_| like.next().is_none())
            }
            None => entry.parse().ok().filter(|card| *card < count),
        };
        match card {
            Some(card) if !chosen.contains(&card) => chosen.push(card),
            _ => break,
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_selects_and_orders_cards_up_to_the_first_invalid_entry() {
        assert_eq!(choose("1,0", 2), [1, 0]);
        assert_eq!(choose("1", 2), [1]);
        assert_eq!(choose("1,7,0", 2), [1]);
        assert_eq!(choose("1,1,0", 2), [1]);
        for none in ["", "-1", "none", "GPU-ffff", "GPU-"] {
            assert!(choose(none, 2).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_card_may_be_selected_by_a_prefix_of_its_uuid() {
        let second = written(uuid(1));
        assert_eq!(second, "GPU-5374616e-642d-696e-2047-505500000001");
        assert_eq!(choose(&format!("{second},0"), 2), [1, 0]);
        assert_eq!(choose("GPU-5374", 1), [0]);
        assert!(choose("GPU-5374", 2).is_empty(), "two cards match");
    }
}
