//! Calls within limits: how many of a kind are open, how large their messages are, and how long their peers may pause.

use super::connections::{Connection, OpenCall};
use super::kind::Kind;
use super::limits::{Limits, Share};
use super::receiving::Receiving;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tonic::server::NamedService;

/// The free places for calls of every kind, and the memory for large messages.
pub(crate) struct Calls {
    limits: Limits,
    sessions: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    submissions: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    receiving: Arc<Semaphore>,
}

impl Calls {
    pub fn new(limits: Limits) -> Arc<Self> {
        let places = |share: Share| Arc::new(Semaphore::new(share.all));
        Arc::new(Calls {
            sessions: places(limits.sessions),
            watches: places(limits.watches),
            uploads: places(limits.transfers),
            downloads: places(limits.transfers),
            submissions: places(limits.submissions),
            requests: places(limits.requests),
            receiving: Arc::new(Semaphore::new(limits.receiving)),
            limits,
        })
    }

    /// The call's place among the open calls, unless there are too many.
    fn admit(&self, kind: Kind, connection: &Arc<Connection>) -> Result<Place, Status> {
        let share = kind.share(&self.limits);
        let places = match kind {
            Kind::Session => &self.sessions,
            Kind::Watch => &self.watches,
            Kind::Upload => &self.uploads,
            Kind::Download => &self.downloads,
            Kind::Submission => &self.submissions,
            Kind::Request => &self.requests,
        };
        let what = kind.what();
        let open = OpenCall::on(connection, kind, share.connection).ok_or_else(|| {
            Status::unavailable(format!("this connection has {} open {what}, the most; retry later", share.connection))
        })?;
        let place = Arc::clone(places).try_acquire_owned();
        let place = place.map_err(|_| {
            Status::unavailable(format!("the coordinator has {} open {what}, the most; retry later", share.all))
        })?;
        Ok(Place { open, _place: place })
    }
}

/// The place of an open call.
struct Place {
    open: OpenCall,
    _place: OwnedSemaphorePermit,
}

/// A service whose calls are within limits.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    service: S,
    calls: Arc<Calls>,
}

impl<S> Limited<S> {
    pub fn new(service: S, calls: &Arc<Calls>) -> Self {
        Limited { service, calls: Arc::clone(calls) }
    }
}

impl<S: NamedService> NamedService for Limited<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Limited<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let kind = Kind::of(request.uri().path());
        let connection = request.extensions().get::<Arc<Connection>>();
        let admitted = match connection {
            Some(connection) => self.calls.admit(kind, connection),
            None => Err(Status::internal("the request came over no connection")),
        };
        let place = match admitted {
            Ok(place) => place,
            Err(refused) => return Box::pin(std::future::ready(Ok(refused.into_http()))),
        };
        let request =
            request.map(|body| Body::new(Receiving::new(body, kind, &self.calls.limits, &self.calls.receiving)));
        let answered = self.service.call(request);
        Box::pin(async move {
            let response = answered.await?;
            Ok(response.map(|body| Body::new(Sending { body, place })))
        })
    }
}

/// The body of a response. The connection knows whether it waits for the peer.
struct Sending {
    body: Body,
    place: Place,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.place.open.peer_has_read();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            // The next frame is asked for when this one has been sent.
            self.place.open.wait_for_peer();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
