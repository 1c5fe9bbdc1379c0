//! The way of a request through the checks to its handler, and of the answer back.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode, header};
use butler_plugin_api::Scope;
use futures_util::FutureExt;

use super::answer::{self, Answer, Failure};
use super::audit::{self, Audit, Write};
use super::auth::Auth;
use super::context::Context;
use super::cors::Cors;
use super::endpoints::Mount;
use super::origin::Origins;
use super::own::Own;
use super::rate::{Counted, RateLimit};
use super::request::{self, Bodies, Call, Sender};
use super::routes::{RouteError, Table, Target};
use super::switches::Switches;
use super::{documentation, metrics, v4, v5};
use crate::config::Rest;
use crate::current::Current;
use crate::observe::exposition::{Exposition, Kind};
use crate::store::now_ms;

/// Longest path in logs, in bytes.
const LONGEST_PATH: usize = 500;

/// Everything above the sockets.
pub(super) struct Api {
    context: Arc<Context>,
    table: Current<Table>,
    auth: Auth,
    rate: RateLimit,
    audit: Arc<Audit>,
    origins: Origins,
    cors: Cors,
    bodies: Bodies,
    /// Requests that were refused since too many are under way.
    busy: AtomicU64,
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
        let table = Current::new(Table::with(mounts, Switches::new(&rest.disabled_endpoints))?);
        let (auth, rate) = (Auth::new(rest, admin_token), RateLimit::new(rest.max_per_minute));
        let (origins, cors, bodies) = (Origins::new(rest), Cors::new(rest), Bodies::new(body_deadline));
        let audit = Arc::new(Audit::new(context.clone()));
        Ok(Self { context, table, auth, rate, audit, origins, cors, bodies, busy: AtomicU64::new(0) })
    }

    /// Serves these endpoints of plugins instead of the former ones, and the host's own, without those that are disabled.
    pub(super) fn remount(&self, mounts: Vec<Mount>, disabled: &[String]) -> Result<(), RouteError> {
        self.table.set(Table::with(mounts, Switches::new(disabled))?);
        Ok(())
    }

    /// Answers a request, whatever happens.
    pub(super) async fn handle(&self, request: Request<Body>, ends: Ends) -> Answer {
        let (parts, body) = request.into_parts();
        let method = request::method(&parts.method, &parts.headers);
        let overridden_head = method == Method::HEAD && parts.method != Method::HEAD;
        let origin = self.cors.origin(&parts.headers);
        let mut trace = Trace::new(self, &parts, method.clone(), ends.peer.ip());
        let answering = AssertUnwindSafe(self.answer(parts, body, &method, ends, &mut trace)).catch_unwind();
        let mut answer = match answering.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => failure.into_answer(&self.context.secrets()),
            Err(_) => {
                tracing::error!(%method, path = trace.path(), "a REST handler panicked; please report this");
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Butler made a mistake; its log says more")
                    .into_answer(&self.context.secrets())
            }
        };
        answer::finish(&mut answer);
        self.cors.finish(origin, &mut answer);
        if let Some(counted) = &trace.counted {
            counted.write(answer.headers_mut());
        }
        if overridden_head {
            *answer.body_mut() = Body::empty();
        }
        trace.end(answer.status()).await;
        answer
    }

    /// The answer to a request when too many are under way.
    pub(super) fn busy(&self) -> Answer {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let message =
            "more requests are under way on connections with several at once than this server takes: try again";
        let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(1));
        let mut answer = failure.into_answer(&self.context.secrets());
        answer::finish(&mut answer);
        answer
    }

    fn expose(&self, page: &mut Exposition) {
        self.auth.expose(page);
        self.rate.expose(page);
        self.audit.expose(page);
        self.bodies.expose(page);
        let help = "Requests that were answered 503, since too many were under way on connections with several at once";
        page.single("butler_rest_requests_refused_total", Kind::Counter, help, self.busy.load(Ordering::Relaxed));
    }

    async fn answer(
        &self,
        parts: Parts,
        body: Body,
        method: &Method,
        ends: Ends,
        trace: &mut Trace<'_>,
    ) -> Result<Answer, Failure> {
        if let Err(refused) = self.origins.check(parts.version, &parts.uri, &parts.headers, ends.local) {
            self.count(trace, true)?;
            return Err(refused);
        }
        if let Some(answer) = self.cors.preflight(&parts.method, &parts.headers) {
            return Ok(answer);
        }
        let uri = parts.uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str).to_owned();
        let table = self.table.get();
        let Some((route, params)) = table.find(method, parts.uri.path()) else {
            self.count(trace, false)?;
            return Ok(answer::no_route(method, &uri));
        };
        let mut caller = self.auth.caller(ends.peer.ip(), &parts.headers);
        trace.caller = caller.as_ref().ok().map(|caller| caller.name.clone());
        if !caller.as_ref().is_ok_and(|caller| caller.is_own) {
            if !is_exempt(&route.target) {
                self.count(trace, false)?;
            } else if is_telling(&route.target)
                && parts.headers.contains_key(header::AUTHORIZATION)
                && let Err(refused) = self.count(trace, false)
            {
                // Answered all the same, but not as to somebody who may know more: that would tell which token is right.
                caller = Err(refused);
                trace.counted = None;
            }
        }
        trace.scope = route.scope;
        let caller = match route.scope {
            Some(scope) => {
                let caller = caller?;
                caller.require(scope)?;
                trace.allowed = true;
                Some(caller)
            }
            None => caller.ok(),
        };
        let params = params?;
        let mut headers = parts.headers;
        // Strangers get their answer before any of their body is read.
        match route.target {
            Target::Own(Own::QlikNotification) => v5::before_notification(&self.context, &params)?,
            Target::Own(Own::QlikCloudEvents) => v5::before_cloud_event(&self.context, &headers).await?,
            _ => {}
        }
        // The room of the body is held until the handler is done.
        let (body, _held) = if matches!(*method, Method::GET | Method::HEAD) {
            (Vec::new(), None)
        } else {
            let sender = Sender { peer: ends.peer.ip(), open: route.scope.is_none() };
            let (bytes, held) = self.bodies.read(sender, &headers, body).await?;
            (request::check_body(route, method, &mut headers, bytes)?, Some(held))
        };
        let query = request::check_query(route, parts.uri.query().unwrap_or_default())?;
        let call = Call { uri, headers, caller, params, query, body };
        match &route.target {
            Target::Own(own) => self.own(*own, &table, &call).await,
            Target::Plugin(mount) => mount.call(method, &route.endpoint.path, call).await,
        }
    }

    /// Counts a request against its client.
    fn count(&self, trace: &mut Trace<'_>, foreign: bool) -> Result<(), Failure> {
        let Some(counted) = self.rate.count(trace.address, foreign, Instant::now()) else { return Ok(()) };
        trace.counted = Some(counted);
        if counted.is_news() {
            tracing::warn!(
                address = %trace.address,
                method = %trace.method,
                path = trace.path(),
                "more requests than `rest.maxPerMinute` came from this address: further ones of this minute are answered 429"
            );
        }
        counted.check()
    }

    /// A path as logs may have it: without secrets, and not too long.
    fn shown(&self, path: &str) -> String {
        let mut path = v5::without_secret(path);
        let mut rest = "";
        if path.len() > LONGEST_PATH {
            // Whole segments, since half of a secret would not be found.
            let end =
                path.char_indices().map(|(at, _)| at).take_while(|at| *at < LONGEST_PATH).last().unwrap_or_default();
            path = &path[..path[..end].rfind('/').map_or(0, |slash| slash + 1)];
            rest = "…";
        }
        self.context.secrets().redact(&self.auth.without_token(path)).into_owned() + rest
    }

    async fn own(&self, own: Own, table: &Table, call: &Call) -> Result<Answer, Failure> {
        let context = &self.context;
        match own {
            Own::Ping => Ok(v4::ping(context)),
            Own::EnabledEndpoints => Ok(v4::enabled_endpoints(context, table)),
            Own::Base62ToBase16 => v4::to_base16(context, call),
            Own::Base16ToBase62 => v4::to_base62(context, call),
            Own::StartTasks => v4::start_tasks(context, &table.switches, call).await,
            Own::Health => Ok(v5::health(context)),
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
            Own::Metrics => Ok(metrics::page(context, |page| self.expose(page)).await),
            Own::ListApps => v4::list_apps(context).await,
            Own::DumpApp => v4::dump_app(context, call).await,
            Own::ReloadApp => v4::reload_app(context, call).await,
            Own::AppReloads => Ok(v5::app_reloads(context)),
            Own::DocumentationPage => Ok(documentation::page(call)),
            Own::DocumentationFile => documentation::file(call),
            Own::DocumentationJson => Ok(documentation::json(table)),
            Own::DocumentationYaml => Ok(documentation::yaml(table)),
            Own::Audit => Ok(v5::audit(context, &self.audit, call)),
            Own::V4Schedules(asked) => v4::schedules(context, call, asked).await,
            Own::Schedules(asked) => v5::schedules(context, call, asked).await,
        }
    }
}

/// Whether requests are not counted against their client. Qlik's own calls show who they are by a secret or a signature, and
/// an alert must not be lost since a load script on the same machine has sent too much; nor must a watcher of this machine
/// take Butler for dead.
fn is_exempt(target: &Target) -> bool {
    let Target::Own(own) = target else { return false };
    matches!(own, Own::QlikNotification | Own::QlikCloudEvents | Own::Health | Own::Live | Own::Ready)
}

/// Whether everybody is answered, and those who may read are told more.
fn is_telling(target: &Target) -> bool {
    matches!(target, Target::Own(Own::Ready))
}

/// What is known of a request, for the log and the audit.
struct Trace<'a> {
    api: &'a Api,
    started: Instant,
    time_ms: i64,
    address: IpAddr,
    method: Method,
    path: String,
    /// The delivery that sent it, by its own word.
    delivery: Option<i64>,
    caller: Option<String>,
    /// Of its route. `None` when it did not get so far, and for routes without.
    scope: Option<Scope>,
    /// The caller has that scope.
    allowed: bool,
    counted: Option<Counted>,
    ended: bool,
}

impl<'a> Trace<'a> {
    fn new(api: &'a Api, parts: &Parts, method: Method, address: IpAddr) -> Self {
        Self {
            api,
            started: Instant::now(),
            time_ms: now_ms(),
            address: address.to_canonical(),
            method,
            path: parts.uri.path().to_owned(),
            delivery: audit::delivery_of(&parts.headers, &api.context.store),
            caller: None,
            scope: None,
            allowed: false,
            counted: None,
            ended: false,
        }
    }

    fn path(&self) -> String {
        self.api.shown(&self.path)
    }

    /// What is to be taken down, if it is a write.
    fn write(&mut self, status: Option<StatusCode>) -> Option<Write> {
        let scope = self.scope.filter(|_| !matches!(self.method, Method::GET | Method::HEAD))?;
        Some(Write {
            time_ms: self.time_ms,
            scope,
            allowed: self.allowed,
            caller: self.caller.take(),
            address: self.address,
            method: self.method.clone(),
            path: self.path(),
            status: status.map(|status| status.as_u16()),
            duration: self.started.elapsed(),
        })
    }

    /// The request is answered.
    async fn end(mut self, status: StatusCode) {
        self.ended = true;
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(
                method = %self.method,
                path = self.path(),
                status = status.as_u16(),
                caller = self.caller,
                address = %self.address,
                duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "REST request"
            );
        }
        if let Some(write) = self.write(Some(status)) {
            self.api.audit.record(write, self.delivery).await;
        }
    }
}

impl Drop for Trace<'_> {
    /// The caller went away before the answer: what was begun may be done all the same.
    fn drop(&mut self) {
        if !self.ended
            && let Some(write) = self.write(None)
        {
            drop(self.api.audit.take_down(write, self.delivery));
        }
    }
}
