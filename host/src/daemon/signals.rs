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
    #[cfg(windows)]
    streams: Option<windows::Streams>,
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

    #[cfg(windows)]
    pub(super) fn listen() -> Self {
        // Without handlers the system ends the process; the store survives that.
        Self { streams: windows::Streams::listen().ok() }
    }

    #[cfg(windows)]
    pub(super) async fn received(&mut self) -> Signal {
        let Some(streams) = &mut self.streams else { return std::future::pending().await };
        Signal::Stop(streams.received().await)
    }
}

#[cfg(windows)]
mod windows {
    //! What a console tells its programs.

    use std::io;

    use tokio::signal::windows::{
        CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
    };

    pub(super) struct Streams {
        c: CtrlC,
        pause: CtrlBreak,
        /// The window of the console is closed. Windows ends the process a few seconds later.
        close: CtrlClose,
        /// Likewise, with the whole machine.
        shutdown: CtrlShutdown,
    }

    impl Streams {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self { c: ctrl_c()?, pause: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
        }

        /// Waits for the next one; its name.
        pub(super) async fn received(&mut self) -> &'static str {
            tokio::select! {
                _ = self.c.recv() => "Ctrl-C",
                _ = self.pause.recv() => "Ctrl-Break",
                _ = self.close.recv() => "the console was closed",
                _ = self.shutdown.recv() => "the system shuts down",
            }
        }
    }
}
