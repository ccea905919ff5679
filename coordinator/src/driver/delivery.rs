//! Performs effects: sends messages to workers and replies to users.

use super::notices;
use super::queues::{ReplySender, RequestError, WorkerSender};
use plusminus_core::scheduler::{Effect, Refusal, Session, SubmitSummary, Ticket};
use plusminus_proto::session::{self, Terms};
use plusminus_proto::v1::{self, to_worker::Message};
use std::collections::BTreeMap;
use tracing::warn;

/// The connected workers and the users who wait for a reply.
pub(super) struct Delivery {
    workers: BTreeMap<Session, WorkerSender>,
    pub replies: PendingReplies,
    terms: Terms,
}

impl Delivery {
    pub fn new(terms: Terms) -> Self {
        Delivery { workers: BTreeMap::new(), replies: PendingReplies::default(), terms }
    }

    pub fn connect(&mut self, session: Session, sender: WorkerSender) {
        self.workers.insert(session, sender);
    }

    pub fn disconnect(&mut self, session: Session) {
        self.workers.remove(&session);
    }

    /// Performs an effect. Records are committed elsewhere, before.
    pub fn perform(&mut self, effect: Effect) {
        if let Some((session, message)) = session::message(&effect, self.terms) {
            return self.send(session, message);
        }
        match effect {
            Effect::Disconnect(session) => self.disconnect(session),
            Effect::Reject(session) => {
                if let Some(sender) = self.workers.remove(&session) {
                    let reason = "a worker with this name is already connected; give this one another --name";
                    // The session is new, so its queue has room.
                    let _ = sender.try_send(Err(tonic::Status::already_exists(reason)));
                }
            }
            Effect::Submitted(ticket, summary) => self.replies.submitted(ticket, summary),
            Effect::Cancelled(ticket, jobs) | Effect::Resumed(ticket, jobs) => self.replies.counted(ticket, jobs),
            Effect::Reinstated(ticket, was_in_quarantine) => self.replies.reinstated(ticket, was_in_quarantine),
            Effect::Notice(notice) => notices::log(&notice),
            Effect::Refuse(ticket, refusal) => self.replies.refuse(ticket, refusal),
            // Committed already, or sent as a message above.
            Effect::Record(_)
            | Effect::Assign { .. }
            | Effect::Stop { .. }
            | Effect::Acknowledge(..)
            | Effect::Renew(..)
            | Effect::Welcome(..) => {}
        }
    }

    /// Sends to a worker. A worker whose queue is full is disconnected: it reconnects and claims its attempts.
    fn send(&mut self, session: Session, message: Message) {
        let Some(sender) = self.workers.get(&session) else { return };
        if sender.try_send(Ok(v1::ToWorker { message: Some(message) })).is_err() {
            warn!(session = session.0, "disconnecting a worker that does not read its messages");
            self.disconnect(session);
        }
    }
}

/// Users who wait for a reply. A user may stop waiting at any time, so a failed send is ignored.
#[derive(Default)]
pub(super) struct PendingReplies {
    last_ticket: u64,
    submissions: BTreeMap<Ticket, ReplySender<SubmitSummary>>,
    /// Cancellations and resumptions, whose reply is a number of jobs.
    counts: BTreeMap<Ticket, ReplySender<usize>>,
    /// Reinstatements, whose reply is whether the worker was in quarantine.
    reinstatements: BTreeMap<Ticket, ReplySender<bool>>,
}

impl PendingReplies {
    /// Adds a user who waits for the summary of a submission.
    pub fn add_submission(&mut self, reply: ReplySender<SubmitSummary>) -> Ticket {
        let ticket = self.next_ticket();
        self.submissions.insert(ticket, reply);
        ticket
    }

    /// Adds a user who waits for a number of jobs.
    pub fn add_count(&mut self, reply: ReplySender<usize>) -> Ticket {
        let ticket = self.next_ticket();
        self.counts.insert(ticket, reply);
        ticket
    }

    /// Adds a user who waits for the reinstatement of a worker.
    pub fn add_reinstatement(&mut self, reply: ReplySender<bool>) -> Ticket {
        let ticket = self.next_ticket();
        self.reinstatements.insert(ticket, reply);
        ticket
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    fn submitted(&mut self, ticket: Ticket, summary: SubmitSummary) {
        if let Some(reply) = self.submissions.remove(&ticket) {
            let _ = reply.send(Ok(Ok(summary)));
        }
    }

    fn counted(&mut self, ticket: Ticket, jobs: usize) {
        if let Some(reply) = self.counts.remove(&ticket) {
            let _ = reply.send(Ok(Ok(jobs)));
        }
    }

    fn reinstated(&mut self, ticket: Ticket, was_in_quarantine: bool) {
        if let Some(reply) = self.reinstatements.remove(&ticket) {
            let _ = reply.send(Ok(Ok(was_in_quarantine)));
        }
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        if let Some(reply) = self.submissions.remove(&ticket) {
            let _ = reply.send(Ok(Err(refusal)));
        } else if let Some(reply) = self.counts.remove(&ticket) {
            let _ = reply.send(Ok(Err(refusal)));
        } else if let Some(reply) = self.reinstatements.remove(&ticket) {
            let _ = reply.send(Ok(Err(refusal)));
        }
    }

    /// Replies to all that their request is accepted and cannot be saved for now.
    pub fn fail_all(&mut self, reason: &str) {
        for reply in std::mem::take(&mut self.submissions).into_values() {
            let _ = reply.send(Err(RequestError::NotSaved(reason.to_owned())));
        }
        for reply in std::mem::take(&mut self.counts).into_values() {
            let _ = reply.send(Err(RequestError::NotSaved(reason.to_owned())));
        }
        for reply in std::mem::take(&mut self.reinstatements).into_values() {
            let _ = reply.send(Err(RequestError::NotSaved(reason.to_owned())));
        }
    }
}
