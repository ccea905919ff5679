//! The kinds of calls, which have limits of their own.

use super::limits::{Limits, Share};

/// The kind of a call, which decides its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Session,
    Watch,
    Reflection,
    Upload,
    Download,
    Submission,
    Request,
}

impl Kind {
    pub fn of(path: &str) -> Kind {
        match path {
            "/plusminus.v1.WorkerService/Session" => Kind::Session,
            "/plusminus.v1.WorkerService/PutWeights" => Kind::Upload,
            "/plusminus.v1.WorkerService/GetWeights" => Kind::Download,
            "/plusminus.v1.SweepService/Submit" | "/plusminus.v1.SweepService/Resume" => Kind::Submission,
            "/plusminus.v1.SweepService/Watch" | "/grpc.health.v1.Health/Watch" => Kind::Watch,
            path if path.starts_with("/grpc.reflection.") => Kind::Reflection,
            _ => Kind::Request,
        }
    }

    /// Whether the request is one message. The peer has then sent all when the call begins.
    pub fn is_one_message(self) -> bool {
        !matches!(self, Kind::Session | Kind::Reflection | Kind::Upload)
    }

    pub fn share(self, limits: &Limits) -> Share {
        match self {
            Kind::Session => limits.sessions,
            Kind::Watch | Kind::Reflection => limits.watches,
            Kind::Upload | Kind::Download => limits.transfers,
            Kind::Submission => limits.submissions,
            Kind::Request => limits.requests,
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Kind::Session => "sessions",
            Kind::Watch => "watches",
            Kind::Reflection => "reflections",
            Kind::Upload => "uploads",
            Kind::Download => "downloads",
            Kind::Submission => "submissions",
            Kind::Request => "requests",
        }
    }
}
