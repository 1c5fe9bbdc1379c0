//! What goes wrong on purpose.

use std::time::Duration;

use serde_json::Value;

/// One thing that goes wrong, for all calls unless narrowed down.
#[derive(Clone, Debug)]
pub struct EngineFault {
    pub(super) effect: Effect,
    method: Option<String>,
    app: Option<String>,
    remaining: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    // Of the handshake.
    Status(u16),
    NoHandshake,
    Notify(String, Value),
    // Of a call.
    Silent,
    Deaf,
    Break,
    Close(u16),
    Huge(usize),
    HalfFrame,
    NotJson,
    Refuse(i64, String),
    Delay(Duration),
    Reverse,
    NullHandle,
    Odd,
}

impl EngineFault {
    /// The handshake of WebSocket is refused with this HTTP status.
    pub fn status(status: u16) -> Self {
        Self::new(Effect::Status(status))
    }

    /// TLS comes about, but the request is never answered.
    pub fn no_handshake() -> Self {
        Self::new(Effect::NoHandshake)
    }

    /// Instead of the greeting comes this notification, and the connection is closed.
    pub fn notify(method: impl Into<String>, params: Value) -> Self {
        Self::new(Effect::Notify(method.into(), params))
    }

    /// There is never an answer; pings are answered.
    pub fn silent() -> Self {
        Self::new(Effect::Silent)
    }

    /// From this call on nothing is read or written any more, though the connection stays.
    pub fn deaf() -> Self {
        Self::new(Effect::Deaf)
    }

    /// The connection breaks instead of an answer.
    pub fn broken() -> Self {
        Self::new(Effect::Break)
    }

    /// The engine closes the session with this code instead of an answer.
    pub fn close(code: u16) -> Self {
        Self::new(Effect::Close(code))
    }

    /// The answer has so many bytes.
    pub fn huge(bytes: usize) -> Self {
        Self::new(Effect::Huge(bytes))
    }

    /// Only half of the frame of an answer is sent, then nothing more.
    pub fn half_frame() -> Self {
        Self::new(Effect::HalfFrame)
    }

    /// The answer is a text that is no JSON.
    pub fn not_json() -> Self {
        Self::new(Effect::NotJson)
    }

    /// The call is refused.
    pub fn refuse(code: i64, message: impl Into<String>) -> Self {
        Self::new(Effect::Refuse(code, message.into()))
    }

    /// Answers come this much later, each by itself.
    pub fn delay(delay: Duration) -> Self {
        Self::new(Effect::Delay(delay))
    }

    /// Answers that are due at about the same time come in reverse order, with some to questions that nobody has asked.
    pub fn reverse() -> Self {
        Self::new(Effect::Reverse)
    }

    /// The object is not found, though it is there.
    pub fn null_handle() -> Self {
        Self::new(Effect::NullHandle)
    }

    /// The result is another form of JSON.
    pub fn odd() -> Self {
        Self::new(Effect::Odd)
    }

    /// Only for calls of this method.
    #[must_use]
    pub fn on(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Only in sessions that have this app open.
    #[must_use]
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = Some(app.into());
        self
    }

    /// Only for the first `count` calls or handshakes that it applies to.
    #[must_use]
    pub fn first(mut self, count: u32) -> Self {
        self.remaining = Some(count);
        self
    }

    fn new(effect: Effect) -> Self {
        Self { effect, method: None, app: None, remaining: None }
    }

    fn is_of_handshake(&self) -> bool {
        matches!(self.effect, Effect::Status(_) | Effect::NoHandshake | Effect::Notify(..))
    }

    fn use_up(&mut self) -> bool {
        match &mut self.remaining {
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
            None => true,
        }
    }
}

/// What is wrong with a handshake.
pub(super) fn of_handshake(faults: &mut [EngineFault]) -> Option<Effect> {
    faults.iter_mut().find_map(|fault| (fault.is_of_handshake() && fault.use_up()).then(|| fault.effect.clone()))
}

/// What is wrong with a call; `app` is the one that the session has open.
pub(super) fn of_call(faults: &mut [EngineFault], method: &str, app: Option<&str>) -> Option<Effect> {
    let fits = |fault: &mut EngineFault| {
        !fault.is_of_handshake()
            && fault.method.as_deref().is_none_or(|only| only == method)
            && fault.app.as_deref().is_none_or(|only| Some(only) == app)
            && fault.use_up()
    };
    faults.iter_mut().find_map(|fault| fits(fault).then(|| fault.effect.clone()))
}
