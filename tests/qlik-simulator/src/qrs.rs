//! Answering requests as the repository service does: count, go wrong if told so, check who asks, look up.

mod access;
mod answer;
mod cheap;
mod endpoint;
mod query;
mod subject;
mod template;

use std::convert::Infallible;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};

use self::{cheap::Cheap, endpoint::Route, query::Query};
use crate::{
    Faults, Site, Status,
    counts::Counters,
    faults::Outcome,
    request_log::{RequestLog, SeenRequest},
};

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
    fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json; charset=utf-8", body: body.into() }
    }

    fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
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

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        if self.status != StatusCode::NO_CONTENT {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        response
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
        }
    }

    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ConnectionReset> {
        let route = Route::of(request.uri().path());
        self.counters.request(route.endpoint);
        if self.cheap.is_none() {
            self.log.push(SeenRequest::new(&request));
        }
        let plan = self.faults.plan(route.endpoint);
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        let reply = match plan.outcome {
            None => self.reply(&route, request).await,
            Some(Outcome::Status(status)) => Reply::text(
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                "The simulator was told to answer like this",
            ),
            Some(Outcome::Nonsense) => Reply::nonsense(),
            Some(Outcome::Reset) => return Err(ConnectionReset),
            Some(Outcome::Hang) => match std::future::pending::<Infallible>().await {},
        };
        self.counters.response(reply.status.as_u16());
        Ok(reply.into_response())
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
        if request.method() != route.endpoint.method() {
            return Reply::text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        }
        // An unread body would make hyper close the connection after the answer.
        if Limited::new(request.into_body(), MAX_BODY).collect().await.is_err() {
            return Reply::text(StatusCode::BAD_REQUEST, "Unreadable or oversized request body");
        }
        self.answer(route, &query)
    }
}
