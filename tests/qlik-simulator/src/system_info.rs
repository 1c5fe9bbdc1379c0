//! The service that tells version and product: on a port of its own, by client certificate alone.

use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde_json::json;

use crate::body::Answer;
use crate::listener::Service;
use crate::qrs::{ConnectionReset, Reply};

pub(crate) struct SystemInfo;

impl Service for SystemInfo {
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Answer>, ConnectionReset> {
        let reply = match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/systeminfo") => Reply::json(system_info().to_string()),
            _ => Reply::text(StatusCode::NOT_FOUND, "Not found"),
        };
        Ok(reply.into_response())
    }
}

fn system_info() -> serde_json::Value {
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
