//! The text of the fields `scriptLog` and `reload_log`, in the layout that dashboards of Butler 16 show.

use butler_plugin_api::Execution;
use butler_plugin_api::butler16::{LogLines, details};

use crate::line::cut;

/// What stands in place of a script log.
pub(crate) const NOT_AVAILABLE: &str = "Script log not available";

/// Most bytes of the steps of the run, of the first and of the last lines: together they fit into a field.
const MOST_DETAILS: usize = 12_000;
const MOST_HEAD: usize = 20_000;
const MOST_TAIL: usize = 30_000;

/// How many lines of a script log are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) head: usize,
    pub(crate) tail: usize,
}

/// The steps of the run, and the last lines.
pub(crate) fn of_failure(execution: Option<&Execution>, lines: &LogLines) -> String {
    format!(
        "{}\r\n{}\r\n\r\n{}",
        steps(execution),
        "-".repeat(31),
        last(&lines.tail, MOST_DETAILS + MOST_HEAD + MOST_TAIL)
    )
}

/// The steps of the run, the first and the last lines.
pub(crate) fn of_success(execution: Option<&Execution>, lines: &LogLines, wanted: Wanted) -> String {
    let rule = "-".repeat(10);
    format!(
        "{}\r\n{rule} SCRIPT LOG HEAD ({} lines) {rule}\r\n{}\r\n\r\n{rule} SCRIPT LOG TAIL ({} lines) {rule}\r\n{}",
        steps(execution),
        wanted.head,
        first(&lines.head, MOST_HEAD),
        wanted.tail,
        last(&lines.tail, MOST_TAIL)
    )
}

fn steps(execution: Option<&Execution>) -> String {
    let text = execution.map(details).unwrap_or_default();
    cut(&text, MOST_DETAILS).to_owned()
}

/// Whole lines from the beginning; of one that is too long by itself its beginning.
fn first(lines: &[String], most: usize) -> String {
    let count = fitting(lines.iter(), most);
    if count == 0 { lines.first().map_or("", |line| cut(line, most)).to_owned() } else { lines[..count].join("\r\n") }
}

/// Whole lines up to the end; of one that is too long by itself its beginning.
fn last(lines: &[String], most: usize) -> String {
    let count = fitting(lines.iter().rev(), most);
    if count == 0 {
        return lines.last().map_or("", |line| cut(line, most)).to_owned();
    }
    lines[lines.len() - count..].join("\r\n")
}

fn fitting<'a>(lines: impl Iterator<Item = &'a String>, most: usize) -> usize {
    let mut left = most;
    lines
        .take_while(|line| {
            let room = left.checked_sub(line.len() + 2);
            left = room.unwrap_or_default();
            room.is_some()
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::LONGEST_TEXT;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whole_lines_are_kept_as_long_as_they_fit() {
        let all = lines(&["aaaa", "bbbb", "cccc"]);
        assert_eq!((first(&all, 12).as_str(), last(&all, 12).as_str()), ("aaaa\r\nbbbb", "bbbb\r\ncccc"));
        assert_eq!((first(&all, 3).as_str(), last(&all, 3).as_str()), ("aaa", "ccc"));
        assert_eq!(first(&[], 3), "");
    }

    #[test]
    fn the_text_fits_into_a_field_however_long_the_log_is() {
        let long = LogLines { head: vec!["h".repeat(700); 1000], tail: vec!["t".repeat(700); 1000] };
        let wanted = Wanted { head: 1000, tail: 1000 };
        let texts = [of_failure(None, &long), of_success(None, &long, wanted)];
        for text in texts {
            assert!(text.len() <= LONGEST_TEXT && text.len() > 40_000, "{}", text.len());
            assert!(text.ends_with(&"t".repeat(700)));
        }
    }
}
