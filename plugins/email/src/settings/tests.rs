use serde_json::{Value, json};

use super::*;

fn check(change: impl FnOnce(&mut Value)) -> Result<(Checked, Smtp), String> {
    let mut settings = json!({ "smtp": { "host": "mail.test" }, "from": "q@acme.test", "recipients": ["a@x.io"] });
    change(&mut settings);
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    settings.check("/etc/butler")
}

#[test]
fn server_sender_and_a_recipient_are_enough_and_safe() {
    let (checked, smtp) = check(|_| {}).unwrap();
    assert_eq!((smtp.port, smtp.tls, smtp.verify, smtp.auth.is_none()), (587, TlsMode::Starttls, true, true));
    assert_eq!((smtp.server_name.as_str(), smtp.timeout), ("mail.test", Duration::from_secs(30)));
    assert_eq!((checked.mode, checked.priority, checked.throttle), (Mode::PerRecipient, Priority::Normal, None));
    assert!(checked.html.templates.is_built_in());
}

#[test]
fn ports_go_by_encryption() {
    for (tls, port) in [("none", 25), ("starttlsIfOffered", 25), ("starttls", 587), ("implicit", 465)] {
        assert_eq!(check(|settings| settings["smtp"]["tls"] = tls.into()).unwrap().1.port, port, "{tls}");
    }
    assert_eq!(check(|settings| settings["smtp"]["port"] = 2525.into()).unwrap().1.port, 2525);
    for host in ["::1", "[::1]"] {
        assert_eq!(check(|settings| settings["smtp"]["host"] = host.into()).unwrap().1.host, "::1");
    }
}

#[test]
fn files_are_relative_to_the_config() {
    let (checked, smtp) = check(|settings| {
        settings["smtp"]["ca"] = "certs/ca.pem".into();
        settings["templateFile"] = "mail/mine.handlebars".into();
    })
    .unwrap();
    assert_eq!(smtp.ca.unwrap(), Path::new("/etc/butler/certs/ca.pem"));
    let error = checked.html.templates.of("reload-task.failed").unwrap_err().to_string();
    assert!(error.contains("/etc/butler/mail/mine.handlebars"), "{error}");
}

#[test]
fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
    let auth = |more: Value| {
        let mut auth = json!({ "user": "u" });
        auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        auth
    };
    let oauth = |url: &str| json!({ "tokenUrl": url, "clientId": "c", "clientSecret": "s3cret-value" });
    let password = json!({ "password": "s3cret-value" });
    for (path, value, part) in [
        ("/smtp/host", json!("mail.test:25"), "`smtp.port`"),
        ("/smtp/host", json!("smtp://mail.test"), "alone"),
        ("/smtp/host", json!(" "), "alone"),
        ("/smtp/tls", json!("ssl"), "unknown variant"),
        ("/smtp/timeout", json!("3m"), "`smtp.timeout` is `3m`"),
        ("/smtp/timeout", json!("30"), "such as `30s`"),
        ("/smtp/auth", auth(json!({})), "needs a `password`"),
        ("/smtp/auth", auth(json!({ "password": "" })), "needs a `password`"),
        ("/smtp/auth", auth(json!({ "password": "s3cret-value", "oauth": oauth("https://t.test/") })), "remove one"),
        ("/smtp/auth", auth(json!({ "password": "s3cret-value", "method": "xoauth2" })), "`smtp.auth.oauth`"),
        ("/smtp/auth", auth(json!({ "oauth": oauth("https://t.test/"), "method": "login" })), "`method: xoauth2`"),
        ("/smtp/auth", auth(json!({ "oauth": oauth("http://t.test/") })), "`https:`"),
        ("/smtp/auth", auth(json!({ "oauth": oauth("http://127.0.0.1.t.test/") })), "`https:`"),
        ("/smtp", json!({ "host": "m", "tls": "none", "auth": auth(password.clone()) }), "allowPlainText"),
        ("/smtp", json!({ "host": "m", "tls": "none", "ca": "x.pem" }), "`smtp.ca`"),
        ("/smtp", json!({ "host": "m", "verify": false, "serverName": "x" }), "`smtp.serverName`"),
        ("/from", json!("noreply"), "`from` is `noreply`"),
        ("/recipients", json!(["Joe <joe@x.io>"]), "`recipients`: `Joe <joe@x.io>`"),
        ("/recipients", json!([]), "nobody gets mails"),
        ("/recipientsIf", json!({ "property": "P" }), "both `property` and `value`"),
        ("/recipientsIf", json!({}), "or `tag`"),
        ("/owner", json!({ "exclude": [{ "userId": "ann" }] }), "`owner.exclude`"),
        ("/owner", json!({ "include": [{ "email": "a@x.io", "userId": "ann", "directory": "D" }] }), "`owner.include`"),
        ("/owner", json!({ "exclude": ["LAB\\ann"] }), "`owner.exclude`: `LAB\\ann`: it has no @"),
        ("/owner", json!({ "include": [{ "email": "ann" }] }), "`owner.include`: `ann`: it has no @"),
        ("/recipients", json!(["a@x.io, b@x.io"]), "one address per value"),
        ("/smtp/host", json!("[::1]:25"), "`smtp.port`"),
        ("/throttle", json!({ "every": "8d" }), "`throttle.every` is `8d`"),
        ("/throttle", json!({ "every": "0s" }), "more than nothing"),
        ("/redirectTo", json!("me"), "`redirectTo` is `me`"),
        ("/timeZone", json!("Mars/Olympus"), "`timeZone`"),
        ("/headScriptLogLines", json!(1001), "`headScriptLogLines`"),
        ("/mode", json!("cc"), "unknown variant"),
        ("/colour", json!("red"), "unknown field"),
    ] {
        let error = check(|settings| {
            let (parent, name) = path.rsplit_once('/').unwrap();
            let parent = if parent.is_empty() { settings } else { settings.pointer_mut(parent).unwrap() };
            parent[name] = value;
        });
        let error = error.err().unwrap_or_else(|| panic!("{path} is taken"));
        assert!(error.contains(part) && !error.contains("s3cret"), "{path}: {error}");
    }
    let local = oauth("http://127.0.0.1:8080/token");
    assert!(check(|settings| settings["smtp"]["auth"] = auth(json!({ "oauth": local }))).is_ok());
    let open = json!({ "host": "m", "tls": "none", "auth": auth(json!({ "password": "p", "allowPlainText": true })) });
    assert!(check(|settings| settings["smtp"] = open).is_ok());
}

#[test]
fn times_have_units() {
    let longest = Duration::from_hours(168);
    for (text, seconds) in [("90s", 90), (" 10 m ", 600), ("2h", 7200), ("7d", 604_800)] {
        assert_eq!(span("x", text, longest).unwrap().as_secs(), seconds);
    }
    for text in ["", "m", "10", "-1s", "1.5h", "10w", "99999999999999999999s", "18446744073709551615h"] {
        assert!(span("x", text, longest).is_err(), "{text}");
    }
}
