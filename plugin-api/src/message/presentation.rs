//! How a destination wants facts shown.

use jiff::tz::TimeZone;

use crate::butler16::{self, Zone};

/// More lines than that fit no message.
const MOST_LINES: usize = 1000;

/// How a destination wants facts shown: time zone, lines of the script log, form of users.
#[derive(Debug, Clone)]
pub struct Presentation {
    pub(super) zone: TimeZone,
    pub(super) head_lines: usize,
    pub(super) tail_lines: usize,
    pub(super) slashed_users: bool,
}

impl Presentation {
    /// From the settings `timeZone` (an IANA name; absent: that of the system), `headScriptLogLines` and
    /// `tailScriptLogLines`.
    ///
    /// An error names the setting and says what would be right; it is meant for
    /// [`StartError::Config`](crate::StartError::Config).
    pub fn new(time_zone: Option<&str>, head_lines: usize, tail_lines: usize) -> Result<Self, String> {
        for (name, lines) in [("headScriptLogLines", head_lines), ("tailScriptLogLines", tail_lines)] {
            if lines > MOST_LINES {
                return Err(format!("`{name}` is {lines}, but at most {MOST_LINES} lines are possible"));
            }
        }
        let zone = Zone::new(time_zone)?.0;
        Ok(Self { zone, head_lines, tail_lines, slashed_users: false })
    }

    /// Shows users as `DIRECTORY/id` and not as `DIRECTORY\id`: for destinations whose markup takes a backslash for an
    /// escape.
    #[must_use]
    pub fn slashed_users(mut self) -> Self {
        self.slashed_users = true;
        self
    }

    /// A user, with one separator, however many backslashes the log line had.
    pub(super) fn user(&self, user: &str) -> String {
        let user = butler16::plain_user(user);
        if self.slashed_users { butler16::slashed_user(&user) } else { user }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (zone, head, tail, part) in [
            (Some("Mars/Olympus"), 1, 1, "`timeZone` is `Mars/Olympus`"),
            (None, 1001, 1, "`headScriptLogLines` is 1001"),
            (None, 1, 1001, "`tailScriptLogLines` is 1001"),
        ] {
            assert!(Presentation::new(zone, head, tail).unwrap_err().contains(part), "{part}");
        }
    }

    #[test]
    fn users_have_one_separator() {
        let mail = Presentation::new(Some("UTC"), 1, 1).unwrap();
        let chat = mail.clone().slashed_users();
        for user in [r"ACME\anna", r"ACME\\anna"] {
            assert_eq!((mail.user(user).as_str(), chat.user(user).as_str()), (r"ACME\anna", "ACME/anna"));
        }
    }
}
