//! The service that tells version and product: on a port of its own, by client certificate alone.

use std::sync::{Arc, PoisonError, RwLock};

use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde_json::{Value, json};

use crate::body::Answer;
use crate::listener::Service;
use crate::qrs::{ConnectionReset, Reply};

pub(crate) struct SystemInfo {
    /// None: it is there, but does not know.
    told: RwLock<Option<Value>>,
}

impl SystemInfo {
    pub(crate) fn new() -> Self {
        Self { told: RwLock::new(Some(system_info())) }
    }

    pub(crate) fn tell(&self, told: Option<Value>) {
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = told;
    }
}

impl Service for SystemInfo {
    async fn serve(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, ConnectionReset> {
        let told = self.told.read().unwrap_or_else(PoisonError::into_inner).clone();
        let reply = match (request.method(), request.uri().path(), told) {
            (&Method::GET, "/v1/systeminfo", Some(told)) => Reply::json(told.to_string()),
            (&Method::GET, "/v1/systeminfo", None) => {
                Reply::text(StatusCode::SERVICE_UNAVAILABLE, "The service is starting")
            }
            _ => Reply::text(StatusCode::NOT_FOUND, "Not found"),
        };
        Ok(reply.into_response())
    }
}

fn system_info() -> Value {
    json!({
        "contentHash": "8a2f7c0e5b1d4936",
        "senseId": "qliksenseserver:14.187.4",
        "originalClassName": "Composition",
        "version": "14.187.4",
        "deploymentType": "QlikSenseServer",
        "releaseLabel": "May 2024",
        "deprecatedProductVersion": "4.0.X",
        "productName": "Qlik Sense",
        "copyrightYearRange": "1993-2024",
    })
}
