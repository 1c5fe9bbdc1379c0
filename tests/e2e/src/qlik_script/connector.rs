//! What Qlik's REST connector puts on the wire, and what it makes of the answer.
//!
//! It is a .NET program and does GET and POST only. Requests are HTTP/1.1 on a connection that is kept; the body of a POST waits for
//! `100 Continue`, though not for long. Which content type it sends by itself is not documented, and differs between versions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{Stop, fault};

/// How long a body waits for `100 Continue`.
const CONTINUE: Duration = Duration::from_millis(350);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which content type goes out with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// That of the script.
    Script,
    /// None, whatever the script says.
    None,
    /// This one, whatever the script says.
    Always(&'static str),
}

/// One call of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// URL.
    pub url: String,
    /// Headers by name.
    pub headers: Vec<(String, String)>,
    /// Body, if the call has one.
    pub body: Option<String>,
}

/// A call as it went out, and what came back.
#[derive(Debug, Clone)]
pub struct SentCall {
    /// Method on the wire.
    pub method: &'static str,
    /// Path and query on the wire.
    pub target: String,
    /// Headers of the script, with the content type that went out.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
    /// Status of the answer.
    pub status: u16,
    /// Body of the answer.
    pub answer: String,
    /// Whether the server asked for the body before it was sent.
    pub continued: bool,
}

impl SentCall {
    /// A header by name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The connector with the two connections that the administrator has made.
pub struct RestConnector {
    content_type: ContentType,
    /// The body that was typed in when the connection for POST was made.
    stored_body: String,
    kept: Option<(String, BufReader<TcpStream>)>,
    /// All calls so far.
    pub calls: Vec<SentCall>,
    /// How many TCP connections were opened.
    pub connections: usize,
}

impl RestConnector {
    /// With the body that the guide for Butler 16 has people type in.
    pub fn new(content_type: ContentType) -> Self {
        let stored_body = r#"{"key":"abc","value":"123","ttl":"5000"}"#.to_owned();
        Self { content_type, stored_body, kept: None, calls: Vec::new(), connections: 0 }
    }

    /// Makes a call. `Ok(None)`: the answer has no content.
    ///
    /// # Errors
    /// When the answer is no success, or no JSON: so does the statement of the script.
    pub(super) fn call(&mut self, connection: &str, request: &Request) -> Result<Option<Value>, Stop> {
        let method = match connection {
            "Butler_GET" => "GET",
            "Butler_POST" => "POST",
            _ => return fault(format!("there is no connection `{connection}`")),
        };
        let call = self.send(method, request)?;
        let (status, answer) = (call.status, call.answer.clone());
        self.calls.push(call);
        if !(200..300).contains(&status) {
            return Err(Stop::Failed(format!("HTTP protocol error {status}: {answer}")));
        }
        if answer.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&answer).map(Some).map_err(|_| Stop::Failed(format!("the answer is no JSON: {answer}")))
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn send(&mut self, method: &'static str, request: &Request) -> Result<SentCall, Stop> {
        let (host, target) = parts(&request.url)?;
        let mut headers = request.headers.clone();
        let body = match method {
            "POST" => request.body.clone().unwrap_or_else(|| self.stored_body.clone()),
            _ => String::new(),
        };
        if method == "POST" && self.content_type != ContentType::Script {
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            if let ContentType::Always(media) = self.content_type {
                headers.push(("Content-Type".to_owned(), media.to_owned()));
            }
        }
        let (mut stream, is_new) = match self.kept.take() {
            Some((kept, stream)) if kept == host => (stream, false),
            _ => (self.open(&host)?, true),
        };
        let broken = |error: std::io::Error| Stop::Failed(format!("{method} {}: {error}", request.url));
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in &headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend(["User-Agent: QvRestConnector\r\nHost: ", &host, "\r\n"]);
        if method == "POST" {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        if !body.is_empty() {
            head += "Expect: 100-continue\r\n";
        }
        if is_new {
            head += "Connection: Keep-Alive\r\n";
        }
        stream.get_mut().write_all((head + "\r\n").as_bytes()).map_err(broken)?;
        let mut early = None;
        if !body.is_empty() {
            stream.get_ref().set_read_timeout(Some(CONTINUE)).map_err(broken)?;
            early = stream
                .fill_buf()
                .is_ok_and(|bytes| !bytes.is_empty())
                .then(|| read_head(&mut stream))
                .transpose()
                .map_err(broken)?;
            stream.get_ref().set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        }
        let continued = early.as_ref().is_some_and(|head: &Head| head.status == 100);
        let answered_early = early.filter(|head| head.status != 100);
        if answered_early.is_none() {
            stream.get_mut().write_all(body.as_bytes()).map_err(broken)?;
        }
        let keep = answered_early.is_none();
        let mut head = match answered_early {
            Some(head) => head,
            None => read_head(&mut stream).map_err(broken)?,
        };
        // An answer to a body that did not wait long enough.
        while head.status == 100 {
            head = read_head(&mut stream).map_err(broken)?;
        }
        let answer = read_body(&mut stream, &head).map_err(broken)?;
        if keep && !head.closes {
            self.kept = Some((host, stream));
        }
        Ok(SentCall { method, target, headers, body, status: head.status, answer, continued })
    }

    fn open(&mut self, host: &str) -> Result<BufReader<TcpStream>, Stop> {
        self.connections += 1;
        let stream = TcpStream::connect(host).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        stream.map(BufReader::new).map_err(|error| Stop::Failed(format!("{host}: {error}")))
    }
}

/// Host with port, and path with query. What is not ASCII is encoded on the way, as .NET does.
fn parts(url: &str) -> Result<(String, String), Stop> {
    let Some((host, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        return fault(format!("`{url}` is no URL with scheme, host and path"));
    };
    let mut target = String::from("/");
    for byte in path.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'#' | b'{' | b'}' | 0..=31 => {
                return fault(format!("`{url}` is not encoded"));
            }
            32..=126 => target.push(char::from(byte)),
            _ => target.extend([format!("%{byte:02X}")]),
        }
    }
    Ok((host.to_owned(), target))
}

struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    closes: bool,
}

fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Head> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut head = Head { status, length: None, chunked: false, closes: false };
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        let Some((name, value)) = header.split_once(':') else { return Ok(head) };
        match (name, value.trim()) {
            ("content-length", length) => head.length = length.parse().ok(),
            ("transfer-encoding", coding) => head.chunked = coding == "chunked",
            ("connection", option) => head.closes = option == "close",
            _ => {}
        }
    }
}

fn read_body(stream: &mut BufReader<TcpStream>, head: &Head) -> std::io::Result<String> {
    let mut body = Vec::new();
    if head.chunked {
        loop {
            let length = line(stream)?;
            let length = usize::from_str_radix(length.split(';').next().unwrap_or_default(), 16).unwrap_or(0);
            let start = body.len();
            body.resize(start + length, 0);
            stream.read_exact(&mut body[start..])?;
            line(stream).or_else(|error| if length == 0 { Ok(String::new()) } else { Err(error) })?;
            if length == 0 {
                break;
            }
        }
    } else if let Some(length) = head.length.filter(|_| head.status != 204) {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
