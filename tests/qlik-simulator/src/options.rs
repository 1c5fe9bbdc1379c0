//! How a simulator is started.

use crate::{Certificates, Site, Status};

/// Settings of a new simulator. The default is what most tests want: a free port, the sample site, new certificates.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) port: u16,
    pub(crate) engine_port: u16,
    pub(crate) site: Option<Site>,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) without_subject_alt_name: bool,
    pub(crate) cheap: Option<Status>,
}

impl Options {
    /// The port on 127.0.0.1; 0 lets the system choose.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The port of the engine on 127.0.0.1; 0 lets the system choose.
    #[must_use]
    pub fn engine_port(mut self, port: u16) -> Self {
        self.engine_port = port;
        self
    }

    /// What the simulated Qlik Sense contains, instead of [`Site::sample`].
    #[must_use]
    pub fn site(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    /// Certificates made before, for instance those of an earlier simulator.
    #[must_use]
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// New certificates are made by [`Certificates::without_subject_alt_name`].
    #[must_use]
    pub fn without_subject_alt_name(mut self) -> Self {
        self.without_subject_alt_name = true;
        self
    }

    /// Answers that cost little, for benchmarks: whatever identifier is asked for exists, and reloads ended in
    /// failure. Objects of the site still take precedence. Requests are counted but not kept for
    /// [`QlikSimulator::seen_requests`](crate::QlikSimulator::seen_requests).
    #[must_use]
    pub fn cheap(self) -> Self {
        self.cheap_with(Status::FinishedFail)
    }

    /// As [`Options::cheap`], with another outcome of the made-up executions.
    #[must_use]
    pub fn cheap_with(mut self, outcome: Status) -> Self {
        self.cheap = Some(outcome);
        self
    }
}
