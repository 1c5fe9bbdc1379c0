//! The log in files: one for each day (UTC), of which the oldest are removed.
//!
//! Whoever logs writes, so that the last line before an end is there. A file that cannot be written holds nobody up: that is said
//! once, on standard error too, and it is tried again from time to time.
//!
//! Only files that are named exactly as ours count as old: other programs, or another Butler, may log into the same folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing_subscriber::fmt::MakeWriter;

use crate::config;
use crate::store::now_ms;

/// What cannot be written is tried again so often.
const AGAIN: Duration = Duration::from_secs(10);

/// The files of the log.
#[derive(Debug)]
pub(super) struct DailyFile {
    names: Names,
    keep: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file of a day.
    open: Option<(Date, File)>,
    trouble: Option<Trouble>,
    /// The last write broke off within a line.
    torn: bool,
}

#[derive(Debug)]
struct Trouble {
    again: Instant,
    /// Lines that are not in the file.
    missing: u64,
}

/// What is said of the files.
#[derive(Debug)]
enum Said {
    Failed(io::Error),
    WellAgain { missing: u64 },
    NotRemoved(PathBuf, io::Error),
}

impl DailyFile {
    /// Opens nothing yet.
    pub(super) fn new(settings: &config::LogFile) -> Self {
        let keep = usize::try_from(settings.keep).unwrap_or(usize::MAX);
        Self { names: Names::new(&settings.path), keep, state: Mutex::default() }
    }

    fn append(&self, lines: &[u8], today: Date) -> Vec<Said> {
        let mut said = Vec::new();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = state.trouble.as_mut().filter(|trouble| Instant::now() < trouble.again) {
            trouble.missing += 1;
            return said;
        }
        match self.write(&mut state, lines, today, &mut said) {
            Ok(()) => said.extend(state.trouble.take().map(|trouble| Said::WellAgain { missing: trouble.missing })),
            Err(error) => {
                state.open = None;
                let missing = state.trouble.as_ref().map_or(0, |trouble| trouble.missing) + 1;
                let known = state.trouble.replace(Trouble { again: Instant::now() + AGAIN, missing }).is_some();
                if !known {
                    said.push(Said::Failed(error));
                }
            }
        }
        said
    }

    fn write(&self, state: &mut State, lines: &[u8], today: Date, said: &mut Vec<Said>) -> io::Result<()> {
        let file = match &mut state.open {
            Some((day, file)) if *day == today => file,
            open => {
                fs::create_dir_all(&self.names.folder)?;
                let file = File::options().append(true).create(true).open(self.names.path(today))?;
                said.extend(self.remove_old(today));
                &mut open.insert((today, file)).1
            }
        };
        if state.torn {
            file.write_all(b"\n")?;
            state.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    state.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the oldest files; what could not be removed, if anything.
    fn remove_old(&self, today: Date) -> Option<Said> {
        let entries = fs::read_dir(&self.names.folder).ok()?;
        let mut days: Vec<(Date, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let day = self.names.day(entry.file_name().to_str()?)?;
                (day != today && entry.file_type().ok()?.is_file()).then(|| (day, entry.path()))
            })
            .collect();
        days.sort();
        let surplus = (days.len() + 1).saturating_sub(self.keep);
        let mut fault = None;
        for (_, path) in days.into_iter().take(surplus) {
            if let Err(error) = fs::remove_file(&path) {
                fault.get_or_insert(Said::NotRemoved(path, error));
            }
        }
        fault
    }
}

impl Said {
    /// What is said goes the way of all lines, so into the file as well, if it can be written.
    fn tell(&self, folder: &Path) {
        match self {
            Self::Failed(error) => tracing::warn!(
                "the log file in {} cannot be written (`log.file`): {error}; {}. Butler works on, its log is on standard error \
                 alone, and the file is tried again every {} s",
                folder.display(),
                remedy(error),
                AGAIN.as_secs()
            ),
            Self::WellAgain { missing } => {
                tracing::warn!(missing, "the log file can be written again; lines that came meanwhile are not in it");
            }
            Self::NotRemoved(path, error) => tracing::warn!(
                "the old log file {} cannot be removed: {error}; remove it by hand, or give Butler the right to",
                path.display()
            ),
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::PermissionDenied => "give Butler the right to write there, or choose another folder",
        io::ErrorKind::ReadOnlyFilesystem => "choose a folder on a disk that can be written",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "there is a file where a folder is needed: choose another"
        }
        _ => "check its folder and disk",
    }
}

impl<'w> MakeWriter<'w> for DailyFile {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

impl Write for &DailyFile {
    /// Never fails: nobody could do anything about it that is not done here.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        for said in self.append(lines, today()) {
            said.tell(&self.names.folder);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the files are named.
#[derive(Debug)]
struct Names {
    folder: PathBuf,
    before: String,
    after: String,
}

impl Names {
    fn new(path: &Path) -> Self {
        let part = |part: Option<&std::ffi::OsStr>| part.map(|text| text.to_string_lossy().into_owned());
        Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            before: part(path.file_stem()).unwrap_or_default() + ".",
            after: part(path.extension()).map(|text| format!(".{text}")).unwrap_or_default(),
        }
    }

    fn path(&self, day: Date) -> PathBuf {
        self.folder.join(format!("{}{day}{}", self.before, self.after))
    }

    /// The day of a file, if it is one of ours.
    fn day(&self, name: &str) -> Option<Date> {
        let text = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        text.parse().ok().filter(|day: &Date| day.to_string() == text)
    }
}

fn today() -> Date {
    let now = Timestamp::from_millisecond(now_ms()).unwrap_or_default();
    now.to_zoned(TimeZone::UTC).date()
}

/// Whether files at this path could be written; the error says why not, and what to do. Leaves nothing there. A full disk is no
/// fault: it does not keep Butler from working.
pub fn log_file_fault(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        let example = path.join("butler.log");
        return Err(format!("is a folder: name the file as well, such as `{}`", example.display()));
    }
    let names = Names::new(path);
    let missing = |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let file = names.path(today());
    let tried = if missing(&file) {
        let folder = names.folder.ancestors().find(|folder| !missing(folder)).unwrap_or(&names.folder);
        tempfile::tempfile_in(folder).map(drop)
    } else {
        File::options().append(true).open(&file).map(drop)
    };
    match tried {
        Err(error) if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            let cause = error.get_ref().and_then(|inner| inner.source()).map_or(error.to_string(), ToString::to_string);
            Err(format!("`{}` cannot be written: {cause}; {}", file.display(), remedy(&error)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path, keep: u32) -> DailyFile {
        DailyFile::new(&config::LogFile { path: path.to_owned(), keep })
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn old_files_of_ours_go_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let others = [
            "butler-sos.2020-01-01.log",
            "butler.2020-01-01.log.gz",
            "butler.2020-1-1.log",
            "butler.log",
            "butler.x.log",
        ];
        for name in others.into_iter().chain(["butler.2020-01-01.log", "butler.2026-02-27.log"]) {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("butler.2019-01-01.log")).unwrap();
        let log = files(&folder.path().join("butler.log"), 3);
        for text in ["2026-02-28", "2026-02-28", "2026-03-01"] {
            assert!(log.append(b"line\n", day(text)).is_empty());
        }
        let mut expected: Vec<&str> = others.to_vec();
        expected.extend([
            "butler.2019-01-01.log",
            "butler.2026-02-27.log",
            "butler.2026-02-28.log",
            "butler.2026-03-01.log",
        ]);
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
        assert_eq!(fs::read_to_string(folder.path().join("butler.2026-02-28.log")).unwrap(), "line\nline\n");

        // The clock goes back: today's file is never the one that is removed.
        let one = files(&folder.path().join("butler.log"), 1);
        assert!(one.append(b"line\n", day("2001-01-01")).is_empty());
        assert!(names(folder.path()).contains(&"butler.2001-01-01.log".to_owned()));
        assert!(!names(folder.path()).contains(&"butler.2026-03-01.log".to_owned()));
    }

    #[test]
    fn names_without_an_ending_have_none() {
        let names = Names::new(Path::new("/var/log/butler"));
        assert_eq!(names.path(day("2026-03-04")), Path::new("/var/log/butler.2026-03-04"));
        assert_eq!(names.day("butler.2026-03-04"), Some(day("2026-03-04")));
        assert_eq!(names.day("butler.20260304"), None);
    }

    #[test]
    fn trouble_is_said_once_and_so_is_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("logs");
        fs::write(&blocked, "a file").unwrap();
        let log = files(&blocked.join("butler.log"), 3);
        let today = day("2026-03-04");
        assert!(matches!(log.append(b"one\n", today)[..], [Said::Failed(_)]));
        fs::remove_file(&blocked).unwrap();
        // Not tried again at once.
        assert!(log.append(b"two\n", today).is_empty());
        let soon = |log: &DailyFile| log.state.lock().unwrap().trouble.as_mut().unwrap().again = Instant::now();
        soon(&log);
        fs::write(&blocked, "a file").unwrap();
        assert!(log.append(b"three\n", today).is_empty());
        fs::remove_file(&blocked).unwrap();
        soon(&log);
        log.state.lock().unwrap().torn = true;
        assert!(matches!(log.append(b"four\n", today)[..], [Said::WellAgain { missing: 3 }]));
        assert!(log.append(b"five\n", today).is_empty());
        assert_eq!(fs::read_to_string(blocked.join("butler.2026-03-04.log")).unwrap(), "\nfour\nfive\n");
    }

    #[test]
    fn what_could_be_written_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(log_file_fault(&folder.path().join("a/b/butler.log")), Ok(()));
        assert!(names(folder.path()).is_empty());
        assert!(log_file_fault(folder.path()).unwrap_err().starts_with("is a folder"));
        fs::write(folder.path().join("file"), "").unwrap();
        let fault = log_file_fault(&folder.path().join("file/butler.log")).unwrap_err();
        assert!(fault.contains("cannot be written") && fault.contains("a file where a folder"), "{fault}");
    }
}
