//! A broker that misbehaves as a test wants it. It speaks just enough MQTT, and remembers what it got.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How it behaves.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "they are told apart by their names")]
pub(super) struct Behaviour {
    /// Answers CONNECT.
    pub(super) accepts: bool,
    /// The code of CONNACK.
    pub(super) connack: u8,
    /// Properties of CONNACK of MQTT 5, without their length.
    pub(super) properties: Vec<u8>,
    /// Answers PUBLISH.
    pub(super) acknowledges: bool,
    /// Takes so long for each.
    pub(super) pause: Duration,
    /// Reasons for messages whose topic contains a text (MQTT 5).
    pub(super) reasons: Vec<(String, u8)>,
    /// Closes the connection for messages whose topic contains this.
    pub(super) closes_on: Option<String>,
    /// Acknowledges nothing whose topic contains this.
    pub(super) silent_on: Option<String>,
    /// The code of SUBACK.
    pub(super) suback: u8,
    /// Answers PINGREQ.
    pub(super) pongs: bool,
}

/// A message that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) duplicate: bool,
    /// Properties of MQTT 5.
    pub(super) properties: Vec<u8>,
}

impl Published {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.payload.clone()).unwrap()
    }
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) published: Vec<Published>,
    /// Client ids, one for each connection.
    pub(super) clients: Vec<String>,
    pub(super) subscribed: Vec<String>,
    /// Packet identifiers of messages of the broker that were acknowledged.
    pub(super) acknowledged: Vec<u16>,
    /// DISCONNECT came.
    pub(super) disconnects: usize,
    pub(super) pings: usize,
    streams: Vec<TcpStream>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Seen>,
    end: AtomicBool,
}

pub(super) struct Broker {
    port: u16,
    shared: Arc<Shared>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        self.cut();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Broker {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Behaviour {
            accepts: true,
            connack: 0,
            properties: Vec::new(),
            acknowledges: true,
            pause: Duration::ZERO,
            reasons: Vec::new(),
            closes_on: None,
            silent_on: None,
            suback: 1,
            pongs: true,
        };
        let shared =
            Arc::new(Shared { behaviour: Mutex::new(behaviour), seen: Mutex::default(), end: AtomicBool::new(false) });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.end.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), of_thread.clone());
                shared.seen.lock().unwrap().streams.push(stream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = serve(&stream, &shared);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap()
    }

    /// Messages on topics that contain this text.
    pub(super) fn on(&self, part: &str) -> Vec<Published> {
        self.seen().published.iter().filter(|message| message.topic.contains(part)).cloned().collect()
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        for stream in self.seen().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Sends a message with QoS 1 on the newest connection.
    pub(super) fn send(&self, topic: &str, payload: &[u8], packet: u16, flags: u8, is_v5: bool) {
        let mut body = Vec::new();
        body.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        body.extend(topic.as_bytes());
        body.extend(packet.to_be_bytes());
        if is_v5 {
            body.push(0);
        }
        body.extend(payload);
        let mut bytes = vec![0x32 | flags];
        bytes.extend(length(body.len()));
        bytes.extend(body);
        self.seen().streams.last_mut().unwrap().write_all(&bytes).unwrap();
    }

    /// Waits until something was seen.
    pub(super) fn wait(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        let until = Instant::now() + Duration::from_secs(15);
        while !condition(&self.seen()) {
            assert!(Instant::now() < until, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn length(mut bytes: usize) -> Vec<u8> {
    let mut encoded = Vec::new();
    loop {
        let digit = u8::try_from(bytes % 128).unwrap();
        bytes /= 128;
        encoded.push(if bytes > 0 { digit | 0x80 } else { digit });
        if bytes == 0 {
            return encoded;
        }
    }
}

fn packet(stream: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut size, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        size |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; size];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}

fn two(body: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([body[at], body[at + 1]]))
}

fn text(body: &[u8], at: &mut usize) -> String {
    let size = two(body, *at);
    let text = String::from_utf8(body[*at + 2..*at + 2 + size].to_vec()).unwrap();
    *at += 2 + size;
    text
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (mut input, mut output) = (std::io::BufReader::new(stream.try_clone()?), stream.try_clone()?);
    let mut is_v5 = false;
    loop {
        let (first, body) = packet(&mut input)?;
        let behaviour = shared.behaviour.lock().unwrap().clone();
        let mut seen = shared.seen.lock().unwrap();
        match first >> 4 {
            1 => {
                is_v5 = body[6] == 5;
                let mut at = 10;
                if is_v5 {
                    at += 1 + usize::from(body[10]);
                }
                seen.clients.push(text(&body, &mut at));
                drop(seen);
                if !behaviour.accepts {
                    continue;
                }
                let mut answer = vec![0, behaviour.connack];
                if is_v5 {
                    answer.extend(length(behaviour.properties.len()));
                    answer.extend(&behaviour.properties);
                }
                output.write_all(&[0x20, u8::try_from(answer.len()).unwrap()])?;
                output.write_all(&answer)?;
                if behaviour.connack != 0 {
                    return Ok(());
                }
            }
            3 => {
                let mut at = 0;
                let topic = text(&body, &mut at);
                let qos = first >> 1 & 3;
                let id = [body[at], body[at + 1]];
                at += if qos > 0 { 2 } else { 0 };
                let mut properties = Vec::new();
                if is_v5 {
                    // Shorter than 128 bytes in these tests.
                    let size = usize::from(body[at]);
                    assert!(size < 128);
                    properties = body[at + 1..at + 1 + size].to_vec();
                    at += 1 + size;
                }
                let (retain, duplicate) = (first & 1 == 1, first & 8 == 8);
                let payload = body[at..].to_vec();
                seen.published.push(Published { topic: topic.clone(), payload, qos, retain, duplicate, properties });
                drop(seen);
                if behaviour.closes_on.is_some_and(|part| topic.contains(&part)) {
                    return Ok(());
                }
                let silent = behaviour.silent_on.is_some_and(|part| topic.contains(&part));
                if !behaviour.acknowledges || silent || qos == 0 {
                    continue;
                }
                std::thread::sleep(behaviour.pause);
                let reason = behaviour.reasons.iter().find(|(part, _)| topic.contains(part)).map(|(_, reason)| *reason);
                let kind = if qos == 1 { 0x40 } else { 0x50 };
                match reason.filter(|_| is_v5) {
                    Some(reason) => output.write_all(&[kind, 4, id[0], id[1], reason, 0])?,
                    None => output.write_all(&[kind, 2, id[0], id[1]])?,
                }
            }
            4 => {
                let id = u16::try_from(two(&body, 0)).unwrap();
                seen.acknowledged.push(id);
            }
            6 => output.write_all(&[0x70, 2, body[0], body[1]])?,
            8 => {
                let mut at = 2 + usize::from(is_v5);
                seen.subscribed.push(text(&body, &mut at));
                let mut answer = vec![body[0], body[1]];
                answer.extend(is_v5.then_some(0));
                answer.push(behaviour.suback);
                output.write_all(&[0x90, u8::try_from(answer.len()).unwrap()])?;
                output.write_all(&answer)?;
            }
            12 => {
                seen.pings += 1;
                if behaviour.pongs {
                    output.write_all(&[0xd0, 0])?;
                }
            }
            14 => {
                seen.disconnects += 1;
                return Ok(());
            }
            other => panic!("packet {other}"),
        }
    }
}
