//! Texts such as `every 15 minutes` of Butler 16, as the setting `when`.
//!
//! Butler 16 went by the calendar in UTC: `every 15 minutes` at the minutes 0, 15, 30 and 45. Intervals below a day go by
//! the time of the last one here, which is the same but for when within the interval; days become a `cron` in UTC.

use serde_json::{Value, json};

use crate::services::When;

/// What a text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frequency {
    /// The setting.
    pub(super) when: Value,
    /// What Butler 16 did otherwise.
    pub(super) differs: Option<String>,
}

/// Names of a unit, what the setting calls it, and how many of it make the next larger one.
const UNITS: [(&[&str], &str, u64); 3] = [
    (&["s", "sec", "secs", "second", "seconds"], "s", 60),
    (&["m", "min", "mins", "minute", "minutes"], "m", 60),
    (&["h", "hour", "hours"], "h", 24),
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a text means; the error is for people.
pub(super) fn read(text: &str) -> Result<Frequency, String> {
    let lower = text.to_lowercase().replace(',', " , ");
    let words: Vec<&str> = lower.split_whitespace().collect();
    let read = match words.as_slice() {
        ["every", "weekday"] => Some(at_midnight("1-5")),
        ["every", "weekend"] => Some(at_midnight("0,6")),
        ["every", unit] => interval(1, unit).map(|frequency| Frequency {
            differs: Some(format!(
                "Butler 16 took `{text}`, without a number, for something else: now it is what it reads"
            )),
            ..frequency
        }),
        ["every", number, unit] => number.parse().ok().filter(|number| *number > 0).and_then(|it| interval(it, unit)),
        _ => times(&words),
    };
    // Settings with an interval that is too long would be refused as a whole.
    let read = read.filter(|frequency| serde_json::from_value::<When>(frequency.when.clone()).is_ok());
    read.ok_or_else(|| {
        format!("`{text}` cannot be translated (Butler 16 had no message for what it did not understand): set `when` by hand")
    })
}

fn cron(expression: &str) -> Frequency {
    Frequency { when: json!({ "cron": expression, "timeZone": "UTC" }), differs: None }
}

fn at_midnight(days: &str) -> Frequency {
    cron(&format!("0 0 * * {days}"))
}

fn interval(number: u64, unit: &str) -> Option<Frequency> {
    if let Some((_, short, next)) = UNITS.iter().find(|(names, ..)| names.contains(&unit)) {
        let when = json!({ "every": format!("{number}{short}") });
        let is_even = number <= *next && next.is_multiple_of(number);
        let differs = (!is_even).then(|| {
            format!("every {number}{short} now; Butler 16 began anew with each larger unit, since {number} does not divide it")
        });
        return Some(Frequency { when, differs });
    }
    match unit {
        "day" | "days" if number == 1 => Some(cron("0 0 * * *")),
        "day" | "days" if number <= 31 => Some(cron(&format!("0 0 */{number} * *"))),
        "week" | "weeks" if number <= 52 => Some(Frequency {
            when: json!({ "every": format!("{}d", number * 7) }),
            differs: Some("from now on; Butler 16 counted the weeks of the year".to_owned()),
        }),
        "month" | "months" if number == 1 => Some(cron("0 0 1 * *")),
        "month" | "months" if number <= 12 => Some(cron(&format!("0 0 1 */{number} *"))),
        "year" | "years" if number == 1 => Some(cron("0 0 1 1 *")),
        _ => None,
    }
}

/// `[on DAYS] [at TIMES]`.
fn times(words: &[&str]) -> Option<Frequency> {
    let at = words.iter().position(|word| *word == "at").unwrap_or(words.len());
    let days = match &words[..at] {
        [] => "*".to_owned(),
        ["on", days @ ..] => days_of_week(days)?,
        _ => return None,
    };
    let times = match words.get(at + 1..) {
        Some(times) if !times.is_empty() => clock(times)?,
        Some(_) => return None,
        None if days == "*" => return None,
        None => vec![(0, 0)],
    };
    // One expression has one minute for all its hours.
    let minute = times.first()?.1;
    let mut hours: Vec<u64> = times.iter().map(|(hour, _)| *hour).collect();
    hours.sort_unstable();
    hours.dedup();
    let hours: Vec<String> = hours.iter().map(u64::to_string).collect();
    times.iter().all(|(_, it)| *it == minute).then(|| cron(&format!("{minute} {} * * {days}", hours.join(","))))
}

fn day(word: &str) -> Option<usize> {
    DAYS.iter().position(|day| word.starts_with(day))
}

fn days_of_week(words: &[&str]) -> Option<String> {
    let text = words.join(" ").replace(" through ", "-").replace(" to ", "-").replace(" - ", "-");
    let mut days = Vec::new();
    for part in text.split([' ', ',']).filter(|part| !part.is_empty() && *part != "and") {
        days.push(match part.split_once('-') {
            Some((first, last)) => match (day(first)?, day(last)?) {
                // A range of cron does not go over the end of the week.
                (first, last) if first > last => [&DAYS[first..], &DAYS[..=last]].concat().join(","),
                (first, last) => format!("{}-{}", DAYS[first], DAYS[last]),
            },
            None => DAYS[day(part)?].to_owned(),
        });
    }
    (!days.is_empty()).then(|| days.join(","))
}

/// `10:15 am and 5:15 pm`, as hours and minutes of the day.
fn clock(words: &[&str]) -> Option<Vec<(u64, u64)>> {
    let mut times: Vec<(u64, u64)> = Vec::new();
    for word in words {
        match *word {
            "and" | "," => {}
            "am" | "pm" => {
                let (hour, _) = times.last_mut().filter(|(hour, _)| (1..=12).contains(hour))?;
                *hour = *hour % 12 + if *word == "pm" { 12 } else { 0 };
            }
            time => {
                let (time, half) = match time.strip_suffix("pm") {
                    Some(time) => (time, Some(12)),
                    None => time.strip_suffix("am").map_or((time, None), |time| (time, Some(0))),
                };
                let (hour, minute) = time.split_once(':')?;
                let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
                let hour = match half {
                    Some(half) if (1..=12).contains(&hour) => hour % 12 + half,
                    Some(_) => return None,
                    None => hour,
                };
                (hour < 24 && minute < 60).then(|| times.push((hour, minute)))?;
            }
        }
    }
    (!times.is_empty()).then_some(times)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `every` or `cron`, and whether something is said.
    fn read_back(text: &str) -> String {
        match read(text) {
            Ok(Frequency { when, differs }) => {
                let _: When = serde_json::from_value(when.clone()).unwrap();
                let when = when["every"].as_str().or(when["cron"].as_str()).unwrap().to_owned();
                when + if differs.is_some() { " !" } else { "" }
            }
            Err(_) => "?".to_owned(),
        }
    }

    #[test]
    fn texts_of_butler_16() {
        for (text, expected) in [
            ("every 30 seconds", "30s"),
            ("Every 30 secs", "30s"),
            ("every 15 minutes", "15m"),
            ("every 15 m", "15m"),
            ("every 45 minutes", "45m !"),
            ("every 90 minutes", "90m !"),
            ("every 6 hours", "6h"),
            ("every 24 hours", "24h"),
            ("every 48 hours", "48h !"),
            ("every 1 day", "0 0 * * *"),
            ("every 2 days", "0 0 */2 * *"),
            ("every 1 week", "7d !"),
            ("every 3 months", "0 0 1 */3 *"),
            ("every minute", "1m !"),
            ("every hour", "1h !"),
            ("every day", "0 0 * * * !"),
            ("every weekday", "0 0 * * 1-5"),
            ("every weekend", "0 0 * * 0,6"),
            ("at 10:15 am and 5:15 pm", "15 10,17 * * *"),
            ("at 22:05", "5 22 * * *"),
            ("at 12:00 am, 12:00pm", "0 0,12 * * *"),
            ("on monday at 8:00", "0 8 * * mon"),
            ("on mon-fri at 7:30", "30 7 * * mon-fri"),
            ("on mon through fri", "0 0 * * mon-fri"),
            ("on sat-mon at 8:00", "0 8 * * sat,sun,mon"),
            ("on Friday to Tuesday", "0 0 * * fri,sat,sun,mon,tue"),
            ("on mon-sun", "0 0 * * mon,tue,wed,thu,fri,sat,sun"),
            ("on mon-mon", "0 0 * * mon-mon"),
            ("on saturday, sunday", "0 0 * * sat,sun"),
            // Two minutes do not go into one expression.
            ("at 10:15 and 17:30", "?"),
            ("30 seconds", "?"),
            ("soon", "?"),
            ("", "?"),
            ("every 0 minutes", "?"),
            ("every 8784 hours", "8784h !"),
            ("every 8785 hours", "?"),
            ("every 18446744073709551615 m", "?"),
            ("at 15 minutes past every hour", "?"),
            ("every 1 hour starting on the 30th minute", "?"),
            ("at 25:00", "?"),
            ("at 13:00 pm", "?"),
        ] {
            assert_eq!(read_back(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(every|at|on|[0-9]{1,20}|monday|:|, |am|pm|[a-z]{0,8}| ){0,8}") {
            read_back(&text);
        }
    }
}
