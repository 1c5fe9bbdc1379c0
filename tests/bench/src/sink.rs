//! A webhook on loopback that costs little: it notes the number in each request and when it came, and answers.
//!
//! It has one thread, with one connection a task. It reads no more of HTTP than where a request ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::sender::number_in;

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// A request that was answered with success.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Number of the datagram.
    pub number: usize,
    /// When the request had come whole.
    pub at: Instant,
}

#[derive(Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    count: AtomicUsize,
    faults: AtomicUsize,
    /// Of a thousand requests so many fail.
    failing: AtomicU32,
    /// State of the random numbers that choose them.
    random: AtomicU32,
}

/// The webhook. It ends when it is dropped.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What goes wrong with a request.
enum Fault {
    /// It is answered with 503.
    Busy,
    /// It is never answered.
    Hang,
    /// Its connection is reset.
    Reset,
}

impl Sink {
    /// Starts it on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("loopback has no free port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { random: AtomicU32::new(seed()?), ..Shared::default() });
        let (stop, stopping) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let serving = shared.clone();
        let thread = std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                let _ = ready.send(());
                tokio::select! {
                    () = accept(listener, serving) => {}
                    _ = stopping => {}
                }
            });
        })?;
        started.await.context("the sink does not start")?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on so many of a thousand requests fail, each third of them in another way.
    pub fn fail(&self, per_thousand: u32) {
        self.shared.failing.store(per_thousand, Ordering::Relaxed);
    }

    /// How many requests were answered with success.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// How many failed on purpose.
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// What was told so far, in order.
    pub fn told(&self) -> Vec<Told> {
        self.shared.lock().clone()
    }

    /// How often each number of `0..count` was told.
    pub fn tally(&self, count: usize) -> Tally {
        let mut times: HashMap<usize, usize> = HashMap::new();
        let told = self.told();
        for told in &told {
            *times.entry(told.number).or_default() += 1;
        }
        let known = times.iter().filter(|(number, _)| **number < count);
        let doubled = known.clone().filter(|(_, times)| **times > 1).count();
        Tally { lost: count - known.count(), doubled, last: told.last().map(|told| told.at) }
    }

    /// Waits until so many requests were answered with success, or none came for a time.
    pub async fn wait(&self, count: usize, patience: Duration) {
        let (mut seen, mut changed) = (self.count(), Instant::now());
        while seen < count && changed.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.count();
            if now != seen {
                (seen, changed) = (now, Instant::now());
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What became of numbered datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// Never told.
    pub lost: usize,
    /// Told more than once.
    pub doubled: usize,
    /// When the last request came.
    pub last: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong with the next request, by chance.
    fn fault(&self) -> Option<Fault> {
        let failing = self.failing.load(Ordering::Relaxed);
        if failing == 0 {
            return None;
        }
        // A xorshift generator is random enough, and there is one thread only.
        let mut random = self.random.load(Ordering::Relaxed);
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random.store(random, Ordering::Relaxed);
        let fault = match random % 3 {
            0 => Fault::Busy,
            1 => Fault::Hang,
            _ => Fault::Reset,
        };
        (random / 3 % 1_000 < failing).then_some(fault)
    }

    fn note(&self, request: &[u8], at: Instant) {
        // What has no number is something else than what was sent: it must show.
        self.lock().push(Told { number: number_in(request).unwrap_or(usize::MAX), at });
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

fn seed() -> anyhow::Result<u32> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
    // The generator would stay at 0.
    Ok(u32::from_le_bytes(bytes).max(1))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move { serve(stream, &shared).await });
    }
}

/// Answers the requests of a connection until it ends.
async fn serve(mut stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let Some(length) = length_of(&buffer) else {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let at = Instant::now();
        let fault = shared.fault();
        if fault.is_some() {
            shared.faults.fetch_add(1, Ordering::Relaxed);
        }
        let answer = match fault {
            None => {
                shared.note(&buffer[..length], at);
                FINE
            }
            Some(Fault::Busy) => BUSY,
            Some(Fault::Hang) => {
                // Ends when the other side has lost its patience.
                while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Some(Fault::Reset) => {
                let _ = stream.set_zero_linger();
                return;
            }
        };
        buffer.drain(..length);
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Length of the first request, if it is there whole.
fn length_of(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let name = b"content-length:";
    let line = buffer[..head]
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    let body = line.and_then(|line| std::str::from_utf8(&line[name.len()..]).ok()?.trim().parse::<usize>().ok());
    let length = head + body.unwrap_or_default();
    (buffer.len() >= length).then_some(length)
}

#[cfg(test)]
mod tests {
    use e2e::http;

    use super::*;

    #[tokio::test]
    async fn requests_are_noted_with_their_number_and_fail_when_asked() {
        let (sink, client) = (Sink::start().await.unwrap(), http());
        for body in ["reached, no 0.", "reached, no 1.", "reached, no 1.", "something else"] {
            let status = client.post(sink.url("/hook")).body(body).send().await.unwrap().status();
            assert_eq!(status, 200);
        }
        let tally = sink.tally(3);
        assert_eq!((sink.count(), tally.lost, tally.doubled), (4, 1, 1));
        assert!(tally.last.is_some());
        sink.fail(1_000);
        let mut busy = 0;
        for _ in 0..30 {
            let request = client.post(sink.url("/")).timeout(Duration::from_millis(100)).body("reached, no 2.");
            match request.send().await {
                Ok(answer) => busy += u32::from(answer.status() == 503),
                Err(error) => assert!(error.is_timeout() || error.is_request(), "{error}"),
            }
        }
        assert_eq!((sink.count(), sink.faults()), (4, 30));
        assert!((1..30).contains(&busy), "{busy}");
    }

    #[test]
    fn a_request_ends_with_its_body() {
        let text = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST";
        assert_eq!((length_of(text), length_of(&text[..text.len() - 5])), (Some(text.len() - 4), None));
        assert_eq!((length_of(b"GET / HTTP/1.1\r\n\r\n"), length_of(b"GET /")), (Some(18), None));
    }
}
