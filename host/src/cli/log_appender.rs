//! `butler log-appender`: writes the file by which a service of Qlik Sense is told to send to Butler.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::log4net::{self, MAX_SIZE, Service, Target};

/// Write the LocalLogConfig.xml by which a service of Qlik Sense sends to Butler, to standard output.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct LogAppender {
    /// The service that is to send.
    #[arg(long, value_enum)]
    service: Service,
    /// Where it is to send: the machine where Butler runs, and the port of `udp.listen` (or, for the proxy, of
    /// `udp.sessions.listen`).
    #[arg(long, value_name = "HOST:PORT")]
    to: Target,
    /// An existing file: what is in it stays, Butler's appenders are added or, if they are there already, updated.
    #[arg(long, value_name = "FILE")]
    merge: Option<PathBuf>,
}

impl LogAppender {
    /// Writes the file to standard output.
    pub fn run(self) -> anyhow::Result<()> {
        let text = match &self.merge {
            Some(path) => self.merged(path).with_context(|| format!("cannot merge into {}", path.display()))?,
            None => log4net::document(self.service, &self.to),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("the file cannot be written")
    }

    fn merged(&self, path: &Path) -> anyhow::Result<String> {
        let mut file = Vec::new();
        // One byte more than it may have shows that it is too long.
        let limit = u64::try_from(MAX_SIZE).map_or(u64::MAX, |limit| limit + 1);
        File::open(path).and_then(|opened| opened.take(limit).read_to_end(&mut file)).context("it cannot be read")?;
        Ok(log4net::merge(&file, self.service, &self.to)?)
    }
}
