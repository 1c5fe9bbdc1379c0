//! What starts and stops the process, as the daemon sees it: it is told how things are, and may ask for a stop.

use std::time::Duration;

use futures_util::future::BoxFuture;

/// What a service manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// The start goes on, and may take so much longer from now on.
    Starting(Duration),
    /// The start is through, or a reload.
    Ready,
    /// The config is read anew; `Ready` follows.
    Reloading,
    /// How it is, in one line for people.
    Status(&'a str),
    /// The main loop goes round and the store answers.
    Alive,
    /// The stop has begun, and may take so long from now on.
    Stopping(Duration),
    /// The process ends now, with this exit code: what it consists of does not end by itself. Otherwise whoever runs the daemon
    /// for the manager sees its end.
    Ended(i32),
}

/// A service manager.
pub trait Manager: Send + Sync {
    /// Takes note of a state. Does not wait, and does not fail: the daemon works on whoever listens.
    fn tell(&self, state: State<'_>);

    /// How often it wants to be told how the daemon is, and that it is alive; `None`: never.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// Ends when it asks for a stop, with what the log is to say about who asks. May be called again and again, and dropped
    /// before it has ended.
    fn stop_asked(&self) -> BoxFuture<'_, &'static str> {
        Box::pin(std::future::pending())
    }

    /// Ends when it asks for the config to be read anew. The same holds.
    fn reload_asked(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// There is no manager: somebody runs Butler in a terminal.
#[derive(Debug)]
pub struct Unmanaged;

impl Manager for Unmanaged {
    fn tell(&self, _: State<'_>) {}
}
