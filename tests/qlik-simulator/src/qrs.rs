//! Answering requests as the repository service does: count, go wrong if told so, check who asks, look up.

mod access;
mod access_types;
mod answer;
mod cheap;
mod endpoint;
mod notifications;
mod query;
mod subject;
mod template;

use std::{convert::Infallible, sync::Arc};

use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue, LOCATION},
};

use self::{cheap::Cheap, endpoint::Route, notifications::Subscriptions, query::Query};
use crate::{
    Faults, Site, Status,
    body::Answer,
    counts::Counters,
    faults::{Change, Outcome},
    listener::Service,
    request_log::{RequestLog, SeenRequest},
};

pub(crate) use access::names_user;
pub use endpoint::{Endpoint, UnknownEndpoint};

/// Bodies are read and thrown away, but not without end.
const MAX_BODY: usize = 1 << 20;

/// The service behind every connection.
pub(crate) struct Qrs {
    pub(crate) site: Site,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    pub(crate) log: RequestLog,
    cheap: Option<Cheap>,
    subscriptions: Subscriptions,
}

/// The request shall end in a reset of its connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
pub(crate) struct ConnectionReset;

/// What goes back to the client.
pub(crate) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Reply {
    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json; charset=utf-8", body: body.into() }
    }

    pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// As the answer to what made something.
    fn created(mut self) -> Self {
        self.status = StatusCode::CREATED;
        self
    }

    fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "Not found")
    }

    fn no_content() -> Self {
        Self::text(StatusCode::NO_CONTENT, "")
    }

    fn nonsense() -> Self {
        let body = "<!DOCTYPE html><html><body><h1>Maintenance</h1></body></html>";
        Self { status: StatusCode::OK, content_type: "text/html", body: body.into() }
    }

    fn redirect(to: &str) -> Response<Answer> {
        let mut response = Self::text(StatusCode::FOUND, "Elsewhere").into_response();
        if let Ok(to) = HeaderValue::from_str(to) {
            response.headers_mut().insert(LOCATION, to);
        }
        response
    }

    /// With the JSON changed, if it is JSON.
    fn altered(mut self, change: &Change) -> Self {
        if let Ok(mut json) = serde_json::from_slice(&self.body) {
            change.apply(&mut json);
            self.body = json.to_string().into();
        }
        self
    }

    pub(crate) fn into_response(self) -> Response<Answer> {
        self.with(Answer::Whole)
    }

    fn with(self, body: impl FnOnce(Bytes) -> Answer) -> Response<Answer> {
        let mut response = Response::new(body(self.body));
        *response.status_mut() = self.status;
        if self.status != StatusCode::NO_CONTENT {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        response
    }
}

impl Service for Qrs {
    fn connected(&self) {
        self.counters.connection();
    }

    fn shaken(&self, succeeded: bool) {
        self.counters.handshake(succeeded);
    }

    async fn serve(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, ConnectionReset> {
        self.answer_or_fail(request).await
    }
}

impl Qrs {
    /// `cheap`: the outcome of made-up executions, if answers shall be made up.
    pub(crate) fn new(site: Site, cheap: Option<Status>) -> Self {
        Self {
            site,
            faults: Faults::default(),
            counters: Counters::default(),
            log: RequestLog::default(),
            cheap: cheap.map(Cheap::new),
            subscriptions: Subscriptions::default(),
        }
    }

    /// Tells subscribers of changes, for as long as anybody may change the site.
    pub(crate) async fn tell_changes(self: Arc<Self>) {
        let mut changes = self.site.changes();
        while let Some(result) = changes.recv().await {
            self.subscriptions.tell(&result).await;
        }
    }

    /// How many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.count()
    }

    /// Forgets all subscriptions.
    pub(crate) fn forget_subscriptions(&self) {
        self.subscriptions.forget();
    }

    async fn answer_or_fail(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, ConnectionReset> {
        let route = Route::of(request.uri().path());
        self.counters.request(route.endpoint);
        if self.cheap.is_none() {
            self.log.push(SeenRequest::new(&request));
        }
        let plan = self.faults.plan(route.endpoint, request.method(), &route.id);
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        let response = match plan.outcome {
            None => self.reply(&route, request).await.into_response(),
            Some(Outcome::Altered(change)) => self.reply(&route, request).await.altered(&change).into_response(),
            Some(Outcome::Cut(after)) => self.reply(&route, request).await.with(|body| Answer::cut(&body, after)),
            Some(Outcome::Status(status)) => Reply::text(
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                "The simulator was told to answer like this",
            )
            .into_response(),
            Some(Outcome::Nonsense) => Reply::nonsense().into_response(),
            Some(Outcome::Page(content_type, body)) => {
                Reply { content_type, ..Reply::json(body.as_bytes().to_vec()) }.into_response()
            }
            Some(Outcome::Endless) => Reply::json("").with(|_| Answer::endless()),
            Some(Outcome::Redirect(to)) => Reply::redirect(&to),
            Some(Outcome::Reset) => return Err(ConnectionReset),
            Some(Outcome::Lost) => {
                self.reply(&route, request).await;
                return Err(ConnectionReset);
            }
            Some(Outcome::Late(delay)) => {
                let this = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    this.reply(&route, request).await;
                });
                return Err(ConnectionReset);
            }
            Some(Outcome::Held(delay)) => {
                let reply = self.reply(&route, request).await;
                tokio::time::sleep(delay).await;
                reply.into_response()
            }
            Some(Outcome::Hang) => match std::future::pending::<Infallible>().await {},
        };
        self.counters.response(response.status().as_u16());
        Ok(response)
    }

    async fn reply(&self, route: &Route, request: Request<Incoming>) -> Reply {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        if let Err(refusal) = access::check(request.headers(), &query) {
            return Reply::text(StatusCode::FORBIDDEN, refusal);
        }
        self.counters.asked(route.endpoint, &route.id, query.get("filter").unwrap_or_default());
        if route.endpoint == Endpoint::Unknown {
            return Reply::not_found();
        }
        if !route.endpoint.methods().contains(request.method()) {
            return Reply::text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        }
        let method = request.method().clone();
        // An unread body would make hyper close the connection after the answer.
        let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
            return Reply::text(StatusCode::BAD_REQUEST, "Unreadable or oversized request body");
        };
        match (route.endpoint, method) {
            (Endpoint::Notification, Method::DELETE) => self.subscriptions.remove(&query),
            (Endpoint::Notification, _) => self.subscriptions.add(&query, &body.to_bytes()),
            (Endpoint::Tag, Method::POST) => self.add_tag(&body.to_bytes()),
            (Endpoint::TagById, Method::DELETE) => self.remove_tag(&route.id),
            (_, method) => match self.access_types(&method, route, &query) {
                Some(reply) => reply,
                None => self.answer(route, &query),
            },
        }
    }
}
