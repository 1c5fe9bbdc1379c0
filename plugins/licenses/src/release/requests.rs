//! The requests of a run: not more in a second than the settings allow, and repeated when that may help.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use butler_plugin_api::{Host, QlikReply, ServiceError};
use serde_json::Value;

use super::access::User;
use crate::part::Trouble;
use crate::qrs;

/// What is read is asked for once more after each of these.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// So many failures one after the other are not about what was asked for.
pub(super) const FAILURES: u32 = 5;

/// Why a run does not go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Qlik Sense does not play its part: what there is to report is reported.
    End(String),
    /// Butler does not: the run goes on later.
    Trouble(Trouble),
}

impl From<ServiceError> for Stop {
    fn from(error: ServiceError) -> Self {
        Self::Trouble(error.into())
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Asks Qlik Sense.
pub(super) struct Requests<'a> {
    host: &'a Host,
    interval: Duration,
    pauses: &'static [Duration],
    /// Before this time there is no further request.
    next: Instant,
    /// It did not help to ask again, and nothing was read since.
    away: bool,
}

impl<'a> Requests<'a> {
    pub(super) fn new(host: &'a Host, per_second: u16) -> Self {
        Self {
            host,
            interval: Duration::from_secs(1) / u32::from(per_second.max(1)),
            pauses: &PAUSES,
            next: Instant::now(),
            away: false,
        }
    }

    /// For somebody who waits: nothing is asked for again.
    pub(super) fn at_once(self) -> Self {
        Self { pauses: &[], ..self }
    }

    pub(super) async fn wait(&self, time: Duration) {
        self.host.sleep(time).await;
    }

    /// The answer, whatever its status; asked for once.
    pub(super) async fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Result<QlikReply, ServiceError> {
        self.turn().await;
        self.host.qlik().get(path, query).await
    }

    /// Sent once.
    pub(super) async fn delete(&mut self, path: &str) -> Result<QlikReply, ServiceError> {
        self.turn().await;
        self.host.qlik().delete(path).await
    }

    /// The JSON of a successful answer; absent: 404. A server that is not there, or overloaded, is asked again.
    pub(super) async fn find(&mut self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>, Stop> {
        let mut pauses = if self.away { [].iter() } else { self.pauses.iter() };
        loop {
            let why = match self.get(path, query).await {
                Ok(reply) if (200..300).contains(&reply.status) || reply.status == 404 => {
                    self.away = false;
                    return Ok(Some(reply.body).filter(|_| reply.status != 404));
                }
                Ok(reply) if reply.status == 429 || reply.status >= 500 => qrs::refusal(path, &reply),
                Ok(reply) => return Err(Stop::End(qrs::refusal(path, &reply))),
                Err(ServiceError::Stopped) => return Err(Stop::Trouble(Trouble::Stopped)),
                Err(error) => error.to_string(),
            };
            let Some(pause) = pauses.next() else {
                self.away = true;
                return Err(Stop::End(why));
            };
            self.host.sleep(*pause).await;
        }
    }

    async fn read(&mut self, path: &str, filter: &str) -> Result<Value, Stop> {
        let found = self.find(path, &[("filter", filter)]).await?;
        found.ok_or_else(|| Stop::End(format!("Qlik Sense answers 404 to `{path}`: this release has no such call")))
    }

    /// How many objects of a list fit a filter.
    pub(super) async fn count(&mut self, path: &str, filter: &str) -> Result<u64, Stop> {
        let path = format!("{path}/count");
        let answer = self.read(&path, filter).await?;
        answer["value"].as_u64().ok_or_else(|| Stop::End(odd(&path, "number")))
    }

    /// The objects of a list that fit a filter.
    pub(super) async fn list(&mut self, path: &str, filter: &str) -> Result<Vec<Value>, Stop> {
        let path = format!("{path}/full");
        match self.read(&path, filter).await? {
            Value::Array(objects) => Ok(objects),
            _ => Err(Stop::End(odd(&path, "list"))),
        }
    }

    /// Users by their identifiers; those that cannot be read are missing.
    pub(super) async fn users(&mut self, ids: &BTreeSet<&String>) -> Result<BTreeMap<String, User>, Stop> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let filter = ids.iter().map(|id| format!("id eq {id}")).collect::<Vec<_>>().join(" or ");
        match self.list("user", &filter).await {
            Ok(users) => Ok(users.iter().filter_map(User::read).collect()),
            Err(Stop::End(why)) => self.each_user(ids, &why).await,
            Err(trouble) => Err(trouble),
        }
    }

    /// One of them may be why they cannot be read together.
    async fn each_user(&mut self, ids: &BTreeSet<&String>, why: &str) -> Result<BTreeMap<String, User>, Stop> {
        let mut users = BTreeMap::new();
        let (mut answered, mut unanswered) = (0_u32, 0);
        for id in ids {
            let reply = match self.get(&format!("user/{id}"), &[]).await {
                Ok(reply) if !matches!(reply.status, 429 | 503) => reply,
                Err(ServiceError::Stopped) => return Err(Stop::Trouble(Trouble::Stopped)),
                _ => {
                    unanswered += 1;
                    if unanswered == FAILURES {
                        return Err(Stop::End(why.to_owned()));
                    }
                    continue;
                }
            };
            answered += 1;
            unanswered = 0;
            if reply.status == 200 {
                users.extend(User::read(&reply.body));
            }
        }
        if answered == 0 { Err(Stop::End(why.to_owned())) } else { Ok(users) }
    }

    async fn turn(&mut self) {
        let now = Instant::now();
        let wait = self.next.saturating_duration_since(now);
        self.next = self.next.max(now) + self.interval;
        if !wait.is_zero() {
            self.host.sleep(wait).await;
        }
    }
}

fn odd(path: &str, wanted: &str) -> String {
    format!(
        "the answer of Qlik Sense to `{path}` is no {wanted} (is `ports.repository` that of QRS, without a proxy in \
         between?)"
    )
}
