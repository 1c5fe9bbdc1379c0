//! Removes what is too old or too much.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use cap_std::fs::Dir;
use jiff::Timestamp;

use crate::folder::{Folder, Trouble};
use crate::index::Entry;

/// How long nothing is removed for its age after the wall clock has jumped: long enough for a wrong clock to be put right.
const DISTRUST: Duration = Duration::from_hours(24);
/// What is a jump.
const JUMP: Duration = Duration::from_hours(1);

/// How much is kept. Absent: all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) max_age: Option<Duration>,
    /// Bytes of all files together.
    pub(crate) max_size: Option<u64>,
}

impl Limits {
    pub(crate) fn are_none(&self) -> bool {
        self.max_age.is_none() && self.max_size.is_none()
    }

    /// How many of the files have to go; they are in order, the oldest first.
    fn overdue(&self, files: &[Entry], now: Timestamp) -> usize {
        let too_old = self.max_age.map_or(0, |age| {
            let is_old = |file: &&Entry| {
                let since = now.as_second().saturating_sub(file.stored_at.as_second());
                u64::try_from(since).is_ok_and(|since| since > age.as_secs())
            };
            files.iter().take_while(is_old).count()
        });
        let too_much = self.max_size.map_or(0, |most| {
            let mut total: u64 = files.iter().map(|file| file.bytes).sum();
            let others = files.len().saturating_sub(1);
            let has_to_go = |file: &&Entry| {
                let is_over = total > most;
                total -= file.bytes;
                is_over
            };
            files[..others].iter().take_while(has_to_go).count()
        });
        too_old.max(too_much)
    }
}

/// Notices that the wall clock jumps.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The same moment by both clocks.
    at: (SystemTime, Instant),
    distrusted_until: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(wall: SystemTime, steady: Instant) -> Self {
        Self { at: (wall, steady), distrusted_until: None }
    }

    /// Whether the wall clock has gone right of late.
    pub(crate) fn is_trusted(&mut self, wall: SystemTime, steady: Instant) -> bool {
        let expected = self.at.0 + steady.saturating_duration_since(self.at.1);
        let off = wall.duration_since(expected).unwrap_or_else(|error| error.duration());
        if off > JUMP {
            tracing::warn!(
                "the clock has jumped by {} min: for {} h no file is removed for its age",
                off.as_secs() / 60,
                DISTRUST.as_secs() / 3600
            );
            self.distrusted_until = Some(steady + DISTRUST);
        }
        self.at = (wall, steady);
        self.distrusted_until.is_none_or(|until| steady >= until)
    }
}

/// Removes what goes beyond the limits, and empty folders with it; how many files. What goes is decided by the index, and only
/// those files are looked at: deliveries wait meanwhile, and on a share a look takes its time.
pub(crate) fn tidy(folder: &Folder, limits: Limits) -> Result<usize, Trouble> {
    let fault = |error: io::Error| folder.trouble("be tidied", &error);
    let dir = folder.open()?;
    let mut files = folder.index.all(&dir).map_err(fault)?;
    let known = files.len();
    let overdue = limits.overdue(&files, Timestamp::now());
    let mut removed = 0;
    let mut position = 0;
    files.retain(|file| {
        position += 1;
        if position > overdue {
            return true;
        }
        let gone = match file.is_there(&dir) {
            Ok(true) => dir.remove_file(&file.path),
            // Gone, or somebody's by now.
            Ok(false) => return false,
            Err(error) => Err(error),
        };
        match gone {
            Ok(()) => {
                removed += 1;
                remove_empty(&dir, &file.path);
                false
            }
            Err(error) => {
                tracing::warn!("{} should go, but cannot be removed: {error}", file.path);
                true
            }
        }
    });
    if files.len() < known {
        folder.index.replace(&dir, &folder.temporary(), &files).map_err(fault)?;
    }
    Ok(removed)
}

/// Removes the folders of a file that is gone, from the inside out, as long as they are empty.
fn remove_empty(dir: &Dir, path: &str) {
    let mut path = path;
    while let Some((parent, _)) = path.rsplit_once('/') {
        // Refused by the system if something is in it.
        if dir.remove_dir(parent).is_err() {
            break;
        }
        path = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(hours: i64, bytes: u64) -> Entry {
        let stored_at = Timestamp::from_second(hours * 3600).unwrap();
        Entry { path: format!("{hours}"), log: String::new(), bytes, stored_at }
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_stays() {
        let files = [file(1, 10), file(2, 20), file(3, 30), file(9, 100)];
        let overdue = |hours: Option<u64>, max_size, now: i64| {
            let limits = Limits { max_age: hours.map(Duration::from_hours), max_size };
            limits.overdue(&files, Timestamp::from_second(now * 3600).unwrap())
        };
        assert_eq!(overdue(None, None, 100), 0);
        assert_eq!(overdue(Some(7), None, 9), 1);
        assert_eq!(overdue(Some(8), None, 9), 0, "not before its time has passed");
        assert_eq!(overdue(Some(7), None, 1000), 4);
        assert_eq!(overdue(Some(7), None, -5000), 0, "of the future");
        assert_eq!(overdue(None, Some(160), 9), 0);
        assert_eq!(overdue(None, Some(159), 9), 1);
        assert_eq!(overdue(None, Some(130), 9), 2);
        assert_eq!(overdue(None, Some(5), 9), 3, "the newest stays");
        assert_eq!(overdue(Some(7), Some(130), 9), 2);
        assert_eq!(Limits { max_age: None, max_size: Some(1) }.overdue(&[], Timestamp::now()), 0);
    }

    #[test]
    fn a_clock_that_has_jumped_is_distrusted_for_a_day() {
        let (wall, steady) = (SystemTime::now(), Instant::now());
        let hours = Duration::from_hours;
        let mut clock = Clock::new(wall, steady);
        assert!(clock.is_trusted(wall + hours(1), steady + hours(1)));
        assert!(clock.is_trusted(wall + hours(2) + Duration::from_mins(30), steady + hours(2)), "drift");
        assert!(!clock.is_trusted(wall + hours(9000), steady + hours(3)));
        assert!(!clock.is_trusted(wall + hours(9001), steady + hours(4)));
        assert!(!clock.is_trusted(wall + hours(5), steady + hours(5)), "and back");
        assert!(!clock.is_trusted(wall + hours(28), steady + hours(28)));
        assert!(clock.is_trusted(wall + hours(30), steady + hours(30)));
    }
}
