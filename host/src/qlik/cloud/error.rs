//! Why a tenant of Qlik Cloud gave no usable answer.

use std::fmt::Write as _;
use std::time::Duration;

/// Why a tenant of Qlik Cloud gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The connection cannot be set up as the config says.
    #[error("the tenant {tenant} of Qlik Cloud cannot be asked: {reason}")]
    Setup {
        /// Id of the tenant.
        tenant: String,
        /// What is wrong.
        reason: String,
    },
    /// There was no answer.
    #[error(
        "the tenant {tenant} of Qlik Cloud gives no answer: {reason} (check its `url`, the proxy, and its `tls` profile)"
    )]
    Unreachable {
        /// Id of the tenant.
        tenant: String,
        /// The failure.
        reason: String,
    },
    /// It is slow, or many wait for it.
    #[error(
        "the tenant {tenant} of Qlik Cloud has not given all facts of an event within the time for them (`enrich.giveUpAfter`)"
    )]
    Late {
        /// Id of the tenant.
        tenant: String,
    },
    /// It has had too many requests, and is left alone as long as it said.
    #[error("the tenant {tenant} of Qlik Cloud has had too many requests and is asked again in {} s", .wait.as_secs() + 1)]
    Limited {
        /// Id of the tenant.
        tenant: String,
        /// How long it is still left alone.
        wait: Duration,
    },
    /// Many events wait for it already.
    #[error(
        "so many events wait for the tenant {tenant} of Qlik Cloud that others have to wait until it has answered some"
    )]
    Crowded {
        /// Id of the tenant.
        tenant: String,
    },
    /// It does not take the token.
    #[error(
        "the tenant {tenant} of Qlik Cloud refuses Butler's token (401): it has expired or was taken back, or is of another \
         tenant; make a new one and restart Butler with it as `token` of the tenant"
    )]
    Token {
        /// Id of the tenant.
        tenant: String,
        /// It was taken a moment ago: this may pass.
        fresh: bool,
    },
    /// The answer's status is not a success.
    #[error("{}", status_message(.tenant, *.status, .call, .body))]
    Status {
        /// Id of the tenant.
        tenant: String,
        /// HTTP status.
        status: u16,
        /// The path that was asked for.
        call: String,
        /// Beginning of the body, one line.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("the answer of the tenant {tenant} of Qlik Cloud to `{call}` {fault} (is there a proxy in between?)")]
    Answer {
        /// Id of the tenant.
        tenant: String,
        /// The path that was asked for.
        call: String,
        /// What is wrong with it: `is a web page`.
        fault: String,
    },
    /// The answer is larger than what is read.
    #[error("the answer of the tenant {tenant} of Qlik Cloud to `{call}` is larger than {limit} bytes")]
    TooLarge {
        /// Id of the tenant.
        tenant: String,
        /// The path that was asked for.
        call: String,
        /// What would have been read.
        limit: usize,
    },
}

impl CloudError {
    /// Whether the same question may have an answer some seconds later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Late { .. }
            | Self::Limited { .. }
            | Self::Crowded { .. }
            | Self::Answer { .. } => true,
            Self::Token { fresh, .. } => *fresh,
            Self::Status { status, .. } => matches!(status, 300..=399 | 407 | 408 | 425 | 429 | 500..),
            Self::Setup { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the tenant refuses, which is told once and not for each call.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Token { .. } | Self::Status { status: 403, .. })
    }
}

fn status_message(tenant: &str, status: u16, call: &str, body: &str) -> String {
    let mut text = format!("the tenant {tenant} of Qlik Cloud answers {status} to `{call}`");
    if !body.is_empty() {
        let _ = write!(text, ": {body}");
    }
    let remedy = match status {
        300..=399 => "it redirects, which is not followed: `url` must be the address of the tenant itself",
        403 => {
            "the owner of the token may not read this: give them the role for it, or take the token of somebody who may"
        }
        407 => "the proxy wants a login",
        500.. => "see Qlik's status page",
        _ => return text,
    };
    let _ = write!(text, " ({remedy})");
    text
}
