//! Endpoints of plugins: what a manifest declares is served here and answered by the instance.
//!
//! The host has checked scope, body and query before. Credentials do not reach a plugin; what belongs to the connection
//! does not pass in either direction.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use butler_plugin_api::abi::{WireRequest, WireResponse};
use butler_plugin_api::{Endpoint, Manifest};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{Answer, Failure};
use super::coerce::Shape;
use super::request::Call;
use super::routes::{Params, Table};
use crate::plugins::Instance;

type Handler = Arc<dyn Fn(WireRequest) -> BoxFuture<'static, WireResponse> + Send + Sync>;

/// An endpoint of an instance.
pub(super) struct Mount {
    pub(super) instance: String,
    pub(super) plugin: String,
    pub(super) endpoint: Endpoint,
    handler: Handler,
}

/// What a plugin is told of a request beside the request itself.
#[derive(Serialize)]
struct Options<'a> {
    route: &'a str,
    params: &'a Params,
    query: &'a Map<String, Value>,
    caller: &'a str,
}

/// Headers that do not pass to a plugin.
const NOT_IN: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// What of the manifests cannot be served side by side, or at all (endpoints, items of requests to start tasks): the place
/// of the instance in the config and why. `instances`: place, name and manifest.
pub fn check_manifests<'a>(
    instances: impl IntoIterator<Item = (usize, &'a str, &'a Manifest)>,
) -> Vec<(usize, String)> {
    let mut table = Table::own();
    let mut items = BTreeMap::new();
    let instances = instances.into_iter();
    instances
        .filter_map(|(place, name, manifest)| {
            let fault = endpoints_fault(&mut table, name, manifest).or_else(|| items_fault(&mut items, name, manifest));
            Some((place, fault?))
        })
        .collect()
}

fn endpoints_fault(table: &mut Table, instance: &str, manifest: &Manifest) -> Option<String> {
    manifest.endpoints.iter().find_map(|endpoint| {
        // The table is thrown away: nobody calls this.
        let handler: Handler = Arc::new(|_| Box::pin(std::future::pending()));
        let (instance, plugin) = (instance.to_owned(), manifest.name.clone());
        let mount = Mount { instance, plugin, endpoint: endpoint.clone(), handler };
        table.mount(mount).err().map(|error| error.to_string())
    })
}

/// `taken`: types of items, and the instances that take them.
fn items_fault<'a>(
    taken: &mut BTreeMap<&'a str, &'a str>,
    instance: &'a str,
    manifest: &'a Manifest,
) -> Option<String> {
    manifest.start_task_items.iter().find_map(|item| {
        let kind = item.item_type.as_str();
        if let Some(first) = taken.insert(kind, instance) {
            return Some(format!(
                "the instance `{first}` and the instance `{instance}` both take items `{kind}` of requests to start tasks; \
                 take one of them out of `plugins:`"
            ));
        }
        let cause = Shape::new(&item.payload).err()?;
        Some(format!("the schema of its items `{kind}` is wrong: {cause}; that is a fault of its plugin"))
    })
}

impl Mount {
    /// All endpoints of an instance. They answer 503 while it does not run.
    pub(super) fn of(instance: &Arc<Instance>) -> Vec<Self> {
        let handler = |deadline: Option<u32>| -> Handler {
            let instance = instance.clone();
            Arc::new(move |request| {
                let instance = instance.clone();
                Box::pin(async move { instance.call(request, deadline).await })
            })
        };
        let mount = |endpoint: &Endpoint| Self {
            instance: instance.name().to_owned(),
            plugin: instance.manifest().name.clone(),
            endpoint: endpoint.clone(),
            handler: handler(endpoint.deadline_seconds),
        };
        instance.manifest().endpoints.iter().map(mount).collect()
    }

    /// For tests: one of a plugin of the instance's name that is answered by a function.
    #[cfg(test)]
    pub(super) fn fake<F>(instance: &str, endpoint: Endpoint, answer: F) -> Self
    where
        F: Fn(WireRequest) -> BoxFuture<'static, WireResponse> + Send + Sync + 'static,
    {
        let (instance, plugin) = (instance.to_owned(), instance.to_owned());
        Self { instance, plugin, endpoint, handler: Arc::new(answer) }
    }

    /// Has the instance answer.
    pub(super) async fn call(&self, method: &Method, route: &str, call: Call) -> Result<Answer, Failure> {
        let options = Options {
            route,
            params: &call.params,
            query: &call.query,
            caller: call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default(),
        };
        let request = WireRequest {
            // `HEAD` is the server's business.
            method: if *method == Method::HEAD { Method::GET } else { method.clone() }.to_string(),
            url: call.uri,
            headers: headers_in(&call.headers),
            body: call.body,
            // Texts and JSON can always be written.
            options: serde_json::to_string(&options).unwrap_or_default(),
        };
        let answer = (self.handler)(request).await;
        let status = StatusCode::from_u16(answer.status).ok().filter(|status| !status.is_informational());
        let Some(status) = status else {
            tracing::warn!(
                instance = self.instance,
                route,
                status = answer.status,
                "an endpoint answers with an impossible status"
            );
            let message = format!("the instance `{}` gave no usable answer", self.instance);
            return Err(Failure::new(StatusCode::BAD_GATEWAY, message));
        };
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
        let mut response = Response::new(if bodiless { Body::empty() } else { Body::from(answer.body) });
        *response.status_mut() = status;
        for (name, value) in answer.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
            match header {
                Some((name, value)) if passes(&name) => {
                    response.headers_mut().append(name, value);
                }
                Some(_) => {}
                None => tracing::debug!(
                    instance = self.instance,
                    route,
                    name,
                    "an endpoint answers with an impossible header"
                ),
            }
        }
        Ok(response)
    }
}

fn headers_in(headers: &HeaderMap) -> Vec<(String, String)> {
    let passing = headers.iter().filter(|(name, _)| passes(name) && !NOT_IN.contains(name));
    passing
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// Whether a header is about the message and not about the connection.
fn passes(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
