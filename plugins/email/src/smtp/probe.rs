//! Asks the server what it can do, without a mail.

use std::time::Instant;

use lettre::transport::smtp::commands::{Ehlo, Noop};

use super::connect::Server;
use super::{Failure, Limits};
use crate::settings::TlsMode;

impl Server {
    /// Connects, encrypts and logs in as for a mail, and says what the server offers.
    pub(crate) async fn probe(&self, until: Instant) -> Result<String, Failure> {
        let limits = Limits { step: self.settings.timeout, until };
        let (mut connection, facts) = self.connect_anyway(&limits).await?;
        let broken = |error| Failure::Broken(format!("{} does not go on: {error}", self.shown()));
        let offers = limits.step(1, connection.command(Ehlo::new(self.name.clone()))).await.map_err(broken)?;
        limits.step(1, connection.command(Noop)).await.map_err(broken)?;
        let _ = limits.step(1, connection.quit()).await;

        let offers: Vec<&str> = offers.message().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
        let encryption = match (facts.encrypted, self.settings.tls, self.settings.verify) {
            (false, TlsMode::StarttlsIfOffered, _) => "NOT encrypted, since it does not offer STARTTLS",
            (false, ..) => "not encrypted",
            (true, _, false) => "encrypted, certificate not checked",
            (true, ..) => "encrypted, certificate checked",
        };
        let login = facts.login.map_or_else(|| "no login".to_owned(), |by| format!("login by {by} works"));
        Ok(format!("{} answers: {encryption}; {login}; it offers {}", self.shown(), offers.join(", ")))
    }
}
