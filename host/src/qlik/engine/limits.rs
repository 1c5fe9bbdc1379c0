//! How long and how much.

use std::time::Duration;

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct EngineLimits {
    /// Longest time until there is a session: name, connection, TLS and the handshake of WebSocket.
    pub connect: Duration,
    /// Longest time until a call is answered.
    pub call: Duration,
    /// The same for opening an app with its data, and for saving it.
    pub open: Duration,
    /// Between two questions how far a reload is.
    pub progress: Duration,
    /// Between two pings.
    pub ping: Duration,
    /// An engine that sends nothing at all for so long is dead.
    pub silence: Duration,
    /// Longest time for a farewell.
    pub close: Duration,
    /// Longest time that somebody waits for a place.
    pub place: Duration,
    /// Sessions at once for lists and dumps. Qlik's proxy allows a user five; whether the engine's own port does too, where
    /// Butler connects, is not known. A session too many is refused by name.
    pub sessions: usize,
    /// Reloads at once.
    pub reloads: usize,
    /// Longest message, in bytes.
    pub message: usize,
    /// Largest dump, in bytes: all that the engine sends for it.
    pub dump: usize,
    /// Calls under way at once within a session.
    pub calls: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_mins(1),
            open: Duration::from_mins(10),
            progress: Duration::from_secs(3),
            ping: Duration::from_secs(15),
            silence: Duration::from_mins(2),
            close: Duration::from_secs(2),
            place: Duration::from_secs(30),
            sessions: 8,
            reloads: 5,
            message: 16 << 20,
            dump: 64 << 20,
            calls: 16,
        }
    }
}
