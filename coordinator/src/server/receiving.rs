//! The body of a request, with limits on the size of its messages and on the pauses of its peer.

use super::kind::Kind;
use super::limits::Limits;
use http_body::{Body as _, Frame};
use std::collections::VecDeque;
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

/// The body of a request, while it arrives.
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
            Kind::Watch | Kind::Reflection | Kind::Download | Kind::Request => {
                (limits.messages.request, limits.messages.request)
            }
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

impl Receiving {
    /// Waits for the first message, or for the whole body. Until then the call takes no place from others.
    pub async fn begin(mut self, whole: bool) -> Result<Begun, Status> {
        let mut frames = VecDeque::new();
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                Some(frame) => frames.push_back(frame?),
                None => break,
            }
            if !whole && self.messages.is_between() {
                break;
            }
        }
        Ok(Begun { frames, rest: self })
    }
}

/// The body of a request whose first frames have arrived.
pub(super) struct Begun {
    frames: VecDeque<Frame<Bytes>>,
    rest: Receiving,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.rest.is_end_stream() => Poll::Ready(None),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
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
            // The service has a limit of its own for a worker's silence.
            Poll::Pending if this.may_be_silent && this.patience.has_begun && this.messages.is_between() => {
                Poll::Pending
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tonic::Code;

    fn messages(limit: usize, other: usize, small: usize, room: usize) -> Messages {
        let room = Arc::new(Semaphore::new(room));
        Messages { prefix: Vec::new(), rest: 0, limit, other, small, room, held: None }
    }

    fn framed(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend(vec![1; length]);
        bytes
    }

    proptest! {
        #[test]
        fn messages_are_followed_however_their_bytes_arrive(
            lengths in prop::collection::vec(0_usize..40, 1..8),
            chunk in 1_usize..60,
        ) {
            let (mut followed, room) = (messages(40, 40, 10, 40), 40);
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| framed(*length)).collect();
            for part in bytes.chunks(chunk) {
                followed.take(part).unwrap();
            }
            prop_assert!(followed.is_between());
            prop_assert_eq!(followed.room.available_permits(), room);
        }

        #[test]
        fn a_message_is_refused_exactly_if_it_exceeds_its_limit(
            first in 0_usize..100,
            second in 0_usize..100,
            chunk in 1_usize..60,
        ) {
            let mut followed = messages(30, 60, 1_000, 0);
            let bytes = [framed(first), framed(second)].concat();
            let refused = bytes.chunks(chunk).find_map(|part| followed.take(part).err());
            prop_assert_eq!(refused.is_some(), first > 30 || second > 60);
            if let Some(refused) = refused {
                prop_assert_eq!(refused.code(), Code::ResourceExhausted);
            }
        }
    }

    #[test]
    fn large_messages_share_their_room() {
        let mut first = messages(100, 100, 10, 100);
        let mut second = Messages { room: Arc::clone(&first.room), ..messages(100, 100, 10, 0) };
        let large = framed(80);
        first.take(&large[..20]).unwrap();
        assert_eq!(second.take(&large[..20]).unwrap_err().code(), Code::Unavailable);
        second.take(&framed(10)).unwrap();
        first.take(&large[20..]).unwrap();
        second.take(&large[..20]).unwrap();
        drop(second);
        assert_eq!(first.room.available_permits(), 100, "a message that is not completed gives its room back");
    }
}
