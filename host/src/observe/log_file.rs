//! The log in files: one for each day (UTC), of which the oldest are removed.
//!
//! A file that cannot be written holds nobody up: that is said once, on standard error too, and it is tried again from time to
//! time.
//!
//! Only files that are named exactly as ours count as old: other programs, or another Butler under another file name, may log into
//! the same folder.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::config::{self, Size};
use crate::store::now_ms;

/// What cannot be written is tried again so often, and so often is looked whether the file is still there.
const AGAIN: Duration = Duration::from_secs(10);
/// A disk that does not answer for so long is said to hang when it is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The files of the log.
#[derive(Debug)]
pub(super) struct DailyFile {
    names: Names,
    keep: usize,
    /// Above this a file takes no more lines.
    max_size: Size,
    open: Option<Open>,
    trouble: Option<Trouble>,
    /// The last write broke off within a line.
    torn: bool,
    /// Said already that it is not removed.
    not_removed: Option<PathBuf>,
}

/// The file of a day.
#[derive(Debug)]
struct Open {
    day: Date,
    file: File,
    size: u64,
    /// When it was seen at its path.
    seen: Instant,
}

#[derive(Debug)]
struct Trouble {
    /// The next day has another file, which is tried at once.
    day: Date,
    again: Instant,
    /// Lines that are not in the file.
    missing: u64,
}

/// What is said of the files.
#[derive(Debug)]
enum Said {
    Failed(io::Error),
    WellAgain { missing: u64 },
    Gone,
    NotRemoved(PathBuf, io::Error),
}

impl DailyFile {
    /// Opens nothing yet.
    pub(super) fn new(settings: &config::LogFile) -> Self {
        Self {
            names: Names::new(&settings.path),
            keep: usize::try_from(settings.keep).unwrap_or(usize::MAX),
            max_size: settings.max_size,
            open: None,
            trouble: None,
            torn: false,
            not_removed: None,
        }
    }

    /// Where the files are.
    pub(super) fn folder(&self) -> &Path {
        &self.names.folder
    }

    /// Appends to the file of today. Trouble is told in the log, not returned.
    pub(super) fn write(&mut self, lines: &[u8]) {
        for said in self.append(lines, today()) {
            said.tell(&self.names.folder);
        }
    }

    fn append(&mut self, lines: &[u8], today: Date) -> Vec<Said> {
        let mut said = Vec::new();
        let waits = |trouble: &&mut Trouble| trouble.day == today && Instant::now() < trouble.again;
        if let Some(trouble) = self.trouble.as_mut().filter(waits) {
            trouble.missing += 1;
            return said;
        }
        match self.try_append(lines, today, &mut said) {
            Ok(()) => said.extend(self.trouble.take().map(|trouble| Said::WellAgain { missing: trouble.missing })),
            Err(error) => {
                let missing = self.trouble.as_ref().map_or(0, |trouble| trouble.missing) + 1;
                let trouble = Trouble { day: today, again: Instant::now() + AGAIN, missing };
                if self.trouble.replace(trouble).is_none() {
                    said.push(Said::Failed(error));
                }
            }
        }
        said
    }

    fn try_append(&mut self, lines: &[u8], today: Date, said: &mut Vec<Said>) -> io::Result<()> {
        // After an error it is opened anew.
        let mut open = self.open.take().filter(|open| open.day == today);
        if open.as_mut().is_some_and(|open| open.is_gone(&self.names.path(today))) {
            open = None;
            said.push(Said::Gone);
        }
        let mut open = match open {
            Some(open) => open,
            None => self.begin(today, said)?,
        };
        if open.size >= self.max_size.as_bytes() {
            let text =
                format!("{} has reached `log.file.maxSize`, {}", self.names.path(today).display(), self.max_size);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        if self.torn {
            open.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match open.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        open.size += lines.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn begin(&mut self, today: Date, said: &mut Vec<Said>) -> io::Result<Open> {
        self.names.check()?;
        fs::create_dir_all(&self.names.folder)?;
        let file = appending().create(true).open(self.names.path(today))?;
        let size = file.metadata()?.len();
        if let Some((path, error)) = self.remove_old(today)
            && self.not_removed.as_ref() != Some(&path)
        {
            self.not_removed = Some(path.clone());
            said.push(Said::NotRemoved(path, error));
        }
        Ok(Open { day: today, file, size, seen: Instant::now() })
    }

    /// Removes the oldest files; what could not be removed, if anything.
    fn remove_old(&self, today: Date) -> Option<(PathBuf, io::Error)> {
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
                fault.get_or_insert((path, error));
            }
        }
        fault
    }
}

impl Open {
    /// Whether the file was removed or renamed: what is written then is nowhere. Looks only from time to time.
    fn is_gone(&mut self, path: &Path) -> bool {
        if self.seen.elapsed() < AGAIN {
            return false;
        }
        self.seen = Instant::now();
        !self.is_at(path)
    }

    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let same = |there: fs::Metadata, ours: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        fs::symlink_metadata(path).is_ok_and(|there| self.file.metadata().is_ok_and(|ours| same(there, ours)))
    }

    #[cfg(not(unix))]
    #[allow(clippy::unused_self, reason = "other systems need it")]
    fn is_at(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// How the file of a day is opened. Links are not followed: in a folder that others may write in, they could lead anywhere.
fn appending() -> fs::OpenOptions {
    let mut options = File::options();
    options.append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options
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
            Self::Gone => tracing::info!(
                "the log file in {} was removed or renamed: a new one is begun, and the lines of up to {} s before are not in it",
                folder.display(),
                AGAIN.as_secs()
            ),
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
        io::ErrorKind::FileTooLarge if error.raw_os_error().is_none() => {
            "raise that, or set `log.level` to less; the next day (UTC) has a file of its own"
        }
        io::ErrorKind::IsADirectory => "name the file in it as well, such as `butler.log`",
        io::ErrorKind::ReadOnlyFilesystem => "choose a folder on a disk that can be written",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "there is a file where a folder is needed: choose another"
        }
        #[cfg(unix)]
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            "it is a symbolic link, which is not followed: remove that"
        }
        _ => "check its folder and disk",
    }
}

/// How the files are named.
#[derive(Debug)]
struct Names {
    /// As it is in the config.
    whole: PathBuf,
    folder: PathBuf,
    before: String,
    after: String,
}

impl Names {
    fn new(path: &Path) -> Self {
        let part = |part: Option<&std::ffi::OsStr>| part.map(|text| text.to_string_lossy().into_owned());
        Self {
            whole: path.to_owned(),
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            before: part(path.file_stem()).unwrap_or_default() + ".",
            after: part(path.extension()).map(|text| format!(".{text}")).unwrap_or_default(),
        }
    }

    /// Who names a folder means files in it, and not such beside it.
    fn check(&self) -> io::Result<()> {
        if self.whole.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, format!("{} is a folder", self.whole.display())));
        }
        Ok(())
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

/// The file that a log with this path in the config goes to today.
pub fn todays_log_file(path: &Path) -> PathBuf {
    Names::new(path).path(today())
}

/// Whether this account could write files at this path. Leaves nothing there. The error: the file and why not, and what helps.
pub fn log_file_writable(path: &Path) -> Result<PathBuf, (String, &'static str)> {
    let (tell, told) = mpsc::channel();
    let place = path.to_owned();
    // Nobody waits any more for a disk that hangs.
    let looks = move || drop(tell.send(writable(&place)));
    let looks = thread::Builder::new().name("log folder".to_owned()).spawn(looks);
    looks.ok().and_then(|_| told.recv_timeout(LOOK).ok()).unwrap_or_else(|| {
        let fault = format!("{} cannot be written: its disk does not answer", path.display());
        Err((fault, "see why it hangs, or choose another folder"))
    })
}

fn writable(path: &Path) -> Result<PathBuf, (String, &'static str)> {
    let names = Names::new(path);
    let file = names.path(today());
    let tried = names.check().and_then(|()| match fs::symlink_metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            let folder = names.folder.ancestors().find(|folder| !missing(folder)).unwrap_or(&names.folder);
            tempfile::tempfile_in(folder).map(drop)
        }
        // Opening a pipe might wait for ever.
        Ok(there) if !there.is_file() => Err(io::Error::other("it is no file")),
        Ok(_) => appending().open(&file).map(drop),
        Err(error) => Err(error),
    });
    tried.map_err(|error| {
        let cause = error.get_ref().and_then(|inner| inner.source()).map_or(error.to_string(), ToString::to_string);
        (format!("{} cannot be written by this account: {cause}", file.display()), remedy(&error))
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests;
