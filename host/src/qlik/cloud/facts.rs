//! From a tenant's JSON to facts. Nothing is taken for granted: a field that is missing or of another type is not known.
//!
//! Format: Qlik's developer portal, REST APIs `reloads`, `apps`, `items`, `users`.

use butler_plugin_api::App;
use serde_json::Value;
use url::Url;

use crate::qlik::facts::{event_time, millis};

/// Longest text that is kept, in characters.
const LONGEST: usize = 20_000;
/// Most tags of an app.
const TAGS: usize = 500;

/// A reload, by the reload service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reload {
    pub(super) app_id: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) trigger: Option<String>,
    pub(super) status: Option<String>,
    pub(super) log: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) start_time: Option<String>,
    pub(super) stop_time: Option<String>,
    pub(super) partial: Option<bool>,
}

impl Reload {
    /// Milliseconds from start to end.
    pub(super) fn duration_ms(&self) -> Option<i64> {
        let (start, stop) = (millis(self.start_time.as_deref()?)?, millis(self.stop_time.as_deref()?)?);
        (stop >= start).then_some(stop - start)
    }

    /// Whether it is over, as far as the service knows by now.
    pub(super) fn is_over(&self) -> bool {
        const OPEN: [&str; 3] = ["QUEUED", "RELOADING", "CANCELING"];
        self.status.as_ref().is_none_or(|status| !OPEN.iter().any(|open| open.eq_ignore_ascii_case(status)))
    }
}

/// `GET /api/v1/reloads/<id>`
pub(super) fn reload(json: &Value) -> Reload {
    Reload {
        app_id: text(&json["appId"]),
        user_id: text(&json["userId"]),
        trigger: text(&json["type"]),
        status: text(&json["status"]),
        log: text(&json["log"]),
        error_code: text(&json["errorCode"]),
        error_message: text(&json["errorMessage"]),
        start_time: time(&json["startTime"]),
        stop_time: time(&json["endTime"]),
        partial: json["partial"].as_bool(),
    }
}

/// What the apps service knows of an app.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AppInfo {
    /// Without tags, size and owner.
    pub(super) app: App,
    pub(super) owner_id: Option<String>,
    pub(super) has_section_access: Option<bool>,
    pub(super) thumbnail: Option<String>,
    pub(super) usage: Option<String>,
}

/// `GET /api/v1/apps/<id>`
pub(super) fn app(id: &str, base: &Url, json: &Value) -> AppInfo {
    let of = &json["attributes"];
    // Relative to the tenant, if it is.
    let thumbnail = text(&of["thumbnail"])
        .and_then(|at| base.join(&at).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    AppInfo {
        app: App {
            id: id.to_owned(),
            name: text(&of["name"]).unwrap_or_default(),
            description: text(&of["description"]),
            last_reload_time: time(&of["lastReloadTime"]),
            modified_date: time(&of["modifiedDate"]),
            publish_time: time(&of["publishTime"]),
            published: of["published"].as_bool(),
            ..App::default()
        },
        owner_id: text(&of["ownerId"]),
        has_section_access: of["hasSectionAccess"].as_bool(),
        thumbnail: thumbnail.map(Into::into),
        usage: text(&of["usage"]),
    }
}

/// What the items service knows of an app.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Item {
    pub(super) tags: Vec<String>,
    pub(super) file_size_bytes: Option<u64>,
}

/// `GET /api/v1/items?resourceType=app&resourceId=<id>`: the entry of the app; absent: there is none.
pub(super) fn item(app_id: &str, json: &Value) -> Option<Item> {
    let is_it = |item: &&Value| item["resourceId"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(app_id));
    let item = json["data"].as_array()?.iter().find(is_it)?;
    let tags = item["meta"]["tags"].as_array().into_iter().flatten();
    Some(Item {
        tags: tags.filter_map(|tag| text(&tag["name"])).take(TAGS).collect(),
        file_size_bytes: item["resourceSize"]["appFile"].as_u64(),
    })
}

/// A user of the tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct User {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) picture: Option<String>,
    pub(super) tenant_id: Option<String>,
}

/// `GET /api/v1/users/<id>`
pub(super) fn user(json: &Value) -> User {
    User {
        name: text(&json["name"]),
        email: text(&json["email"]).map(|email| email.trim().to_owned()),
        picture: text(&json["picture"]),
        tenant_id: text(&json["tenantId"]),
    }
}

/// A text that says something.
fn text(json: &Value) -> Option<String> {
    json.as_str().filter(|text| !text.is_empty()).map(|text| short(text, LONGEST))
}

/// UTC with milliseconds. The year 1 stands for "never".
fn time(json: &Value) -> Option<String> {
    let text = json.as_str().filter(|text| !text.starts_with("0001-"))?;
    event_time(text)
}

/// The beginning of a text, if it has more than so many characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const APP: &str = "3f6d2c1a-1111-4222-8333-944445555666";

    #[test]
    fn what_is_of_another_form_is_not_known() {
        assert_eq!(
            reload(&json!({ "status": 7, "startTime": "soon", "partial": "yes", "log": "" })),
            Reload::default()
        );
        let base = Url::parse("https://t.test").unwrap();
        let info =
            app(APP, &base, &json!({ "attributes": { "thumbnail": "/a.png", "published": 1, "name": "Orders" } }));
        assert_eq!((info.thumbnail.as_deref(), info.app.name.as_str()), (Some("https://t.test/a.png"), "Orders"));
        assert_eq!((info.app.published, app(APP, &base, &json!([])).app.id), (None, APP.to_owned()));
    }

    #[test]
    fn the_item_is_that_of_the_app_and_may_have_no_tags() {
        let other = json!({ "resourceId": "other", "meta": { "tags": [{ "name": "wrong" }] } });
        let own = json!({ "resourceId": APP.to_uppercase(), "resourceSize": { "appFile": 7 } });
        let found = item(APP, &json!({ "data": [other, own] })).unwrap();
        assert_eq!((found.tags.len(), found.file_size_bytes), (0, Some(7)));
        for none in [json!({ "data": [other] }), json!({ "data": {} }), json!([])] {
            assert_eq!(item(APP, &none), None, "{none}");
        }
    }

    #[test]
    fn a_duration_needs_both_ends_in_order() {
        let reload = |start: &str, end: &str| reload(&json!({ "startTime": start, "endTime": end })).duration_ms();
        assert_eq!(reload("2025-03-09T14:05:01Z", "2025-03-09T15:05:06.120+01:00"), Some(5_120));
        assert_eq!(reload("2025-03-09T14:05:01Z", "2025-03-09T14:05:00Z"), None);
        assert_eq!(reload("2025-03-09T14:05:01Z", "0001-01-01T00:00:00Z"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,300}", most in 0_usize..100) {
            prop_assert!(short(&text, most).chars().count() <= most + 1);
        }
    }
}
