//! What goes wrong on purpose.
//!
//! A fault is decided after a request was counted and before its headers are checked: a server in trouble does not
//! first look who is asking.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::Method;
use serde_json::Value;

use crate::qrs::Endpoint;

/// One thing that goes wrong, for all requests unless narrowed down.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    endpoint: Option<Endpoint>,
    method: Option<Method>,
    id: Option<String>,
    remaining: Option<u32>,
}

#[derive(Clone, Debug)]
enum Effect {
    Latency(Duration),
    Outcome(Outcome),
}

/// How a faulty request ends.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Status(u16),
    Reset,
    /// What was asked for is done, and then the connection is reset.
    Lost,
    /// The connection is reset, and what was asked for is done so much later.
    Late(Duration),
    /// What was asked for is done at once, and the answer comes so much later.
    Held(Duration),
    Hang,
    Nonsense,
    /// A redirection to an address.
    Redirect(Arc<str>),
    /// Status 200, this content type, this body.
    Page(&'static str, Arc<str>),
    /// The proper answer, of which only so many bytes arrive.
    Cut(usize),
    Endless,
    /// The proper answer, if it is JSON, changed.
    Altered(Change),
}

/// What changes the JSON of an answer.
#[derive(Clone)]
pub(crate) struct Change(Arc<dyn Fn(&mut Value) + Send + Sync>);

impl Change {
    pub(crate) fn apply(&self, json: &mut Value) {
        (self.0)(json);
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Change")
    }
}

impl Fault {
    /// Answers come this much later. Goes together with other faults; several add up.
    pub fn latency(delay: Duration) -> Self {
        Self::new(Effect::Latency(delay))
    }

    /// Requests are answered with this status and a short plain text. A number that HTTP does not know becomes 500.
    pub fn status(status: u16) -> Self {
        Self::new(Effect::Outcome(Outcome::Status(status)))
    }

    /// The connection is reset instead of an answer.
    pub fn reset() -> Self {
        Self::new(Effect::Outcome(Outcome::Reset))
    }

    /// Requests have their effect, but the connection is reset instead of the answer.
    pub fn lost_answer() -> Self {
        Self::new(Effect::Outcome(Outcome::Lost))
    }

    /// The connection is reset instead of an answer, and requests without a body have their effect this much later.
    pub fn late_effect(delay: Duration) -> Self {
        Self::new(Effect::Outcome(Outcome::Late(delay)))
    }

    /// Requests have their effect at once, but the answer comes this much later.
    pub fn late_answer(delay: Duration) -> Self {
        Self::new(Effect::Outcome(Outcome::Held(delay)))
    }

    /// There is never an answer, though the connection stays open.
    pub fn hang() -> Self {
        Self::new(Effect::Outcome(Outcome::Hang))
    }

    /// Requests are answered with status 200 and a page that is not JSON, as a proxy in between might do.
    pub fn nonsense() -> Self {
        Self::new(Effect::Outcome(Outcome::Nonsense))
    }

    /// Requests are redirected (302) to this address.
    pub fn redirect(to: impl Into<Arc<str>>) -> Self {
        Self::new(Effect::Outcome(Outcome::Redirect(to.into())))
    }

    /// Requests are answered with status 200 and this page.
    pub fn page(content_type: &'static str, body: impl Into<Arc<str>>) -> Self {
        Self::new(Effect::Outcome(Outcome::Page(content_type, body.into())))
    }

    /// The connection breaks when so many bytes of the body of the proper answer have been sent.
    pub fn cut(after: usize) -> Self {
        Self::new(Effect::Outcome(Outcome::Cut(after)))
    }

    /// Requests are answered with a list that has no end.
    pub fn endless() -> Self {
        Self::new(Effect::Outcome(Outcome::Endless))
    }

    /// Answers in JSON are changed before they are sent, as another release might have written them.
    pub fn altered(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::new(Effect::Outcome(Outcome::Altered(Change(Arc::new(change)))))
    }

    /// Only for requests to this endpoint.
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Only for requests with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only for requests whose path names this identifier.
    #[must_use]
    pub fn of(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Only for the first `count` requests that it applies to; then it is gone.
    #[must_use]
    pub fn first(mut self, count: u32) -> Self {
        self.remaining = Some(count);
        self
    }

    fn new(effect: Effect) -> Self {
        Self { effect, endpoint: None, method: None, id: None, remaining: None }
    }

    /// Whether it applies to the request at hand. If so, one of its uses is gone.
    fn applies(&mut self, endpoint: Endpoint, method: &Method, id: &str) -> bool {
        let other = self.endpoint.is_some_and(|only| only != endpoint)
            || self.method.as_ref().is_some_and(|only| only != method)
            || self.id.as_ref().is_some_and(|only| !only.eq_ignore_ascii_case(id));
        if other {
            return false;
        }
        match &mut self.remaining {
            None => true,
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
        }
    }
}

/// The faults in force. Clones share them; they can be changed at any time.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) outcome: Option<Outcome>,
}

impl Faults {
    /// Puts a fault in force. Of several that decide how a request ends, the one added first wins.
    pub fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Removes all faults. Requests that already hang stay so until their connection ends.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Whether no fault is in force.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn plan(&self, endpoint: Endpoint, method: &Method, id: &str) -> Plan {
        let mut faults = self.lock();
        let mut plan = Plan::default();
        if faults.is_empty() {
            return plan;
        }
        for fault in faults.iter_mut() {
            let decided = plan.outcome.is_some() && matches!(fault.effect, Effect::Outcome(_));
            if decided || !fault.applies(endpoint, method, id) {
                continue;
            }
            match &fault.effect {
                Effect::Latency(delay) => plan.delay = plan.delay.saturating_add(*delay),
                Effect::Outcome(outcome) => plan.outcome = Some(outcome.clone()),
            }
        }
        faults.retain(|fault| fault.remaining != Some(0));
        plan
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the next request to an endpoint ends, and after which delay.
    fn next(faults: &Faults, endpoint: Endpoint) -> (String, Duration) {
        let plan = faults.plan(endpoint, &Method::GET, "");
        (plan.outcome.map_or_else(|| "proper".to_owned(), |outcome| format!("{outcome:?}")), plan.delay)
    }

    #[test]
    fn a_limited_fault_ends_after_its_uses() {
        let faults = Faults::default();
        faults.add(Fault::status(503).on(Endpoint::About).first(2));
        assert_eq!(next(&faults, Endpoint::Tag).0, "proper");
        assert_eq!(next(&faults, Endpoint::About).0, "Status(503)");
        assert_eq!(next(&faults, Endpoint::About).0, "Status(503)");
        assert_eq!(next(&faults, Endpoint::About).0, "proper");
        assert!(faults.is_empty());
    }

    #[test]
    fn a_fault_is_narrowed_down_to_a_method_and_an_identifier() {
        let faults = Faults::default();
        faults.add(Fault::status(403).on(Endpoint::TagById).method(Method::DELETE).of("AB"));
        let fails = |method, id| faults.plan(Endpoint::TagById, &method, id).outcome.is_some();
        assert!(fails(Method::DELETE, "ab"));
        assert!(!fails(Method::GET, "ab"));
        assert!(!fails(Method::DELETE, "ac"));
    }

    #[test]
    fn delays_add_up_and_the_first_outcome_wins() {
        let faults = Faults::default();
        faults.add(Fault::reset().first(1));
        faults.add(Fault::latency(Duration::from_millis(20)));
        faults.add(Fault::hang().first(1));
        faults.add(Fault::latency(Duration::from_millis(30)));
        let delay = Duration::from_millis(50);
        assert_eq!(next(&faults, Endpoint::About), ("Reset".to_owned(), delay));
        assert_eq!(next(&faults, Endpoint::About), ("Hang".to_owned(), delay));
        assert_eq!(next(&faults, Endpoint::About), ("proper".to_owned(), delay));
    }
}
