//! Answering requests as a tenant does: count, go wrong if told so, look at the token, look up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use serde_json::json;

use super::fault::{CloudFault, CloudOutcome};
use super::{CloudCall, State, Tenant};
use crate::body::Answer;
use crate::ids;
use crate::listener::Service;
use crate::qrs::ConnectionReset;
use crate::request_log::SeenRequest;

const JSON: &str = "application/json";

/// Status, content type, body.
type Reply = (StatusCode, &'static str, String);

impl Service for Tenant {
    async fn serve(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, ConnectionReset> {
        let (call, ids) = call(request.uri().path());
        let fault = {
            let mut state = self.lock();
            *state.counts.entry(call).or_default() += 1;
            state.seen.push((Instant::now(), SeenRequest::new(&request)));
            CloudFault::meet(&mut state.faults, call)
        };
        let retry_after = fault.as_ref().and_then(|fault| HeaderValue::from_str(&fault.retry_header()?).ok());
        let proper = || self.proper(call, &ids, request.method(), request.uri(), request.headers());
        let whole = |(status, kind, text): Reply| respond(status, kind, Answer::Whole(text.into()));
        let mut response = match fault.map(|fault| fault.outcome) {
            None => whole(proper()),
            Some(CloudOutcome::Latency(delay)) => {
                tokio::time::sleep(delay).await;
                whole(proper())
            }
            Some(CloudOutcome::Status(status)) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                whole((status, "text/plain", "The simulator was told to answer like this".to_owned()))
            }
            Some(CloudOutcome::Nonsense) => {
                whole((StatusCode::OK, "text/html", "<!DOCTYPE html><html><h1>Maintenance</h1></html>".to_owned()))
            }
            Some(CloudOutcome::Redirect(to)) => {
                let mut response = whole((StatusCode::FOUND, "text/plain", "Elsewhere".to_owned()));
                if let Ok(to) = HeaderValue::from_str(&to) {
                    response.headers_mut().insert(LOCATION, to);
                }
                response
            }
            Some(CloudOutcome::Cut(after)) => {
                let (status, kind, text) = proper();
                respond(status, kind, Answer::cut(&Bytes::from(text), after))
            }
            Some(CloudOutcome::Endless) => respond(StatusCode::OK, JSON, Answer::endless()),
            Some(CloudOutcome::Reset) => return Err(ConnectionReset),
            Some(CloudOutcome::Hang) => match std::future::pending::<Infallible>().await {},
        };
        if let Some(value) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        Ok(response)
    }
}

impl Tenant {
    fn proper(&self, call: CloudCall, ids: &[String], method: &Method, uri: &Uri, headers: &HeaderMap) -> Reply {
        let state = self.lock();
        let bearer = format!("Bearer {}", state.token);
        if headers.get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != bearer.as_bytes()) {
            return error(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
        if call == CloudCall::Unknown {
            return error(StatusCode::NOT_FOUND, "Not found");
        }
        if method != Method::GET {
            return error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        }
        let object = |sort: &str| match state.contents.get(sort, &ids[0]) {
            Some(object) => (StatusCode::OK, JSON, object.to_string()),
            None => error(StatusCode::NOT_FOUND, "Not found"),
        };
        match call {
            CloudCall::Me => {
                let me = json!({ "id": "me", "tenantId": self.id, "name": "Butler", "email": "butler@example.com" });
                (StatusCode::OK, JSON, me.to_string())
            }
            CloudCall::User => object("users"),
            CloudCall::Reload => object("reloads"),
            CloudCall::App if !ids::is_guid(&ids[0]) => error(StatusCode::BAD_REQUEST, "Malformed app id"),
            CloudCall::App => object("apps"),
            CloudCall::Items => items(&state, uri),
            _ => match state.contents.log(&ids[0], &ids[1]) {
                Some(text) => (StatusCode::OK, "text/plain; charset=utf-8", text.to_owned()),
                None => error(StatusCode::NOT_FOUND, "Not found"),
            },
        }
    }
}

fn items(state: &State, uri: &Uri) -> Reply {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if value("resourceType") != Some("app") {
        return error(StatusCode::BAD_REQUEST, "resourceType is missing");
    }
    let item = value("resourceId").and_then(|id| state.contents.get("items", id));
    let data: Vec<_> = item.into_iter().collect();
    (StatusCode::OK, JSON, json!({ "data": data, "links": {} }).to_string())
}

fn error(status: StatusCode, title: &str) -> Reply {
    let body = json!({ "errors": [{ "code": format!("HTTP-{}", status.as_u16()), "title": title }] });
    (status, JSON, body.to_string())
}

fn respond(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The call of a path, with its ids decoded.
fn call(path: &str) -> (CloudCall, Vec<String>) {
    let decode = |part: &str| {
        // A plus sign is no space in a path.
        let part = part.replace('+', "%2B");
        url::form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
    };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (call, ids) = match parts.as_slice() {
        ["api", "v1", "users", "me"] => (CloudCall::Me, vec![]),
        ["api", "v1", "users", id] => (CloudCall::User, vec![*id]),
        ["api", "v1", "reloads", id] => (CloudCall::Reload, vec![*id]),
        ["api", "v1", "apps", id] => (CloudCall::App, vec![*id]),
        ["api", "v1", "items"] => (CloudCall::Items, vec![]),
        ["api", "v1", "apps", app, "reloads", "logs", reload] => (CloudCall::ScriptLog, vec![*app, *reload]),
        _ => (CloudCall::Unknown, vec![]),
    };
    (call, ids.into_iter().map(decode).collect())
}
