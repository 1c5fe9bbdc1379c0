//! A mail server that does as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A mail that was taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
}

/// What it answers instead of the usual.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Line(&'static str),
    /// Ends the connection without an answer.
    Close,
    /// Bytes that need not be UTF-8.
    Bytes(&'static [u8]),
    /// The usual answer after so many milliseconds.
    Late(u64),
    /// Does not answer for 5 s, then ends the connection.
    Nothing,
}

type Script = Box<dyn FnMut(&str) -> Option<Say> + Send>;

#[derive(Default)]
struct State {
    script: Option<Script>,
    mails: Vec<Mail>,
    commands: Vec<String>,
    connections: usize,
}

/// The server. Its threads end with the test.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl MailServer {
    /// Takes all mails. The script is asked for each command, `GREETING`, and `.` for the end of a mail.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let server = Self { port, state: state.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = state.clone();
                state.lock().unwrap().connections += 1;
                thread::spawn(move || converse(stream, &state));
            }
        });
        server
    }

    /// From now on.
    pub(crate) fn script(&self, script: impl FnMut(&str) -> Option<Say> + Send + 'static) {
        self.lock().script = Some(Box::new(script));
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.lock().mails.clone()
    }

    /// Whom its mails went to.
    pub(crate) fn recipients(&self) -> Vec<String> {
        self.mails().into_iter().flat_map(|mail| mail.to).collect()
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn converse(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut mail = Mail::default();
    let mut answer = |command: &str, usual: &str| -> bool {
        let said = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.commands.push(command.to_owned());
            state.script.as_mut().and_then(|script| script(command))
        };
        match said {
            None => writer.write_all(format!("{usual}\r\n").as_bytes()).is_ok(),
            Some(Say::Line(line)) => {
                let _ = writer.write_all(format!("{line}\r\n").as_bytes());
                line.starts_with(['2', '3'])
            }
            Some(Say::Bytes(bytes)) => {
                let _ = writer.write_all(bytes);
                bytes.starts_with(b"2")
            }
            Some(Say::Late(millis)) => {
                thread::sleep(std::time::Duration::from_millis(millis));
                writer.write_all(format!("{usual}\r\n").as_bytes()).is_ok()
            }
            Some(Say::Close) => {
                let _ = writer.shutdown(std::net::Shutdown::Both);
                false
            }
            Some(Say::Nothing) => {
                thread::sleep(std::time::Duration::from_secs(5));
                let _ = writer.shutdown(std::net::Shutdown::Both);
                false
            }
        }
    };
    answer("GREETING", "220 mail.test");
    let mut line = String::new();
    while {
        line.clear();
        reader.read_line(&mut line).is_ok_and(|length| length > 0)
    } {
        let command = line.trim_end().to_owned();
        let address = || command.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => drop(answer(&command, "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN XOAUTH2")),
            "AUTH" => drop(answer(&command, "235 fine")),
            "MAIL" => {
                if answer(&command, "250 fine") {
                    mail = Mail { from: address(), ..Mail::default() };
                }
            }
            "RCPT" => {
                if answer(&command, "250 fine") {
                    mail.to.push(address());
                }
            }
            "DATA" => {
                if answer(&command, "354 go on") {
                    let mut data = String::new();
                    loop {
                        line.clear();
                        if !reader.read_line(&mut line).is_ok_and(|length| length > 0) || line == ".\r\n" {
                            break;
                        }
                        data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    }
                    let taken = Mail { data, ..mail.clone() };
                    // First kept, then answered: whoever has the answer finds the mail.
                    state.lock().unwrap_or_else(PoisonError::into_inner).mails.push(taken);
                    if !answer(".", "250 taken") {
                        state.lock().unwrap_or_else(PoisonError::into_inner).mails.pop();
                    }
                }
            }
            "QUIT" => {
                answer(&command, "221 bye");
                return;
            }
            _ => drop(answer(&command, "250 fine")),
        }
    }
}
