//! What a command waits for, on a terminal: one line that goes when the wait is over.
//!
//! For people only: nothing is written where standard error is no terminal, and never to standard output.

use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Shorter waits are not worth a line.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(1);
/// Longest text for what is waited for, in characters: with the rest it fits on one line of any terminal.
const LONGEST: usize = 50;

tokio::task_local! {
    /// Somebody further out says what is waited for.
    static SAID: ();
}

/// Does the work, and says on a terminal what is waited for if it takes more than two seconds: `the instance email`. Of waits
/// within waits the outermost is said.
pub(super) async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() || SAID.try_with(|()| ()).is_ok() {
        return work.await;
    }
    let mut work = pin!(SAID.scope((), work));
    let began = Instant::now();
    let mut tick = interval_at(began + PATIENCE, STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut shown = String::new();
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                show(&" ".repeat(shown.chars().count()));
                return done;
            }
            _ = tick.tick() => {
                shown = line(what, began.elapsed());
                show(&shown);
            }
        }
    }
}

fn line(what: &str, so_far: Duration) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = what.chars().map(plain).take(LONGEST).collect();
    if what.chars().count() > LONGEST {
        text.pop();
        text.push('…');
    }
    format!("waiting for {text}: {} s", so_far.as_secs())
}

/// Writes over the line and goes back to its beginning, so that whatever is written next stands in its place. Blanks and not a
/// control sequence: those of Windows need to be switched on.
fn show(text: &str) {
    if !text.is_empty() {
        let mut stderr = io::stderr().lock();
        // Nobody looks, then.
        let _ = write!(stderr, "\r{text}\r").and_then(|()| stderr.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_is_one() {
        assert_eq!(line("Qlik Sense", Duration::from_millis(3_900)), "waiting for Qlik Sense: 3 s");
        let long = line(&"a\n\x1b[2J".repeat(30), Duration::from_secs(100));
        assert!(long.chars().count() <= 79 && !long.contains(char::is_control), "{long:?}");
        assert!(long.ends_with("…: 100 s"), "{long}");
    }

    #[tokio::test]
    async fn the_work_is_done() {
        assert_eq!(waiting("nothing", async { 7 }).await, 7);
    }
}
