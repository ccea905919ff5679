//! Maps errors to gRPC status codes; no other module chooses codes.

use crate::answer::AnswerError;
use crate::driver::RequestError;
use plusminus_core::failure_text::first_line;
use plusminus_core::input::Problem;
use plusminus_core::scheduler::Refusal;
use plusminus_proto::convert::Invalid;
use plusminus_proto::{STALLED, v1};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

pub(crate) fn request_error(error: RequestError) -> Status {
    let mut status = Status::unavailable(error.to_string());
    if let RequestError::Stalled(_) | RequestError::NotSaved(_) = error {
        // A broken connection has the same code, so the metadata tells them apart.
        status.metadata_mut().insert(STALLED, MetadataValue::from_static("store"));
    }
    status
}

pub(crate) fn invalid(error: Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(crate) fn answer(error: AnswerError) -> Status {
    let code = match &error {
        AnswerError::UnknownSweep { .. } | AnswerError::UnknownJob { .. } => Code::NotFound,
        AnswerError::NoJobId(_) | AnswerError::AmbiguousJob { .. } => Code::InvalidArgument,
        AnswerError::UnknownName { .. } | AnswerError::NoValue { .. } | AnswerError::WrongSource => {
            Code::InvalidArgument
        }
        AnswerError::UnknownKey { .. } | AnswerError::UnknownValue { .. } => Code::NotFound,
        AnswerError::Changed(_) => Code::Aborted,
        AnswerError::TooLong => Code::ResourceExhausted,
        AnswerError::OldSource(_) => Code::FailedPrecondition,
        AnswerError::Store(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}

pub(crate) fn refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownSweep { name, known } => answer(AnswerError::UnknownSweep {
            name: name.into(),
            known: known.into_iter().map(String::from).collect(),
        }),
        Refusal::UnknownJob { .. } | Refusal::UnknownWorker { .. } => Status::not_found(refusal.to_string()),
        Refusal::OtherSweep { .. } | Refusal::Cancelled { .. } => Status::failed_precondition(refusal.to_string()),
    }
}

/// The most bytes of problems in the details of a status. They travel in the header of a reply, which clients limit to 16 KiB.
const PROBLEMS: usize = 6 << 10;

/// The details carry the problems of the sweep file, so that the client can show them with the file: the first of them, if they are many.
pub(crate) fn problems(problems: &[Problem]) -> Status {
    let mut room = PROBLEMS;
    let fits = |problem: &v1::Problem| {
        let size = problem.encoded_len() + 4;
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    let details = v1::Problems { problems: problems.iter().map(v1::Problem::from).take_while(fits).collect() };
    let message = match problems {
        [one] => format!("the sweep file has a problem: {}", first_line(&one.title, 200)),
        many => format!("the sweep file has {} problems", many.len()),
    };
    Status::with_details(Code::InvalidArgument, message, details.encode_to_vec().into())
}
