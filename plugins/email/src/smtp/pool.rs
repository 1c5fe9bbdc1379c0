//! Connections are kept for the next mail: connecting, encrypting and logging in take far longer than a mail.
//!
//! A kept connection may have died meanwhile. One that has waited for some seconds is asked (NOOP) before it is used, and
//! where one breaks before the server has begun to take the mail, the mail is sent again by a new one.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::Noop;

use super::connect::Server;
use super::transaction::{Broken, Done, Verdict, transact};
use super::{Failure, Limits};

/// From when on a kept connection is asked before it is used.
const FRESH: Duration = Duration::from_secs(3);
/// How long a connection is kept; servers close idle ones after some minutes.
const KEPT: Duration = Duration::from_secs(30);
/// How long closing connections may take.
const QUIT: Duration = Duration::from_secs(2);

/// A connection that waits for the next mail.
pub(super) struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

/// The connection of one delivery.
pub(crate) struct Session<'a> {
    server: &'a Server,
    limits: Limits,
    connection: Option<AsyncSmtpConnection>,
    /// It has been used before, so it may have died without our knowledge.
    used: bool,
}

impl Server {
    /// Begins a delivery, which ends at a time. Connects when the first mail is sent.
    pub(crate) fn session(&self, until: Instant) -> Session<'_> {
        Session { server: self, limits: Limits { step: self.settings.timeout, until }, connection: None, used: false }
    }

    /// Closes connections that have waited for too long, or all of them.
    pub(crate) async fn close_idle(&self, all: bool) {
        let old: Vec<Idle> = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let (old, kept) = idle.drain(..).partition(|one| all || one.since.elapsed() > KEPT);
            *idle = kept;
            old
        };
        let quit = async {
            for mut one in old {
                let _ = one.connection.quit().await;
            }
        };
        let _ = tokio::time::timeout(QUIT, quit).await;
    }

    fn take_idle(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Session<'_> {
    /// Sends one mail. One verdict for each recipient, in their order.
    pub(crate) async fn send(&mut self, from: &Address, to: &[Address], mail: &str) -> Result<Vec<Verdict>, Failure> {
        loop {
            let (mut connection, used) = self.take().await?;
            match transact(&mut connection, &self.limits, from, to, mail).await {
                Ok(Done { verdicts, connection_lost }) => {
                    if !connection_lost {
                        self.keep(connection);
                    }
                    return Ok(verdicts);
                }
                Err(Broken { failure: Failure::Broken(_), before_content: true, .. }) if used => {
                    // Each turn uses up a kept connection, so this ends with a new one.
                    tracing::debug!("a kept connection to the mail server had died; another one is used");
                }
                Err(Broken { failure, connection_lost, .. }) => {
                    if !connection_lost {
                        self.keep(connection);
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// The delivery is over: its connection is kept for the next one.
    pub(crate) fn end(mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.server.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn keep(&mut self, connection: AsyncSmtpConnection) {
        self.connection = Some(connection);
        self.used = true;
    }

    async fn take(&mut self) -> Result<(AsyncSmtpConnection, bool), Failure> {
        if let Some(connection) = self.connection.take() {
            return Ok((connection, self.used));
        }
        while let Some(Idle { mut connection, since }) = self.server.take_idle() {
            let age = since.elapsed();
            if age < FRESH || (age < KEPT && self.limits.step(1, connection.command(Noop)).await.is_ok()) {
                return Ok((connection, true));
            }
        }
        let (connection, _) = self.server.connect(&self.limits).await?;
        Ok((connection, false))
    }
}
