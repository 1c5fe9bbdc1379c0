//! The checks that come before any answer. The client certificate was checked by TLS.

use hyper::HeaderMap;

use super::query::Query;

/// Length of the cross-site key.
const KEY_LENGTH: usize = 16;

/// Refuses a request whose cross-site keys or user header are missing or wrong, with the text of the refusal.
pub(super) fn check(headers: &HeaderMap, query: &Query) -> Result<(), &'static str> {
    let header = headers.get("x-qlik-xrfkey").map(hyper::header::HeaderValue::as_bytes);
    match (header, query.get("xrfkey")) {
        (Some(header), Some(parameter)) if header == parameter.as_bytes() && header.len() == KEY_LENGTH => {}
        _ => return Err("XSRF prevention check failed. Possible XSRF discovered."),
    }
    let user = headers.get("x-qlik-user").and_then(|user| user.to_str().ok()).unwrap_or_default();
    if names_user(user) { Ok(()) } else { Err("Access denied: the header X-Qlik-User names no user") }
}

/// `UserDirectory=…; UserId=…`, both not empty, in any order and letter case.
pub(crate) fn names_user(header: &str) -> bool {
    let has = |wanted: &str| {
        header
            .split(';')
            .filter_map(|part| part.split_once('='))
            .any(|(name, value)| name.trim().eq_ignore_ascii_case(wanted) && !value.trim().is_empty())
    };
    has("UserDirectory") && has("UserId")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_with_or_without_space() {
        assert!(names_user("UserDirectory=Internal; UserId=sa_repository"));
        assert!(names_user("UserDirectory=Internal;UserId=sa_repository"));
        assert!(!names_user("UserDirectory=Internal"));
        assert!(!names_user("UserDirectory=;UserId=x"));
        assert!(!names_user(""));
    }
}
