use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::super::counters::DropReason;
use super::super::reader::unix_ms;
use super::*;
use crate::config::{Sessions, Size};

fn config() -> Udp {
    Udp {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        allow_from: None,
        max_size: Size::bytes(65_507),
        max_per_minute: None,
        sessions: Sessions::default(),
    }
}

fn sender(address: [u8; 4], to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::from(address), 0)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Waits until something holds; fails after ten seconds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < limit, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

async fn drain(running: &Running) -> Vec<Datagram> {
    let mut all = Vec::new();
    while let Some(batch) = running.next_batch(1000).await {
        all.extend(batch);
    }
    all
}

#[tokio::test]
async fn a_burst_arrives_or_is_counted() {
    let running = UdpServer::bind(&config()).unwrap().start().unwrap();
    let sender = sender([127, 0, 0, 1], running.local_addr());
    let before = unix_ms();
    for n in 0..5000_u32 {
        sender.send(&n.to_le_bytes()).unwrap();
    }
    let counters = Arc::clone(running.counters());
    let kernel_drops = || running.kernel_drops().unwrap_or_default();
    until("all are received or dropped", || counters.received.get() + kernel_drops() == 5000);
    let lost = kernel_drops();
    running.stop();
    let all = drain(&running).await;
    assert_eq!(all.len() as u64, 5000 - lost);
    let numbers: Vec<_> = all.iter().map(|one| u32::from_le_bytes(one.bytes[..].try_into().unwrap())).collect();
    assert!(numbers.is_sorted(), "in the order of sending");
    assert!(all.iter().all(|one| one.from == sender.local_addr().unwrap()));
    assert!(all.iter().all(|one| (before..=unix_ms()).contains(&one.received_ms)));
    assert_eq!((counters.queued.get(), counters.queued_bytes.get()), (5000 - lost, 4 * (5000 - lost)));
}

#[tokio::test]
async fn foreign_senders_long_messages_and_too_many_are_counted_by_reason() {
    let mut config = config();
    config.allow_from = Some(vec!["127.0.0.1".into()]);
    config.max_size = Size::bytes(10);
    config.max_per_minute = NonZeroU32::new(3).map(NonZeroU32::get);
    let running = UdpServer::bind(&config).unwrap().start().unwrap();
    let foreign = sender([127, 0, 0, 2], running.local_addr());
    for length in [1, 11, 5] {
        foreign.send(&vec![0; length]).unwrap();
    }
    let known = sender([127, 0, 0, 1], running.local_addr());
    for length in [10, 11, 60_000, 1, 2, 3, 4] {
        known.send(&vec![0; length]).unwrap();
    }
    let counters = running.counters();
    until("all are seen", || counters.received.get() + counters.dropped(DropReason::Source) == 10);
    running.stop();
    let lengths: Vec<_> = drain(&running).await.iter().map(|one| one.bytes.len()).collect();
    assert_eq!(lengths, [10, 1, 2]);
    let snapshot = running.snapshot();
    let dropped = |reason: DropReason| snapshot.dropped[reason.label()];
    assert_eq!(
        [
            dropped(DropReason::Source),
            dropped(DropReason::Size),
            dropped(DropReason::RateLimit),
            dropped(DropReason::BufferFull)
        ],
        [3, 2, 2, 0]
    );
    assert_eq!((snapshot.received, snapshot.queued), (7, 3), "received is queued and dropped, sources aside");
    assert_eq!((snapshot.per_minute, snapshot.capacity_bytes), (Some(3), CAPACITY), "what passed, of the limit");
}

#[tokio::test]
async fn a_full_buffer_drops_and_counts_the_newest() {
    let mut server = UdpServer::bind(&config()).unwrap();
    server.capacity = 40_000;
    let running = server.start().unwrap();
    let sender = sender([127, 0, 0, 1], running.local_addr());
    for n in 0..50_u8 {
        sender.send(&[n; 1000]).unwrap();
    }
    until("all are seen", || running.counters().received.get() == 50);
    let kept = running.buffer().usage();
    assert!(kept.bytes <= 40_000 && kept.datagrams < 40);
    running.stop();
    let first: Vec<_> = drain(&running).await.iter().map(|one| usize::from(one.bytes[0])).collect();
    assert_eq!(first, (0..kept.datagrams).collect::<Vec<_>>());
    assert_eq!(running.counters().dropped(DropReason::BufferFull), 50 - kept.datagrams as u64);
}

#[tokio::test]
async fn a_stop_loses_nothing_that_was_sent_before_and_frees_the_address() {
    let server = UdpServer::bind(&config()).unwrap();
    let address = server.local_addr();
    let sender = sender([127, 0, 0, 1], address);
    for n in 0..300_u16 {
        sender.send(&n.to_le_bytes()).unwrap();
    }
    let running = server.start().unwrap();
    let begun = Instant::now();
    running.stop();
    assert_eq!(drain(&running).await.len(), 300);
    assert!(begun.elapsed() < Duration::from_secs(2), "a stop is prompt");
    assert_eq!(running.next_batch(1).await, None);
    UdpSocket::bind(address).unwrap();
}

#[tokio::test]
async fn a_name_on_the_list_is_resolved_before_the_first_message_is_judged() {
    let mut config = config();
    config.allow_from = Some(vec!["localhost".into()]);
    let server = UdpServer::bind(&config).unwrap();
    let sender = sender([127, 0, 0, 1], server.local_addr());
    sender.send(b"early").unwrap();
    let running = server.start().unwrap();
    let batch = tokio::time::timeout(Duration::from_secs(10), running.next_batch(1)).await.unwrap().unwrap();
    assert_eq!(batch[0].bytes, b"early");
}

#[test]
fn a_config_that_cannot_be_bound_is_refused() {
    let first = UdpServer::bind(&config()).unwrap();
    let taken = Udp { listen: first.local_addr(), ..config() };
    let error = UdpServer::bind(&taken).unwrap_err().to_string();
    assert!(error.contains("(`udp.listen`)"), "{error}");
    let sessions = Sessions { listen: Some(first.local_addr()), ..Sessions::default() };
    let error = UdpServer::bind(&Udp { sessions, ..config() }).unwrap_err().to_string();
    assert!(error.contains("(`udp.sessions.listen`)"), "{error}");
    let wrong = Udp { allow_from: Some(vec!["10.0.0.0/99".into()]), ..config() };
    assert!(matches!(UdpServer::bind(&wrong), Err(BindError::AllowFrom(_))));
}

#[tokio::test]
async fn both_sockets_have_one_guard_one_buffer_one_set_of_counters_and_a_limit_each() {
    let mut config = config();
    config.allow_from = Some(vec!["localhost".into()]);
    config.max_size = Size::bytes(10);
    config.max_per_minute = Some(2);
    config.sessions.listen = Some((Ipv4Addr::LOCALHOST, 0).into());
    let running = UdpServer::bind(&config).unwrap().start().unwrap();
    let addresses = [running.local_addr(), running.sessions_addr().unwrap()];
    for (number, address) in (0..).zip(addresses) {
        let foreign = sender([127, 0, 0, 2], address);
        foreign.send(&[9]).unwrap();
        let known = sender([127, 0, 0, 1], address);
        for bytes in [&[number, 0][..], &[number, 1], &[number, 2], &[0; 11]] {
            known.send(bytes).unwrap();
        }
    }
    let counters = running.counters();
    until("all are seen", || counters.received.get() + counters.dropped(DropReason::Source) == 10);
    assert_eq!(running.kernel_drops().is_some(), cfg!(target_os = "linux"));
    running.stop();
    let mut got: Vec<_> = drain(&running).await.into_iter().map(|one| one.bytes).collect();
    got.sort();
    assert_eq!(got, [[0, 0], [0, 1], [1, 0], [1, 1]]);
    let dropped = [DropReason::Source, DropReason::RateLimit, DropReason::Size].map(|reason| counters.dropped(reason));
    assert_eq!(dropped, [2, 2, 2]);
    for address in addresses {
        UdpSocket::bind(address).expect("both addresses are free when the buffer is closed");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn drops_of_the_kernel_are_told() {
    let server = UdpServer::bind(&config()).unwrap();
    let sender = sender([127, 0, 0, 1], server.local_addr());
    // Nobody reads yet: more than the receive buffer holds.
    let big = vec![0; 60_000];
    for _ in 0..=server.main.receive_buffer * 3 / big.len() {
        sender.send(&big).unwrap();
    }
    let running = server.start().unwrap();
    assert!(running.snapshot().kernel_drops.unwrap() > 0);
}

#[cfg(unix)]
#[test]
fn a_socket_that_cannot_be_read_is_told_and_so_is_that_it_can() {
    use std::os::fd::OwnedFd;

    // Not a UDP socket: reading it is an error until it is connected.
    let tcp = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let mut server = UdpServer::bind(&config()).unwrap();
    let address = server.local_addr();
    server.main.socket = UdpSocket::from(OwnedFd::from(tcp.try_clone().unwrap()));
    let running = server.start().unwrap();
    let faults = running.faults();
    until("the fault is told", || faults.borrow().contains_key(&address));
    assert!(running.counters().receive_errors.get() > 5, "not at the first error");
    let peer = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    tcp.connect(&peer.local_addr().unwrap().into()).unwrap();
    // Not at the first read without an error.
    let well = Instant::now();
    until("it is told that it is over", || faults.borrow().is_empty());
    assert!(well.elapsed() >= Duration::from_secs(2), "{:?}", well.elapsed());
}

#[test]
fn a_socket_that_flaps_is_told_once() {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 9).into();
    let faults = Arc::new(watch::Sender::new(Faults::new()));
    let mut told = faults.subscribe();
    let mut fault = Fault::new(address, Arc::clone(&faults));
    let error = io::Error::other("no network");
    let until = |fault: &mut Fault, holds: &dyn Fn() -> bool, each: &dyn Fn(&mut Fault)| {
        let limit = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < limit);
            each(fault);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(&mut fault, &|| faults.borrow().contains_key(&address), &|fault| fault.failed(&error));
    told.mark_unchanged();
    // Well for a moment, again and again.
    let end = Instant::now() + Duration::from_millis(2_500);
    until(&mut fault, &|| Instant::now() > end, &|fault| {
        fault.is_well();
        fault.failed(&error);
    });
    assert!(!told.has_changed().unwrap());
    until(&mut fault, &|| faults.borrow().is_empty(), &|fault| fault.is_well());
    // A single error is none.
    fault.failed(&error);
    fault.is_well();
    assert!(faults.borrow().is_empty());
}

#[tokio::test]
async fn what_has_ended_before_the_stop_is_trouble() {
    let start = || UdpServer::bind(&config()).unwrap().start().unwrap();
    let stored = "received messages are no longer stored";
    let running = start();
    assert_eq!(running.trouble(), None);
    drop(running.taking());
    assert!(running.trouble().unwrap().starts_with(stored), "{:?}", running.trouble());
    running.stop();
    assert_eq!(running.trouble(), None, "it was asked to end");

    let running = start();
    running.buffer().close();
    assert!(running.trouble().unwrap().starts_with(stored), "{:?}", running.trouble());

    let running = start();
    let taking = running.taking();
    running.stop();
    drop(taking);
    assert!(!running.untaken.load(Ordering::Acquire), "a stop is no fault");
}

#[test]
fn a_thread_that_ends_before_the_stop_is_a_fault_of_its_socket() {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 9).into();
    let faults = Arc::new(watch::Sender::new(Faults::new()));
    let stop = Arc::new(AtomicBool::new(true));
    let reader = || {
        let shared = Shared {
            guard: Arc::new(Guard::new(None).unwrap()),
            resolving: None,
            buffer: Arc::new(CloseOnDrop(Arc::new(Buffer::new(1)))),
            counters: Arc::default(),
            stop: Arc::clone(&stop),
            logs: Arc::default(),
        };
        Reader::new(shared, None, Fault::new(address, Arc::clone(&faults)))
    };
    drop(reader());
    assert!(faults.borrow().is_empty());
    stop.store(false, Ordering::Release);
    drop(reader());
    assert_eq!(faults.borrow()[&address], "its thread has ended");
}
