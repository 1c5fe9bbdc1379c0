//! The signals that ask for a stop.

/// The signals that ask for a stop; heard from the moment that they are listened to.
pub(super) struct StopSignals {
    #[cfg(unix)]
    streams: Option<[tokio::signal::unix::Signal; 2]>,
}

impl StopSignals {
    #[cfg(unix)]
    pub(super) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Without handlers the system ends the process on a signal; the store survives that.
        let streams = signal(SignalKind::terminate()).and_then(|one| Ok([one, signal(SignalKind::interrupt())?])).ok();
        Self { streams }
    }

    #[cfg(unix)]
    pub(super) async fn received(self) -> &'static str {
        let Some([mut terminate, mut interrupt]) = self.streams else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    pub(super) async fn received(self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}
