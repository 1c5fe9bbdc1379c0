//! The executable at a terminal: what it writes there is read, answers are typed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::{PATIENCE, butler_exe};

/// A terminal with the executable at it, which is killed when this is dropped.
pub struct Terminal {
    child: Child,
    typed: File,
    screen: Arc<Mutex<String>>,
    /// So much of the screen was waited for already.
    read: usize,
}

impl Terminal {
    /// Starts it in a folder.
    ///
    /// # Panics
    /// When the system has no terminal, or no `setsid`.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::open(&Command::new(butler_exe()), folder, arguments, None)
    }

    /// Starts another program, with its first arguments and its environment, in a folder. The terminal is so wide that no line of
    /// a log is broken in two.
    ///
    /// # Panics
    /// When the system has no terminal, or no `setsid`.
    pub fn wide(program: &Command, folder: &Path, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 500, ws_xpixel: 0, ws_ypixel: 0 };
        Self::open(program, folder, arguments, Some(size))
    }

    fn open(program: &Command, folder: &Path, arguments: &[&str], size: Option<Winsize>) -> Self {
        let pair = openpty(size.as_ref(), None).expect("the system has a terminal");
        let other_end = || File::from(pair.slave.try_clone().expect("a handle can be doubled"));
        // Without a session of its own a Ctrl-C that is typed reaches nobody.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(program.get_program())
            .args(program.get_args())
            .args(arguments)
            .current_dir(folder)
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env_remove("BUTLER_CONFIG")
            .stdin(other_end())
            .stdout(other_end())
            .stderr(other_end())
            .spawn()
            .expect("setsid (util-linux) starts");
        let typed = File::from(pair.master);
        let mut shown = typed.try_clone().expect("a handle can be doubled");
        let screen = Arc::new(Mutex::new(String::new()));
        let screen_too = screen.clone();
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            // An error: nobody has the other side open any more.
            while let Ok(length) = shown.read(&mut room) {
                let text = String::from_utf8_lossy(&room[..length]).into_owned();
                screen_too.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                if length == 0 {
                    break;
                }
            }
        });
        Self { child, typed, screen, read: 0 }
    }

    /// All that was shown.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).replace("\r\n", "\n")
    }

    /// Waits for a text behind the last one that was waited for.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn shows(&mut self, text: &str) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if let Some(at) = screen[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            assert!(tokio::time::Instant::now() < until, "`{text}` does not come; the screen:\n{screen}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Types keys as they are: `\u{3}` is Ctrl-C, `\u{4}` Ctrl-D.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn press(&mut self, keys: &str) {
        self.typed.write_all(keys.as_bytes()).expect("the terminal takes what is typed");
    }

    /// Waits for a text, then types a line.
    ///
    /// # Panics
    /// When the text does not come.
    pub async fn answer(&mut self, question: &str, line: &str) {
        self.shows(question).await;
        self.press(&format!("{line}\n"));
    }

    /// Whether what is typed is shown.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.typed).expect("the terminal says how it is").local_flags.contains(LocalFlags::ECHO)
    }

    /// Waits for the end of the executable.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end(&mut self) -> ExitStatus {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(tokio::time::Instant::now() < until, "it does not end; the screen:\n{}", self.screen());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
