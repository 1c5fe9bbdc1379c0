//! Script logs: their text and the ways to them.

use std::{collections::VecDeque, fmt::Write, sync::Arc, time::Instant};

use jiff::{Timestamp, tz::TimeZone};

use super::{Status, state::State};
use crate::ids;

/// References that can be used for a download at the same time; the oldest ones are forgotten.
const MAX_DOWNLOADS: usize = 1_024;

/// Which calls for a script log the server knows, as that depends on its release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScriptLogs {
    /// The older and the newer one.
    #[default]
    Both,
    /// Only the older one, `scriptlog?fileReferenceId=`; the newer one is answered by 404.
    Old,
    /// Only the newer one, `scriptlogfile?executionResultId=`, as on some servers of May 2025; the older one is
    /// answered by 404.
    May2025,
}

/// References handed out, oldest first.
#[derive(Default)]
pub(crate) struct Downloads(VecDeque<Download>);

struct Download {
    reference: String,
    available_from: Instant,
    log: Arc<str>,
}

impl State {
    /// Hands out a reference for the download of a log, by the older call.
    pub(crate) fn reference_by_file(&mut self, task_id: &str, file_reference_id: &str) -> Option<String> {
        if self.script_logs == ScriptLogs::May2025 || self.tasks.get(task_id).is_none() {
            return None;
        }
        self.hand_out(&file_reference_id.to_ascii_lowercase())
    }

    /// Hands out a reference for the download of a log, by the newer call.
    pub(crate) fn reference_by_result(&mut self, task_id: &str, result_id: &str) -> Option<String> {
        if self.script_logs == ScriptLogs::Old || self.tasks.get(task_id).is_none() {
            return None;
        }
        let file_reference_id = self.results.get(result_id)?.file_reference_id.clone();
        self.hand_out(&file_reference_id)
    }

    fn hand_out(&mut self, file_reference_id: &str) -> Option<String> {
        let log = self.logs.get(file_reference_id)?.clone();
        let downloads = &mut self.downloads.0;
        if downloads.len() == MAX_DOWNLOADS {
            downloads.pop_front();
        }
        let reference = ids::random();
        let available_from = Instant::now() + self.download_delay;
        downloads.push_back(Download { reference: reference.clone(), available_from, log });
        Some(reference)
    }

    /// Whether a reference is one of this site, available already or not.
    pub(crate) fn has_handed_out(&self, reference: &str) -> bool {
        self.downloads.0.iter().any(|download| download.reference.eq_ignore_ascii_case(reference))
    }

    /// The log behind a reference, if it was handed out long enough ago.
    pub(crate) fn download(&self, reference: &str) -> Option<Arc<str>> {
        let download = self.downloads.0.iter().find(|download| download.reference.eq_ignore_ascii_case(reference))?;
        (download.available_from <= Instant::now()).then(|| download.log.clone())
    }
}

/// The log of a reload that ended with `status`, lines ending in CR LF.
pub(super) fn generated(status: Status, start: Timestamp, end: Timestamp) -> String {
    let mut log = Writer { text: String::new(), time: start };
    log.opening();
    for (table, rows) in [("customers", 18_204), ("products", 1_377), ("calendar", 730)] {
        log.table(table, rows);
    }
    log.time = end;
    match status {
        Status::FinishedSuccess => {
            log.table("order_lines", 214_906);
            log.line("     Execution finished.");
        }
        Status::Aborted => log.line("     Execution aborted by user request."),
        _ => log.failure(),
    }
    log.text
}

/// The log of a failed reload with at least this many lines.
pub(crate) fn failed_log(lines: usize) -> String {
    let mut log = Writer { text: String::new(), time: Timestamp::now() };
    log.opening();
    let mut rows = 1_000;
    while log.text.bytes().filter(|byte| *byte == b'\n').count() < lines {
        log.table(&format!("part_{rows}"), rows);
        rows += 1;
    }
    log.failure();
    log.text
}

struct Writer {
    text: String,
    time: Timestamp,
}

impl Writer {
    fn line(&mut self, text: &str) {
        let time = self.time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S");
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{time} {text}\r\n");
    }

    fn opening(&mut self) {
        self.line("     Execution started.");
        self.line("     Qlik Sense Server simulation");
        self.line("     Computer                        sense1.lab.local");
        self.line("     Script:");
        self.line("0001 SET ThousandSep=' ';");
        self.line("0002 SET DateFormat='YYYY-MM-DD';");
        self.line("0003 LIB CONNECT TO 'warehouse (lab_svc)'");
        self.line("     Connected.");
    }

    fn table(&mut self, name: &str, rows: u32) {
        self.line(&format!("0010 {name}:"));
        self.line(&format!("0011 SQL SELECT * FROM sales.{name}"));
        self.line(&format!("       {name} << {name} {rows} Lines fetched"));
    }

    fn failure(&mut self) {
        self.line("0020 order_lines:");
        self.line("0021 SQL SELECT * FROM sales.order_lines");
        self.line("     Error: Connector reply error: relation \"sales.order_lines\" does not exist (line 21)");
        self.line("     General Script Error");
        self.line("     Execution Failed");
        self.line("     Execution finished.");
    }
}
