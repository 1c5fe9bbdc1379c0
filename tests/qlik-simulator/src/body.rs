//! Bodies of answers, those included that no proper server sends.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::Sleep;

use crate::qrs::ConnectionReset;

/// What was sent has arrived by then.
const CUT_AFTER: Duration = Duration::from_millis(50);

/// Size of the pieces of an answer without end.
const PIECE: usize = 64 << 10;

/// The body of an answer.
pub(crate) enum Answer {
    /// All of it at once.
    Whole(Bytes),
    /// Some of what the header promises; then the connection breaks.
    Cut { left: Bytes, promised: u64, until: Pin<Box<Sleep>> },
    /// A list of numbers without end.
    Endless { piece: Bytes, begun: bool },
}

impl Answer {
    /// The first bytes of a body.
    pub(crate) fn cut(whole: &Bytes, after: usize) -> Self {
        let left = whole.slice(..after.min(whole.len()));
        Self::Cut { left, promised: whole.len() as u64 + 1, until: Box::pin(tokio::time::sleep(CUT_AFTER)) }
    }

    pub(crate) fn endless() -> Self {
        Self::Endless { piece: Bytes::from(b"0,".repeat(PIECE / 2)), begun: false }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = ConnectionReset;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionReset>>> {
        let data = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Whole(bytes) => std::mem::take(bytes),
            Self::Cut { left, until, .. } => {
                if left.is_empty() {
                    return until.as_mut().poll(context).map(|()| Some(Err(ConnectionReset)));
                }
                std::mem::take(left)
            }
            Self::Endless { piece, begun } if *begun => piece.clone(),
            Self::Endless { begun, .. } => {
                *begun = true;
                Bytes::from_static(b"[")
            }
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Cut { promised, .. } => SizeHint::with_exact(*promised),
            Self::Endless { .. } => SizeHint::default(),
        }
    }
}
