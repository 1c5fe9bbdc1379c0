//! Services of Windows, in the form of Butler 16.

use butler_plugin_api::{Event, kind};
use serde::Serialize;

use super::Payload;

/// What both messages about a service have after the names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are those of the members")]
struct ServiceRest<'a> {
    service_dependencies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    service_start_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_exe_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_status: Option<String>,
}

/// The original has the two names in another order when the service stopped.
#[derive(Serialize)]
#[serde(untagged)]
enum ServiceChange<'a> {
    Stopped {
        #[serde(flatten)]
        names: FriendlyFirst<'a>,
        #[serde(flatten)]
        rest: ServiceRest<'a>,
        #[serde(flatten)]
        change: Change,
    },
    Running {
        #[serde(flatten)]
        names: DisplayFirst<'a>,
        #[serde(flatten)]
        rest: ServiceRest<'a>,
        #[serde(flatten)]
        change: Change,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are those of the members")]
struct FriendlyFirst<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_friendly_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_display_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are those of the members")]
struct DisplayFirst<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_friendly_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are those of the members")]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_prev_status: Option<String>,
    service_status_changed: bool,
}

fn display_first(event: &Event) -> DisplayFirst<'_> {
    let service = event.data.service.as_deref();
    DisplayFirst {
        service_host: service.and_then(|service| service.host.as_deref()).or(event.data.node.as_deref()),
        service_name: service.and_then(|service| service.name.as_deref()),
        service_display_name: service.and_then(|service| service.display_name.as_deref()),
        service_friendly_name: service.and_then(|service| service.friendly_name.as_deref()),
    }
}

fn service_rest(event: &Event) -> ServiceRest<'_> {
    let service = event.data.service.as_deref();
    let by_kind = match event.kind.as_str() {
        kind::SERVICE_STOPPED => Some("STOPPED"),
        kind::SERVICE_STARTED => Some("RUNNING"),
        _ => None,
    };
    let state = service.and_then(|service| service.state.as_deref()).or(by_kind);
    ServiceRest {
        service_dependencies: service.and_then(|service| service.dependencies.as_deref()).unwrap_or_default(),
        service_start_type: service.and_then(|service| service.start_type.as_deref()),
        service_exe_path: service.and_then(|service| service.exe_path.as_deref()),
        service_status: state.map(str::to_uppercase),
    }
}

impl<'a> ServiceChange<'a> {
    fn of(event: &'a Event) -> Self {
        let previous = event.data.service.as_ref().and_then(|service| service.previous_state.as_deref());
        // So Butler 16 calls what it has not seen before: a service that is stopped at the first look.
        let previous = previous.or((event.kind == kind::SERVICE_STOPPED).then_some("PAUSED"));
        let change = Change { service_prev_status: previous.map(str::to_uppercase), service_status_changed: true };
        let (names, rest) = (display_first(event), service_rest(event));
        if event.kind == kind::SERVICE_STARTED {
            return Self::Running { names, rest, change };
        }
        let names = FriendlyFirst {
            service_host: names.service_host,
            service_name: names.service_name,
            service_friendly_name: names.service_friendly_name,
            service_display_name: names.service_display_name,
        };
        Self::Stopped { names, rest, change }
    }
}

/// A service that stopped or runs again.
pub(super) fn service_change(event: &Event) -> Payload {
    Payload::json(&ServiceChange::of(event))
}

/// The state of a service, changed or not.
pub(crate) fn service_state(event: &Event) -> Payload {
    #[derive(Serialize)]
    struct State<'a> {
        #[serde(flatten)]
        names: DisplayFirst<'a>,
        #[serde(flatten)]
        rest: ServiceRest<'a>,
    }
    Payload::json(&State { names: display_first(event), rest: service_rest(event) })
}
