//! Change notifications: subscriptions, kept in memory as the repository service does, and the calls that they lead to.
//!
//! Format: Qlik's developer help, repository service API, "Notification: Create change subscription".

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Reply, query::Query};
use crate::{Filter, ids};

/// The only type of object whose changes are told.
const TYPE: &str = "ExecutionResult";
/// Numbers and names of the kinds of changes.
const UPDATE: [&str; 2] = ["2", "update"];

#[derive(Default)]
pub(super) struct Subscriptions(Mutex<Vec<Subscription>>);

struct Subscription {
    handle: String,
    /// Host and port, and the path.
    address: (String, String),
    filter: Option<Filter>,
}

impl Subscriptions {
    fn all(&self) -> MutexGuard<'_, Vec<Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.all().len()
    }

    /// As a restart of the service does.
    pub(super) fn forget(&self) {
        self.all().clear();
    }

    pub(super) fn add(&self, query: &Query, body: &[u8]) -> Reply {
        let bad = |text: &str| Reply::text(StatusCode::BAD_REQUEST, text.to_owned());
        if !query.get("name").is_some_and(|name| name.eq_ignore_ascii_case(TYPE)) {
            return bad("The simulator tells of changes of ExecutionResult only");
        }
        if !query.get("changetype").is_some_and(|kind| UPDATE.contains(&kind.to_ascii_lowercase().as_str())) {
            return bad("The simulator tells of updates only");
        }
        let filter = match query.filter() {
            Ok(filter) => filter,
            Err(error) => return bad(&error.to_string()),
        };
        let Ok(Value::String(url)) = serde_json::from_slice(body) else { return bad("The body is no JSON string") };
        let Some((host, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
            return bad("The body is no address");
        };
        let handle = ids::random();
        let address = (host.to_owned(), format!("/{path}"));
        self.all().push(Subscription { handle: handle.clone(), address, filter });
        Reply { status: StatusCode::CREATED, ..Reply::json(json!({ "value": handle }).to_string()) }
    }

    pub(super) fn remove(&self, query: &Query) -> Reply {
        let handle = query.get("handle").unwrap_or_default();
        let mut all = self.all();
        let before = all.len();
        all.retain(|subscription| !subscription.handle.eq_ignore_ascii_case(handle));
        if all.len() < before { Reply::no_content() } else { Reply::not_found() }
    }

    /// Calls everybody whom a change of a result concerns.
    pub(super) async fn tell(&self, result: &Value) {
        let concerned: Vec<(String, String)> = {
            let all = self.all();
            let fits = |one: &&Subscription| one.filter.as_ref().is_none_or(|filter| filter.matches(result));
            all.iter().filter(fits).map(|one| one.address.clone()).collect()
        };
        let change = json!([{
            "changeType": 2, "objectType": TYPE, "objectID": result["id"], "changedProperties": ["status"],
            "engineID": "", "engineType": "Repository", "schemaPath": "ChangeInfo",
        }]);
        for (host, path) in concerned {
            // Whoever does not answer hears no more of this change.
            let _ = call(&host, &path, &change.to_string()).await;
        }
    }
}

async fn call(host: &str, path: &str, body: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(host).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map(drop)
}
