//! The way of a request through the checks to its handler, and of the answer back.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode};
use futures_util::FutureExt;

use super::answer::{self, Answer, Failure};
use super::auth::Auth;
use super::context::Context;
use super::endpoints::Mount;
use super::origin::Origins;
use super::own::Own;
use super::request::{self, Call};
use super::routes::{RouteError, Table, Target};
use super::{metrics, v4, v5};
use crate::config::Rest;
use crate::current::Current;

/// Everything above the sockets.
pub(super) struct Api {
    context: Arc<Context>,
    table: Current<Table>,
    auth: Auth,
    origins: Origins,
    body_deadline: Duration,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

impl Api {
    /// The host's own routes and those of `mounts`.
    pub(super) fn new(
        context: Arc<Context>,
        rest: &Rest,
        admin_token: &str,
        mounts: Vec<Mount>,
        body_deadline: Duration,
    ) -> Result<Self, RouteError> {
        let table = Current::new(Table::with(mounts)?);
        Ok(Self { context, table, auth: Auth::new(rest, admin_token), origins: Origins::new(rest), body_deadline })
    }

    /// Serves these endpoints of plugins instead of the former ones.
    pub(super) fn remount(&self, mounts: Vec<Mount>) -> Result<(), RouteError> {
        self.table.set(Table::with(mounts)?);
        Ok(())
    }

    /// Answers a request, whatever happens.
    pub(super) async fn handle(&self, request: Request<Body>, ends: Ends) -> Answer {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let method = request::method(&parts.method, &parts.headers);
        let path = parts.uri.path().to_owned();
        let overridden_head = method == Method::HEAD && parts.method != Method::HEAD;
        let mut caller = None;
        let answering = AssertUnwindSafe(self.answer(parts, body, &method, ends, &mut caller)).catch_unwind();
        let mut answer = match answering.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => failure.into_answer(&self.context.secrets()),
            Err(_) => {
                tracing::error!(%method, path = %self.context.secrets().redact(&path), "a REST handler panicked; please report this");
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Butler made a mistake; its log says more")
                    .into_answer(&self.context.secrets())
            }
        };
        answer::finish(&mut answer);
        if overridden_head {
            *answer.body_mut() = Body::empty();
        }
        tracing::debug!(
            %method,
            path = %self.context.secrets().redact(v5::without_secret(&path)),
            status = answer.status().as_u16(),
            caller = caller.unwrap_or_else(|| ends.peer.ip().to_string()),
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "REST request"
        );
        answer
    }

    async fn answer(
        &self,
        parts: Parts,
        body: Body,
        method: &Method,
        ends: Ends,
        who: &mut Option<String>,
    ) -> Result<Answer, Failure> {
        self.origins.check(parts.version, &parts.uri, &parts.headers, ends.local)?;
        let uri = parts.uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str).to_owned();
        let table = self.table.get();
        let Some((route, params)) = table.find(method, parts.uri.path()) else {
            return Ok(answer::no_route(method, &uri));
        };
        let caller = self.auth.caller(ends.peer.ip(), &parts.headers);
        *who = caller.as_ref().ok().map(|caller| caller.name.clone());
        let caller = match route.scope {
            Some(scope) => {
                let caller = caller?;
                caller.require(scope)?;
                Some(caller)
            }
            None => caller.ok(),
        };
        let params = params?;
        let mut headers = parts.headers;
        let body = if matches!(*method, Method::GET | Method::HEAD) {
            Vec::new()
        } else {
            let bytes = request::read(&headers, body, self.body_deadline).await?;
            request::check_body(route, method, &mut headers, bytes)?
        };
        let query = request::check_query(route, parts.uri.query().unwrap_or_default())?;
        let call = Call { uri, headers, caller, params, query, body };
        match &route.target {
            Target::Own(own) => self.own(*own, &call).await,
            Target::Plugin(mount) => mount.call(method, &route.path, call).await,
        }
    }

    async fn own(&self, own: Own, call: &Call) -> Result<Answer, Failure> {
        let context = &self.context;
        match own {
            Own::Ping => Ok(v4::ping(context)),
            Own::StartTasks => v4::start_tasks(context, call).await,
            Own::Live => Ok(v5::live(context)),
            Own::Ready => Ok(v5::ready(context, call)),
            Own::Plugins => v5::plugins(context).await,
            Own::Nodes => Ok(v5::nodes(context)),
            Own::QlikNotification => v5::qlik_notification(context, call),
            Own::QlikCloudEvents => v5::qlik_cloud_events(context, call).await,
            Own::Events => v5::events(context, call).await,
            Own::Event => v5::event(context, call).await,
            Own::Deliveries => v5::deliveries(context, call).await,
            Own::Delivery => v5::delivery(context, call).await,
            Own::Retry => v5::retry(context, call).await,
            Own::Move => v5::move_deliveries(context, call).await,
            Own::PostMessage => v5::post_message(context, call).await,
            Own::Reload => v5::reload(context, call).await,
            Own::Metrics => Ok(metrics::page(context).await),
            Own::ListApps => v4::list_apps(context).await,
            Own::DumpApp => v4::dump_app(context, call).await,
            Own::ReloadApp => v4::reload_app(context, call).await,
            Own::AppReloads => Ok(v5::app_reloads(context)),
            Own::V4Schedules(asked) => v4::schedules(context, call, asked).await,
            Own::Schedules(asked) => v5::schedules(context, call, asked).await,
        }
    }
}
