//! Datagrams of failed reloads, and a thread that sends them.
//!
//! Each has a number, which comes back in the webhook's request: see [`number_in`].

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use butler::ingest::sample::{Fields, SampleKind, guid, message};

/// Stands before the number in the log line's text.
const MARK: &[u8] = b"reached, no ";
/// Datagrams of one system call.
const BATCH: usize = 64;
/// How often a paced sender looks at the clock.
const TICK: Duration = Duration::from_millis(1);

/// Datagrams with the numbers `first..first + count`: each of an execution of its own.
///
/// Their tasks, each with an app of its own: `Some(n)`: the same n ones in turn; `None`: all distinct.
pub fn failures(first: usize, count: usize, tasks: Option<usize>) -> anyhow::Result<Vec<Vec<u8>>> {
    let subjects = (0..tasks.unwrap_or(count)).map(|_| Ok((guid()?, guid()?))).collect::<anyhow::Result<Vec<_>>>()?;
    let fields = Fields::random()?;
    (0..count)
        .map(|n| {
            let (task_id, app_id) = subjects[n % subjects.len()].clone();
            let text = format!("Max retries {}{}.", String::from_utf8_lossy(MARK), first + n);
            let fields = Fields { task_id, app_id, execution_id: guid()?, message: Some(text), ..fields.clone() };
            Ok(message(SampleKind::TaskFailed, &fields).into_bytes())
        })
        .collect()
}

/// The number of the datagram that a request is about.
pub fn number_in(request: &[u8]) -> Option<usize> {
    let at = request.windows(MARK.len()).rposition(|part| part == MARK)?;
    let rest = &request[at + MARK.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// Sends datagrams to one address.
pub struct Sender(UdpSocket);

impl Sender {
    /// To an address such as `127.0.0.1:9998`.
    pub fn to(address: &str) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("loopback has no free port")?;
        socket.connect(address).with_context(|| format!("cannot send to {address}"))?;
        Ok(Self(socket))
    }

    /// Sends one; when.
    pub fn send(&self, datagram: &[u8]) -> anyhow::Result<Instant> {
        let now = Instant::now();
        self.0.send(datagram).context("loopback does not take a datagram")?;
        Ok(now)
    }

    /// Sends all as fast as one sender can; when it began.
    pub fn burst(&self, datagrams: &[Vec<u8>]) -> anyhow::Result<Instant> {
        let began = Instant::now();
        for batch in datagrams.chunks(BATCH) {
            self.send_batch(batch)?;
        }
        Ok(began)
    }

    /// Sends all at a steady rate; how long it took.
    pub fn paced(&self, datagrams: &[Vec<u8>], per_second: u32) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut rest = datagrams;
        while !rest.is_empty() {
            let sent = datagrams.len() - rest.len();
            let passed = began.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
            // What a late wake-up missed is made up for.
            let due = usize::try_from(passed)?.saturating_sub(sent).min(rest.len());
            let (now, later) = rest.split_at(due);
            for batch in now.chunks(BATCH) {
                self.send_batch(batch)?;
            }
            rest = later;
            std::thread::sleep(TICK);
        }
        Ok(began.elapsed())
    }

    #[cfg(target_os = "linux")]
    fn send_batch(&self, datagrams: &[Vec<u8>]) -> anyhow::Result<()> {
        use std::io::IoSlice;
        use std::os::fd::AsRawFd as _;

        use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

        let mut rest = datagrams;
        while !rest.is_empty() {
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(rest.len(), None);
            let slices: Vec<_> = rest.iter().map(|datagram| [IoSlice::new(datagram)]).collect();
            let addresses = vec![None; rest.len()];
            let sent = sendmmsg(self.0.as_raw_fd(), &mut headers, &slices, addresses, [], MsgFlags::empty());
            let sent = sent.context("loopback does not take datagrams")?.count();
            rest = &rest[sent.min(rest.len())..];
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn send_batch(&self, datagrams: &[Vec<u8>]) -> anyhow::Result<()> {
        datagrams.iter().try_for_each(|datagram| self.send(datagram).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_again() {
        let datagrams = failures(98, 3, Some(2)).unwrap();
        let numbers: Vec<_> = datagrams.iter().map(|datagram| number_in(datagram)).collect();
        assert_eq!(numbers, [Some(98), Some(99), Some(100)]);
        assert_eq!([number_in(b""), number_in(b"reached, no x"), number_in(b"reached, no 7")], [None, None, Some(7)]);
    }

    #[test]
    fn everything_is_sent_at_about_the_rate() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = Sender::to(&receiver.local_addr().unwrap().to_string()).unwrap();
        let datagrams = failures(0, 150, None).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let all_come = || {
            let mut space = [0; 2_000];
            for n in 0..150 {
                let length = receiver.recv(&mut space).unwrap();
                assert_eq!(number_in(&space[..length]), Some(n));
            }
        };
        let took = sender.paced(&datagrams, 1_000).unwrap();
        assert!(took >= Duration::from_millis(140), "{took:?}");
        all_come();
        sender.burst(&datagrams).unwrap();
        all_come();
    }
}
