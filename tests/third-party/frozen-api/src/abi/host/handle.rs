//! One instance of a plugin, in safe terms.

use std::future::Future;
use std::sync::Arc;

use abi_stable::std_types::{RResult, RString};
use serde_json::Value;

use crate::abi::types::{AbiCall, PluginBox};
use crate::abi::{RUN, WireRequest, WireResponse};
use crate::{Delivery, Health, OperationError, Outcome, StartError};

/// One instance. Every method answers with a future that is to be polled on the instance's thread; it never panics.
#[derive(Clone)]
pub struct PluginHandle(Arc<PluginBox>);

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginHandle")
    }
}

impl PluginHandle {
    pub(crate) fn new(object: PluginBox) -> Self {
        Self(Arc::new(object))
    }

    /// Starts it.
    pub fn start(&self) -> impl Future<Output = Result<(), StartError>> + Send + use<> {
        let answer = self.0.start(RString::new());
        async move {
            match answer.await {
                RResult::ROk(_) => Ok(()),
                RResult::RErr(text) => {
                    Err(serde_json::from_str(&text).unwrap_or_else(|_| StartError::Unavailable(text.into())))
                }
            }
        }
    }

    /// Hands deliveries over; as many outcomes come back, or a text where the answer cannot be used.
    pub fn deliver(
        &self,
        deliveries: &[Delivery],
    ) -> impl Future<Output = Result<Vec<Outcome>, String>> + Send + use<> {
        let answer = serde_json::to_string(deliveries).map(|text| self.deliver_json(deliveries.len(), text));
        async move { answer.map_err(|error| error.to_string())?.await }
    }

    /// The same with `count` deliveries as a JSON array.
    pub(crate) fn deliver_json(
        &self,
        count: usize,
        deliveries: String,
    ) -> impl Future<Output = Result<Vec<Outcome>, String>> + Send + use<> {
        let answer = self.0.deliver(deliveries.into(), RString::new());
        async move {
            match answer.await {
                RResult::ROk(text) => {
                    let outcomes: Vec<Outcome> = serde_json::from_str(&text)
                        .map_err(|error| format!("the plugin's outcomes cannot be read: {error}"))?;
                    if outcomes.len() == count {
                        Ok(outcomes)
                    } else {
                        Err(format!("the plugin answered {count} deliveries with {} outcomes", outcomes.len()))
                    }
                }
                RResult::RErr(message) => Err(message.into()),
            }
        }
    }

    /// Calls an endpoint.
    pub fn call(&self, request: WireRequest) -> impl Future<Output = WireResponse> + Send + use<> {
        let answer = self.0.call(request.into());
        async move { answer.await.into() }
    }

    /// Performs an operation.
    pub fn invoke(
        &self,
        operation: &str,
        input: &Value,
    ) -> impl Future<Output = Result<Value, OperationError>> + Send + use<> {
        let answer = self.0.invoke(AbiCall::new(operation, input.to_string()));
        async move {
            match answer.await {
                RResult::ROk(answer) => {
                    serde_json::from_str(&answer.output).map_err(|error| OperationError::Failed(error.to_string()))
                }
                RResult::RErr(text) => {
                    Err(serde_json::from_str(&text).unwrap_or_else(|_| OperationError::Failed(text.into())))
                }
            }
        }
    }

    /// Does its own work beside deliveries; ends when that has ended.
    pub fn run(&self) -> impl Future<Output = Result<(), OperationError>> + Send + use<> {
        let answer = self.invoke(RUN, &Value::Null);
        async move { answer.await.map(drop) }
    }

    /// Asks how it is.
    pub fn health(&self) -> impl Future<Output = Health> + Send + use<> {
        let answer = self.0.health(RString::new());
        async move {
            let text: RString = answer.await;
            serde_json::from_str(&text).unwrap_or_else(|_| Health::Bad("the plugin's health cannot be read".to_owned()))
        }
    }

    /// Stops it.
    pub fn stop(&self) -> impl Future<Output = ()> + Send + use<> {
        let answer = self.0.stop(RString::new());
        async move { drop(answer.await) }
    }
}
