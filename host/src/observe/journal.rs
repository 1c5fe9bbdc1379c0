//! Standard error as systemd's journal reads it: each line begins with its priority (`sd-daemon(3)`), and the journal adds the
//! time by itself.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The priority of errors.
const ERROR: u8 = 3;

/// Whether standard error leads to the journal: `JOURNAL_STREAM` has the device and inode that the journal reads. It is inherited, so
/// the name alone does not say that (`systemd.exec(5)`).
#[cfg(target_os = "linux")]
pub(super) fn reads_stderr() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stderr()).is_ok_and(|file| named == format!("{}:{}", file.st_dev, file.st_ino))
}

/// There is no journal elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn reads_stderr() -> bool {
    false
}

/// Says an error on standard error, where there is no log yet or no longer.
pub fn say(error: &impl std::fmt::Display) {
    let text = format!("{error}\n");
    let text = if reads_stderr() { with_priority(ERROR, text.as_bytes()) } else { text.into_bytes() };
    // There is nobody else to tell.
    let _ = io::stderr().write_all(&text);
}

/// Writes the log to the journal.
#[derive(Debug)]
pub(super) struct Journal;

/// Writes one record.
#[derive(Debug)]
pub(super) struct Record(u8);

impl<'w> MakeWriter<'w> for Journal {
    type Writer = Record;

    fn make_writer(&'w self) -> Self::Writer {
        Record(ERROR)
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Self::Writer {
        Record(match *metadata.level() {
            Level::ERROR => ERROR,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        })
    }
}

impl Write for Record {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&with_priority(self.0, lines))?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For the journal each line is a record of its own.
fn with_priority(priority: u8, lines: &[u8]) -> Vec<u8> {
    let prefix = format!("<{priority}>");
    lines.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [prefix.as_bytes(), line].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::with_priority;

    #[test]
    fn each_line_has_its_priority() {
        assert_eq!(with_priority(4, b"one\n\ntwo\n"), b"<4>one\n<4>\n<4>two\n");
        assert_eq!(with_priority(3, b""), b"");
    }
}
