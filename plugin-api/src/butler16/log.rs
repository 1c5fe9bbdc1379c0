//! Lines of script logs.

use crate::{Host, ScriptLog};

/// First and last lines of a script log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LogLines {
    /// First lines.
    pub head: Vec<String>,
    /// Last lines; may overlap with `head`.
    pub tail: Vec<String>,
}

impl LogLines {
    /// `head` first and `tail` last lines: the event has some, and only if those are too few the whole log is fetched.
    /// Where that fails there are fewer lines.
    pub async fn gather(log: &ScriptLog, host: &Host, head: usize, tail: usize) -> Self {
        match whole(log, host, head, tail).await {
            Some(text) => Self::of_text(&text, head, tail),
            None => Self::of_event(log, head, tail),
        }
    }

    /// Of what the event has.
    pub fn of_event(log: &ScriptLog, head: usize, tail: usize) -> Self {
        Self {
            head: log.head.iter().take(head).cloned().collect(),
            tail: log.tail[log.tail.len().saturating_sub(tail)..].to_vec(),
        }
    }

    pub(crate) fn of_text(text: &str, head: usize, tail: usize) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        Self { head: owned(&lines[..lines.len().min(head)]), tail: owned(&lines[lines.len().saturating_sub(tail)..]) }
    }
}

/// The whole log, if the event has fewer lines than are wanted and it can be had.
pub(crate) async fn whole(log: &ScriptLog, host: &Host, head: usize, tail: usize) -> Option<String> {
    if is_enough(log, head, tail) {
        return None;
    }
    let text = host.qlik().script_log(&log.reference).await;
    text.inspect_err(|error| tracing::debug!("there are fewer lines of the script log than wanted: {error}")).ok()
}

fn is_enough(log: &ScriptLog, head: usize, tail: usize) -> bool {
    let enough = |have: usize, want: usize| have >= want || u64::try_from(have).is_ok_and(|have| have >= log.rows);
    enough(log.head.len(), head) && enough(log.tail.len(), tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_are_what_there_is_at_most() {
        let lines = LogLines::of_text("a\r\nb\nc", 2, 5);
        assert_eq!(
            (lines.head, lines.tail),
            (vec!["a".to_owned(), "b".to_owned()], ["a", "b", "c"].map(str::to_owned).to_vec())
        );
        let log = ScriptLog {
            head: vec!["a".to_owned()],
            tail: vec!["b".to_owned(), "c".to_owned()],
            ..ScriptLog::default()
        };
        let lines = LogLines::of_event(&log, 0, 1);
        assert_eq!((lines.head.len(), lines.tail), (0, vec!["c".to_owned()]));
    }

    #[test]
    fn the_whole_log_is_fetched_where_the_event_has_too_little_of_it() {
        let lines = vec![String::new(); 2];
        let log = ScriptLog { head: lines.clone(), tail: lines, rows: 4, ..ScriptLog::default() };
        assert!(is_enough(&log, 2, 2) && !is_enough(&log, 3, 2) && !is_enough(&log, 2, 3));
        assert!(is_enough(&ScriptLog { rows: 2, ..log }, 10, 10), "there is no more");
    }
}
