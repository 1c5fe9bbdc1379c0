//! What a message says first: what happened to what, how bad it is, and why.

use super::errors;
use crate::event::headline;
use crate::message::fit;
use crate::message::numbers::grouped;
use crate::message::presentation::Presentation;
use crate::{AccessLicenses, Event, kind};

/// Longest reason and longest first line of a posted message, in characters.
const LONGEST_REASON: usize = 300;
const LONGEST_NOTE: usize = 80;

/// What happened, and to what: `Reload task failed: Sales nightly`.
pub(super) fn heading(event: &Event, presentation: &Presentation) -> String {
    let data = &event.data;
    let known = match event.kind.as_str() {
        kind::MESSAGE_POSTED => data.posted.as_ref().and_then(|posted| first_line(posted.text.as_deref()?)),
        kind::SERVER_LICENSE_STATUS | kind::SERVER_LICENSE_EXPIRING | kind::SERVER_LICENSE_EXPIRED => {
            let days = data.server_license.as_ref().and_then(|license| license.days_until_expiry);
            days.map(|days| format!("Server licence {}", expires(days)))
        }
        kind::CERTIFICATE_EXPIRING => data.certificate.as_ref().and_then(|certificate| {
            let file = certificate.file.as_deref()?.rsplit(['/', '\\']).next()?;
            Some(format!("Certificate {}: {file}", expires(certificate.days_until_expiry?)))
        }),
        kind::ACCESS_LICENSE_USAGE => Some("Access licences in use".to_owned()),
        kind::ACCESS_LICENSE_LOW => data.access_licenses.as_deref().map(few_left),
        kind::ACCESS_LICENSE_RELEASED => data.license_release.as_ref().map(|release| {
            let licenses = match release.released.as_ref().map_or(0, Vec::len) {
                0 => "No access licences".to_owned(),
                1 => "1 access licence".to_owned(),
                count => format!("{} access licences", grouped(count)),
            };
            let would = if release.dry_run == Some(true) { "would be released" } else { "released" };
            format!("{licenses} {would}")
        }),
        kind::ACTIVE_USERS_COUNTED => data.active_users.as_ref().and_then(|users| match users.count? {
            0 => Some("No users are active".to_owned()),
            1 => Some("1 user is active".to_owned()),
            count => Some(format!("{} users are active", grouped(count))),
        }),
        kind::QLIK_VERSION_CHECKED => data.qlik_version.as_ref().and_then(|version| {
            Some(format!("Version of Qlik Sense: {}", version.release_label.as_ref().or(version.version.as_ref())?))
        }),
        kind::DELIVERY_DEAD => data.dead.as_ref().and_then(|dead| {
            let messages = match dead.count {
                Some(1) | None => "A message".to_owned(),
                Some(count) => format!("{count} messages"),
            };
            Some(format!("{messages} could not be delivered to {}", dead.instance.as_ref()?))
        }),
        kind::AUDIT_WRITE => data
            .audit
            .as_ref()
            .and_then(|audit| Some(format!("Change by REST: {} {}", audit.method.as_ref()?, audit.path.as_ref()?))),
        kind::BUTLER_UPTIME => Some("Butler is running".to_owned()),
        kind::BUTLER_INGEST => Some("Events received by Butler".to_owned()),
        kind::UDP_FAILED => Some("UDP socket failed: no events are heard".to_owned()),
        kind::UDP_LISTENING => Some("UDP socket listens".to_owned()),
        _ => None,
    };
    known.filter(|heading| !heading.trim().is_empty()).unwrap_or_else(|| {
        let what = headline(&event.kind);
        named(event, presentation).map_or_else(|| what.clone(), |name| format!("{what}: {name}"))
    })
}

/// What it happened to.
fn named(event: &Event, presentation: &Presentation) -> Option<String> {
    let data = &event.data;
    let task = data.task.iter().flat_map(|task| [&task.name, &task.id]);
    let app = data.app.iter().flat_map(|app| [&app.name, &app.id]);
    if let Some(name) = task.chain(app).find(|name| !name.is_empty()) {
        return Some(name.clone());
    }
    if let Some(service) = &data.service {
        let names = [&service.friendly_name, &service.display_name, &service.name];
        let name = names.into_iter().flatten().find(|name| !name.is_empty())?;
        let host = service.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        return Some(format!("{name}{host}"));
    }
    if event.subject().starts_with("user-") {
        return data.user.as_ref().map(|user| presentation.user(user));
    }
    data.node.clone()
}

/// `Only 2 analyzer licences are left`: the type, if it is one, and how many, if that is known.
fn few_left(licenses: &AccessLicenses) -> String {
    let of_users = [("professional", &licenses.professional), ("analyzer", &licenses.analyzer)];
    let of_users = of_users.into_iter().filter_map(|(name, access)| Some((name, access.as_ref()?.available)));
    let others = [
        licenses.analyzer_capacity.as_ref().map(|_| ("analyzer capacity", None)),
        licenses.tokens.as_ref().map(|_| ("token", None)),
    ];
    let low: Vec<(&str, Option<i64>)> = of_users.chain(others.into_iter().flatten()).collect();
    match low.as_slice() {
        [(name, Some(0))] => format!("No {name} licences are left"),
        [(name, Some(1))] => format!("Only 1 {name} licence is left"),
        [(name, Some(count))] => format!("Only {} {name} licences are left", grouped(count)),
        [("analyzer capacity", None)] => "Little analyzer capacity is left".to_owned(),
        [("token", None)] => "Few tokens are left".to_owned(),
        _ => "Few access licences are left".to_owned(),
    }
}

/// `expires in 28 days`, `expired 3 days ago`
fn expires(days: i64) -> String {
    match days {
        ..-1 => format!("expired {} days ago", -days),
        -1 => "expired yesterday".to_owned(),
        0 => "expires today".to_owned(),
        1 => "expires tomorrow".to_owned(),
        _ => format!("expires in {days} days"),
    }
}

fn first_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| fit::cut(line, LONGEST_NOTE))
}

/// Why, in one line, for bad news: what Qlik Cloud gives as error, who aborted, the last error of the script log, or else
/// what the log line or Butler says.
pub(super) fn reason(event: &Event, logged: &[String], presentation: &Presentation) -> Option<String> {
    if !matches!(event.severity(), "failure" | "warning") {
        return None;
    }
    let data = &event.data;
    let cloud = data.cloud.as_ref().and_then(|cloud| cloud.error_message.clone());
    let aborted = data.user.as_ref().filter(|_| event.outcome() == "aborted");
    let aborted = aborted.map(|user| format!("Aborted by {}", presentation.user(user)));
    let logged = logged.last().map(|line| errors::without_time(line).to_owned());
    let told = data.log.as_ref().map(|log| log.message.clone()).filter(|message| !message.is_empty());
    let own = data.message.as_ref().map(|message| {
        let mut letters = message.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    });
    let reason = cloud.or(aborted).or(logged).or(told).or(own)?;
    Some(fit::cut(reason.trim(), LONGEST_REASON)).filter(|reason| !reason.is_empty())
}
