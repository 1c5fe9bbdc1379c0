//! Script logs of reload tasks.
//!
//! QRS gives a log in two steps: a call for a reference, then a download. Of the first there is an older form and a
//! newer one, and which of them works depends on the release; what worked last is tried first. The log may come later
//! than the result of the execution, so a download that finds nothing is repeated for a while.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use butler_plugin_api::ScriptLog;
use serde_json::Value;

use super::error::QlikError;
use super::repository::Repository;
use super::wire;

/// Waits before a download is tried again, about 3 s in all.
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_millis(1_250)];

/// Longest line that goes into an event, in characters.
const LINE_LENGTH: usize = 4_000;

/// Fetches script logs from one server.
#[derive(Debug, Default)]
pub struct ScriptLogs {
    /// The way that worked last, as number of [`Way`]; 0: none yet.
    way: AtomicU8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `scriptlog?fileReferenceId=`, up to some release of 2025.
    Older = 1,
    /// `scriptlogfile?executionResultId=`, at least from May 2025 on.
    Newer = 2,
}

impl ScriptLogs {
    /// The log of an execution, cut to about `max_size` bytes; absent if QRS has none.
    ///
    /// `file_reference` is that of the execution's result; without one only the newer call can be made.
    pub async fn fetch(
        &self,
        repository: &Repository,
        task_id: &str,
        result_id: &str,
        file_reference: Option<&str>,
        max_size: usize,
    ) -> Result<Option<Log>, QlikError> {
        let mut ways = vec![Way::Newer];
        if file_reference.is_some() {
            let at = usize::from(self.way.load(Ordering::Relaxed) == Way::Newer as u8);
            ways.insert(at, Way::Older);
        }
        let mut trouble = None;
        for way in ways {
            let (call, parameter, value) = match way {
                Way::Older => ("scriptlog", "fileReferenceId", file_reference.unwrap_or_default()),
                Way::Newer => ("scriptlogfile", "executionResultId", result_id),
            };
            let path = format!("reloadtask/{}/{call}", wire::step(task_id));
            match Self::attempt(repository, &path, (parameter, value), max_size).await {
                Ok(Some(log)) => {
                    self.way.store(way as u8, Ordering::Relaxed);
                    return Ok(Some(log));
                }
                Ok(None) => {}
                // The other way leads to the same server.
                Err(error @ (QlikError::Unreachable { .. } | QlikError::Gated { .. })) => return Err(error),
                // What a server says to a call that it does not know varies; the other one decides.
                Err(error) => {
                    tracing::debug!("no script log by `{call}`: {error}");
                    if error.is_transient() {
                        trouble = Some(error);
                    }
                }
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    async fn attempt(
        repository: &Repository,
        path: &str,
        parameter: (&str, &str),
        max_size: usize,
    ) -> Result<Option<Log>, QlikError> {
        let reference = match repository.get_json(path, &[parameter]).await {
            Ok(Value::Object(answer)) => answer.get("value").and_then(Value::as_str).unwrap_or_default().to_owned(),
            Ok(_) => String::new(),
            Err(error) if error.status() == Some(404) => String::new(),
            Err(error) => return Err(error),
        };
        if reference.is_empty() {
            return Ok(None);
        }
        let path = format!("download/reloadtask/{}/scriptlog.txt", wire::step(&reference));
        let mut waits = WAITS.iter();
        loop {
            let mut incoming = repository.open(&path, &[]).await?;
            match incoming.status {
                200..=299 if incoming.is_page() => return Err(incoming.into_page_error().await),
                200..=299 => {
                    let mut clipper = Clipper::new(max_size);
                    while let Some(chunk) = incoming.chunk().await? {
                        clipper.add(chunk.as_ref());
                    }
                    return Ok(clipper.finish());
                }
                404 => drop(incoming),
                _ => return Err(incoming.into_error().await),
            }
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Ok(None),
            }
        }
    }
}

/// A script log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its lines, parted by line feeds. If it was too long, one line in the middle says how many are left out.
    pub text: String,
    /// Lines in all, those left out included. A line end at the end of the log begins a last, empty line.
    pub rows: u64,
    /// Characters in all as UTF-16 units, line ends and what is left out included.
    pub characters: u64,
    /// The middle is left out.
    pub truncated: bool,
}

impl Log {
    /// A log from its whole text; absent if that is empty.
    pub fn new(text: &[u8], max_size: usize) -> Option<Self> {
        let mut clipper = Clipper::new(max_size);
        clipper.add(text);
        clipper.finish()
    }

    /// The first and the last `lines` lines. They overlap in short logs. Very long lines are cut.
    pub fn head_tail(&self, lines: usize) -> (Vec<String>, Vec<String>) {
        let head = self.text.split('\n').take(lines).map(short).collect();
        let mut tail: Vec<_> = self.text.rsplit('\n').take(lines).map(short).collect();
        tail.reverse();
        (head, tail)
    }

    /// The part that goes into an event; `reference` names the stored log.
    pub fn to_event(&self, lines: usize, reference: String) -> ScriptLog {
        let (head, tail) = self.head_tail(lines);
        ScriptLog { head, tail, rows: self.rows, characters: self.characters, reference, truncated: self.truncated }
    }
}

fn short(line: &str) -> String {
    match line.char_indices().nth(LINE_LENGTH) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Takes a log piece by piece and keeps its beginning and its end.
#[derive(Debug)]
pub(super) struct Clipper {
    /// Most bytes of each half.
    half: usize,
    head: Vec<u8>,
    /// What follows the head: its last `half` bytes, and now and then up to as much again in front of them.
    tail: Vec<u8>,
    /// Line feeds so far.
    feeds: u64,
    characters: u64,
    dropped: bool,
}

impl Clipper {
    pub(super) fn new(max_size: usize) -> Self {
        let half = (max_size / 2).max(1);
        Self { half, head: Vec::new(), tail: Vec::new(), feeds: 0, characters: 0, dropped: false }
    }

    pub(super) fn add(&mut self, chunk: &[u8]) {
        for byte in chunk {
            self.feeds += u64::from(*byte == b'\n');
            // In UTF-8 every byte but a continuation begins a character; four-byte ones are two units of UTF-16.
            self.characters += u64::from(*byte & 0xC0 != 0x80) + u64::from(*byte >= 0xF0);
        }
        let (head, rest) = chunk.split_at(chunk.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(head);
        for piece in rest.chunks(self.half) {
            self.tail.extend_from_slice(piece);
            if self.tail.len() >= self.half * 2 {
                self.drop_excess();
            }
        }
    }

    fn drop_excess(&mut self) {
        let excess = self.tail.len().saturating_sub(self.half);
        self.dropped |= excess > 0;
        self.tail.drain(..excess);
    }

    pub(super) fn finish(mut self) -> Option<Log> {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        self.drop_excess();
        if self.head.starts_with(MARK) {
            self.head.drain(..MARK.len());
            self.characters -= 1;
        }
        if self.head.is_empty() {
            return None;
        }
        let rows = self.feeds + 1;
        let text = if self.dropped {
            // Only whole lines, or whole characters where the half of the log is one line.
            let head = self.head.iter().rposition(|byte| *byte == b'\n').map_or(&self.head[..], |at| &self.head[..at]);
            let tail =
                self.tail.iter().position(|byte| *byte == b'\n').map_or(&self.tail[..], |at| &self.tail[at + 1..]);
            let (head, tail) = (lines(head), lines(tail));
            let kept = head.split('\n').count() + tail.split('\n').count();
            let left_out = rows.saturating_sub(kept as u64);
            format!("{head}\n[… {left_out} lines left out …]\n{tail}")
        } else {
            self.head.append(&mut self.tail);
            lines(&self.head)
        };
        Some(Log { text, rows, characters: self.characters, truncated: self.dropped })
    }
}

/// As text, with line feeds alone as line ends.
fn lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            clean.push('\n');
        }
        clean.push_str(line.trim_end_matches('\r'));
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(text: &str) -> Log {
        Log::new(text.as_bytes(), 1 << 20).unwrap()
    }

    #[test]
    fn lines_and_characters_are_counted() {
        let four = log("a\r\nb\r\nc\r\nd");
        assert_eq!((four.rows, four.characters, four.text.as_str()), (4, 10, "a\nb\nc\nd"));
        assert_eq!(
            (four.head_tail(2).0, four.head_tail(1).1),
            (vec!["a".to_owned(), "b".into()], vec!["d".to_owned()])
        );

        let one = log("a\r\n");
        assert_eq!((one.rows, one.characters, one.head_tail(1).1), (2, 3, vec![String::new()]));
        assert_eq!(log("a\nb").rows, 2);
        assert_eq!(log("å😀\n").characters, 4);
        assert_eq!(log("\u{FEFF}a"), log("a"));
        assert_eq!((Log::new(b"", 10), Log::new(b"\xEF\xBB\xBF", 10)), (None, None));
        assert_eq!(four.head_tail(0), (vec![], vec![]));
        assert_eq!(four.head_tail(9).0, four.head_tail(9).1);
    }

    #[test]
    fn long_logs_lose_their_middle() {
        let text: String = (0..1_000).flat_map(|n| ["line ".to_owned(), format!("{n:04}\r\n")]).collect();
        let log = Log::new(text.as_bytes(), 1_000).unwrap();
        assert!(log.truncated && log.text.len() < 1_100);
        assert_eq!((log.rows, log.characters), (1_001, text.len() as u64));
        let lines: Vec<_> = log.text.split('\n').collect();
        assert_eq!((lines[0], lines[lines.len() - 2], lines[lines.len() - 1]), ("line 0000", "line 0999", ""));
        let mark = lines.iter().find(|line| line.contains("left out")).unwrap();
        let left_out: usize = mark.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(left_out + lines.len() - 1, 1_001);
        assert!(lines.iter().all(|line| line.len() == 9 || line.is_empty() || line == mark));
    }

    #[test]
    fn long_lines_are_cut_in_events() {
        let event = log(&"å".repeat(10_000)).to_event(1, "r".to_owned());
        assert_eq!((event.head[0].chars().count(), event.rows, event.truncated), (LINE_LENGTH + 1, 1, false));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in prop::collection::vec(prop::sample::select(b"ab\r\n\xC3\xA5\xF0".to_vec()), 0..400),
            max in 1_usize..500,
            cut in 1_usize..50,
        ) {
            let mut clipper = Clipper::new(max);
            for piece in text.chunks(cut) {
                clipper.add(piece);
                prop_assert!(clipper.tail.len() <= 2 * clipper.half);
            }
            let log = clipper.finish();
            prop_assert_eq!(&log, &Log::new(&text, max));
            if let Some(log) = log {
                prop_assert_eq!(log.truncated, text.len() > 2 * (max / 2).max(1));
                prop_assert_eq!(log.rows, text.split(|byte| *byte == b'\n').count() as u64);
                prop_assert!(!log.text.contains("\r\n"));
                if !log.truncated {
                    prop_assert_eq!(log.text.split('\n').count() as u64, log.rows);
                }
            } else {
                prop_assert!(text.is_empty());
            }
        }
    }
}
