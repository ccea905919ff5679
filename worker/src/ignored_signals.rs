//! Signals that the process that started this one set to be ignored, as `nohup` does with SIGHUP and a shell with SIGINT for its
//! background jobs. They stay ignored: a handler would replace that.

/// A signal that asks a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The terminal was closed.
    Hangup = 1,
    /// Ctrl-C.
    Interrupt = 2,
    /// The usual request to end.
    Terminate = 15,
}

/// Whether the signal is ignored now. False if the system does not tell: only Linux does without `unsafe` calls.
pub fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask(&status).is_some_and(|mask| mask & (1 << (signal as u32 - 1)) != 0)
}

/// The ignored signals: bit 0 for signal 1.
fn mask(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read_from_the_line_of_ignored_signals() {
        let status = "Name:\tx\nSigBlk:\t00000000ffffffff\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000000000\n";
        assert_eq!(mask(status), Some(0x1003));
        assert_eq!(mask("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_without_handlers_ignores_no_request_to_end() {
        // Test runners start their programs with the default actions, unless they run in the background themselves.
        assert!(!is_ignored(Signal::Terminate));
    }
}
