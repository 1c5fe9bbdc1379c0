//! Bodies on their way in and out: what is taken of them is progress of the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt;
use hyper::body::{Frame, Incoming, SizeHint};

use super::activity::{Exchange, Phase};
use crate::rest::room::Held;

/// Of a body that nobody reads, so much is thrown away, and then it is waited for so long, before the connection is closed:
/// its sender could otherwise lose the answer by the reset that follows.
const DISCARDED: usize = 4 << 20;
const LINGER: Duration = Duration::from_secs(2);
/// Largest part of an answer that is handed over at once. The next one shows that the client takes something.
const PART: usize = 16 << 10;

/// A body that comes in.
pub(super) struct Upload {
    /// Absent when it has been read.
    body: Option<Incoming>,
    exchange: Arc<Exchange>,
}

impl Upload {
    pub(super) fn new(body: Incoming, exchange: Arc<Exchange>) -> Self {
        Self { body: Some(body).filter(|body| !body.is_end_stream()), exchange }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(context)).transpose();
        let ended = body.is_end_stream() || !matches!(frame, Ok(Some(_)));
        if ended {
            self.body = None;
        }
        let phase = if ended { Phase::Working } else { Phase::Receiving };
        if !self.exchange.turn(Phase::Receiving, phase) {
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted).into())));
        }
        Poll::Ready(frame.map_err(Into::into).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        self.exchange.leave_unread();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, discard(body)));
        }
    }
}

/// Reads a body to its end, or without end when it is long.
async fn discard(body: Incoming) {
    let mut chunks = Body::new(body).into_data_stream();
    let mut length = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        length += chunk.len();
        if length > DISCARDED {
            return std::future::pending().await;
        }
    }
}

/// A body that goes out.
pub(super) struct Download {
    body: Body,
    /// What is to be handed over next.
    rest: Bytes,
    exchange: Arc<Exchange>,
    _place: Option<Held>,
}

impl Download {
    /// `place`: what its request holds of the places for requests, until the client has it.
    pub(super) fn new(body: Body, exchange: Arc<Exchange>, place: Option<Held>) -> Self {
        Self { body, rest: Bytes::new(), exchange, _place: place }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                // Not the client is slow.
                self.exchange.enter(Phase::Working);
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                other => {
                    self.exchange.enter(Phase::Sending);
                    let other = other.map(|frame| frame.map_err(Into::into));
                    return Poll::Ready(other.map(|frame| frame.map(|frame| frame.map_or_else(|it| it, Frame::data))));
                }
            }
        }
        self.exchange.enter(Phase::Sending);
        let length = self.rest.len().min(PART);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::Activity;
    use super::*;

    #[tokio::test]
    async fn an_answer_goes_out_in_parts_and_stays_whole() {
        let activity = Activity::new();
        let content: Vec<u8> = (0..u32::from(u16::MAX)).flat_map(u32::to_be_bytes).collect();
        let exchange = activity.begin(Phase::Working).unwrap();
        let mut download = Download::new(Body::from(content.clone()), exchange, None);
        let mut seen = Vec::new();
        while !download.is_end_stream() {
            let left = (content.len() - seen.len()) as u64;
            assert_eq!(download.size_hint().exact(), Some(left));
            let frame = std::future::poll_fn(|context| Pin::new(&mut download).poll_frame(context)).await;
            let part = frame.unwrap().unwrap().into_data().unwrap();
            assert!(part.len() <= PART);
            seen.extend_from_slice(&part);
        }
        assert!(seen == content);
        assert!(activity.waiting_since().is_some());
    }

    #[tokio::test]
    async fn a_source_that_makes_one_wait_is_work() {
        let activity = Activity::new();
        let (send, chunks) = tokio::sync::mpsc::unbounded_channel::<Result<Bytes, io::Error>>();
        let chunks = futures_util::stream::unfold(chunks, async |mut chunks| Some((chunks.recv().await?, chunks)));
        let exchange = activity.begin(Phase::Sending).unwrap();
        let mut download = Download::new(Body::from_stream(chunks), exchange, None);
        let mut next = async || std::future::poll_fn(|context| Pin::new(&mut download).poll_frame(context)).await;
        assert!(futures_util::FutureExt::now_or_never(next()).is_none());
        assert!(activity.waiting_since().is_none());
        send.send(Ok(Bytes::from_static(b"x"))).unwrap();
        assert!(next().await.unwrap().is_ok());
        assert!(activity.waiting_since().is_some());
        send.send(Err(io::Error::other("gone"))).unwrap();
        assert!(next().await.unwrap().is_err());
    }
}
