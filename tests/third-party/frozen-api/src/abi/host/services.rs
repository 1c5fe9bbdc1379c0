//! What a host implements to serve one instance.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::erased_types::TD_Opaque;
use abi_stable::std_types::{RResult, RString};
use async_ffi::{FfiFuture, FutureExt};

use crate::abi::types::{
    AbiAnswer, AbiCall, AbiLogRecord, AbiRequest, AbiResponse, HostBox, HostObject, HostObject_TO,
};
use crate::abi::{WireLogRecord, WireRequest, WireResponse};
use crate::services::{HttpError, ServiceError};

/// A boxed future, as [`HostServices`] returns them.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The host as one generation of one instance sees it. Methods are called on any thread and must neither block nor
/// panic: a panic here would end the process. Futures may be polled on any thread, also outside the host's runtime.
pub trait HostServices: Send + Sync + 'static {
    /// Sends an HTTP request. `options`: `timeoutMs`, `tls`.
    fn http(&self, request: WireRequest) -> BoxFuture<Result<WireResponse, HttpError>>;
    /// Takes a log record.
    fn log(&self, record: WireLogRecord);
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
    /// Runs a future on the instance's thread.
    fn spawn(&self, future: BoxFuture<()>);
    /// Calls a service; input and answer are JSON. `metrics` has done its work when this returns, or when the future is
    /// polled for the first time: plugins do not wait for it.
    fn invoke(&self, service: String, input: String) -> BoxFuture<Result<String, ServiceError>>;
}

struct Adapter(Arc<dyn HostServices>);

impl HostObject for Adapter {
    fn http(&self, request: AbiRequest) -> FfiFuture<RResult<AbiResponse, RString>> {
        let answer = self.0.http(request.into());
        async move {
            match answer.await {
                Ok(response) => RResult::ROk(response.into()),
                Err(error) => RResult::RErr(error.to_wire().into()),
            }
        }
        .into_ffi()
    }

    fn log(&self, record: AbiLogRecord) {
        self.0.log(WireLogRecord {
            level: record.level,
            target: record.target.into(),
            message: record.message.into(),
            fields: record.fields.into(),
        });
    }

    fn sleep(&self, millis: u64) -> FfiFuture<()> {
        self.0.sleep(Duration::from_millis(millis)).into_ffi()
    }

    fn spawn(&self, future: FfiFuture<()>) {
        self.0.spawn(Box::pin(future));
    }

    fn invoke(&self, call: AbiCall) -> FfiFuture<RResult<AbiAnswer, RString>> {
        let answer = self.0.invoke(call.name.into(), call.input.into());
        async move {
            match answer.await {
                Ok(text) => RResult::ROk(text.into()),
                Err(error) => RResult::RErr(error.to_wire().into()),
            }
        }
        .into_ffi()
    }
}

/// Makes the object that crosses the boundary.
pub(crate) fn into_box(services: Arc<dyn HostServices>) -> HostBox {
    HostObject_TO::from_value(Adapter(services), TD_Opaque)
}
