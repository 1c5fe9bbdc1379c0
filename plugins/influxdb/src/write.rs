//! Writing lines, and finding out what became of each.

use std::time::{Duration, Instant};

use butler_plugin_api::Host;

use crate::answer::{Answer, Later};
use crate::server::{Made, Server};

/// Most requests, and most time, to find out which lines of a batch are refused. Those that are left are written again later.
const MOST_REQUESTS: usize = 500;
const LONGEST: Duration = Duration::from_secs(40);

/// What became of a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// InfluxDB has it.
    Written,
    /// InfluxDB refuses it for good: why.
    Refused(String),
    /// Not known: it is to be written again.
    Again(Later),
}

/// What is known of the database, apart from the server's own settings.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// It was looked for, and created where that was possible.
    looked: bool,
    /// Why it could not be created, once that was said.
    denied: Option<String>,
}

impl Place {
    /// Looks for the database and creates it, the first time and after `missing`. Whether it is worth writing again.
    async fn provide(&mut self, server: &Server, host: &Host, missing: bool) -> Result<bool, Later> {
        if !server.creates() || (self.looked && !missing) {
            return Ok(false);
        }
        match server.make(host).await? {
            Made::There => {
                (self.looked, self.denied) = (true, None);
                Ok(true)
            }
            Made::Denied(why) => {
                self.looked = true;
                // Points are written all the same: it may be there, and unseen.
                if self.denied.as_ref() != Some(&why) {
                    tracing::warn!(
                        "whether the {} is there cannot be seen, or it cannot be created: {why}; create it, give the user or \
                         token the right to, or set `create: false`",
                        server.place()
                    );
                }
                self.denied = Some(why);
                Ok(false)
            }
        }
    }
}

/// Writes lines; one fate for each.
///
/// When InfluxDB refuses some of them without a word which, each half is written by itself, down to single lines. That harms
/// nothing: lines have times, and one that is written again replaces itself.
pub(crate) async fn write(server: &Server, host: &Host, place: &mut Place, lines: &[&str]) -> Vec<Fate> {
    let mut fates = vec![None; lines.len()];
    let (begin, mut requests) = (Instant::now(), 0);
    let mut open = Vec::from([std::ops::Range { start: 0, end: lines.len() }]);
    let mut later = match place.provide(server, host, false).await {
        Ok(_) => Later::new("too many points of one batch were refused; the others are written again"),
        Err(later) => {
            open.clear();
            later
        }
    };
    let mut provided = false;
    while let Some(range) = open.pop() {
        if requests >= MOST_REQUESTS || (requests > 0 && begin.elapsed() > LONGEST) {
            break;
        }
        requests += 1;
        let answer = match server.write(host, lines[range.clone()].join("\n")).await {
            Ok(reply) => Answer::from(&reply),
            Err(later) => Answer::Later(later),
        };
        let refused = |message: &String| Some(Fate::Refused(message.clone()));
        match answer {
            Answer::Written => fates[range].fill(Some(Fate::Written)),
            Answer::Refused { message, lines: named, dropped } => {
                let count = range.len();
                if count == 1 || dropped == Some(count) {
                    fates[range].fill(refused(&message));
                } else if !named.is_empty() && named.iter().all(|(line, _)| *line < count) {
                    fates[range.clone()].fill(Some(Fate::Written));
                    for (line, message) in &named {
                        fates[range.start + line] = refused(message);
                    }
                } else {
                    halve(&mut open, range);
                }
            }
            Answer::TooLarge(message) if range.len() == 1 => fates[range].fill(refused(&message)),
            Answer::TooLarge(_) => halve(&mut open, range),
            Answer::Missing(missing) => {
                let there = if provided { Ok(false) } else { place.provide(server, host, true).await };
                provided = true;
                match there {
                    Ok(true) => open.push(range),
                    Ok(false) => {
                        later = hint(&missing, server, place);
                        break;
                    }
                    Err(away) => {
                        later = away;
                        break;
                    }
                }
            }
            Answer::Later(why) => {
                later = why;
                break;
            }
        }
    }
    fates.into_iter().map(|fate| fate.unwrap_or_else(|| Fate::Again(later.clone()))).collect()
}

fn halve(open: &mut Vec<std::ops::Range<usize>>, range: std::ops::Range<usize>) {
    let middle = range.start + range.len() / 2;
    open.push(middle..range.end);
    open.push(range.start..middle);
}

fn hint(missing: &Later, server: &Server, place: &Place) -> Later {
    let what = match &place.denied {
        Some(why) => format!("it could not be created: {why}"),
        None if server.creates() => "it was looked for in vain".to_owned(),
        None => "create it, or set `create: true`".to_owned(),
    };
    Later { message: format!("{}; the {}: {what}", missing.message, server.place()), after: missing.after }
}
