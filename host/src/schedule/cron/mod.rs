//! Cron expressions: what they mean, and when they come next in a time zone.
//!
//! Five fields (minute, hour, day of month, month, day of week) or six, with the second before them. A field is a list of
//! `*`, `n` and `n-m`, each with a `/step` if wanted; `n/step` goes on to the end. Months and days of the week have names
//! (`jan`, `mon`), and Sunday is 0 and 7. Where both fields of days leave days out, a day is meant that fits either.
//!
//! The `cron` crate finds the times. It knows six fields only, counts Sunday as 1 and joins the two fields of days by *and*,
//! so that it gets lists of numbers from here, and two schedules where either field counts. It works on the time that clocks
//! on the wall show; what zones do to that is in [`next`](self::next).

mod field;
mod next;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr as _;

use self::field::{Field, Set};

/// How months are numbered. Names mean the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Months {
    /// January is 1, as everywhere.
    FromOne,
    /// January is 0, as in Butler 16.
    FromZero,
}

/// A cron expression.
#[derive(Debug, Clone)]
pub struct Cron {
    /// As it was written, with one space between fields and months from 1.
    text: String,
    /// One, or two of which either counts.
    schedules: Vec<::cron::Schedule>,
    /// It comes in every hour of its days.
    hourly: bool,
}

/// What is wrong with a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}{}: {reason}", field.map(|field| format!(" ({field})")).unwrap_or_default())]
pub struct CronError {
    /// Where, in characters from 1.
    pub column: usize,
    /// In which field, if it is one.
    pub field: Option<&'static str>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Days of each month, in the longest year.
const DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Cron {
    /// Reads an expression.
    pub fn parse(text: &str, months: Months) -> Result<Self, CronError> {
        let words = words(text);
        let whole = |column, reason: String| CronError { column, field: None, reason };
        if text.trim_start().starts_with('@') {
            return Err(whole(
                words[0].0,
                "names such as `@daily` are not known: write fields, such as `0 0 * * *`".into(),
            ));
        }
        let fields = Field::all(months);
        let fields = match words.len() {
            5 => &fields[1..],
            6 => &fields[..],
            n => {
                let column = words.get(6).map_or(text.chars().count() + 1, |(column, _)| *column);
                return Err(whole(
                    column,
                    format!(
                        "{n} fields, but there must be 5 (minute, hour, day of month, month, day of week) or 6 (with the \
                         second before them)"
                    ),
                ));
            }
        };
        let mut sets = Vec::with_capacity(6);
        if words.len() == 5 {
            sets.push(Set::of([0]));
        }
        for (field, (column, word)) in fields.iter().zip(&words) {
            sets.push(field.parse(word, *column)?);
        }
        let [second, minute, hour, day, month, weekday] = sets[..] else {
            return Err(whole(1, "it cannot be read".into()));
        };
        let (any_day, any_weekday) = (day.len() == 31, weekday.len() == 7);
        if any_weekday && !month.iter().any(|month| day.iter().any(|day| day <= DAYS[usize::from(month) - 1])) {
            let (column, _) = words[words.len() - 3];
            let reason = "no such day: none of the months has it, so it would never come".to_owned();
            return Err(CronError { column, field: Some("day of month"), reason });
        }
        let every = |set: Set, all: bool, shift: u8| if all { "*".to_owned() } else { set.list(shift) };
        let of = |day: &str, weekday: &str| {
            let (second, minute, hour) = (second.list(0), minute.list(0), hour.list(0));
            let expression = format!("{second} {minute} {hour} {day} {} {weekday}", month.list(0));
            ::cron::Schedule::from_str(&expression).map_err(|error| whole(1, format!("it cannot be read: {error}")))
        };
        let (days, weekdays) = (every(day, any_day, 0), every(weekday, any_weekday, 1));
        let schedules = if any_day || any_weekday {
            vec![of(&days, &weekdays)?]
        } else {
            vec![of(&days, "*")?, of("*", &weekdays)?]
        };
        let mut words: Vec<String> = words.into_iter().map(|(_, word)| word.to_owned()).collect();
        if months == Months::FromZero {
            let month = words.len() - 2;
            words[month] = field::shifted(&words[month], 1);
        }
        Ok(Self { text: words.join(" "), schedules, hourly: hour.len() == 24 })
    }

    /// As it is written in a numbering of months.
    pub fn text(&self, months: Months) -> String {
        if months == Months::FromOne {
            return self.text.clone();
        }
        let mut words: Vec<String> = self.text.split(' ').map(str::to_owned).collect();
        let month = words.len() - 2;
        words[month] = field::shifted(&words[month], -1);
        words.join(" ")
    }

    /// Whether it goes by time that passes and not by the clock on the wall; see [`next`](self::next).
    pub fn is_hourly(&self) -> bool {
        self.hourly
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The words of a text with their columns.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    for (column, (at, c)) in text.char_indices().enumerate() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((column + 1, at)),
            (true, Some((column, begin))) => {
                words.push((column, &text[begin..at]));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|(column, begin)| (column, &text[begin..])));
    words
}
