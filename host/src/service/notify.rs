//! The notification protocol of systemd (`sd_notify(3)`): datagrams with lines `NAME=VALUE` to the socket in `NOTIFY_SOCKET`.

use super::{Manager, State};

/// The socket of a service manager.
#[derive(Debug)]
pub struct Notify;

impl Notify {
    /// The one that this process was started with.
    pub fn from_env() -> Option<Self> {
        None
    }
}

impl Manager for Notify {
    fn tell(&self, _: State<'_>) {}
}
