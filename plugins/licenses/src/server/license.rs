//! Reading the licence of the server.

use butler_plugin_api::ServerLicense;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use serde_json::Value;

/// What stands before the last day of validity in the details of the licence.
const LABEL: &str = "valid to";
/// Longest text of a licence that is quoted, in characters.
const QUOTED: usize = 100;

/// The licence of the server at a look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct License {
    /// What QRS says.
    pub(super) expired: Option<bool>,
    /// Why, if QRS says that too.
    reason: Option<String>,
    /// The last day on which it is valid, in UTC.
    pub(super) date: Option<Date>,
    /// Days until then: 0 on the day itself, negative afterwards.
    pub(super) days: Option<i32>,
    /// What could not be read.
    faults: Vec<String>,
}

/// What the details of a licence say about its last day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValidTo {
    Day(Date),
    /// A text that is no date.
    Unreadable(String),
    Absent,
}

impl License {
    /// From the answer of QRS: `isExpired`, `expiredReason`, and the line `Valid To: <date>` in the text `keyDetails`.
    pub(super) fn read(body: &Value, now: Timestamp) -> Self {
        let mut license = Self { expired: body["isExpired"].as_bool(), ..Self::default() };
        if license.expired.is_none() {
            license.faults.push("Qlik Sense does not say whether it has expired (`isExpired`)".to_owned());
        }
        license.reason = body["expiredReason"].as_str().map(quoted).filter(|reason| !reason.is_empty());
        match body["keyDetails"].as_str().map(valid_to) {
            Some(ValidTo::Day(date)) => {
                license.date = Some(date);
                license.days = Some(days_until(date, now));
            }
            Some(ValidTo::Unreadable(text)) => {
                license
                    .faults
                    .push(format!("its last day is given as \"{}\", which is no date like 2026-12-31", quoted(&text)));
            }
            Some(ValidTo::Absent) => license.faults.push("its details name no last day (`Valid To`)".to_owned()),
            None => license.faults.push("Qlik Sense gives no text with its details (`keyDetails`)".to_owned()),
        }
        license
    }

    /// It has ended: QRS says so, or its last day is over.
    pub(super) fn has_ended(&self) -> bool {
        self.expired == Some(true) || self.days.is_some_and(|days| days < 0)
    }

    /// In one line: until when it is valid.
    pub(super) fn status(&self) -> String {
        let days = self.date.zip(self.days).map(|(date, days)| match days {
            ..-1 => format!("valid to {date}, {} days ago", -days),
            -1 => format!("valid to {date}, yesterday"),
            0 => format!("valid to {date}, today"),
            1 => format!("valid to {date}, tomorrow"),
            _ => format!("valid to {date}, {days} days left"),
        });
        let is_over = self.days.is_some_and(|days| days < 0);
        let days = days.map(|days| if is_over { format!(" was {days}") } else { format!(" is {days}") });
        let said = match self.expired {
            Some(true) => {
                let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let link = match self.days {
                    None => ":",
                    Some(_) if is_over => ", and",
                    Some(_) => ", but",
                };
                format!("{link} Qlik Sense says that it has expired{reason}")
            }
            _ if is_over => ", though Qlik Sense does not say that it has expired".to_owned(),
            _ if days.is_none() => " has no known last day".to_owned(),
            _ => String::new(),
        };
        format!("the server licence{}{said}", days.unwrap_or_default())
    }

    /// What could not be read, and what to do.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.faults.is_empty() {
            return None;
        }
        let unwarned = if self.date.is_none() { ", so nobody is told before it ends" } else { "" };
        Some(format!("{}{unwarned}: look at License management in the QMC", self.faults.join("; ")))
    }

    pub(super) fn section(&self) -> ServerLicense {
        ServerLicense {
            expired: self.expired,
            expiry_date: self.date.map(|date| date.to_string()),
            days_until_expiry: self.days.map(i64::from),
        }
    }
}

/// Days until a date, in UTC. The same as the time until its midnight, rounded up: 29 from noon of the 1st to the 30th.
pub(super) fn days_until(date: Date, now: Timestamp) -> i32 {
    let today = Offset::UTC.to_datetime(now).date();
    // Cannot fail: all dates of jiff are within some 7 million days.
    i32::try_from(date.duration_since(today).as_hours() / 24).unwrap_or(i32::MAX)
}

/// The last day in the details of a licence: lines of `<name>: <value>`, whatever ends them. Of several days the last one counts.
pub(super) fn valid_to(details: &str) -> ValidTo {
    let mut found = ValidTo::Absent;
    for text in details.split(['\r', '\n']).filter_map(after_label) {
        match date(text) {
            Some(date) => found = ValidTo::Day(date),
            None if matches!(found, ValidTo::Day(_)) => {}
            None => found = ValidTo::Unreadable(text.to_owned()),
        }
    }
    found
}

fn after_label(line: &str) -> Option<&str> {
    // Lower case of ASCII moves no byte.
    let at = line.to_ascii_lowercase().find(LABEL)? + LABEL.len();
    line.get(at..)?.trim_start().strip_prefix(':').map(str::trim)
}

/// `2026-12-31`, also with `/` or `.`, without zeros in front, and with a time of day behind, which is passed over: the day
/// counts as a whole.
fn date(text: &str) -> Option<Date> {
    let (year, rest) = number(text)?;
    let separator = rest.chars().next().filter(|c| "-/.".contains(*c))?;
    let (month, rest) = number(&rest[1..])?;
    let (day, rest) = number(rest.strip_prefix(separator)?)?;
    let ends = rest.chars().next().is_none_or(|c| matches!(c, 'T' | 'Z') || !(c.is_alphanumeric() || c == separator));
    // What QRS writes for "no date" is in 1753.
    if !ends || year < 1900 {
        return None;
    }
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// The number that a text begins with, of four digits at most, and what is behind.
fn number(text: &str) -> Option<(u16, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok().filter(|_| digits.len() <= 4)?, rest))
}

fn quoted(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(QUOTED).collect()
}
