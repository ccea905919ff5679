//! The body of a request, with limits on the size of its messages and on the pauses of its peer.

use super::kind::Kind;
use super::limits::Limits;
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// The bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The body of a request.
pub(super) struct Receiving {
    body: Body,
    messages: Messages,
    patience: Patience,
    /// Whether the peer may be silent between two messages.
    may_be_silent: bool,
}

impl Receiving {
    /// Large messages take their bytes from `room`.
    pub fn new(body: Body, kind: Kind, limits: &Limits, room: &Arc<Semaphore>) -> Self {
        let (first, other) = match kind {
            Kind::Session => (limits.messages.hello, limits.messages.session),
            Kind::Upload => (limits.messages.part, limits.messages.part),
            Kind::Submission => (limits.messages.submission, limits.messages.submission),
            Kind::Watch | Kind::Download | Kind::Request => (limits.messages.request, limits.messages.request),
        };
        let room = Arc::clone(room);
        Receiving {
            body,
            messages: Messages {
                prefix: Vec::new(),
                rest: 0,
                limit: first,
                other,
                small: limits.small_message,
                room,
                held: None,
            },
            patience: Patience::new(limits),
            may_be_silent: kind == Kind::Session,
        }
    }
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.patience.received(data.len());
                    this.messages.take(data)?;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => Poll::Ready(ended),
            // The handler waits for a session's first message with a limit of its own.
            Poll::Pending if this.may_be_silent && this.messages.is_between() => Poll::Pending,
            Poll::Pending => this.patience.poll(cx).map(|refused| Some(Err(refused))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Follows the bounds of the messages in a body.
struct Messages {
    /// The bytes of an incomplete prefix.
    prefix: Vec<u8>,
    /// The bytes that the current message still lacks.
    rest: usize,
    /// The most bytes of the next message, and of those after it.
    limit: usize,
    other: usize,
    /// Messages of this many bytes take no room.
    small: usize,
    /// The bytes that large messages of all peers may still take.
    room: Arc<Semaphore>,
    /// The room of the current message.
    held: Option<OwnedSemaphorePermit>,
}

impl Messages {
    /// Notes received bytes.
    fn take(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.rest == 0 {
                let prefix = data.len().min(PREFIX - self.prefix.len());
                self.prefix.extend_from_slice(&data[..prefix]);
                data = &data[prefix..];
                if let [_, a, b, c, d] = self.prefix[..] {
                    self.prefix.clear();
                    self.begin(u32::from_be_bytes([a, b, c, d]) as usize)?;
                }
                continue;
            }
            let part = data.len().min(self.rest);
            self.rest -= part;
            data = &data[part..];
            if self.rest == 0 {
                self.held = None;
            }
        }
        Ok(())
    }

    fn begin(&mut self, length: usize) -> Result<(), Status> {
        if length > self.limit {
            let limit = self.limit;
            return Err(Status::resource_exhausted(format!(
                "expected a message of at most {limit} bytes, found one of {length}"
            )));
        }
        if length > self.small {
            let held = Arc::clone(&self.room).try_acquire_many_owned(length as u32);
            let busy = |_| Status::unavailable("the coordinator is receiving too many large messages; retry later");
            self.held = Some(held.map_err(busy)?);
        }
        self.limit = self.other;
        self.rest = length;
        Ok(())
    }

    /// Whether no message has begun that is not complete.
    fn is_between(&self) -> bool {
        self.rest == 0 && self.prefix.is_empty()
    }
}

/// How long the peer may let the call wait.
struct Patience {
    first: Duration,
    stall: Duration,
    /// The bytes that count as progress.
    enough: usize,
    /// Since the last progress: received bytes, and how long the call has waited for them.
    received: usize,
    waited: Duration,
    has_begun: bool,
    /// The current wait: its beginning, and the timer of its end.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    fn new(limits: &Limits) -> Self {
        Patience {
            first: limits.first_bytes,
            stall: limits.stall,
            enough: limits.progress,
            received: 0,
            waited: Duration::ZERO,
            has_begun: false,
            waiting: None,
        }
    }

    fn received(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        self.received += bytes;
        if !self.has_begun || self.received >= self.enough {
            (self.received, self.waited) = (0, Duration::ZERO);
        }
        self.has_begun = true;
    }

    /// Ready when the peer has paused for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let limit = if self.has_begun { self.stall } else { self.first };
        let waited = self.waited;
        let (_, timer) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + limit.saturating_sub(waited))))
        });
        timer.as_mut().poll(cx).map(|()| {
            let (seconds, enough) = (limit.as_secs_f64(), self.enough);
            Status::deadline_exceeded(match self.has_begun {
                true => format!("expected {enough} bytes within {seconds} s, found {}", self.received),
                false => format!("expected a message within {seconds} s"),
            })
        })
    }
}
