//! Hosts that refused user name or password. They are left alone for a time: domains lock accounts that try too often, and then
//! all that uses the account stops.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::backend::Failure;

/// How long a host is left alone. Windows counts those of the last ten minutes, unless it is told otherwise.
const PAUSE: Duration = Duration::from_mins(15);

/// Which hosts refused what, and when.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<String, Refusal>>);

#[derive(Debug)]
struct Refusal {
    at: Instant,
    /// Of the credentials file: another one is tried at once.
    version: SystemTime,
    text: String,
}

impl Refusals {
    /// The refusal again, if the host is to be left alone.
    pub(crate) fn check(&self, host: &str, version: SystemTime, now: Instant) -> Result<(), Failure> {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.retain(|_, refusal| refusal.version == version && now.duration_since(refusal.at) < PAUSE);
        refusals.get(host).map_or(Ok(()), |refusal| Err(Failure::Host(refusal.text.clone())))
    }

    /// Notes one.
    pub(crate) fn note(&self, host: &str, version: SystemTime, text: &str, now: Instant) -> Failure {
        let minutes = PAUSE.as_secs() / 60;
        let text = format!(
            "{text}; it is asked again when the file has changed, or after {minutes} minutes, so that the account is not locked"
        );
        let refusal = Refusal { at: now, version, text: text.clone() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), refusal);
        Failure::Host(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_refused_is_left_alone_until_the_file_has_changed_or_the_time_is_over() {
        let (refusals, now, version) = (Refusals::default(), Instant::now(), SystemTime::now());
        let failure = refusals.note("sense1", version, "sense1 refuses the logon", now);
        assert!(matches!(&failure, Failure::Host(text) if text.contains("after 15 minutes")), "{failure}");
        let almost = now + PAUSE.saturating_sub(Duration::from_millis(1));
        assert_eq!(refusals.check("sense1", version, almost), Err(failure));
        assert_eq!(refusals.check("sense2", version, now), Ok(()));
        assert_eq!(refusals.check("sense1", version, now + PAUSE), Ok(()));

        refusals.note("sense1", version, "", now);
        let older = version - Duration::from_secs(1);
        assert_eq!(refusals.check("sense1", older, now), Ok(()), "a file that was put back is another one, too");
    }
}
