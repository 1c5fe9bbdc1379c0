//! What asks for a stop or a reload from outside: signals, and the service manager.

use crate::service::Manager;

/// What a signal asks for.
pub(super) enum Signal {
    /// A stop; who asks for it.
    Stop(&'static str),
    /// The config is to be read anew. A process of Windows has no such signal, a service has; `butler reload` asks by REST.
    Reload,
}

/// The signals of the process; heard from the moment that they are listened to.
pub(super) struct Signals<'a> {
    manager: &'a dyn Manager,
    #[cfg(unix)]
    streams: Option<[tokio::signal::unix::Signal; 3]>,
    #[cfg(windows)]
    streams: Option<windows::Streams>,
}

impl<'a> Signals<'a> {
    /// The next one.
    pub(super) async fn received(&mut self) -> Signal {
        let manager = self.manager;
        tokio::select! {
            signal = self.of_process() => signal,
            name = manager.stop_asked() => Signal::Stop(name),
            () = manager.reload_asked() => Signal::Reload,
        }
    }

    #[cfg(unix)]
    pub(super) fn listen(manager: &'a dyn Manager) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let all = || {
            Ok::<_, std::io::Error>([
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ])
        };
        // Without handlers the system ends the process on a signal; the store survives that.
        Self { manager, streams: all().ok() }
    }

    #[cfg(unix)]
    async fn of_process(&mut self) -> Signal {
        let Some([terminate, interrupt, hangup]) = &mut self.streams else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => Signal::Stop("SIGTERM"),
            _ = interrupt.recv() => Signal::Stop("SIGINT"),
            _ = hangup.recv() => Signal::Reload,
        }
    }

    #[cfg(windows)]
    pub(super) fn listen(manager: &'a dyn Manager) -> Self {
        // Without handlers the system ends the process; the store survives that.
        Self { manager, streams: windows::Streams::listen().ok() }
    }

    #[cfg(windows)]
    async fn of_process(&mut self) -> Signal {
        let Some(streams) = &mut self.streams else { return std::future::pending().await };
        Signal::Stop(streams.received().await)
    }
}

#[cfg(windows)]
mod windows {
    //! What a console tells its programs. Not that somebody logs off: programs in a window end with it, and others should not.

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
