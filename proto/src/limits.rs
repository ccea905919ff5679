//! Limits of what a worker may announce. The wire is not trusted: each number costs the coordinator memory or dispatch.

use crate::convert::Invalid;
use crate::v1;
use plusminus_core::id::WorkerName;

/// The most slots of a worker, over all of its devices.
pub const SLOTS: usize = 1_024;
/// The most devices of a worker.
pub const DEVICES: usize = 64;
/// The most attempts that a message names: those in slots, and those whose ending is not acknowledged.
pub const HELD: usize = 16_384;
/// The longest host name, version, or name of a device, model or driver, in bytes.
pub const TEXT: usize = 256;

fn at_most(field: &'static str, found: usize, most: usize) -> Result<(), Invalid> {
    let problem = || Invalid::Malformed { field, problem: format!("expected at most {most}, found {found}") };
    if found > most { Err(problem()) } else { Ok(()) }
}

fn text(field: &'static str, text: &str, most: usize) -> Result<(), Invalid> {
    let malformed = |problem| Err(Invalid::Malformed { field, problem });
    match text {
        _ if text.len() > most => malformed(format!("expected at most {most} bytes, found {}", text.len())),
        _ if text.chars().any(char::is_control) => malformed("expected no control characters".to_owned()),
        _ => Ok(()),
    }
}

/// Checks a worker's name.
///
/// # Errors
/// If it is empty or too long, or has other characters than [`WorkerName`] allows.
pub fn worker_name(name: &str) -> Result<(), Invalid> {
    let parsed = name.parse::<WorkerName>().map(drop);
    parsed.map_err(|error| Invalid::Malformed { field: "worker", problem: error.to_string() })
}

/// Checks the devices of a worker.
///
/// # Errors
/// If there are too many, or too many slots, or a text is too long.
pub fn devices(devices: &[v1::Device]) -> Result<(), Invalid> {
    at_most("devices", devices.len(), DEVICES)?;
    let slots = devices.iter().map(|device| u64::from(device.slots)).sum::<u64>();
    at_most("slots", usize::try_from(slots).unwrap_or(usize::MAX), SLOTS)?;
    devices.iter().try_for_each(|device| {
        let v1::Device { name, model, driver, .. } = device;
        [("name", name), ("model", model), ("driver", driver)]
            .into_iter()
            .try_for_each(|(field, value)| text(field, value, TEXT))
    })
}

/// Checks the number of attempts that a message names.
///
/// # Errors
/// If there are too many.
pub fn holds(holds: &[v1::AttemptId]) -> Result<(), Invalid> {
    at_most("holds", holds.len(), HELD)
}

/// Checks a Hello.
///
/// # Errors
/// Names the field, the limit and what was found.
pub fn hello(hello: &v1::Hello) -> Result<(), Invalid> {
    worker_name(&hello.worker)?;
    text("version", &hello.version, TEXT)?;
    text("host", &hello.host, TEXT)?;
    devices(&hello.devices)?;
    holds(&hello.holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_slots(slots: &[u32]) -> v1::Hello {
        let device = |slots: &u32| v1::Device { name: "cpu".into(), slots: *slots, ..v1::Device::default() };
        let devices = slots.iter().map(device).collect();
        v1::Hello { worker: "host-1_a".into(), version: "1".into(), devices, ..v1::Hello::default() }
    }

    #[test]
    fn every_number_and_text_of_a_hello_has_a_limit() {
        assert!(hello(&with_slots(&[512, 512])).is_ok());
        for slots in [&[1_025][..], &[512, 513], &[u32::MAX, u32::MAX], &[0; 65]] {
            assert!(hello(&with_slots(slots)).is_err(), "{slots:?}");
        }
        let error = hello(&with_slots(&[1 << 31])).unwrap_err().to_string();
        assert_eq!(error, "field `slots`: expected at most 1024, found 2147483648");
        let good = with_slots(&[1]);
        let long = "x".repeat(300);
        let bad = [
            v1::Hello { worker: long.clone(), ..good.clone() },
            v1::Hello { worker: String::new(), ..good.clone() },
            v1::Hello { worker: "a\nworker b".into(), ..good.clone() },
            v1::Hello { worker: "a\u{202e}b".into(), ..good.clone() },
            v1::Hello { version: long.clone(), ..good.clone() },
            v1::Hello { host: long.clone(), ..good.clone() },
            v1::Hello { holds: vec![v1::AttemptId::default(); HELD + 1], ..good.clone() },
            v1::Hello { devices: vec![v1::Device { name: long, ..v1::Device::default() }], ..good },
        ];
        assert!(bad.iter().all(|bad| hello(bad).is_err()));
    }
}
