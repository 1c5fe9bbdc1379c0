//! Windows' event log, for a daemon that runs as a service: warnings and errors of the log are there too, for those who watch
//! machines; and as long as there is no log, or no file of it, it is the only place where anything can be said.
//!
//! A thread hands the texts over, since the system's service for events may be slow.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use log::Level;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Events that wait to be handed over. What comes beyond is missing there.
const MOST: usize = 1000;
/// The end of the process waits so long for the last events.
const LAST: Duration = Duration::from_secs(2);
/// Windows refuses texts of more than 31 839 UTF-16 units.
const LONGEST: usize = 31_000;

/// The one of the process.
static OF_PROCESS: OnceLock<EventLog> = OnceLock::new();

/// Where events are left.
#[derive(Debug, Clone)]
pub struct EventLog(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Event(Level, String),
    /// All before it has been handed over.
    Flush(SyncSender<()>),
}

impl EventLog {
    /// Starts the event log of this process; `source` is what Windows knows it by. An error if the system has no such log.
    #[cfg(windows)]
    pub fn start_of_process(source: &str) -> io::Result<()> {
        // Made to be the logger of a whole process. Here it gets what it is given, and nothing by itself.
        winlog2::init(source).map_err(io::Error::other)?;
        log::set_max_level(log::LevelFilter::Off);
        let log = Self::start(|level, text| {
            log::logger().log(&log::Record::builder().level(level).args(format_args!("{text}")).build());
        })?;
        // Set once, at the start of the service.
        let _ = OF_PROCESS.set(log);
        Ok(())
    }

    /// That of this process, if it runs as a service.
    pub fn of_process() -> Option<&'static Self> {
        OF_PROCESS.get()
    }

    fn start(hand_over: impl FnMut(Level, &str) + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MOST);
        std::thread::Builder::new().name("event log".to_owned()).spawn(move || work(&receiver, hand_over))?;
        Ok(Self(sender))
    }

    /// Reports an event. Does not wait.
    pub fn report(&self, level: Level, text: &str) {
        let text = text.trim_end();
        let mut units = 0;
        let end = text.char_indices().find(|(_, c)| {
            units += c.len_utf16();
            units > LONGEST
        });
        let text = end.map_or_else(|| text.to_owned(), |(at, _)| format!("{} …", &text[..at]));
        // Whoever watches sees thousands already.
        let _ = self.0.try_send(Message::Event(level, text));
    }

    /// Waits until all is handed over, but not for ever.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.0.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(LAST);
        }
    }
}

fn work(messages: &Receiver<Message>, mut hand_over: impl FnMut(Level, &str)) {
    for message in messages {
        match message {
            Message::Event(level, text) => hand_over(level, &text),
            // Who waits may have given up.
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl<'w> MakeWriter<'w> for EventLog {
    type Writer = Event<'w>;

    fn make_writer(&'w self) -> Event<'w> {
        Event { log: self, level: None }
    }

    /// Only warnings and errors.
    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Event<'w> {
        let level = match *metadata.level() {
            tracing::Level::ERROR => Some(Level::Error),
            tracing::Level::WARN => Some(Level::Warn),
            _ => None,
        };
        Event { log: self, level }
    }
}

/// A record of the log on its way to the event log.
#[derive(Debug)]
pub struct Event<'a> {
    log: &'a EventLog,
    /// `None`: it is not of interest there.
    level: Option<Level>,
}

impl Write for Event<'_> {
    /// Takes a whole record: the log writes each at once.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(level) = self.level {
            self.log.report(level, &String::from_utf8_lossy(text));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::observe::logging;

    type Events = Arc<Mutex<Vec<(Level, String)>>>;

    fn collected() -> (EventLog, Events) {
        let events = Events::default();
        let log = EventLog::start({
            let events = events.clone();
            move |level, text| events.lock().unwrap().push((level, text.to_owned()))
        });
        (log.unwrap(), events)
    }

    #[test]
    fn warnings_and_errors_are_reported_with_their_fields() {
        let (log, events) = collected();
        let subscriber = tracing_subscriber::registry().with(logging::events(log.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("all is well");
            tracing::warn!(instance = "teams", "waits");
            tracing::error!("line\nline");
        });
        log.flush();
        let expected = [(Level::Warn, "waits instance=\"teams\""), (Level::Error, "line\nline")];
        assert_eq!(*events.lock().unwrap(), expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn long_texts_are_cut_to_what_windows_takes() {
        let (log, events) = collected();
        log.report(Level::Error, &"🦀".repeat(20_000));
        log.report(Level::Error, &"x".repeat(LONGEST));
        log.flush();
        let units: Vec<usize> = events.lock().unwrap().iter().map(|(_, text)| text.encode_utf16().count()).collect();
        assert_eq!(units, [LONGEST + 2, LONGEST]);
    }
}
