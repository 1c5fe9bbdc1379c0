//! How requests to QRS look on the wire: addresses, the cross-site key, the user header.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::error::QlikError;

/// What is encoded in names and values of parameters: all but unreserved characters.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is encoded in paths. `%` is not: QRS hands out values that are encoded already.
const PATH: &AsciiSet = &PARAMETER
    .remove(b'/')
    .remove(b'%')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// What is encoded in one step of a path.
const STEP: &AsciiSet = &PATH.add(b'/');

const KEY_LENGTH: usize = 16;

/// Doubles quotes, for a text between quotes in a filter: `format!("name eq '{}'", quote(name))`.
pub fn quote(text: &str) -> String {
    text.replace('\'', "''")
}

/// The address of a call: `base` ends in `/qrs/`, the key comes last.
pub(super) fn address(base: &str, path: &str, query: &[(&str, &str)], key: &str) -> Result<Url, QlikError> {
    let bad = |reason: &str| QlikError::BadRequest { path: path.to_owned(), reason: reason.to_owned() };
    if path.is_empty() || path.starts_with('/') {
        return Err(bad("a path below `/qrs/` is needed, without a leading slash"));
    }
    // Such steps would lead out of `/qrs/`.
    if path.split('/').any(|step| matches!(percent_decode_str(step).decode_utf8_lossy().as_ref(), "." | "..")) {
        return Err(bad("`.` and `..` are not allowed in it"));
    }
    let mut text = format!("{base}{}?", utf8_percent_encode(path, PATH));
    for (name, value) in query {
        if name.eq_ignore_ascii_case("xrfkey") {
            return Err(bad("the parameter `xrfkey` is set by Butler itself"));
        }
        text.extend(utf8_percent_encode(name, PARAMETER));
        text.push('=');
        text.extend(utf8_percent_encode(value, PARAMETER));
        text.push('&');
    }
    text.push_str("xrfkey=");
    text.push_str(key);
    Url::parse(&text).map_err(|error| bad(&error.to_string()))
}

/// One step of a path that may contain anything.
pub(super) fn step(text: &str) -> String {
    utf8_percent_encode(text, STEP).to_string()
}

/// A new cross-site key: QRS wants the same 16 characters in a header and in the address.
pub(super) fn xrf_key() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0; KEY_LENGTH];
    // The key protects browsers from other sites' scripts and nothing here: without randomness a fixed one does.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// The header `X-Qlik-User` for `DIRECTORY\id`.
pub(super) fn user_header(user: &str) -> Result<HeaderValue, QlikError> {
    let remedy = "write it as `DIRECTORY\\id`, for instance `INTERNAL\\sa_repository`";
    let bad = || QlikError::Setup(format!("`qlik.user` is \"{user}\", which names no user: {remedy}"));
    let (directory, id) = user.split_once('\\').ok_or_else(bad)?;
    if directory.trim().is_empty() || id.trim().is_empty() {
        return Err(bad());
    }
    HeaderValue::from_bytes(format!("UserDirectory={}; UserId={}", directory.trim(), id.trim()).as_bytes())
        .map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://sense:4242/qrs/";

    fn target(path: &str, query: &[(&str, &str)]) -> String {
        let url = address(BASE, path, query, "abcdefghijklmnop").unwrap();
        format!("{}?{}", url.path(), url.query().unwrap())
    }

    #[test]
    fn filters_are_encoded_whole() {
        assert_eq!(
            target("task", &[("filter", "id eq 11111111-2222-4333-8444-555555555555")]),
            "/qrs/task?filter=id%20eq%2011111111-2222-4333-8444-555555555555&xrfkey=abcdefghijklmnop"
        );
        let filter = format!("tags.name eq '{}'", quote("night's"));
        assert!(target("task/full", &[("filter", &filter)]).contains("tags.name%20eq%20%27night%27%27s%27&"));
        assert!(target("tag", &[("filter", "name eq 'a&b#c%d+e=f'")]).contains("%27a%26b%23c%25d%2Be%3Df%27"));
        assert!(target("tag", &[("filter", "name eq 'Å'")]).contains("%27%C3%85%27"));
        assert_eq!(target("about", &[]), "/qrs/about?xrfkey=abcdefghijklmnop");
    }

    #[test]
    fn paths_stay_below_qrs() {
        assert_eq!(target("a b/c?d#e\\f", &[]), "/qrs/a%20b/c%3Fd%23e%5Cf?xrfkey=abcdefghijklmnop");
        assert_eq!(target("download/My%20task/x", &[]), "/qrs/download/My%20task/x?xrfkey=abcdefghijklmnop");
        for path in ["", "/task", "../x", "a/../../x", "a/%2e%2E/x", "./x", "a/.%2e"] {
            assert!(matches!(address(BASE, path, &[], "k"), Err(QlikError::BadRequest { .. })), "{path}");
        }
        assert_eq!(step("a/b c"), "a%2Fb%20c");
        assert!(address(BASE, "task", &[("XrfKey", "mine")], "k").is_err());
    }

    #[test]
    fn keys_are_fresh_and_alphanumeric() {
        let (one, two) = (xrf_key(), xrf_key());
        assert_ne!(one, two);
        for key in [one, two] {
            assert!(key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        }
    }

    #[test]
    fn the_user_becomes_a_header() {
        let header = user_header(r"INTERNAL\sa_repository").unwrap();
        assert_eq!(header.as_bytes(), b"UserDirectory=INTERNAL; UserId=sa_repository");
        assert_eq!(user_header("LAB\\åke").unwrap().as_bytes(), "UserDirectory=LAB; UserId=åke".as_bytes());
        for user in ["", "ann", "\\ann", "LAB\\", "LAB\\an\nn"] {
            assert!(user_header(user).unwrap_err().to_string().contains("DIRECTORY\\id"), "{user}");
        }
    }
}
