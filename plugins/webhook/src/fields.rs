//! Format `butler16`: one flat object, or the same fields as a query.
//!
//! The kinds that Butler 16 had webhooks for keep its fields, names and order, and carry `eventId` at the end. All other
//! kinds get the same scheme: `event` is a text for people, then come the facts that are known, `eventId` and `kind`. Where
//! there is something to say beyond the facts (a test, late, suppressed, missing), `note` stands before `eventId`.

use butler_plugin_api::message::cut;
use butler_plugin_api::{Delivery, Event, kind};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;

/// Longest values in a query, in characters: the first with which the address is short enough.
const QUERY_VALUES: [usize; 4] = [500, 200, 80, 20];
/// Longest address in bytes: many servers refuse more than 8 kB, headers included.
const LONGEST_ADDRESS: usize = 6000;
/// How many further facts an event without a form of its own may bring.
const MOST_FACTS: usize = 100;

/// Fields in order; what is not known is not in it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fields(Vec<(String, Value)>);

/// The original spells a few names differently in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Json,
    Query,
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Fields {
    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.push((name.to_owned(), value.into()));
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// The fields of a delivery.
pub(crate) fn butler16(delivery: &Delivery, names: Names) -> Fields {
    let event = &delivery.event;
    let mut fields = Fields::default();
    let mut is_original = true;
    match event.kind.as_str() {
        kind::RELOAD_TASK_FAILED => {
            fields.put("event", Some("Qlik Sense reload failed"));
            task(&mut fields, event, event.data.user.as_ref().map(|user| user.replace(r"\\", r"\")));
        }
        kind::RELOAD_TASK_ABORTED => {
            fields.put("event", Some("Qlik Sense reload aborted"));
            task(&mut fields, event, event.data.user.clone());
        }
        kind::SERVER_LICENSE_STATUS => license(&mut fields, event, names, "server license status"),
        kind::SERVER_LICENSE_EXPIRED => license(&mut fields, event, names, "server license has expired alert"),
        kind::SERVER_LICENSE_EXPIRING => license(&mut fields, event, names, "server license about to expire alert"),
        kind::SERVICE_STOPPED => service(&mut fields, event, names, "STOPPED", true),
        kind::SERVICE_STARTED => service(&mut fields, event, names, "RUNNING", true),
        kind::SERVICE_STATE | kind::SERVICE_UNKNOWN => {
            is_original = false;
            service(&mut fields, event, names, "UNKNOWN", false);
            fields.put("message", event.data.message.clone());
        }
        _ => {
            is_original = false;
            fields.put("event", Some(headline(&event.kind)));
            task(&mut fields, event, event.data.user.clone());
            further(&mut fields, event.data.further());
        }
    }
    fields.put("note", Some(delivery.note()).filter(|note| !note.is_empty()));
    fields.put("eventId", Some(event.id.clone()));
    if !is_original {
        fields.put("kind", Some(event.kind.clone()));
    }
    fields
}

/// The facts of a task event in the original's order.
fn task(fields: &mut Fields, event: &Event, user: Option<String>) {
    let data = &event.data;
    let known = |text: &String| !text.is_empty();
    fields.put("hostName", data.node.clone().filter(known));
    fields.put("user", user.filter(known));
    fields.put("taskName", data.task.as_ref().map(|task| task.name.clone()).filter(known));
    fields.put("taskId", data.task.as_ref().map(|task| task.id.clone()).filter(known));
    fields.put("appName", data.app.as_ref().map(|app| app.name.clone()).filter(known));
    fields.put("appId", data.app.as_ref().map(|app| app.id.clone()).filter(known));
    let owner = data.app.as_ref().and_then(|app| app.owner.as_ref());
    fields.put("appOwnerName", owner.map(|owner| owner.name.clone()));
    fields.put("appOwnerUserDirectory", owner.map(|owner| owner.user_directory.clone()));
    fields.put("appOwnerUserId", owner.map(|owner| owner.user_id.clone()));
    // As in the original there is always a text for a reload: receivers read it without asking whether it is there.
    let email = owner.map(|owner| owner.emails.first().cloned().unwrap_or_default());
    let is_original = matches!(event.kind.as_str(), kind::RELOAD_TASK_FAILED | kind::RELOAD_TASK_ABORTED);
    fields.put("appOwnerEmail", email.or_else(|| is_original.then(String::new)));
    fields.put("logTimeStamp", data.log.as_ref().map(|log| log.timestamp.clone()).filter(known));
    fields.put("logLevel", data.log.as_ref().map(|log| log.level.clone()).filter(known));
    fields.put("executionId", data.execution.as_ref().and_then(|execution| execution.id.clone()));
    fields.put("logMessage", data.log.as_ref().map(|log| log.message.clone()).filter(known));
}

/// In JSON the original has null for what a licence does not tell, in a query nothing.
fn license(fields: &mut Fields, event: &Event, names: Names, text: &str) {
    let license = event.data.server_license.as_deref();
    let mut put = |name: &str, value: Option<Value>| {
        fields.put(name, value.or_else(|| (names == Names::Json).then_some(Value::Null)));
    };
    put("event", Some(text.into()));
    let expired = license.and_then(|license| license.expired).or_else(|| known_expiry(&event.kind));
    put("licenseExpired", expired.map(Value::from));
    put("expiryDateStr", license.and_then(|license| license.expiry_date.clone()).map(Value::from));
    put("daysUntilExpiry", license.and_then(|license| license.days_until_expiry).map(Value::from));
}

/// What the kind alone says about `licenseExpired`.
fn known_expiry(kind: &str) -> Option<bool> {
    match kind {
        kind::SERVER_LICENSE_EXPIRED => Some(true),
        kind::SERVER_LICENSE_EXPIRING => Some(false),
        _ => None,
    }
}

fn service(fields: &mut Fields, event: &Event, names: Names, status: &str, is_change: bool) {
    let mut put = |name: &str, value: Option<String>| {
        let lower = names == Names::Query;
        fields.put(&if lower { name.to_ascii_lowercase() } else { name.to_owned() }, value);
    };
    let service = event.data.service.as_deref().cloned().unwrap_or_default();
    let state = service.state.map_or_else(|| status.to_owned(), |state| state.to_uppercase());
    put("event", Some("Windows service monitor".to_owned()));
    put("host", service.host.or_else(|| event.data.node.clone()));
    put("serviceStatus", Some(state.clone()));
    put("serviceName", service.name);
    put("serviceDisplayName", service.display_name);
    put("serviceStartType", service.start_type);
    // So Butler 16 calls what it has not seen before: a service that is stopped at the first look.
    let unseen = (event.kind == kind::SERVICE_STOPPED).then(|| "PAUSED".to_owned());
    put("prevState", service.previous_state.map(|state| state.to_uppercase()).or(unseen));
    put("currState", Some(state));
    fields.put(if names == Names::Query { "statechanged" } else { "stateChanged" }, Some(is_change));
}

/// The facts of kinds that have no form of their own. A fact whose name is taken is left out.
fn further(fields: &mut Fields, facts: Map<String, Value>) {
    for (name, value) in facts.into_iter().take(MOST_FACTS) {
        if !value.is_null() && !fields.has(&name) && !matches!(name.as_str(), "note" | "eventId" | "kind") {
            fields.put(&name, Some(value));
        }
    }
}

/// `preload-task.failed` as `Qlik Sense preload task failed`; `node.silent` as `Node silent`.
fn headline(kind: &str) -> String {
    let words = kind.replace(['-', '.'], " ");
    if kind.contains("-task.") {
        return format!("Qlik Sense {words}");
    }
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Adds fields to the query of an address. Lists and objects go as JSON; long values are cut.
pub(crate) fn append_query(url: &mut Url, fields: &Fields) {
    for longest in QUERY_VALUES {
        let mut tried = url.clone();
        let mut query = tried.query_pairs_mut();
        for (name, value) in &fields.0 {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            query.append_pair(name, &cut(&text, longest));
        }
        drop(query);
        if tried.as_str().len() <= LONGEST_ADDRESS || longest == QUERY_VALUES[QUERY_VALUES.len() - 1] {
            *url = tried;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_delivery;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn json_of(delivery: &Delivery) -> String {
        serde_json::to_string_pretty(&butler16(delivery, Names::Json)).unwrap()
    }

    #[test]
    fn reloads_keep_the_fields_of_the_original() {
        insta::assert_snapshot!("failed", json_of(&sample_delivery(kind::RELOAD_TASK_FAILED)));
        insta::assert_snapshot!("aborted", json_of(&sample_delivery(kind::RELOAD_TASK_ABORTED)));
    }

    #[test]
    fn doubled_backslashes_of_the_user_become_single_only_for_failures() {
        for (kind, user) in [(kind::RELOAD_TASK_FAILED, r"LAB\ann"), (kind::RELOAD_TASK_ABORTED, r"LAB\\ann")] {
            let mut delivery = sample_delivery(kind);
            delivery.event.data.user = Some(r"LAB\\ann".to_owned());
            let fields = butler16(&delivery, Names::Json);
            assert!(fields.0.contains(&("user".to_owned(), user.into())), "{fields:?}");
        }
    }

    #[test]
    fn what_could_not_be_fetched_is_left_out() {
        let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        delivery.event.data.app.as_mut().unwrap().owner = None;
        delivery.event.data.execution = None;
        delivery.event.data.missing = vec!["owner".to_owned(), "execution".to_owned()];
        insta::assert_snapshot!("missing", json_of(&delivery));
    }

    #[test]
    fn other_kinds_bring_what_is_known() {
        insta::assert_snapshot!("preload", json_of(&sample_delivery(kind::PRELOAD_TASK_FAILED)));
        let mut delivery = sample_delivery(kind::CERTIFICATE_EXPIRING);
        delivery.event.data.other.insert("kind".to_owned(), json!("not ours"));
        insta::assert_snapshot!("certificate", json_of(&delivery));
    }

    #[test]
    fn licenses_and_services_keep_the_fields_of_the_original() {
        insta::assert_snapshot!("license", json_of(&sample_delivery(kind::SERVER_LICENSE_EXPIRING)));

        let delivery = sample_delivery(kind::SERVICE_STOPPED);
        insta::assert_snapshot!("service", json_of(&delivery));
        let mut url = Url::parse("https://a.test/hook?token=x").unwrap();
        append_query(&mut url, &butler16(&delivery, Names::Query));
        insta::assert_snapshot!("service-query", url.as_str().replace('&', "\n&"));
        let mut first = delivery;
        first.event.data.service.as_mut().unwrap().previous_state = None;
        assert!(json_of(&first).contains(r#""prevState": "PAUSED""#), "{}", json_of(&first));
    }

    proptest! {
        #[test]
        fn any_text_survives_body_and_query(text in "\\PC{0,60}[\"\\\\;&=\r\n\u{1F600}]\\PC{0,60}") {
            let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
            delivery.event.data.log.as_mut().unwrap().message.clone_from(&text);
            let body: Value = serde_json::from_str(&json_of(&delivery)).unwrap();
            prop_assert_eq!(body["logMessage"].as_str().unwrap(), text.as_str());
            let mut url = Url::parse("https://a.test/hook").unwrap();
            append_query(&mut url, &butler16(&delivery, Names::Query));
            let back = url.query_pairs().find(|(name, _)| name == "logMessage").unwrap().1.into_owned();
            prop_assert_eq!(back, text);
        }
    }

    #[test]
    fn long_values_of_a_query_are_cut_at_a_character() {
        let mut delivery = sample_delivery(kind::RELOAD_TASK_FAILED);
        delivery.event.data.log.as_mut().unwrap().message = "ä".repeat(3000);
        let mut url = Url::parse("https://a.test/hook").unwrap();
        append_query(&mut url, &butler16(&delivery, Names::Query));
        let cut = url.query_pairs().find(|(name, _)| name == "logMessage").unwrap().1.into_owned();
        assert_eq!(cut, format!("{}…", "ä".repeat(QUERY_VALUES[0])));
    }

    #[test]
    fn an_address_stays_short_however_much_there_is_to_say() {
        let mut delivery = sample_delivery("moon.risen");
        for number in 0..90 {
            delivery.event.data.other.insert(format!("fact{number}"), "x".repeat(1 << 14).into());
        }
        let mut url = Url::parse("https://a.test/hook?token=x").unwrap();
        append_query(&mut url, &butler16(&delivery, Names::Query));
        assert!(url.as_str().len() < LONGEST_ADDRESS, "{}", url.as_str().len());
        assert!(url.as_str().ends_with("&eventId=sample-1&kind=moon.risen"), "{url}");
    }

    #[test]
    fn a_licence_whose_end_nobody_knows_has_null_in_json_and_nothing_in_a_query() {
        let mut delivery = sample_delivery(kind::SERVER_LICENSE_STATUS);
        delivery.event.data.server_license = None;
        let body: Value = serde_json::from_str(&json_of(&delivery)).unwrap();
        let expected = json!({ "event": "server license status", "licenseExpired": null, "expiryDateStr": null,
                               "daysUntilExpiry": null, "eventId": "sample-1" });
        assert_eq!(body, expected);
        let mut url = Url::parse("https://a.test/").unwrap();
        append_query(&mut url, &butler16(&delivery, Names::Query));
        assert_eq!(url.query(), Some("event=server+license+status&eventId=sample-1"));
        delivery.event.kind = kind::SERVER_LICENSE_EXPIRED.to_owned();
        assert!(json_of(&delivery).contains("\"licenseExpired\": true"));
    }

    #[test]
    fn what_is_beyond_the_facts_is_said_in_a_note() {
        let mut delivery = sample_delivery(kind::SERVICE_STATE);
        delivery.event.source = Event::TEST.to_owned();
        insta::assert_snapshot!("service-state", json_of(&delivery));
    }
}
