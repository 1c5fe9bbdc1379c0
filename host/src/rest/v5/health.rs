//! Health, for load balancers and service managers. Everybody may ask; only who may read is told details.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::super::answer::{Answer, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered, object};
use super::super::request::Call;
use crate::plugins::Condition;
use crate::qlik::{CertificateFacts, GateState, TenantState};
use crate::store::{now_ms, rfc3339};

pub(super) fn endpoints() -> [Declared; 2] {
    let endpoint = |path: &str, summary: &str| Endpoint::new("GET", path, Scope::Read, summary);
    let live = endpoint("/v5/health/live", "Whether the process answers").answer(
        200,
        "It does",
        object(json!({ "status": { "type": "string" } })),
    );
    let report = answered::<Report>();
    let ready = endpoint("/v5/health/ready", "Whether Butler can do its work; details for those who may read")
        .answer(200, "It can", report.clone())
        .answer(503, "It cannot; the reasons say why", report);
    [Declared::new(live, Own::Live).open(), Declared::new(ready, Own::Ready).open()]
}

/// Where Butler 16 had it, for container platforms.
pub(in super::super) fn health_endpoint() -> Declared {
    let schema = object(json!({ "statusCode": { "type": "integer" }, "status": { "type": "string" } }));
    let endpoint = Endpoint::new("GET", "/health", Scope::Read, "Whether the process answers, as Butler 16 said it")
        .answer(200, "It does", schema);
    Declared::new(endpoint, Own::Health).open()
}

#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "Readiness")]
struct Report {
    /// `ready` or `not ready`.
    status: &'static str,
    /// Why it is not ready.
    reasons: Vec<Note>,
    /// What is not as it should be, and does not keep events from being accepted.
    notes: Vec<Note>,
    /// Process id of Butler; for those who may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Note {
    subject: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    message: String,
}

/// `GET /v5/health/live`
pub(in super::super) fn live(context: &Context) -> Answer {
    answer(&context.secrets(), StatusCode::OK, &json!({ "status": "live" }))
}

/// `GET /health`
pub(in super::super) fn health(context: &Context) -> Answer {
    answer(&context.secrets(), StatusCode::OK, &json!({ "statusCode": 200, "status": "ok" }))
}

/// `GET /v5/health/ready`: not ready while nothing can be stored, or while Qlik Sense cannot be asked until somebody renews
/// a certificate. Qlik Sense or an instance that is away is worth a note, but events are accepted and wait for it.
pub(in super::super) fn ready(context: &Context, call: &Call) -> Answer {
    let told = call.caller.as_ref().is_some_and(|caller| caller.may(Scope::Read));
    let qlik = context.lookups.as_ref().map(|lookups| lookups.repository().state());
    let instances = context.instances();
    let instances = instances.iter().map(|instance| (instance.name(), instance.condition()));
    let mut report = report(context.store.trouble(), context.store.overfull(), qlik, instances, told);
    report.process = told.then(std::process::id);
    if let Some(lookups) = &context.lookups {
        let repository = lookups.repository();
        report.add_certificates(&repository.certificates(), repository.server(), now_ms(), told);
    }
    if let Some(certificate) = context.tls.as_ref().and_then(|tls| tls.certificate()) {
        report.add_certificates(&[certificate], "", now_ms(), told);
    }
    context.cloud.states().for_each(|state| report.add_tenant(state, told));
    let (status, report) = report.finish();
    answer(&context.secrets(), status, &report)
}

impl Report {
    fn add_certificates(&mut self, certificates: &[CertificateFacts], server: &str, now: i64, told: bool) {
        for facts in certificates.iter().filter(|facts| facts.due(now).is_some()) {
            let expired = facts.has_expired(now);
            let message = match (told, expired) {
                (true, _) => facts.message(server, now),
                (false, true) => "has expired; Butler's log says what to do".to_owned(),
                (false, false) => "expires soon; Butler's log says what to do".to_owned(),
            };
            let note =
                Note { subject: "certificate", instance: None, state: Some(facts.role.label().to_owned()), message };
            // As with Qlik Sense away: what is heard is still kept and told, with fewer facts.
            self.notes.push(note);
        }
    }

    /// A tenant of Qlik Cloud that does not answer or refuses the token.
    fn add_tenant(&mut self, tenant: TenantState, told: bool) {
        let (state, message) = match (tenant.refused, tenant.gate.reachable) {
            (Some(error), _) => ("refused", error),
            (None, false) => ("unreachable", tenant.gate.last_error.unwrap_or_default()),
            (None, true) => return,
        };
        let message = if told { message } else { "cannot be asked for facts; Butler's log says why".to_owned() };
        self.notes.push(Note { subject: "qlik-cloud", instance: None, state: Some(state.to_owned()), message });
    }

    fn finish(mut self) -> (StatusCode, Self) {
        let ready = self.reasons.is_empty();
        self.status = if ready { "ready" } else { "not ready" };
        (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, self)
    }
}

fn report<'a>(
    trouble: Option<String>,
    overfull: Option<String>,
    qlik: Option<GateState>,
    instances: impl Iterator<Item = (&'a str, Condition)>,
    told: bool,
) -> Report {
    let mut report = Report::default();
    if let Some(trouble) = trouble {
        let message = if told { trouble } else { "cannot be written; Butler's log says why".to_owned() };
        report.reasons.push(Note { subject: "store", instance: None, state: None, message });
    }
    if let Some(message) = overfull {
        report.notes.push(Note { subject: "store", instance: None, state: None, message });
    }
    if let Some(state) = qlik.filter(|state| !state.reachable) {
        let since = state.down_since_ms.map(|since| format!(" since {}", rfc3339(since))).unwrap_or_default();
        let error = state.last_error.filter(|_| told).map(|error| format!(": {error}")).unwrap_or_default();
        let message = format!("does not answer{since}{error}");
        report.notes.push(Note { subject: "qlik", instance: None, state: None, message });
    }
    for (name, condition) in instances.filter(|(_, condition)| *condition != Condition::Running) {
        let state = serde_json::to_value(&condition).ok().and_then(|value| value["state"].as_str().map(str::to_owned));
        let message = match condition {
            Condition::Unavailable { message } | Condition::Failed { message } if told => message,
            _ => "does not run; its deliveries wait".to_owned(),
        };
        report.notes.push(Note { subject: "instance", instance: Some(name.to_owned()), state, message });
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qlik::CertificateRole;

    fn state(reachable: bool) -> GateState {
        let last_error = (!reachable).then(|| "connection refused by sense1".to_owned());
        GateState { reachable, down_since_ms: (!reachable).then_some(0), last_error, last_success_ms: None, outages: 0 }
    }

    #[test]
    fn what_is_away_does_not_make_it_unready_but_the_store_does() {
        let instances = || {
            let unavailable = Condition::Unavailable { message: "no route to mail.internal".to_owned() };
            [("chat", Condition::Running), ("mail", unavailable), ("mqtt", Condition::Stuck)].into_iter()
        };
        let (status, told) = report(None, Some("is large".to_owned()), Some(state(false)), instances(), true).finish();
        assert_eq!(status, StatusCode::OK);
        let notes = json!([
            { "subject": "store", "message": "is large" },
            { "subject": "qlik", "message": "does not answer since 1970-01-01T00:00:00.000Z: connection refused by sense1" },
            { "subject": "instance", "instance": "mail", "state": "unavailable", "message": "no route to mail.internal" },
            { "subject": "instance", "instance": "mqtt", "state": "stuck", "message": "does not run; its deliveries wait" },
        ]);
        assert_eq!(serde_json::to_value(told).unwrap(), json!({ "status": "ready", "reasons": [], "notes": notes }));

        let (status, told) =
            report(Some("disk full".to_owned()), None, Some(state(true)), std::iter::empty(), true).finish();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let reasons = json!([{ "subject": "store", "message": "disk full" }]);
        assert_eq!(
            serde_json::to_value(told).unwrap(),
            json!({ "status": "not ready", "reasons": reasons, "notes": [] })
        );
    }

    #[test]
    fn who_may_not_read_is_told_no_details() {
        let failed = Condition::Failed { message: "no route to mail.internal".to_owned() };
        let report =
            report(Some("disk full".to_owned()), None, Some(state(false)), [("mail", failed)].into_iter(), false);
        let text = serde_json::to_string(&report).unwrap();
        assert!(!["disk full", "sense1", "internal"].iter().any(|detail| text.contains(detail)), "{text}");
        assert!(text.contains("\"state\":\"failed\""), "{text}");
    }

    #[test]
    fn a_tenant_that_is_away_or_refuses_is_a_note() {
        let tenant = |reachable, refused: Option<&str>| TenantState {
            id: "acme".to_owned(),
            gate: state(reachable),
            refused: refused.map(str::to_owned),
            refusals: 1,
        };
        let at = |tenant, told| {
            let mut report = Report::default();
            report.add_tenant(tenant, told);
            let (status, report) = report.finish();
            (status.as_u16(), serde_json::to_value(report).unwrap()["notes"].clone())
        };
        assert_eq!(at(tenant(true, None), true), (200, json!([])));
        let note =
            |state: &str, message: &str| json!([{ "subject": "qlik-cloud", "state": state, "message": message }]);
        assert_eq!(at(tenant(true, Some("401")), true), (200, note("refused", "401")));
        assert_eq!(at(tenant(false, None), true), (200, note("unreachable", "connection refused by sense1")));
        let hidden = "cannot be asked for facts; Butler's log says why";
        assert_eq!(at(tenant(false, None), false), (200, note("unreachable", hidden)));
    }

    #[test]
    fn a_certificate_that_ends_soon_or_has_ended_is_a_note() {
        const DAY: i64 = 24 * 3_600_000;
        let facts = |role, ends_ms| {
            let (file, subject) = (Some("/c/file.pem".into()), "CN=QlikClient".to_owned());
            CertificateFacts { role, file, subject, ends_ms, fingerprint: String::new() }
        };
        let known = [facts(CertificateRole::Authority, 61 * DAY), facts(CertificateRole::Client, 10 * DAY)];
        let at = |now, told| {
            let mut report = Report::default();
            report.add_certificates(&known, "sense1:4242", now, told);
            let (status, report) = report.finish();
            (status.as_u16(), serde_json::to_value(report).unwrap())
        };
        let (status, report) = at(0, true);
        assert_eq!((status, &report["status"], &report["reasons"]), (200, &json!("ready"), &json!([])));
        let message = "the client certificate /c/file.pem is valid for 10 more days (1970-01-11): export the certificates \
                       again from the QMC";
        assert_eq!(report["notes"], json!([{ "subject": "certificate", "state": "client", "message": message }]));
        let (status, report) = at(10 * DAY, false);
        assert_eq!(
            (status, &report["notes"][0]["state"], &report["notes"][1]["state"]),
            (200, &json!("ca"), &json!("client"))
        );
        assert!(!report.to_string().contains("/c/"), "{report}");
    }
}
