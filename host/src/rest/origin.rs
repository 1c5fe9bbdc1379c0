//! Keeps web pages out: a page that somebody opens in a browser on this server could otherwise start tasks here.
//!
//! A page of another site shows itself by `Origin` or `Sec-Fetch-Site`; one that has had its name resolved to our address
//! (DNS rebinding) still sends that name as `Host`. So only the names by which this server may be called are let in.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, Uri, Version, header};

use super::answer::Failure;
use crate::config::Rest;
use crate::qlik::short;

/// So much of a foreign name is told to whoever sent it, in characters.
const SHOWN: usize = 200;

/// The names and origins that are let in.
pub(super) struct Origins {
    listen: IpAddr,
    /// Lower case, without trailing dots.
    hosts: Vec<String>,
    listed: Vec<String>,
}

impl Origins {
    pub(super) fn new(rest: &Rest) -> Self {
        let mut hosts: Vec<String> = rest.hosts.iter().map(|host| plain(host)).collect();
        if let Some(name) = machine_name() {
            let name = plain(&name);
            hosts.extend(name.split_once('.').map(|(first, _)| first.to_owned()));
            hosts.push(name);
        }
        Self { listen: rest.listen.ip().to_canonical(), hosts, listed: rest.origins.clone() }
    }

    /// Refuses a request that a foreign page may have sent. `local` is the address that it came in on.
    pub(super) fn check(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        local: SocketAddr,
    ) -> Result<(), Failure> {
        let host = self.host(version, uri, headers, local)?;
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next();
        if origins.next().is_some() {
            return Err(Failure::bad_request("the request has several `Origin` headers"));
        }
        if let Some(origin) = origin {
            let origin = origin.to_str().unwrap_or("?");
            if self.listed.iter().any(|listed| listed == origin) {
                return Ok(());
            }
            // A page of this server itself, perhaps behind a proxy that does TLS.
            let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if own.is_none_or(|own| host.as_deref() != Some(&own.to_ascii_lowercase())) {
                let message = format!(
                    "requests from web pages of the origin `{}` are refused; if they may come, add it to `rest.origins` of \
                     Butler's config",
                    short(origin, SHOWN)
                );
                return Err(Failure::new(StatusCode::FORBIDDEN, message));
            }
        }
        if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
            let message = "requests from web pages of other sites are refused; if one may send them, add its origin to \
                           `rest.origins` of Butler's config";
            return Err(Failure::new(StatusCode::FORBIDDEN, message));
        }
        Ok(())
    }

    /// The checked host with its port, lower case; `None` for old clients that send none.
    fn host(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        local: SocketAddr,
    ) -> Result<Option<String>, Failure> {
        let mut hosts: Vec<&str> = Vec::new();
        for value in headers.get_all(header::HOST) {
            hosts.push(value.to_str().map_err(|_| Failure::bad_request("the `Host` header cannot be read"))?);
        }
        if hosts.len() > 1 {
            return Err(Failure::bad_request("the request has several `Host` headers"));
        }
        // A request line with a whole URL, or `:authority` of HTTP/2, counts more than the header, and both must do.
        hosts.extend(uri.authority().map(axum::http::uri::Authority::as_str));
        if let ([header, authority], Version::HTTP_2) = (hosts.as_slice(), version)
            && !header.eq_ignore_ascii_case(authority)
        {
            return Err(Failure::bad_request("`:authority` and `Host` differ"));
        }
        if hosts.is_empty() && version > Version::HTTP_10 {
            return Err(Failure::bad_request("the request does not say which host it is for (`Host`, `:authority`)"));
        }
        for host in &hosts {
            if !name_of(host).is_some_and(|name| self.allows(name, local.ip().to_canonical())) {
                let message = format!(
                    "this server is not known as `{}`; if it may be called so, add the name to `rest.hosts` of Butler's config",
                    short(host, SHOWN)
                );
                return Err(Failure::new(StatusCode::FORBIDDEN, message));
            }
        }
        Ok(hosts.last().map(|host| host.to_ascii_lowercase()))
    }

    fn allows(&self, name: &str, local: IpAddr) -> bool {
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = literal.parse::<IpAddr>() {
            let address = address.to_canonical();
            let own = address == local || address == self.listen && !address.is_unspecified();
            return address.is_loopback() || own || self.hosts.contains(&address.to_string());
        }
        let name = plain(name);
        name == "localhost" || self.hosts.contains(&name)
    }
}

/// The host without its port; `None` when it is neither.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(':') {
        // A colon within brackets belongs to the address.
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let proper = !name.is_empty() && !name.contains(['@', '/', '\\', ' ', ',']);
    (proper && port.chars().all(|c| c.is_ascii_digit())).then_some(name)
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The name that the system gives this machine, where it can be had without asking the network.
fn machine_name() -> Option<String> {
    let name = std::env::var("COMPUTERNAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .or_else(|_| std::env::var("HOSTNAME"))
        .ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        let rest = Rest {
            listen: "10.1.2.3:8080".parse().unwrap(),
            hosts: vec!["Butler.Example.com".to_owned(), "10.9.9.9".to_owned()],
            origins: vec!["https://hub.example.com".to_owned()],
            ..Rest::default()
        };
        Origins::new(&rest)
    }

    fn check(headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let uri = Uri::from_static("/v4/butlerping");
        let local = "[::ffff:192.168.5.5]:8080".parse().unwrap();
        origins().check(Version::HTTP_11, &uri, &map, local).err().map_or(0, |failure| failure.status.as_u16())
    }

    #[test]
    fn hosts() {
        let machine = machine_name().unwrap_or_else(|| "localhost".to_owned());
        let good = [
            "localhost",
            "LOCALHOST.:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:8080",
            "[::1]",
            "10.1.2.3:8080",
            "192.168.5.5",
            "[::ffff:192.168.5.5]:80",
            "butler.example.com:443",
            "butler.EXAMPLE.com.",
            "10.9.9.9",
            &machine,
        ];
        for host in good {
            assert_eq!(check(&[("host", host)]), 0, "{host}");
        }
        let bad = [
            "evil.example",
            "evil.example:8080",
            "0.0.0.0",
            "[::]",
            "10.1.2.4",
            "localhost.evil.example",
            "",
            ":80",
            "localhost:80:80",
            "evil.example@localhost",
            "localhost@evil.example",
            "localhost, evil.example",
            "[::1",
            "::1]:x",
            "127.0.0.1.evil.example",
            "2130706433",
        ];
        for host in bad {
            assert_eq!(check(&[("host", host)]), 403, "{host}");
        }
        assert_eq!(check(&[]), 400);
        assert_eq!(check(&[("host", "localhost"), ("host", "localhost")]), 400);
    }

    #[test]
    fn of_a_long_name_the_beginning_is_told() {
        let long = "x".repeat(60_000);
        let told = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let local = "127.0.0.1:80".parse().unwrap();
            origins().check(Version::HTTP_11, &Uri::from_static("/x"), &headers, local).unwrap_err().message
        };
        let part = format!("`{}…`", "x".repeat(SHOWN));
        for message in [told(&[("host", &long)]), told(&[("host", "localhost"), ("origin", &long)])] {
            assert!(message.contains(&part) && message.len() < 500, "{} bytes", message.len());
        }
    }

    #[test]
    fn origins_and_sites() {
        let table = [
            ("http://localhost:8080", "localhost:8080", 0),
            ("https://butler.example.com", "Butler.example.com", 0),
            ("https://hub.example.com", "localhost:8080", 0),
            ("http://hub.example.com", "localhost:8080", 403),
            ("http://localhost:3000", "localhost:8080", 403),
            ("http://localhost", "localhost:8080", 403),
            ("http://evil.example", "localhost:8080", 403),
            ("ftp://localhost:8080", "localhost:8080", 403),
            ("null", "localhost:8080", 403),
            ("", "localhost:8080", 403),
        ];
        for (origin, host, expected) in table {
            assert_eq!(check(&[("host", host), ("origin", origin)]), expected, "{origin}");
        }
        let host = ("host", "localhost:8080");
        let site = ("sec-fetch-site", "cross-site");
        assert_eq!(check(&[host, site]), 403);
        assert_eq!(check(&[host, site, ("origin", "https://hub.example.com")]), 0);
        assert_eq!(check(&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")]), 0);
        assert_eq!(check(&[host, ("sec-fetch-site", "none")]), 0);
        assert_eq!(check(&[host, ("origin", "https://hub.example.com"), ("origin", "http://evil.example")]), 400);
    }

    #[test]
    fn http2_names_the_host_by_its_authority() {
        let check = |uri: &'static str, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let local = "127.0.0.1:80".parse().unwrap();
            let checked = origins().check(Version::HTTP_2, &Uri::from_static(uri), &headers, local);
            checked.err().map_or(0, |failure| failure.status.as_u16())
        };
        assert_eq!(check("https://butler.example.com:8080/x", &[]), 0);
        assert_eq!(check("https://butler.example.com/x", &[("host", "Butler.example.com")]), 0);
        assert_eq!(check("https://butler.example.com/x", &[("host", "localhost")]), 400);
        assert_eq!(check("https://evil.example/x", &[]), 403);
        assert_eq!(check("https://me@localhost/x", &[]), 403);
        assert_eq!(check("/x", &[]), 400);
        assert_eq!(check("/x", &[("host", "localhost")]), 0);
        let origin = ("origin", "https://butler.example.com:8080");
        assert_eq!(check("https://butler.example.com:8080/x", &[origin]), 0);
        assert_eq!(check("https://butler.example.com/x", &[origin]), 403);
    }

    #[test]
    fn a_whole_url_in_the_request_line_is_checked_as_well() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().unwrap());
        let check = |uri: &'static str, version| {
            let local = "127.0.0.1:80".parse().unwrap();
            origins().check(version, &Uri::from_static(uri), &headers, local).is_ok()
        };
        assert!(check("http://localhost/x", Version::HTTP_11));
        assert!(!check("http://evil.example/x", Version::HTTP_11));
        let local = "127.0.0.1:80".parse().unwrap();
        assert!(origins().check(Version::HTTP_10, &Uri::from_static("/x"), &HeaderMap::new(), local).is_ok());
    }
}
