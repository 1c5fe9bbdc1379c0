//! Conversations with the mail server: connecting, logging in, handing over mails.
//!
//! One mail to several recipients is one transaction, which we lead ourselves: a server may refuse some of the recipients
//! and take the mail for the others.

mod connect;
mod pool;
mod probe;
mod token;
mod transaction;
mod wire;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use lettre::transport::smtp;

pub(crate) use connect::{Server, own_authority};
pub(crate) use pool::Session;
pub(crate) use transaction::Verdict;

/// Why nothing came of a conversation as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no connection, or no login: nothing else can be sent either.
    #[error("{0}")]
    NoConnection(String),
    /// The server does not take mails from this sender, or none at present: nothing else can be sent either.
    #[error("{0}")]
    NoMails(String),
    /// The connection broke on the way: whether the server has the mail is not known.
    #[error("{0}")]
    Broken(String),
    /// The time of the delivery is over.
    #[error("the time for one attempt is over")]
    OutOfTime,
}

/// How long something may take: a step has a limit, and all of them together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) step: Duration,
    pub(crate) until: Instant,
}

/// Why a step failed.
#[derive(Debug)]
pub(crate) enum StepError {
    /// The server said so, or the connection broke.
    Smtp(smtp::Error),
    /// A good answer, but not one to what was asked.
    OutOfStep(String),
    /// No answer in time.
    Slow(Duration),
    /// No time is left.
    OutOfTime,
}

impl Limits {
    /// Waits for one step, `times` as long as usual.
    pub(crate) async fn step<T>(
        &self,
        times: u32,
        step: impl Future<Output = Result<T, smtp::Error>>,
    ) -> Result<T, StepError> {
        let limit = self.step.saturating_mul(times);
        let left = self.until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(limit.min(left), step).await {
            Ok(result) => result.map_err(StepError::Smtp),
            Err(_) if left < limit => Err(StepError::OutOfTime),
            Err(_) => Err(StepError::Slow(limit)),
        }
    }
}

impl StepError {
    /// The code of the server's answer; none if the connection is at fault.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Smtp(error) => error.status().map(u16::from),
            Self::OutOfStep(_) | Self::Slow(_) | Self::OutOfTime => None,
        }
    }

    /// Whether the connection is of no use any more. 421: the server is about to close it.
    pub(crate) fn is_broken(&self) -> bool {
        self.code().is_none_or(|code| code == 421)
    }
}

impl std::fmt::Display for StepError {
    /// The server's words with its code, or what is wrong with the connection.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfStep(answer) => write!(f, "its answer makes no sense here: {answer}"),
            Self::Slow(limit) if limit.subsec_millis() == 0 => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Slow(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Self::OutOfTime => f.write_str("the time for one attempt is over"),
            Self::Smtp(error) => {
                let source = std::error::Error::source(error);
                match (error.status(), source) {
                    (Some(code), Some(words)) => write!(f, "{code} {}", one_line(&words.to_string())),
                    (Some(code), None) => write!(f, "{code}"),
                    (None, Some(cause)) => f.write_str(&one_line(&causes(cause))),
                    (None, None) => write!(f, "{error}"),
                }
            }
        }
    }
}

/// The causes of an error, those that are told already left out.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What a server says, at most 500 characters of it, without control characters.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    text.trim().to_owned()
}
