//! Every limit on what peers may hold and how long they may take. `docs/limits.md` lists them for users.

use plusminus_proto::weights;
use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The limits of a server. Tests use smaller ones.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// The time until a connection's first request.
    pub first_request: Duration,
    /// How long a connection without an open call stays.
    pub idle: Duration,
    /// The shortest and the longest pause after a failed accept.
    pub accept_pause: (Duration, Duration),
    /// How often the same trouble is logged.
    pub log_pause: Duration,
    /// The grace period for open calls when the coordinator stops. Then their connections are closed.
    pub grace: Duration,

    /// Open calls of a connection.
    pub calls_per_connection: u32,
    /// The bytes of a call, and of a connection, that wait in memory until the call takes them.
    pub windows: (u32, u32),
    /// The bytes of a request's headers.
    pub headers: u32,
    /// Open calls of all peers, and of one connection, by kind.
    pub sessions: Share,
    /// Watches.
    pub watches: Share,
    /// Transfers of weights, those that wait for their turn included.
    pub transfers: Share,
    /// Submissions, those that wait for their turn included.
    pub submissions: Share,
    /// All other requests.
    pub requests: Share,

    /// How long the first bytes of a request may take.
    pub first_bytes: Duration,
    /// How long a call waits for `progress` bytes of its peer, or for its peer to read. Sessions may be silent between messages.
    pub stall: Duration,
    /// The bytes that count as progress.
    pub progress: usize,
    /// The bytes of all messages above `small_message` that are being received.
    pub receiving: usize,
    /// Messages of this many bytes do not count.
    pub small_message: usize,
    /// How long a worker may send nothing at all. At least four leases.
    pub silence: Duration,
    /// Transfers of weights.
    pub weights: WeightsLimits,
    /// Reads of the store at the same time.
    pub reads: usize,
    /// Sweep files that are read and expanded at the same time.
    pub expansions: usize,
    /// How long the store may take to close when the coordinator stops.
    pub closing: Duration,
    /// The bytes of a message: a worker's introduction, its other messages, a part of a file, a submission, any other request.
    pub messages: MessageLimits,
}

/// The most open calls of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Of all peers.
    pub all: usize,
    /// Of one connection.
    pub connection: usize,
}

/// Limits on transfers of weights.
#[derive(Clone, Copy, Debug)]
pub struct WeightsLimits {
    /// Uploads that are received at the same time; further ones wait.
    pub uploads: usize,
    /// Downloads that are sent at the same time; further ones wait.
    pub downloads: usize,
    /// Uploads of one attempt at the same time.
    pub uploads_per_attempt: usize,
    /// Files of one attempt.
    pub files_per_attempt: usize,
    /// The bytes of a file.
    pub file: u64,
    /// The bytes that stay free on the disk: at least the first number and at most the second; in between, as many as the store has.
    pub reserved: (u64, u64),
    /// On a small disk, as much of it at most: 8 stands for an eighth.
    pub reserved_part: u64,
    /// The age from which a file is removed that no result refers to.
    pub orphan: Duration,
    /// How often such files are looked for.
    pub orphan_tick: Duration,
}

/// The most bytes of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// A worker's Hello: 60 bytes for each attempt that it holds.
    pub hello: usize,
    /// A worker's other messages. The facts of a job with 500 classes take 2 MB.
    pub session: usize,
    /// A part of a weights file.
    pub part: usize,
    /// A sweep file with its name, or a list of jobs to queue again.
    pub submission: usize,
    /// Any other request.
    pub request: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            accept_pause: (Duration::from_millis(10), Duration::from_secs(1)),
            log_pause: Duration::from_secs(10),
            grace: Duration::from_secs(2),
            calls_per_connection: 64,
            windows: (256 * KIB as u32, 512 * KIB as u32),
            headers: 16 * KIB as u32,
            sessions: Share { all: 2048, connection: 4 },
            watches: Share { all: 512, connection: 32 },
            transfers: Share { all: 128, connection: 4 },
            submissions: Share { all: 16, connection: 4 },
            requests: Share { all: 256, connection: 32 },
            first_bytes: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            progress: 64 * KIB,
            receiving: 64 * MIB,
            small_message: 64 * KIB,
            silence: Duration::from_secs(60),
            weights: WeightsLimits {
                uploads: 16,
                downloads: 16,
                uploads_per_attempt: 2,
                files_per_attempt: 16,
                file: weights::MAX_LENGTH,
                reserved: (64 << 20, 1 << 30),
                reserved_part: 8,
                orphan: Duration::from_secs(3_600),
                orphan_tick: Duration::from_secs(600),
            },
            reads: 2,
            expansions: 2,
            closing: Duration::from_secs(10),
            messages: MessageLimits {
                hello: 512 * KIB,
                session: 4 * MIB,
                part: MIB + KIB,
                submission: 2 * MIB,
                request: 64 * KIB,
            },
        }
    }
}

/// Open files that are not connections: the store, weights files, the system's own.
const OTHER_FILES: u64 = 192;

impl Limits {
    /// The limits of a process that may open this many files. Sessions and watches, which last, leave places to other calls.
    pub fn with_files(mut self, files: Option<u64>) -> Self {
        let room = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES).max(files / 2));
        self.connections = self.connections.min(usize::try_from(room).unwrap_or(usize::MAX));
        self.sessions.all = self.sessions.all.min(self.connections * 3 / 4);
        self.watches.all = self.watches.all.min(self.connections / 8);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_watches_leave_connections_to_others() {
        for files in [None, Some(1 << 20), Some(1024), Some(256), Some(64)] {
            let limits = Limits::default().with_files(files);
            assert!(limits.connections as u64 <= files.unwrap_or(u64::MAX), "{files:?}");
            assert!(limits.connections >= 32 && limits.sessions.all + limits.watches.all < limits.connections);
        }
        assert_eq!(Limits::default().with_files(Some(1024)).connections, 832);
    }
}
