//! The signals that ask for a stop or a reload.

/// What a signal asks for.
pub(super) enum Signal {
    /// A stop; the name of the signal.
    Stop(&'static str),
    /// The config is to be read anew. Windows has no such signal: `butler reload` asks by REST.
    #[cfg(unix)]
    Reload,
}

/// The signals of the process; heard from the moment that they are listened to.
pub(super) struct Signals {
    #[cfg(unix)]
    streams: Option<[tokio::signal::unix::Signal; 3]>,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let all = || {
            Ok::<_, std::io::Error>([
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ])
        };
        // Without handlers the system ends the process on a signal; the store survives that.
        Self { streams: all().ok() }
    }

    #[cfg(unix)]
    pub(super) async fn received(&mut self) -> Signal {
        let Some([terminate, interrupt, hangup]) = &mut self.streams else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => Signal::Stop("SIGTERM"),
            _ = interrupt.recv() => Signal::Stop("SIGINT"),
            _ = hangup.recv() => Signal::Reload,
        }
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    pub(super) async fn received(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Stop("Ctrl-C")
    }
}
