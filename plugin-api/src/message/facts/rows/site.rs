//! The rows of services, licences, certificates, sessions, and of Butler itself.

use std::collections::BTreeMap;

use super::Rows;
use crate::message::numbers::grouped;
use crate::{
    AccessLicenses, AccessUse, ActiveUsers, Audit, Butler, Data, Dead, Ingest, LicenseRelease, QlikVersion,
    ServerLicense, Service, Session,
};

pub(super) fn add(rows: &mut Rows<'_>, data: &Data) {
    if let Some(service) = &data.service {
        add_service(rows, service);
    }
    if let Some(license) = &data.server_license {
        add_server_license(rows, license);
    }
    if let Some(licenses) = &data.access_licenses {
        add_access_licenses(rows, licenses);
    }
    if let Some(release) = &data.license_release {
        add_license_release(rows, release);
    }
    if let Some(users) = &data.active_users {
        add_active_users(rows, users);
    }
    if let Some(version) = &data.qlik_version {
        add_version(rows, version);
    }
    if let Some(certificate) = &data.certificate {
        rows.some("Certificate", certificate.file.as_ref());
        rows.some("Issued to", certificate.subject.as_ref());
        rows.time("Valid until", certificate.expiry_date.as_ref());
        rows.days("Days left", certificate.days_until_expiry);
    }
    if let Some(silence) = &data.silence {
        rows.some("Silent node", data.node.as_ref());
        rows.time("Heard from last", silence.last_heard_at.as_ref());
        let seconds = silence.seconds.and_then(|seconds| i64::try_from(seconds).ok());
        rows.duration("Silent for", seconds.map(|seconds| seconds.saturating_mul(1000)));
    }
    if let Some(start) = &data.task_start {
        let by = start.selected_by.as_deref().map(|by| match by {
            "taskId" => "id",
            "customProperty" => "custom property",
            other => other,
        });
        let selector = start.selector.as_deref().unwrap_or_default();
        rows.some("Chosen by", by.map(|by| format!("{by} {selector}").trim_end().to_owned()));
        rows.some("Caller", start.caller.as_ref());
    }
    if let Some(session) = &data.session {
        add_session(rows, session);
    }
    if let Some(butler) = &data.butler {
        add_butler(rows, butler);
    }
    if let Some(ingest) = &data.ingest {
        add_ingest(rows, ingest);
    }
    if let Some(udp) = &data.udp {
        rows.some("Address", udp.address.as_ref());
        rows.some("Error", udp.error.as_ref());
    }
    if let Some(dead) = &data.dead {
        add_dead(rows, dead);
    }
    if let Some(audit) = &data.audit {
        add_audit(rows, audit);
    }
    if let Some(posted) = &data.posted {
        rows.some("From", posted.from.as_ref());
        rows.some("Channel", posted.channel.as_ref());
        rows.some("Topic", posted.topic.as_ref());
    }
}

/// `ERROR_SERVICE_SPECIFIC_ERROR` (winerror.h): the service has a code of its own.
const OWN_EXIT_CODE: i64 = 1066;

fn add_service(rows: &mut Rows<'_>, service: &Service) {
    rows.some("Service", service.display_name.as_ref().or(service.friendly_name.as_ref()));
    rows.some("Host", service.host.as_ref());
    rows.some("State", service.state.as_ref());
    rows.some("State before", service.previous_state.as_ref());
    rows.some("Start type", service.start_type.as_ref());
    rows.list("Needs", service.dependencies.as_deref().unwrap_or_default());
    // Of one that ended well there is nothing to say.
    let exit_code = service.exit_code.filter(|code| *code != 0);
    rows.some(
        "Exit code",
        exit_code.map(|code| match service.service_exit_code.filter(|_| code == OWN_EXIT_CODE) {
            Some(own) => format!("{code}, its own {own}"),
            None => code.to_string(),
        }),
    );
    rows.some("Key name", service.name.as_ref());
    rows.some("Program", service.exe_path.as_ref());
}

fn add_server_license(rows: &mut Rows<'_>, license: &ServerLicense) {
    let ends = if license.expired == Some(true) { "Expired on" } else { "Expires on" };
    rows.some(ends, license.expiry_date.as_ref());
    rows.days("Days left", license.days_until_expiry.filter(|days| *days >= 0));
}

fn add_access_licenses(rows: &mut Rows<'_>, licenses: &AccessLicenses) {
    rows.some("Professional", licenses.professional.as_ref().map(in_use));
    rows.some("Analyzer", licenses.analyzer.as_ref().map(in_use));
    if let Some(capacity) = &licenses.analyzer_capacity {
        let of = count(capacity.allocated_minutes).map(|all| format!(" of {all}")).unwrap_or_default();
        rows.some("Analyzer capacity", count(capacity.used_minutes).map(|used| format!("{used}{of} min used")));
    }
    if let Some(tokens) = &licenses.tokens {
        let of = count(tokens.total).map(|all| format!(" of {all}")).unwrap_or_default();
        rows.some("Tokens", count(tokens.available).map(|free| format!("{free}{of} free")));
    }
    let tokens = |used: Option<f64>, all: Option<f64>| {
        count(used).map(|used| format!("{used} of {} tokens in use", count(all).unwrap_or_else(|| "?".to_owned())))
    };
    let user = licenses.token_user.as_ref();
    rows.some("User access", user.and_then(|user| tokens(user.used_tokens, user.allocated_tokens)));
    let login = licenses.token_login.as_ref();
    rows.some("Login access", login.and_then(|login| tokens(login.used_tokens, login.allocated_tokens)));
}

fn count(number: Option<impl ToString>) -> Option<String> {
    number.map(|number| number.to_string())
}

/// `8 of 40 in use (12 assigned, 27 free, 1 in quarantine)`
fn in_use(access: &AccessUse) -> String {
    let used = count(access.used).unwrap_or_else(|| "?".to_owned());
    let of = count(access.total).map(|total| format!(" of {total}")).unwrap_or_default();
    let always = [("assigned", access.allocated), ("free", access.available)];
    let seldom = [("in quarantine", access.quarantined), ("too many", access.excess)];
    let parts = always.into_iter().chain(seldom.into_iter().filter(|(_, number)| *number != Some(0)));
    let parts: Vec<_> = parts.filter_map(|(what, number)| Some(format!("{} {what}", number?))).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!("{used}{of} in use{parts}")
}

/// Most names in one row.
const MOST_NAMES: usize = 20;

fn add_license_release(rows: &mut Rows<'_>, release: &LicenseRelease) {
    rows.yes("Dry run, nothing released", release.dry_run);
    let released = release.released.as_deref().unwrap_or_default();
    for license_type in ["professional", "analyzer"] {
        let of_type = released.iter().filter(|license| license.license_type.as_deref() == Some(license_type));
        let users: Vec<_> = of_type.filter_map(|license| license.user.as_ref()).collect();
        let label = if license_type == "analyzer" { "Analyzer licences of" } else { "Professional licences of" };
        rows.users(label, &users, users.len() as u64);
    }
    if let Some(kept) = &release.kept_by_reason {
        rows.text("Kept", &reasons(kept));
    }
}

fn add_active_users(rows: &mut Rows<'_>, users: &ActiveUsers) {
    let active: Vec<_> = users.users.iter().flatten().collect();
    rows.users("Who", &active, users.count.unwrap_or(active.len() as u64));
    let nodes: Vec<_> = users.nodes.iter().flatten().collect();
    let shown = nodes.iter().take(MOST_NAMES).map(|(node, count)| format!("{} on {node}", grouped(count)));
    rows.text("Nodes", &with_more(shown, nodes.len() as u64));
}

impl Rows<'_> {
    /// Some of the users, and how many more there are of them all.
    fn users(&mut self, title: &str, users: &[&String], all: u64) {
        let shown = users.iter().take(MOST_NAMES).map(|user| self.presentation.user(user));
        let text = with_more(shown, all);
        self.text(title, &text);
    }
}

/// `LAB\ann, LAB\bo and 12 more`
fn with_more(shown: impl ExactSizeIterator<Item = String>, all: u64) -> String {
    let more = all.saturating_sub(shown.len() as u64);
    let shown = shown.collect::<Vec<_>>().join(", ");
    if more > 0 && !shown.is_empty() { format!("{shown} and {} more", grouped(more)) } else { shown }
}

fn add_version(rows: &mut Rows<'_>, version: &QlikVersion) {
    rows.some("Release", version.release_label.as_ref());
    rows.some("Version", version.version.as_ref());
    rows.some("Product", version.product_name.as_ref());
    rows.some("Installation", version.deployment_type.as_ref());
}

fn add_session(rows: &mut Rows<'_>, session: &Session) {
    rows.some("From", session.origin.as_ref());
    rows.some("Context", session.context.as_ref());
    rows.some("Session", session.id.as_ref());
}

fn add_butler(rows: &mut Rows<'_>, butler: &Butler) {
    rows.some("Version", butler.version.as_ref());
    rows.duration("Running for", butler.uptime_ms.and_then(|millis| i64::try_from(millis).ok()));
    let bytes = butler.memory.as_ref().and_then(|memory| memory.process_bytes);
    rows.size("Memory", bytes);
    rows.some("Processor", butler.cpu_percent.map(|percent| format!("{percent:.1} %")));
    rows.number("Events waiting", butler.events_waiting);
    rows.number("Deliveries under way", butler.deliveries_open);
    rows.number("Dead deliveries", butler.deliveries_dead);
}

fn add_ingest(rows: &mut Rows<'_>, ingest: &Ingest) {
    rows.number("Received", Some(ingest.received));
    rows.number("Processed", Some(ingest.processed));
    rows.number("Known already", Some(ingest.duplicates));
    rows.text("Dropped", &reasons(&ingest.dropped));
    rows.text("Not readable", &reasons(&ingest.rejected));
    rows.number("Dropped by the system", ingest.kernel_drops);
    rows.number("Errors while receiving", Some(ingest.receive_errors));
    rows.number("Waiting", Some(ingest.buffered));
    rows.duration("Counted for", ingest.interval_ms.and_then(|millis| i64::try_from(millis).ok()));
}

/// `2 buffer-full, 1 size`; `0` without any.
fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    if counts.is_empty() {
        return "0".to_owned();
    }
    counts.iter().map(|(reason, count)| format!("{} {reason}", grouped(count))).collect::<Vec<_>>().join(", ")
}

fn add_dead(rows: &mut Rows<'_>, dead: &Dead) {
    rows.some("Instance", dead.instance.as_ref());
    rows.number("Messages given up", dead.count);
    if let Some(last) = &dead.last {
        rows.some("The last one", last.kind.as_ref());
        rows.some("Its task", last.task.as_ref());
        rows.some("Its error", last.error.as_ref());
    }
}

fn add_audit(rows: &mut Rows<'_>, audit: &Audit) {
    let method = audit.method.as_deref().unwrap_or_default();
    rows.some("Call", audit.path.as_ref().map(|path| format!("{method} {path}").trim_start().to_owned()));
    rows.some("Caller", audit.caller.as_ref());
    rows.some("Address", audit.address.as_ref());
    rows.number("Answer", audit.status);
}
