//! Which failed reloads outside the scheduler are told: section `appReload` of the config.

use butler_plugin_api::{App, Event, kind};

use crate::config::{AppReload, Patterns};

/// Whether an event is routed. Every event is that is no `app-reload.failed` of the engine's log; of these, those whose
/// user, app or stream is in a list, and those of which that cannot be told: an alert too many beats one too few.
pub(super) fn is_told(lists: &AppReload, event: &Event) -> bool {
    // What a plugin emits under this kind is its own business.
    if event.kind != kind::APP_RELOAD_FAILED || event.source != "udp" {
        return true;
    }
    let data = &event.data;
    if data.user.as_ref().is_some_and(|user| lists.except_users.fit(user)) {
        return false;
    }
    // Until Qlik Sense has told of the app, only its id is known. An app that is in no stream is told without one.
    let missing = data.missing.iter().any(|fact| fact == "app");
    let app = data.app.as_deref();
    let known = app.filter(|app| !missing && !app.name.is_empty());
    holds(&lists.users, data.user.is_some(), data.user.as_deref())
        || holds(&lists.apps, known.is_some(), app.into_iter().flat_map(|app| [app.id.as_str(), app.name.as_str()]))
        || holds(&lists.streams, known.is_some(), known.into_iter().flat_map(stream))
}

/// Id and name of an app's stream, if it is in one.
fn stream(app: &App) -> impl Iterator<Item = &str> {
    app.stream.iter().flat_map(|stream| [stream.id.as_str(), stream.name.as_str()])
}

/// Whether one of the values is in the list, or could be because they are not known. An empty list asks for nothing.
fn holds<'a>(list: &Patterns, known: bool, values: impl IntoIterator<Item = &'a str>) -> bool {
    !list.is_empty() && (!known || values.into_iter().any(|value| !value.is_empty() && list.fit(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]
    fn told(lists: Value, data: Value) -> bool {
        let lists: AppReload = serde_json::from_value(lists).unwrap();
        let event = json!({
            "id": "x-1", "kind": kind::APP_RELOAD_FAILED, "time": "", "receivedAt": "", "source": "udp", "data": data
        });
        is_told(&lists, &serde_json::from_value(event).unwrap())
    }

    fn by(user: &str) -> Value {
        json!({ "user": user, "app": { "id": "a1", "name": "Sales", "stream": { "id": "s1", "name": "Finance EU" } } })
    }

    #[test]
    fn without_a_section_service_accounts_are_told_and_people_are_not() {
        assert!(told(json!({}), by(r"INTERNAL\sa_api")) && told(json!({}), by(r"internal\sa_api")));
        assert!(!told(json!({}), by(r"LAB\ann")));
        // A failed task would be told twice.
        assert!(!told(json!({ "apps": ["*"] }), by(r"INTERNAL\sa_scheduler")));
        assert!(told(json!({ "exceptUsers": [] }), by(r"INTERNAL\sa_scheduler")));
    }

    #[test]
    fn one_list_that_holds_is_enough() {
        for (told_, lists) in [
            (true, json!({ "users": [r"lab\*"] })),
            (true, json!({ "users": [], "apps": ["sal*"] })),
            (true, json!({ "users": [], "apps": ["A1"] })),
            (true, json!({ "users": [r"INTERNAL\*"], "streams": ["Finance*"] })),
            (true, json!({ "users": [], "streams": ["s1"] })),
            (false, json!({ "users": [], "apps": [], "streams": [] })),
            (false, json!({ "users": [r"LAB\bob"], "apps": ["Sale"], "streams": ["Finance"] })),
        ] {
            assert_eq!(told(lists.clone(), by(r"LAB\ann")), told_, "{lists}");
        }
    }

    #[test]
    fn what_cannot_be_told_passes_but_only_where_it_is_asked_for() {
        let unknown = || json!({ "user": r"LAB\ann", "app": { "id": "a1", "name": "" }, "missing": ["app"] });
        assert!(!told(json!({}), unknown()), "neither app nor stream matters");
        assert!(told(json!({ "apps": ["Sales"] }), unknown()));
        assert!(told(json!({ "streams": ["Finance*"] }), unknown()));
        assert!(told(json!({}), json!({ "app": { "id": "a1", "name": "Sales" } })), "the user is not known");
        assert!(!told(json!({ "users": [], "apps": ["x"] }), json!({ "app": { "id": "a1", "name": "Sales" } })));
        // Without Qlik Sense in the config only the id is known, and nothing is missing that was asked for.
        let heard = || json!({ "user": r"LAB\ann", "app": { "id": "a1", "name": "" } });
        assert!(told(json!({ "streams": ["Finance*"] }), heard()));
        // An owner that is missing says nothing about the stream.
        let no_owner = json!({ "user": r"LAB\ann", "app": { "id": "a1", "name": "Sales" }, "missing": ["owner"] });
        assert!(!told(json!({ "streams": ["Finance*"] }), no_owner));
    }

    #[test]
    fn other_kinds_and_other_sources_are_not_asked() {
        for (kind, source) in [("reload-task.failed", "udp"), (kind::APP_RELOAD_FAILED, "instance:x")] {
            let event = json!({
                "id": "x-1", "kind": kind, "time": "", "receivedAt": "", "source": source, "data": by(r"LAB\ann")
            });
            assert!(is_told(&AppReload::default(), &serde_json::from_value(event).unwrap()));
        }
    }
}
