//! The lines of a script log that tell why a reload failed.
//!
//! Qlik Sense writes `Error: …` there, and in newer versions `The following error occurred:` with the error in the next
//! line; what ends every failed log (`Execution Failed`) explains nothing.

/// How many lines are kept at most.
const MOST: usize = 5;

/// The last error lines among these, in their order.
pub(super) fn among<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<&str> = lines.collect();
    let announced = |index: usize| index > 0 && announces(without_time(lines[index - 1]));
    let is_error = |text: &str| text.starts_with("Error:") || text.starts_with("Error ");
    let errors = lines.iter().enumerate().rev().filter(|(index, line)| {
        let text = without_time(line);
        !text.is_empty() && (is_error(text) || announced(*index))
    });
    let mut found: Vec<String> = errors.take(MOST).map(|(_, line)| line.trim_end().to_owned()).collect();
    if found.is_empty() {
        // Says only that there was an error, which is worth a line where nothing else does.
        found.extend(lines.iter().rfind(|line| line.trim_end().ends_with("Script Error")).map(ToString::to_string));
    }
    found.reverse();
    found
}

/// Whether the error itself is in the next line.
fn announces(text: &str) -> bool {
    text.ends_with("error occurred:") || text.ends_with("error occurred here:")
}

/// A line without its time stamp: `2026-03-04 05:06:07`, `20260304T050607.123+0100`.
pub(super) fn without_time(line: &str) -> &str {
    let mut rest = line.trim();
    // Date and time may be one word or two.
    for _ in 0..2 {
        let word = rest.split_whitespace().next().unwrap_or_default();
        let is_time = word.len() >= 8 && word.starts_with(|first: char| first.is_ascii_digit());
        if !is_time || !word.chars().all(|letter| letter.is_ascii_digit() || "-:.,TZ+".contains(letter)) {
            break;
        }
        rest = rest[word.len()..].trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_and_what_only_looks_like_one_is_not() {
        let log = [
            "2026-03-04 05:05:02      0001  SET ErrorMode=1",
            "2026-03-04 05:05:03      Error: Table 'x' not found",
            "2026-03-04 05:05:04      The following error occurred:",
            "2026-03-04 05:05:04      Connector connect error: refused",
            "2026-03-04 05:05:04      The error occurred here:",
            "2026-03-04 05:05:04      ",
            "20260304T050505.123+0100      General Script Error",
            "2026-03-04 05:05:06      Execution Failed",
        ];
        let found = among(log.iter().copied());
        let texts: Vec<_> = found.iter().map(|line| without_time(line)).collect();
        assert_eq!(texts, ["Error: Table 'x' not found", "Connector connect error: refused"]);
        assert_eq!(among(log[5..].iter().copied()).len(), 1, "nothing but the summary");
        assert!(among(["Execution finished.", ""].into_iter()).is_empty());
        let many = ["Error: 1", "Error: 2", "Error: 3", "Error: 4", "Error: 5", "Error: 6"];
        assert_eq!(among(many.into_iter()), many[1..]);
    }

    #[test]
    fn time_stamps_are_taken_off() {
        for (line, text) in [
            ("2026-03-04 05:05:02 a b", "a b"),
            ("20260304T050505.123+0100      a", "a"),
            ("  a", "a"),
            ("12345678 rows", "rows"),
            ("10 rows", "10 rows"),
            ("", ""),
            ("2026-03-04", ""),
        ] {
            assert_eq!(without_time(line), text, "{line}");
        }
    }
}
