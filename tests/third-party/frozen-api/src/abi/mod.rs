//! The boundary between host and plugin: the only place with FFI types and `unsafe`.
//!
//! * `types`: what is frozen. Small on purpose; everything that grows is JSON.
//! * [`plugin`]: the plugin's half, from [`Plugin`](crate::Plugin) to the exported symbol.
//! * `raw` (feature `testing`): a plugin's half written by hand, for tests of a host with answers that make no sense.
//! * `host` (feature `host`): the host's half, from a file to safe calls.
//!
//! Rules that hold on both sides: no synchronous function runs an author's code (but `manifest`, caught); every future
//! of the plugin catches panics, also while it is dropped; a library is never unloaded.

#[cfg(any(feature = "host", feature = "testing"))]
pub mod host;
#[cfg(test)]
mod layout;
pub mod plugin;
#[cfg(feature = "testing")]
pub mod raw;
#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "a plugin is called, and calls no plugin"))]
mod types;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::std_types::{RResult, RString, RVec, Tuple2};
use async_ffi::FutureExt;

use types::{AbiAnswer, AbiCall, AbiLogRecord, AbiRequest, AbiResponse, HostBox};

/// Names of operations that begin so are the host's own, none of an author's.
pub(crate) const RESERVED: &str = "butler.";
/// The operation behind [`Plugin::run`](crate::Plugin::run).
pub(crate) const RUN: &str = "butler.run";

/// An HTTP request as it crosses, in ordinary types. `options` is a JSON object, or empty.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields of an HTTP request")]
pub struct WireRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub options: String,
}

/// An HTTP answer as it crosses, in ordinary types. `options` is a JSON object, or empty.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields of an HTTP answer")]
pub struct WireResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub options: String,
}

/// A log record as it crosses. `fields` is a JSON object, or empty.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields of a log record")]
pub struct WireLogRecord {
    pub level: u8,
    pub target: String,
    pub message: String,
    pub fields: String,
}

fn headers_out(headers: Vec<(String, String)>) -> RVec<Tuple2<RString, RString>> {
    headers.into_iter().map(|(name, value)| Tuple2(name.into(), value.into())).collect()
}

fn headers_in(headers: RVec<Tuple2<RString, RString>>) -> Vec<(String, String)> {
    headers.into_iter().map(|Tuple2(name, value)| (name.into(), value.into())).collect()
}

impl From<WireRequest> for AbiRequest {
    fn from(request: WireRequest) -> Self {
        Self {
            method: request.method.into(),
            url: request.url.into(),
            headers: headers_out(request.headers),
            body: request.body.into(),
            options: request.options.into(),
        }
    }
}

impl From<AbiRequest> for WireRequest {
    fn from(request: AbiRequest) -> Self {
        Self {
            method: request.method.into(),
            url: request.url.into(),
            headers: headers_in(request.headers),
            body: request.body.into(),
            options: request.options.into(),
        }
    }
}

impl From<WireResponse> for AbiResponse {
    fn from(response: WireResponse) -> Self {
        Self {
            status: response.status,
            headers: headers_out(response.headers),
            body: response.body.into(),
            options: response.options.into(),
        }
    }
}

impl From<AbiResponse> for WireResponse {
    fn from(response: AbiResponse) -> Self {
        Self {
            status: response.status,
            headers: headers_in(response.headers),
            body: response.body.into(),
            options: response.options.into(),
        }
    }
}

impl AbiCall {
    fn new(name: &str, input: String) -> Self {
        Self { name: name.into(), input: input.into(), body: RVec::new(), context: RString::new() }
    }
}

impl From<String> for AbiAnswer {
    fn from(output: String) -> Self {
        Self { output: output.into(), body: RVec::new(), context: RString::new() }
    }
}

impl From<AbiAnswer> for String {
    fn from(answer: AbiAnswer) -> Self {
        answer.output.into()
    }
}

fn into_result<T, U>(result: RResult<T, RString>) -> Result<U, String>
where
    U: From<T>,
{
    match result {
        RResult::ROk(value) => Ok(value.into()),
        RResult::RErr(error) => Err(error.into()),
    }
}

/// The host, seen from the plugin, in safe terms.
#[derive(Clone)]
pub(crate) struct HostHandle(Arc<HostBox>);

impl HostHandle {
    pub(crate) fn new(host: HostBox) -> Self {
        Self(Arc::new(host))
    }

    pub(crate) fn http(
        &self,
        request: WireRequest,
    ) -> impl Future<Output = Result<WireResponse, String>> + Send + use<> {
        let answer = self.0.http(request.into());
        async move { into_result(answer.await) }
    }

    pub(crate) fn log(&self, record: WireLogRecord) {
        self.0.log(AbiLogRecord {
            level: record.level,
            target: record.target.into(),
            message: record.message.into(),
            fields: record.fields.into(),
            options: RString::new(),
        });
    }

    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.0.sleep(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(future.into_ffi());
    }

    pub(crate) fn invoke(
        &self,
        service: &str,
        input: String,
    ) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let answer = self.0.invoke(AbiCall::new(service, input));
        async move { into_result(answer.await) }
    }
}
