//! Floods of datagrams at full speed: memory stays bounded, the API answers, what is lost is counted.
//!
//! `BUTLER_FLOOD_SECONDS` asks for longer floods.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Butler, PATIENCE, Sink, failure, fields, http, resident, wait_for};

const MEMORY: u64 = 150 << 20;
/// The only one that may send good messages; the whole of 127.0.0.0/8 is this machine.
const FRIEND: &str = "127.0.0.2:0";
const FOREIGN: &str = "127.0.0.3:0";

/// How long a flood lasts.
fn flood_time() -> Duration {
    let seconds = std::env::var("BUTLER_FLOOD_SECONDS");
    Duration::from_secs(seconds.map_or(3, |text| text.parse().expect("BUTLER_FLOOD_SECONDS is a number")))
}

fn config(sink: &Sink, udp: &str) -> String {
    format!(
        "udp: {{ listen: \"127.0.0.1:0\", allowFrom: [127.0.0.2]{udp} }}\nplugins:\n  - use: webhook\n    name: hook\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// Sends as fast as it can until it is told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Flood {
    fn start(from: &str, to: &str, mut next: impl FnMut() -> Vec<u8> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(from).expect("all of 127.0.0.0/8 is this machine");
        socket.connect(to).expect("loopback takes datagrams");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while !stopping.load(Ordering::Acquire) {
                let bytes = next();
                socket.send(&bytes).expect("loopback takes datagrams");
                sent += 1;
            }
            sent
        });
        Self { stop, thread: Some(thread) }
    }

    /// How many it has sent.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("it ends once").join().expect("a flood does not panic")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Sums of what the daemon counted.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Counted {
    received: u64,
    queued: u64,
    processed: u64,
    duplicates: u64,
    /// By the kernel.
    kernel: u64,
    /// Not in `udp.allowFrom`.
    foreign: u64,
    /// Drops of those that were received.
    dropped: u64,
    rejected: u64,
    buffered: u64,
    errors: u64,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters hold whole numbers")]
async fn counted(butler: &Butler) -> Counted {
    let (_, page) = butler.get("/metrics").await;
    let page = page.as_str().expect("the page is a text").to_owned();
    let sum = |start: &str| -> u64 {
        let values = page.lines().filter_map(|line| line.strip_prefix(start)?.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<f64>().expect("a metric is a number") as u64).sum()
    };
    let foreign = sum("butler_udp_dropped_total{reason=\"source\"}");
    assert!(page.contains("butler_udp_kernel_dropped_total "), "the kernel's drops are known on Linux");
    Counted {
        received: sum("butler_udp_received_total"),
        queued: sum("butler_udp_queued_total"),
        processed: sum("butler_udp_processed_total"),
        duplicates: sum("butler_udp_duplicates_total"),
        kernel: sum("butler_udp_kernel_dropped_total"),
        foreign,
        dropped: sum("butler_udp_dropped_total{") - foreign,
        rejected: sum("butler_udp_rejected_total{"),
        buffered: sum("butler_udp_buffer_datagrams"),
        errors: sum("butler_udp_receive_errors_total"),
    }
}

/// What a flood did.
struct Result {
    butler: Butler,
    sink: Sink,
    flood: u64,
    /// By each of several floods.
    floods: Vec<u64>,
    good: u64,
    counted: Counted,
}

/// Whence, and what.
type Source = (&'static str, Box<dyn FnMut() -> Vec<u8> + Send>);

async fn flood(udp: &str, from: &'static str, next: impl FnMut() -> Vec<u8> + Send + 'static) -> Result {
    floods(udp, vec![(from, Box::new(next))]).await
}

/// Floods a daemon for some seconds, from all sources at once, with good messages in between, and checks what holds for
/// every flood.
async fn floods(udp: &str, sources: Vec<Source>) -> Result {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, udp)).await;
    let friend = UdpSocket::bind(FRIEND).expect("all of 127.0.0.0/8 is this machine");
    let tell = || friend.send_to(failure(&fields()).as_bytes(), butler.udp()).expect("loopback takes datagrams");
    tell();
    sink.wait(1).await;
    let mut good = 1;
    let floods: Vec<Flood> = sources.into_iter().map(|(from, next)| Flood::start(from, butler.udp(), next)).collect();
    let (begun, time, client) = (Instant::now(), flood_time(), http());
    let (mut most, mut slowest) = (0, Duration::ZERO);
    while begun.elapsed() < time {
        tell();
        good += 1;
        for path in ["/v5/health/ready", "/metrics"] {
            let asked = Instant::now();
            let answer = client.get(format!("{}{path}", butler.rest())).bearer_auth(butler.token()).send().await;
            assert_eq!(answer.expect("the daemon answers").status().as_u16(), 200);
            slowest = slowest.max(asked.elapsed());
        }
        most = most.max(resident(butler.pid()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let floods: Vec<u64> = floods.into_iter().map(Flood::end).collect();
    let flood = floods.iter().sum::<u64>();
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    assert!(most < MEMORY, "{most} bytes of memory");

    let sent = flood + good;
    // What waits is read as fast as the machine can: it may take its time, and must go on.
    let (mut read, mut since) = (0, Instant::now());
    let all = loop {
        let now = counted(&butler).await;
        let ended = now.processed + now.duplicates + now.rejected;
        if now.received + now.foreign + now.kernel >= sent && now.buffered == 0 && now.queued == ended {
            break now;
        }
        if ended > read {
            (read, since) = (ended, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "sent {flood} and {good}, counted {now:?}:\n{}", butler.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(all.received + all.foreign + all.kernel, sent, "{all:?}");
    assert_eq!(all.received, all.queued + all.dropped, "{all:?}");
    assert_eq!(all.errors, 0, "{all:?}");
    // Afterwards it is as if nothing had been.
    let before = all.processed;
    tell();
    let wanted = usize::try_from(before).expect("a small number") + 1;
    sink.wait(wanted).await;
    assert!(sink.received().iter().all(|request| request.json()["kind"] == "reload-task.failed"));
    assert!(resident(butler.pid()) < MEMORY);
    let log = butler.log();
    assert!(log.lines().count() < 100, "the log was flooded as well: {} lines", log.lines().count());
    Result { butler, sink, flood, floods, good, counted: all }
}

/// Good messages are accepted unless the kernel or a full buffer dropped them.
fn good_ones_were_heard(result: &Result) {
    let Counted { processed, kernel, dropped, .. } = result.counted;
    assert!(processed <= result.good && processed > 1, "{:?} of {}", result.counted, result.good);
    assert!(processed + kernel + dropped >= result.good, "{:?} of {}", result.counted, result.good);
    assert_eq!(result.sink.received().len() as u64, processed + 1, "each once");
}

/// Random bytes, half of them behind a good beginning.
fn random_bytes() -> impl FnMut() -> Vec<u8> + Send {
    // A plain generator with a fixed seed: every run sends the same.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    move || {
        let length = usize::try_from(random() % 1_400).unwrap_or_default();
        let mut bytes = Vec::with_capacity(length + 40);
        if length.is_multiple_of(2) {
            bytes.extend_from_slice(b"/scheduler-reload-failed/;");
        }
        bytes.extend(std::iter::repeat_with(|| random().to_le_bytes()).take(length / 8).flatten());
        bytes
    }
}

#[tokio::test]
async fn a_flood_of_everything_at_once_is_counted_by_reason_and_good_messages_get_through() {
    let message = failure(&fields()).into_bytes();
    let sources: Vec<Source> = vec![
        (FOREIGN, Box::new(move || message.clone())),
        (FRIEND, Box::new(|| vec![b'x'; 65_507])),
        (FRIEND, Box::new(Vec::new)),
        (FRIEND, Box::new(random_bytes())),
    ];
    let result = floods("", sources).await;
    good_ones_were_heard(&result);
    let (counted, sent) = (result.counted, &result.floods);
    let [foreign, long, empty, random] = sent[..] else { panic!("four floods: {sent:?}") };
    assert!(sent.iter().all(|count| *count > 1_000), "no flood: {sent:?}");
    // Each is counted as what it is, unless the kernel dropped it or the buffer was full.
    let by_reason = async |reason: &str| {
        let value = result.butler.metric(&format!("butler_udp_rejected_total{{reason=\"{reason}\"}}")).await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters hold whole numbers")]
        value.map_or(0, |value| value as u64)
    };
    let empties = by_reason("empty").await;
    assert!(counted.foreign > 0 && counted.foreign <= foreign, "{counted:?} of {sent:?}");
    // Of the random ones some are shorter than one number.
    let short = random / 100;
    assert!(empties > 0 && empties <= empty + short, "{empties} of {sent:?}");
    assert!(counted.rejected > empties && counted.rejected <= long + empty + random, "{counted:?} of {sent:?}");
    assert_eq!((counted.duplicates, counted.processed + counted.rejected), (0, counted.queued), "{counted:?}");
    let full = result.butler.metric("butler_udp_dropped_total{reason=\"buffer-full\"}").await;
    #[allow(clippy::cast_precision_loss, reason = "the numbers are small")]
    let dropped = counted.dropped as f64;
    assert_eq!(full, Some(dropped), "no other reason");
    // The good ones have at least the chance of all others from there with the kernel and the buffer.
    let friendly = long + empty + random + result.good;
    let chance = result.good * counted.queued / friendly;
    assert!(counted.processed + 3 >= chance / 2, "{counted:?} of {sent:?}, and {} good ones", result.good);
}

#[tokio::test]
async fn a_flood_from_a_stranger_is_counted_as_such() {
    let message = failure(&fields()).into_bytes();
    let result = flood("", FOREIGN, move || message.clone()).await;
    good_ones_were_heard(&result);
    let counted = result.counted;
    assert!(counted.foreign > 10_000, "no flood: {counted:?}");
    assert_eq!((counted.rejected, counted.duplicates, counted.dropped), (0, 0, 0), "{counted:?}");
    assert!(counted.foreign + counted.kernel >= result.flood, "{counted:?}");
    let log = result.butler.log();
    assert_eq!(log.lines().filter(|line| line.contains("allowFrom")).count(), 1, "{log}");
}

#[tokio::test]
async fn a_flood_of_the_longest_datagrams_is_counted_and_takes_no_memory() {
    let result = flood("", FRIEND, || vec![b'x'; 65_507]).await;
    good_ones_were_heard(&result);
    let counted = result.counted;
    assert!(counted.rejected > 100 && counted.received > 1_000, "no flood: {counted:?}");
    let unknown = result.butler.metric("butler_udp_rejected_total{reason=\"unknown-type\"}").await;
    #[allow(clippy::cast_precision_loss, reason = "the number is small")]
    let rejected = counted.rejected as f64;
    assert_eq!(unknown, Some(rejected));
}

#[tokio::test]
async fn a_flood_of_events_with_the_longest_messages_takes_no_memory() {
    let long = e2e::Fields { message: Some("long ".repeat(12_900)), ..fields() };
    let bytes = failure(&long).into_bytes();
    assert!(bytes.len() > 64_000 && bytes.len() <= 65_507, "{}", bytes.len());
    let result = flood("", FRIEND, move || bytes.clone()).await;
    let counted = result.counted;
    assert!(counted.duplicates > 500, "no flood: {counted:?}");
    assert!(counted.processed <= result.good + 1, "the same event is one event: {counted:?}");
    assert_eq!(result.sink.received().len() as u64, counted.processed + 1);
}

#[tokio::test]
async fn a_flood_of_too_long_datagrams_is_counted_by_size() {
    let result = flood(", maxSize: 1kB", FRIEND, || vec![b'x'; 8_000]).await;
    good_ones_were_heard(&result);
    let counted = result.counted;
    assert!(counted.dropped > 10_000, "no flood: {counted:?}");
    assert_eq!((counted.rejected, counted.duplicates), (0, 0), "{counted:?}");
}

#[tokio::test]
async fn a_flood_of_empty_datagrams_is_counted() {
    let result = flood("", FRIEND, Vec::new).await;
    good_ones_were_heard(&result);
    assert!(result.counted.rejected > 10_000, "no flood: {:?}", result.counted);
    assert!(result.butler.metric("butler_udp_rejected_total{reason=\"empty\"}").await > Some(10_000.0));
}

#[tokio::test]
async fn a_flood_of_random_bytes_is_counted() {
    let result = flood("", FRIEND, random_bytes()).await;
    good_ones_were_heard(&result);
    assert!(result.counted.rejected > 10_000, "no flood: {:?}", result.counted);
}

#[tokio::test]
async fn a_flood_of_one_good_message_is_one_event() {
    let bytes = failure(&fields()).into_bytes();
    let result = flood("", FRIEND, move || bytes.clone()).await;
    let counted = result.counted;
    assert!(counted.duplicates > 5_000, "no flood: {counted:?}");
    assert!(counted.processed <= result.good + 1 && counted.processed > 1, "{counted:?}");
    assert_eq!(result.sink.received().len() as u64, counted.processed + 1);
}

#[tokio::test]
async fn a_flood_over_the_rate_limit_is_counted_as_such() {
    let bytes = failure(&fields()).into_bytes();
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, ", maxPerMinute: 100")).await;
    let flood = Flood::start(FRIEND, butler.udp(), move || bytes.clone());
    wait_for("drops", || async { (counted(&butler).await.dropped > 10_000).then_some(()) }).await;
    let sent = flood.end();
    let all = wait_for("all datagrams to be accounted for", || async {
        let now = counted(&butler).await;
        (now.received + now.kernel == sent && now.queued == now.processed + now.duplicates).then_some(now)
    })
    .await;
    assert!(all.queued >= 100 && all.queued < 200, "{all:?}");
    assert_eq!((all.processed, all.received), (1, all.queued + all.dropped), "{all:?}");
    assert_eq!(sink.wait(1).await.len(), 1);
}
