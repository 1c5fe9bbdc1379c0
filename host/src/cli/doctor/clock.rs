//! Whether this machine and Qlik Sense go by the same time: events are held against the times of executions.

use super::super::findings::Findings;
use super::super::progress::waiting;
use crate::qlik::Repository;
use crate::store::now_ms;

const LINK: &str = "clock";
/// From here on it is said, and from here on results of tasks are not found, or those of others.
const SAID_MS: i64 = 60_000;
const FAILED_MS: i64 = 300_000;

/// Compares by the `Date` of an answer.
pub(in super::super) async fn check(repository: &Repository, findings: &mut Findings) {
    let before = now_ms();
    let answer = waiting("Qlik Sense", repository.get("about", &[])).await;
    let after = now_ms();
    // That it does not answer is said elsewhere.
    let Ok(reply) = answer else { return };
    let Some(date) = reply.date_ms else {
        return findings.note(LINK, "the answers of Qlik Sense do not say its time", "compare the clocks by hand");
    };
    let ahead = ahead(date, before, after);
    let whose = if ahead > 0 {
        "Qlik Sense's clock is ahead of this machine's"
    } else {
        "this machine's clock is ahead of Qlik Sense's"
    };
    let detail = format!("{whose} by {}", span(ahead.abs()));
    let remedy = "have both follow the same time server (on Windows `w32tm /resync`)";
    match ahead.abs() {
        FAILED_MS.. => findings.failed(LINK, &detail, remedy),
        difference if difference > SAID_MS => findings.note(LINK, &detail, remedy),
        _ => findings.ok(LINK, "this machine and Qlik Sense have the same time, to a minute"),
    }
}

/// How far the server's clock is ahead at least, in ms; negative: behind. `date` is in whole seconds, and was written at some
/// time from `before` to `after`.
fn ahead(date: i64, before: i64, after: i64) -> i64 {
    let (least, most) = (date - after, date + 999 - before);
    if least > 0 { least } else { most.min(0) }
}

fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_otherwise_counts() {
        // The server writes 10.000 at any time of its second, and the answer took 2 s.
        assert_eq!(ahead(10_000, 9_500, 11_500), 0);
        assert_eq!(ahead(10_000, 10_999, 12_000), 0);
        assert_eq!(ahead(10_000, 11_000, 12_000), -1);
        assert_eq!(ahead(310_000, 9_000, 10_000), 300_000);
        assert_eq!(ahead(10_000, 310_999, 311_000), -300_000);
        assert_eq!((span(119_999), span(120_000)), ("119 s".to_owned(), "2 min".to_owned()));
    }
}
