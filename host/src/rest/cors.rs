//! Web pages of the origins in `rest.origins` may call this server from a browser (Fetch standard, 3.2: CORS).
//!
//! There are no cookies: a page sends its token as any other client does. So nothing is said of credentials, and a preflight,
//! which browsers send without a token, needs none.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use axum::http::{Method, Response, StatusCode};

use super::answer::Answer;
use crate::config::Rest;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, x-http-method-override");
/// Headers of answers that a page may read beside the usual ones.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset");
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// A page from a wider network asks for one in a narrower one (Private Network Access, draft).
const REQUEST_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origins of the config.
pub(super) struct Cors {
    listed: Vec<String>,
}

impl Cors {
    pub(super) fn new(rest: &Rest) -> Self {
        Self { listed: rest.origins.clone() }
    }

    /// The origin of a request, if it is listed.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers
            .get(ORIGIN)
            .filter(|origin| self.listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes()))
            .cloned()
    }

    /// The answer to a browser that asks whether a page may send a request; nothing if this is no such question.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Answer> {
        let asks = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        self.origin(headers).filter(|_| asks)?;
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let allowed = answer.headers_mut();
        allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        // Plugins may want headers of their own.
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(HEADERS);
        allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        allowed.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if headers.contains_key(REQUEST_PRIVATE) {
            allowed.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
        }
        Some(answer)
    }

    /// Lets a page of this origin read the answer.
    pub(super) fn finish(&self, origin: Option<HeaderValue>, answer: &mut Answer) {
        if self.listed.is_empty() {
            return;
        }
        let headers = answer.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}
