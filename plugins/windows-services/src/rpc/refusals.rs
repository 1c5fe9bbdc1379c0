//! Refused logons are not repeated for a time: domains lock accounts that try too often, and then all that uses the account
//! stops. An account of a domain is the same at all hosts, so that what one refuses the others are not asked for either, and
//! until one has accepted it, one logon is tried at a time.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::credentials::Account;

/// How long hosts are left alone. Windows counts those of the last ten minutes, unless it is told otherwise.
const PAUSE: Duration = Duration::from_mins(15);
/// For so long a logon that was accepted shows that the next ones will be, too: all those of one look.
const FRESH: Duration = Duration::from_secs(10);

/// Which hosts refused what, and when.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    known: Mutex<Known>,
    turn: tokio::sync::Mutex<()>,
}

/// The right to log on, while nobody else of the same account does.
pub(crate) type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

#[derive(Debug, Default)]
struct Known {
    /// Of the credentials file: another one is tried at once.
    version: Option<SystemTime>,
    /// Hosts that accepted it, and when one did last.
    accepted_by: HashSet<String>,
    accepted: Option<Instant>,
    hosts: HashMap<String, Refusal>,
    /// Of the account, whatever the host.
    all: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    until: Instant,
    text: String,
}

impl Refusals {
    /// Waits until the host may be asked; none if others may be asked at the same time. The refusal again, if it is to be left
    /// alone.
    pub(crate) async fn turn(&self, host: &str, account: Account) -> Result<Option<Turn<'_>>, String> {
        if self.is_free(host, account, Instant::now())? {
            return Ok(None);
        }
        let turn = self.turn.lock().await;
        // Whoever had it before has found out more.
        let is_free = self.is_free(host, account, Instant::now())?;
        Ok((!is_free).then_some(turn))
    }

    /// Whether the host may be asked while others are.
    fn is_free(&self, host: &str, account: Account, now: Instant) -> Result<bool, String> {
        let mut known = self.known();
        if known.version != Some(account.version) {
            *known = Known { version: Some(account.version), ..Known::default() };
        }
        let refusal = [known.hosts.get(host), known.all.as_ref()].into_iter().flatten().find(|it| now < it.until);
        match refusal {
            Some(refusal) => Err(refusal.text.clone()),
            None => Ok(!account.of_domain || known.accepted.is_some_and(|at| now.duration_since(at) < FRESH)),
        }
    }

    /// Notes that a host let the account in.
    pub(crate) fn accept(&self, host: &str, account: Account, now: Instant) {
        let mut known = self.known();
        if known.version == Some(account.version) {
            known.accepted = Some(now);
            known.accepted_by.insert(host.to_owned());
        }
    }

    /// Notes that one did not. The text, with what comes of it.
    pub(crate) fn refuse(&self, host: &str, account: Account, text: &str, now: Instant) -> String {
        let mut known = self.known();
        // What others accepted and this one never did is a matter of this host.
        let of_all = account.of_domain && (known.accepted_by.is_empty() || known.accepted_by.contains(host));
        let minutes = PAUSE.as_secs() / 60;
        let (pause, what) = if of_all {
            // Then it is another one's turn first, which may accept it.
            (
                2 * PAUSE,
                format!(
                    "no host is asked until the file has changed, or for {minutes} minutes ({host}: {})",
                    2 * minutes
                ),
            )
        } else {
            (PAUSE, format!("it is asked again when the file has changed, or after {minutes} minutes"))
        };
        let text = format!("{text}; {what}, so that the account is not locked");
        if known.version == Some(account.version) {
            known.accepted = None;
            known.hosts.insert(host.to_owned(), Refusal { until: now + pause, text: text.clone() });
            if of_all {
                known.accepted_by.clear();
                known.all = Some(Refusal { until: now + PAUSE, text: text.clone() });
            }
        }
        text
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(of_domain: bool) -> Account {
        Account { version: SystemTime::now(), of_domain }
    }

    #[test]
    fn a_host_that_refused_its_own_account_is_left_alone_until_the_file_has_changed_or_the_time_is_over() {
        let (refusals, now, own) = (Refusals::default(), Instant::now(), account(false));
        assert_eq!(refusals.is_free("sense1", own, now), Ok(true));
        let text = refusals.refuse("sense1", own, "sense1 refuses the logon", now);
        assert!(text.contains("after 15 minutes"), "{text}");
        let almost = now + PAUSE.saturating_sub(Duration::from_millis(1));
        assert_eq!(refusals.is_free("sense1", own, almost), Err(text));
        assert_eq!(refusals.is_free("sense2", own, now), Ok(true));
        assert_eq!(refusals.is_free("sense1", own, now + PAUSE), Ok(true));

        refusals.refuse("sense1", own, "", now);
        let older = Account { version: own.version - Duration::from_secs(1), ..own };
        assert_eq!(refusals.is_free("sense1", older, now), Ok(true), "a file that was put back is another one, too");
        refusals.refuse("sense1", own, "", now);
        assert_eq!(refusals.is_free("sense1", older, now), Ok(true), "what was asked with another one does not count");
    }

    #[test]
    fn what_a_host_refuses_of_a_domain_no_other_one_is_asked_for() {
        let (refusals, now, ann) = (Refusals::default(), Instant::now(), account(true));
        assert_eq!(refusals.is_free("sense1", ann, now), Ok(false), "one at a time");
        let refused = Err(refusals.refuse("sense1", ann, "sense1 refuses the logon", now));
        assert_eq!(refusals.is_free("sense2", ann, now), refused);
        assert_eq!(refusals.is_free("sense2", ann, now + PAUSE), Ok(false));
        assert_eq!(refusals.is_free("sense1", ann, now + PAUSE), refused, "another one first");
        assert_eq!(refusals.is_free("sense1", ann, now + 2 * PAUSE), Ok(false));
    }

    #[test]
    fn a_host_that_refuses_what_others_accept_stops_itself_alone() {
        let (refusals, now, ann) = (Refusals::default(), Instant::now(), account(true));
        assert_eq!(refusals.is_free("sense1", ann, now), Ok(false));
        refusals.accept("sense1", ann, now);
        assert_eq!(refusals.is_free("odd", ann, now), Ok(true));
        assert_eq!(refusals.is_free("odd", ann, now + FRESH), Ok(false), "the password may be another one since");
        let refused = Err(refusals.refuse("odd", ann, "odd refuses the logon", now));
        assert_eq!(refusals.is_free("odd", ann, now), refused);
        assert_eq!(refusals.is_free("sense1", ann, now), Ok(false), "but one at a time again");
        // One that accepted it: it is the password.
        refusals.refuse("sense1", ann, "sense1 refuses the logon", now);
        assert!(refusals.is_free("sense2", ann, now).is_err());
    }
}
