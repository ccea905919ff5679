//! Replies in parts. A part is made when the one before has been taken, so a client that does not read costs the memory of two parts.

use std::future::Future;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The parts of a reply.
pub(super) type Parts<T> = ReceiverStream<Result<T, Status>>;
/// Where the parts go. Sending fails once the client has gone.
pub(super) type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// The client has gone.
pub(super) struct Gone;

/// Sends a part.
pub(super) async fn send<T>(sender: &Sender<T>, part: T) -> Result<(), Gone> {
    sender.send(Ok(part)).await.map_err(|_| Gone)
}

/// A reply whose parts `make` sends. It ends when `make` does.
pub(super) fn made_by<T, F>(make: impl FnOnce(Sender<T>) -> F) -> Parts<T>
where
    T: Send + 'static,
    F: Future<Output = Result<Result<(), Status>, Gone>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    let made = make(sender.clone());
    tokio::spawn(async move {
        if let Ok(Err(status)) = made.await {
            // The client may have gone.
            let _ = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

/// A reply of these parts.
pub(super) fn of<T: Send + 'static>(parts: impl Iterator<Item = Result<T, Status>> + Send + 'static) -> Parts<T> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for part in parts {
            if sender.send(part).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}
