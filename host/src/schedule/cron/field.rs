//! One field of a cron expression.

use super::{CronError, Months};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
pub(super) struct Field {
    name: &'static str,
    min: u8,
    /// Of `*` and `n/step`.
    max: u8,
    /// What may be written.
    highest: u8,
    /// Of the numbers from `min` on.
    names: &'static [&'static str],
    /// What is added to the numbers that are written.
    shift: u8,
}

/// Numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set(u64);

impl Set {
    pub(super) fn of(numbers: impl IntoIterator<Item = u8>) -> Self {
        Self(numbers.into_iter().fold(0, |set, number| set | 1 << number))
    }

    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |number| self.0 & (1 << number) != 0)
    }

    /// `1,2,3`, with `shift` added to each.
    pub(super) fn list(self, shift: u8) -> String {
        self.iter().map(|number| (number + shift).to_string()).collect::<Vec<_>>().join(",")
    }
}

impl Field {
    /// The six fields.
    pub(super) fn all(months: Months) -> [Self; 6] {
        let plain = |name, min, max| Self { name, min, max, highest: max, names: &[], shift: 0 };
        let month = match months {
            Months::FromOne => plain("month", 1, 12),
            Months::FromZero => Self { shift: 1, ..plain("month", 0, 11) },
        };
        [
            plain("second", 0, 59),
            plain("minute", 0, 59),
            plain("hour", 0, 23),
            plain("day of month", 1, 31),
            Self { names: &MONTHS, ..month },
            Self { names: &WEEKDAYS, highest: 7, ..plain("day of week", 0, 6) },
        ]
    }

    /// The numbers that a text means. It begins in a column.
    pub(super) fn parse(&self, text: &str, column: usize) -> Result<Set, CronError> {
        let mut set = Set::default();
        let mut at = column;
        for item in text.split(',') {
            set.0 |= self.item(item, at)?.0;
            at += item.chars().count() + 1;
        }
        Ok(set)
    }

    fn item(&self, item: &str, column: usize) -> Result<Set, CronError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some((step, column + range.chars().count() + 1))),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((first, last)) => {
                let column_of_last = column + first.chars().count() + 1;
                let (first, mut last) = (self.number(first, column)?, self.number(last, column_of_last)?);
                if self.highest > self.max && last == self.min && first > last {
                    // A week may end on Sunday.
                    last = self.highest;
                }
                if last < first {
                    return Err(
                        self.error(column_of_last, format!("`{range}` ends before it begins: write the smaller first"))
                    );
                }
                (first, last)
            }
            None => {
                let number = self.number(range, column)?;
                (number, if step.is_some() { self.max.max(number) } else { number })
            }
        };
        let step = match step {
            None => 1,
            Some((text, column)) => {
                let step = digits(text).and_then(|text| text.parse::<usize>().ok());
                step.filter(|step| *step > 0).ok_or_else(|| {
                    self.error(column, format!("`{text}` is no step: write a number from 1 on, such as `*/5`"))
                })?
            }
        };
        let numbers = (first..=last).step_by(step);
        // The highest is the lowest by another number: Sunday.
        Ok(Set::of(numbers.map(|number| if number > self.max { self.min } else { number } + self.shift)))
    }

    fn number(&self, text: &str, column: usize) -> Result<u8, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(named) = named.and_then(|place| u8::try_from(place).ok()) {
            return Ok(self.min + named);
        }
        let number = digits(text).and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|number| (self.min..=self.highest).contains(number)) {
            return Ok(number);
        }
        let (min, max) = (self.min, self.highest);
        let what = match (self.names.first().zip(self.names.last()), self.shift) {
            (None, _) => format!("a number from {min} to {max}"),
            (Some((first, last)), 0) => format!("a number from {min} to {max} or a name from `{first}` to `{last}`"),
            (Some((first, last)), _) => {
                format!("a number from {min} ({first}) to {max} ({last}) or a name")
            }
        };
        let there = if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") };
        Err(self.error(column, format!("{there} stands where {what} must be")))
    }

    fn error(&self, column: usize, reason: String) -> CronError {
        CronError { column, field: Some(self.name), reason }
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// A field that is sound, with something added to its numbers, but not to its steps.
pub(super) fn shifted(field: &str, by: i8) -> String {
    let end = |text: &str| text.parse::<i8>().map_or_else(|_| text.to_owned(), |number| (number + by).to_string());
    let item = |item: &str| {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let range = range.split('-').map(end).collect::<Vec<_>>().join("-");
        step.map_or(range.clone(), |step| format!("{range}/{step}"))
    };
    field.split(',').map(item).collect::<Vec<_>>().join(",")
}
