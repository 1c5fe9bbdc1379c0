//! Questions on the terminal, line by line. They go to standard error, so that standard output can be redirected.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

/// A terminal with somebody at it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Terminal(());

/// A question.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Question<'a> {
    /// What is asked for, in a sentence or more.
    pub(in super::super) about: &'a str,
    /// Its short name.
    pub(in super::super) name: &'a str,
    /// What an empty line stands for.
    pub(in super::super) default: Option<&'a str>,
    /// Whether the answer is a secret: what is typed is not shown.
    pub(in super::super) hidden: bool,
}

impl Terminal {
    /// The terminal of this process; absent if it has none, or if answers or questions go elsewhere.
    pub(in super::super) fn of_process() -> Option<Self> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(Self(()))
    }

    #[allow(clippy::unused_self, reason = "whoever has one may ask")]
    /// Asks until the answer is taken. What is wrong with an answer is told.
    pub(in super::super) fn ask<T>(
        self,
        question: Question<'_>,
        mut take: impl FnMut(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let Question { about, name, default, hidden } = question;
        eprintln!("\n{about}");
        let note = match default {
            _ if hidden => " (is not shown)".to_owned(),
            Some(default) => format!(" [{default}]"),
            None => String::new(),
        };
        loop {
            let prompt = format!("{name}{note}: ");
            let line = if hidden { hidden::line(&prompt)? } else { line(&prompt)? };
            let answer = match line.as_deref() {
                // A secret may begin or end with a blank.
                Ok(text) if hidden => text.trim_end_matches(['\r', '\n']),
                Ok(text) => text.trim(),
                Err(reason) => {
                    eprintln!("  {reason}");
                    continue;
                }
            };
            let answer = if answer.is_empty() { default.unwrap_or_default() } else { answer };
            let taken = if answer.is_empty() { Err("an answer is needed".to_owned()) } else { take(answer) };
            match taken {
                Ok(value) => return Ok(value),
                Err(reason) => eprintln!("  {reason}"),
            }
        }
    }
}

/// One line, or why it is none.
fn line(prompt: &str) -> anyhow::Result<Result<String, String>> {
    show(prompt)?;
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) => bail!("the input has ended: nothing was written"),
        Ok(_) => Ok(Ok(line)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err("this is not UTF-8".to_owned())),
        Err(error) => Err(anyhow::Error::new(error).context("the answer cannot be read")),
    }
}

fn show(prompt: &str) -> anyhow::Result<()> {
    eprint!("{prompt}");
    io::stderr().flush().context("the terminal is gone")
}

/// Shows again what is typed, if it was hidden: before the process ends in the middle of a question.
pub(super) fn show_again() {
    hidden::end();
}

#[cfg(unix)]
mod hidden {
    //! Lines that are not shown while they are typed.

    use std::io;
    use std::sync::{Mutex, PoisonError};

    use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

    /// How the terminal was before; whoever ends the process in the middle of a line puts it back.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Hides first and asks then, since fast fingers type at once.
    pub(super) fn line(prompt: &str) -> anyhow::Result<Result<String, String>> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ECHONL);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // What was typed ahead stays.
        let line = match tcsetattr(io::stdin(), SetArg::TCSANOW, &quiet) {
            Ok(()) => super::line(prompt),
            Err(error) => Err(error.into()),
        };
        end();
        line
    }

    pub(super) fn end() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The terminal may be gone; then nobody sees what is typed.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
        }
    }
}

#[cfg(not(unix))]
mod hidden {
    //! Lines that are not shown while they are typed.

    use std::io::ErrorKind;

    use anyhow::bail;

    pub(super) fn line(prompt: &str) -> anyhow::Result<Result<String, String>> {
        super::show(prompt)?;
        match rpassword::read_password() {
            Ok(line) => Ok(Ok(line)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!("the input has ended: nothing was written"),
            Err(error) => Err(anyhow::Error::new(error).context("the answer cannot be read")),
        }
    }

    /// The library puts the console back in the thread that asks: it gets a moment for that.
    pub(super) fn end() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
