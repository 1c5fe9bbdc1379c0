//! The plugin's half: wraps a [`Plugin`] so that nothing of it can escape into the host.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use abi_stable::erased_types::TD_Opaque;
pub use abi_stable::library::LibHeader;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RString};
use async_ffi::{FfiFuture, FutureExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::types::{
    AbiAnswer, AbiCall, AbiRequest, AbiResponse, HostBox, PluginBox, PluginModule, PluginModuleRef, PluginObject,
    PluginObject_TO,
};
use super::{HostHandle, RESERVED, RUN, WireRequest, WireResponse};
use crate::delivery::{Delivery, Outcome};
use crate::host::{Host, Instance};
use crate::manifest::Manifest;
use crate::plugin::{OperationError, Plugin, StartError};
use crate::request::{Request, Response};
#[cfg(feature = "runtime")]
use crate::runtime::Runtime;
use crate::{API_VERSION, logging, panics};

/// Names the plugin of a library; implemented by [`export!`](crate::export).
pub trait Export: 'static {
    /// The plugin.
    type Plugin: Plugin;
    /// Version of the plugin's crate.
    const VERSION: &'static str;
}

/// The content of the exported symbol.
pub const fn lib_header<E: Export>() -> LibHeader {
    // SAFETY: `erased_module` answers with the module of the type named here, whose layout is exported along with it.
    #[allow(unsafe_code, reason = "abi_stable's constructor of the header is unsafe")]
    unsafe {
        LibHeader::from_constructor::<PluginModuleRef>(erased_module::<E>, CheckTypeLayout::Yes)
    }
}

extern "C" fn erased_module<E: Export>() -> RootModuleResult {
    __call_root_module_loader(module::<E>)
}

fn module<E: Export>() -> PluginModuleRef {
    PluginModule { manifest: manifest::<E>, create: create::<E> }.leak_into_prefix()
}

extern "C" fn manifest<E: Export>() -> RResult<RString, RString> {
    panics::install();
    match panics::catch(full_manifest::<E>) {
        Ok(manifest) => RResult::ROk(to_json(&manifest)),
        Err(panic) => RResult::RErr(panic.into()),
    }
}

/// The author's manifest with what the SDK knows.
fn full_manifest<E: Export>() -> Manifest {
    let mut manifest = E::Plugin::manifest();
    E::VERSION.clone_into(&mut manifest.version);
    API_VERSION.clone_into(&mut manifest.api_version);
    manifest.settings_schema = settings_schema::<E::Plugin>();
    manifest
}

pub(crate) fn settings_schema<P: Plugin>() -> Value {
    schemars::SchemaGenerator::default().into_root_schema_for::<P::Settings>().to_value()
}

extern "C" fn create<E: Export>(instance: RString, settings: RString, host: HostBox) -> RResult<PluginBox, RString> {
    panics::install();
    let handle = HostHandle::new(host);
    let instance = match serde_json::from_str::<Instance>(&instance) {
        Ok(instance) => Arc::new(instance),
        Err(error) => return RResult::RErr(format!("the host's instance document cannot be read: {error}").into()),
    };
    let host = Host {
        handle,
        instance,
        #[cfg(feature = "runtime")]
        runtime: None,
    };
    logging::install(&host);
    object::<E::Plugin>(host, settings.into()).map_err(RString::from).into()
}

/// An instance, not yet started.
#[cfg_attr(not(feature = "runtime"), allow(unused_mut, clippy::unnecessary_wraps, reason = "they are for runtimes"))]
pub(crate) fn object<P: Plugin>(mut host: Host, settings: String) -> Result<PluginBox, String> {
    #[cfg(feature = "runtime")]
    let runtime = if P::RUNTIME {
        let runtime = Runtime::start(&host)
            .map_err(|error| format!("the system gives its runtime no thread or event queue: {error}"))?;
        host.runtime = Some(runtime.inside());
        Some(Box::new(runtime) as Box<dyn Send + Sync>)
    } else {
        None
    };
    let state = State {
        host,
        settings,
        plugin: OnceLock::new(),
        #[cfg(feature = "runtime")]
        _runtime: runtime,
    };
    Ok(PluginObject_TO::from_value(Adapter::<P>(Arc::new(state)), TD_Opaque))
}

fn to_json(value: &impl Serialize) -> RString {
    // The types that cross have string keys and no failing serialisers.
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")).into()
}

struct Adapter<P: Plugin>(Arc<State<P>>);

struct State<P: Plugin> {
    host: Host,
    settings: String,
    plugin: OnceLock<P>,
    /// Ends after the plugin.
    #[cfg(feature = "runtime")]
    _runtime: Option<Box<dyn Send + Sync>>,
}

impl<P: Plugin> Drop for State<P> {
    fn drop(&mut self) {
        let plugin = self.plugin.take();
        if let Err(panic) = guarded(&self.host, move || drop(plugin)) {
            self.host.in_scope(|| tracing::error!("panicked while it was dropped: {panic}"));
        }
    }
}

impl<P: Plugin> State<P> {
    fn started(&self) -> Result<&P, OperationError> {
        self.plugin.get().ok_or_else(|| OperationError::Failed("the instance is not started".to_owned()))
    }
}

impl<P: Plugin> PluginObject for Adapter<P> {
    fn start(&self, _: RString) -> FfiFuture<RResult<RString, RString>> {
        let state = self.0.clone();
        let start = async move {
            let settings: P::Settings =
                serde_json::from_str(&state.settings).map_err(|error| StartError::Config(error.to_string()))?;
            let plugin = P::start(settings, state.host.clone()).await?;
            state.plugin.set(plugin).map_err(|_| StartError::Config("started twice".to_owned()))
        };
        let scoped = Scoped::new(self.0.host.clone(), start);
        async move {
            match scoped.await.unwrap_or_else(|panic| Err(StartError::Panicked(panic))) {
                Ok(()) => RResult::ROk(RString::new()),
                Err(error) => RResult::RErr(to_json(&error)),
            }
        }
        .into_ffi()
    }

    fn deliver(&self, deliveries: RString, _: RString) -> FfiFuture<RResult<RString, RString>> {
        let state = self.0.clone();
        let count = Arc::new(OnceLock::new());
        let counted = count.clone();
        let deliver = async move {
            let deliveries: Vec<Delivery> = serde_json::from_str(&deliveries).map_err(|error| error.to_string())?;
            let _ = counted.set(deliveries.len());
            let plugin = state.started().map_err(|error| error.to_string())?;
            let results = plugin.deliver_batch(&deliveries).await;
            if results.len() != deliveries.len() {
                return Err(format!("answered {} deliveries with {} results", deliveries.len(), results.len()));
            }
            Ok(results.into_iter().map(Outcome::from).collect::<Vec<_>>())
        };
        let scoped = Scoped::new(self.0.host.clone(), deliver);
        async move {
            match scoped.await {
                Ok(Ok(outcomes)) => RResult::ROk(to_json(&outcomes)),
                Ok(Err(message)) => RResult::RErr(message.into()),
                Err(panic) => {
                    let retry = Outcome::Retry {
                        message: format!("panicked: {panic}"),
                        after_ms: None,
                        progress: None,
                        panicked: true,
                    };
                    RResult::ROk(to_json(&vec![retry; count.get().copied().unwrap_or_default()]))
                }
            }
        }
        .into_ffi()
    }

    fn call(&self, request: AbiRequest) -> FfiFuture<AbiResponse> {
        let state = self.0.clone();
        let call = async move {
            let request = endpoint_request(request.into());
            match state.started() {
                Ok(plugin) => plugin.call(request).await,
                Err(error) => Response::error(503, &error.to_string()),
            }
        };
        let scoped = Scoped::new(self.0.host.clone(), call);
        async move {
            let (response, options) = match scoped.await {
                Ok(response) => (response, String::new()),
                Err(panic) => {
                    let options = serde_json::json!({ "panicked": panic }).to_string();
                    (Response::error(500, "the plugin panicked; see Butler's log"), options)
                }
            };
            WireResponse { status: response.status, headers: response.headers, body: response.body, options }.into()
        }
        .into_ffi()
    }

    fn invoke(&self, call: AbiCall) -> FfiFuture<RResult<AbiAnswer, RString>> {
        let state = self.0.clone();
        let invoke = async move {
            let input = serde_json::from_str(&call.input).map_err(|error| OperationError::Failed(error.to_string()))?;
            match &*call.name {
                "import" => P::import(input),
                RUN => {
                    state.started()?.run().await;
                    Ok(Value::Null)
                }
                // Such names are the host's: the author's own must not be taken for a later one of them.
                name if name.starts_with(RESERVED) => Err(OperationError::Unsupported(name.to_owned())),
                name => state.started()?.invoke(name, input).await,
            }
        };
        let scoped = Scoped::new(self.0.host.clone(), invoke);
        async move {
            match scoped.await.unwrap_or_else(|panic| Err(OperationError::Panicked(panic))) {
                Ok(answer) => RResult::ROk(String::from(to_json(&answer)).into()),
                Err(error) => RResult::RErr(to_json(&error)),
            }
        }
        .into_ffi()
    }

    fn health(&self, _: RString) -> FfiFuture<RString> {
        let state = self.0.clone();
        let health = async move {
            match state.started() {
                Ok(plugin) => plugin.health().await,
                Err(error) => crate::Health::Bad(error.to_string()),
            }
        };
        let scoped = Scoped::new(self.0.host.clone(), health);
        async move {
            let health = scoped.await.unwrap_or_else(|panic| crate::Health::Bad(format!("panicked: {panic}")));
            to_json(&health)
        }
        .into_ffi()
    }

    fn stop(&self, _: RString) -> FfiFuture<RString> {
        let state = self.0.clone();
        let stop = async move {
            if let Some(plugin) = state.plugin.get() {
                plugin.stop().await;
            }
        };
        let state = self.0.clone();
        let scoped = Scoped::new(state.host.clone(), stop);
        async move {
            if let Err(panic) = scoped.await {
                state.host.in_scope(|| tracing::error!("panicked in stop: {panic}"));
            }
            RString::new()
        }
        .into_ffi()
    }
}

/// The endpoint document in a request's `options`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct EndpointOptions {
    route: Option<String>,
    params: BTreeMap<String, String>,
    query: Map<String, Value>,
    caller: String,
}

fn endpoint_request(wire: WireRequest) -> Request {
    let options: EndpointOptions = serde_json::from_str(&wire.options).unwrap_or_default();
    Request {
        method: wire.method,
        route: options.route.unwrap_or(wire.url),
        params: options.params,
        query: options.query,
        headers: wire.headers,
        body: wire.body,
        caller: options.caller,
    }
}

thread_local! {
    static CURRENT_HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
    /// The delivery being polled.
    static CURRENT_DELIVERY: Cell<Option<Polled>> = const { Cell::new(None) };
}

/// The host of the instance whose code runs on this thread now.
pub(crate) fn current_host() -> Option<Host> {
    CURRENT_HOST.try_with(|current| current.try_borrow().ok().and_then(|host| host.clone())).ok().flatten()
}

/// Says whose code runs on this thread, for good: that of the instance under test, or of the one whose runtime it is.
#[cfg(any(feature = "testing", feature = "runtime"))]
pub(crate) fn stay(host: &Host) {
    let previous = CURRENT_HOST.replace(Some(host.clone()));
    drop(previous);
}

/// Says whose code runs on this thread, until it is dropped.
pub(crate) struct Scope {
    previous: Option<Host>,
}

impl Scope {
    pub(crate) fn enter(host: &Host) -> Self {
        let previous = CURRENT_HOST.with(|current| current.replace(Some(host.clone())));
        Self { previous }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let previous = self.previous.take();
        let _ = CURRENT_HOST.try_with(|current| current.replace(previous));
    }
}

/// Polls a future of the plugin: within its scope, inside its runtime, and with its panics caught, drops included.
pub(crate) struct Scoped<F: Future> {
    host: Host,
    /// `None` once it has ended.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Scoped<F> {
    pub(crate) fn new(host: Host, future: F) -> Self {
        Self { host, future: Some(Box::pin(future)) }
    }
}

/// Runs code of the plugin: within its scope, inside its runtime, and with its panics caught.
fn guarded<R>(host: &Host, f: impl FnOnce() -> R) -> Result<R, String> {
    let _scope = Scope::enter(host);
    #[cfg(feature = "runtime")]
    if let Some(runtime) = &host.runtime {
        let (mut f, mut result) = (Some(f), None);
        runtime.run(&mut || result = f.take().map(panics::catch));
        return result.unwrap_or_else(|| Err("its runtime did not run it".to_owned()));
    }
    panics::catch(f)
}

impl<F: Future> Future for Scoped<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else {
            return Poll::Ready(Err("polled after it had ended".to_owned()));
        };
        let polled = guarded(&this.host, || future.as_mut().poll(cx));
        let ready = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panic),
        };
        let future = this.future.take();
        match (ready, guarded(&this.host, move || drop(future))) {
            (Ok(value), Ok(())) => Poll::Ready(Ok(value)),
            (Err(panic), _) | (Ok(_), Err(panic)) => Poll::Ready(Err(panic)),
        }
    }
}

impl<F: Future> Drop for Scoped<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if future.is_some()
            && let Err(panic) = guarded(&self.host, move || drop(future))
        {
            self.host.in_scope(|| tracing::error!("panicked while a future was dropped: {panic}"));
        }
    }
}

/// A delivery, and how often it has emitted which event: hash of kind and data to number.
struct Polled {
    id: Arc<str>,
    emitted: HashMap<u64, u32>,
}

/// Polls a future as part of a delivery, so that the host knows what emitted events come from. A panic, drops included, is
/// the error of this delivery only.
pub(crate) fn in_delivery<F: Future>(delivery: &Delivery, future: F) -> InDelivery<F> {
    let polled = Polled { id: delivery.delivery_id.as_str().into(), emitted: HashMap::new() };
    InDelivery { polled: Some(polled), future: Some(Box::pin(future)) }
}

pub(crate) struct InDelivery<F: Future> {
    /// `None` while it is polled.
    polled: Option<Polled>,
    /// `None` once it has ended.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for InDelivery<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else {
            return Poll::Ready(Err("polled after it had ended".to_owned()));
        };
        let before = CURRENT_DELIVERY.replace(this.polled.take());
        let polled = panics::catch(|| future.as_mut().poll(cx));
        let result = match polled {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(value)) => Some(Ok(value)),
            Err(panic) => Some(Err(panic)),
        };
        let result = result.map(|result| {
            let future = this.future.take();
            panics::catch(move || drop(future)).and(result)
        });
        this.polled = CURRENT_DELIVERY.replace(before);
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

/// The id of the delivery being polled, and how often it has emitted this event before; `None` outside a delivery.
pub(crate) fn emitted_in(kind: &str, data: &Value) -> Option<(Arc<str>, u32)> {
    let mut current = CURRENT_DELIVERY.take()?;
    let mut hash = DefaultHasher::new();
    (kind, data.to_string()).hash(&mut hash);
    let count = current.emitted.entry(hash.finish()).or_default();
    let answer = (current.id.clone(), *count);
    *count += 1;
    CURRENT_DELIVERY.set(Some(current));
    Some(answer)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_exported_symbol_is_the_one_that_abi_stable_looks_for() {
        assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}
