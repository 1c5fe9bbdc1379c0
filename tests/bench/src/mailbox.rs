//! A mail server on loopback that costs little: it takes every mail, and notes the Message-ID.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The server. It ends when it is dropped.
pub struct Mailbox {
    address: SocketAddr,
    shared: Arc<Mutex<Mails>>,
    task: JoinHandle<()>,
}

/// What came so far.
#[derive(Debug, Default)]
struct Mails {
    ids: HashSet<String>,
    count: usize,
    last: Option<Instant>,
}

/// What came.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Mails with distinct ids.
    pub distinct: usize,
    /// All of them.
    pub count: usize,
    /// When the last one came.
    pub last: Option<Instant>,
}

impl Mailbox {
    /// A port that nobody listens at, for one that is started later.
    pub fn free_port() -> anyhow::Result<u16> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("loopback has no free port")?;
        Ok(listener.local_addr()?.port())
    }

    /// Starts it at a port; 0: a free one.
    pub async fn start(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("the port of the mail server is taken")?;
        let address = listener.local_addr()?;
        let shared = Arc::<Mutex<Mails>>::default();
        let mails = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, mails.clone()));
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What came so far.
    pub fn taken(&self) -> Taken {
        let mails = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Taken { distinct: mails.ids.len(), count: mails.count, last: mails.last }
    }

    /// Waits until so many mails are there, or none came for a time.
    pub async fn wait(&self, count: usize, patience: Duration) -> Taken {
        let (mut taken, mut changed) = (self.taken(), Instant::now());
        while taken.distinct < count && changed.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.taken();
            if now.count != taken.count {
                (taken, changed) = (now, Instant::now());
            }
        }
        taken
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, mails: Arc<Mutex<Mails>>) {
    // An error is the end of the connection, which is nobody's fault here.
    let _ = converse(stream, &mails).await;
}

async fn converse(stream: TcpStream, mails: &Mutex<Mails>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let mut line = String::new();
    while read(&mut stream, &mut line).await? {
        let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-bench\r\n250 8BITMIME\r\n",
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut id = String::new();
                while read(&mut stream, &mut line).await? && line.trim_end() != "." {
                    if let Some(rest) = line.strip_prefix("Message-ID:") {
                        rest.trim().clone_into(&mut id);
                    }
                }
                let mut mails = mails.lock().unwrap_or_else(PoisonError::into_inner);
                mails.ids.insert(id);
                mails.count += 1;
                mails.last = Some(Instant::now());
                b"250 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 fine\r\n",
        };
        stream.write_all(answer).await?;
    }
    Ok(())
}

/// Reads a line; false at the end.
async fn read(stream: &mut BufReader<TcpStream>, line: &mut String) -> std::io::Result<bool> {
    line.clear();
    Ok(stream.read_line(line).await? > 0)
}
