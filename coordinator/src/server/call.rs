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

    /// Admits a call once its peer has sent enough for it to begin.
    async fn admit(
        &self,
        kind: Kind,
        request: http::Request<Body>,
    ) -> Result<(http::Request<Body>, OpenCall, OwnedSemaphorePermit), Status> {
        let open = self.open(kind, request.extensions().get::<Arc<Connection>>())?;
        let (head, body) = request.into_parts();
        let body = Receiving::new(body, kind, &self.limits, &self.receiving).begin(kind.is_one_message()).await?;
        let place = self.place(kind)?;
        Ok((http::Request::from_parts(head, Body::new(body)), open, place))
    }

    /// A call of a connection, unless the connection has too many of its kind.
    fn open(&self, kind: Kind, connection: Option<&Arc<Connection>>) -> Result<OpenCall, Status> {
        let connection = connection.ok_or_else(|| Status::internal("the request came over no connection"))?;
        let most = kind.share(&self.limits).connection;
        OpenCall::on(connection, kind, most).ok_or_else(|| {
            Status::unavailable(format!("this connection has {most} open {}, the most; retry later", kind.what()))
        })
    }

    /// A place among the open calls of a kind, unless there are too many.
    fn place(&self, kind: Kind) -> Result<OwnedSemaphorePermit, Status> {
        let most = kind.share(&self.limits).all;
        let places = match kind {
            Kind::Session => &self.sessions,
            Kind::Watch | Kind::Reflection => &self.watches,
            Kind::Upload => &self.uploads,
            Kind::Download => &self.downloads,
            Kind::Submission => &self.submissions,
            Kind::Request => &self.requests,
        };
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            Status::unavailable(format!("the coordinator has {most} open {}, the most; retry later", kind.what()))
        })
    }
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
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let kind = Kind::of(request.uri().path());
        let (calls, mut service) = (Arc::clone(&self.calls), self.service.clone());
        Box::pin(async move {
            match calls.admit(kind, request).await {
                Ok((request, open, place)) => {
                    let response = service.call(request).await?;
                    Ok(response.map(|body| Body::new(Sending { body, open, _place: place })))
                }
                Err(refused) => Ok(refused.into_http()),
            }
        })
    }
}

/// The body of a response. The connection knows whether it waits for the peer.
struct Sending {
    body: Body,
    open: OpenCall,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.open.peer_has_read();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            // The next frame is asked for when this one has been sent.
            self.open.wait_for_peer();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
