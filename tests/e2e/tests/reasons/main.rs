//! What is read at three in the morning: every reason why something does not work has its message, with whom it is about, what they
//! said, what is likely behind it and what helps; and no secret. Tried here by its cause, or elsewhere:
//!
//! | what does not work | where it is tried |
//! | --- | --- |
//! | repository service: away, unknown name, refusing, in trouble, redirecting, nonsense, hanging | `qlik` here |
//! | the same: slow | nobody needs to act, `qlik_faults::a_slow_repository_gives_all_facts` |
//! | its certificate: of another authority, of another name; ours refused | `qlik_faults`, `doctor::certificates` |
//! | its certificate: expired | `doctor::certificates::certificates_that_are_over_…`; these, not valid yet and not for servers: `explain::tests` of the host |
//! | engine away | `qlik::an_engine_that_is_away`; its refusals: `engine::failures_name_what_was_wanted_and_the_reason` |
//! | certificate files missing, of another key | `qlik::certificates_that_are_not_there`, `start::a_key_of_another_certificate_ends_the_start` |
//! | certificate files empty, damaged, in DER, a key, a request, encrypted | `doctor::certificates::each_wrong_kind_…`; that each ends a start: `start::certificates_*`; that `init` writes nothing: `init::refused` |
//! | broker away, unknown name | `destinations` here |
//! | broker refuses the login, has another certificate, speaks TLS | `mqtt::secure::tls_with_an_own_authority_and_a_password` |
//! | client certificate of a broker (Azure Event Grid) not there | `destinations::files_that_are_not_there_end_the_start` |
//! | mail server away, unknown name | `destinations` here; TLS, login, refusals: `email` |
//! | InfluxDB, New Relic, Slack, Teams, Signl4, webhooks, heartbeat, Alertmanager, Apprise: away | `destinations::who_is_away_is_named_with_a_remedy` |
//! | InfluxDB: bucket or database missing | made: `influxdb::a_dropped_database_is_created_again_…`; cannot be made: `influxdb::a_token_that_may_only_write_…` |
//! | the destinations: refusing | `destinations::a_status_is_told_with_its_likely_cause`, and each plugin's own tests |
//! | TLS of a destination | `destinations::tls_that_fails_is_told_with_a_remedy`; expired, other names, client certificates, versions: `host/src/http.rs` |
//! | a destination that hangs | `destination_faults::a_destination_that_hangs_is_left_after_its_time_and_tried_again` |
//! | TCP port in use | `start::a_rest_port_that_is_taken_ends_the_start_with_its_address` |
//! | UDP port in use; address not of this machine | `start::a_udp_port_that_is_taken_…`; `starts` here |
//! | certificate of the REST server unreadable | `starts::a_rest_certificate_that_cannot_be_read` |
//! | schedules: file missing; file with faults | `starts::a_file_of_schedules_that_is_not_there`; `scheduler::files` |
//! | target of telemetry | there is no telemetry |
//!
//! What is known of Qlik Sense, Teams and mail servers from the field:
//!
//! | fact | where it is tried, or why it needs no message |
//! | --- | --- |
//! | Qlik Sense forgets subscriptions | nobody needs to act: made anew, `notifications::after_a_restart_…`, `::a_subscription_that_qlik_sense_has_forgotten_…` |
//! | a finished session is a 404 | sessions are never asked for, only results |
//! | "started" may mean "not started" | `qlik::a_task_that_is_not_started_says_why` |
//! | either call for script logs may fail | `qlik::a_script_log_that_cannot_be_had` |
//! | reloads from the editor never touch the scheduler | told by the engine's log appender; who is not told stands in the history, `app_reload` |
//! | Qlik Sense refuses a log appender's file quietly | what is written is merged and valid, `log_appender`; a node that is not heard is told, `node_silence` |
//! | one run, several messages | nobody needs to act: `datagrams::duplicates_are_counted_and_told_once` |
//! | the text of a success is fragile | successes are confirmed by results, `execution_results` |
//! | the last status may be months old; disabled tasks | times are compared, `reconcile` |
//! | numbers need the server's own dictionary | `qlik::a_dictionary_that_cannot_be_read` |
//! | times with offsets, nodes in time zones | parsed with their offset; a clock that is wrong: `time_wrong` |
//! | certificates are replaced under us | `certificates`, `qlik_faults::a_server_that_refuses_our_certificate_is_named_as_the_cause` |
//! | loops in task graphs | no graph is walked |
//! | owners without an address | `mail::an_owner_without_an_address_is_named` |
//! | a list of recipients that is empty | `mail::a_task_that_names_no_recipient_is_told` |
//! | licences in quarantine | counted apart by `licenses`; nothing fails |
//! | the version is on another port | `qlik::the_version_has_a_port_of_its_own` |
//! | Teams: size, retired addresses | `destinations::retired_addresses_of_teams_are_told`; size: `teams::the_biggest_facts_fit_and_nasty_ones_arrive` |
//! | Microsoft gives up passwords for mail | `mail::microsoft_refuses_a_password` |
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod destinations;
mod mail;
mod qlik;
mod starts;

use std::path::{Path, PathBuf};

use e2e::{Butler, Output, provide_test_plugins, run_with, wait_for};

/// What stands for `${env:WORD}` in configs.
const SECRET: &str = "s3cret-w0rd-Q9";

/// Writes a config into a folder.
fn write(folder: &Path, config: &str) -> PathBuf {
    let path = folder.join("butler.yaml");
    std::fs::write(&path, format!("version: 1\nstore: {{ path: butler.db }}\n{config}")).unwrap();
    provide_test_plugins(folder, config);
    path
}

/// `butler check` of a config in a folder.
async fn check(folder: &Path, config: &str) -> Output {
    let path = write(folder, config).to_str().unwrap().to_owned();
    let run = move || run_with(&["check", "-c", &path], &[("WORD", SECRET)]);
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    is_clean(&format!("{output:?}"));
    output
}

/// The line of `butler check` about something.
fn line<'o>(output: &'o Output, what: &str) -> &'o str {
    let found =
        output.stdout.lines().find(|line| line.get(8..).is_some_and(|rest| rest.starts_with(&format!("{what} "))));
    found.unwrap_or_else(|| panic!("no line about {what} in {output:?}"))
}

/// The line of a daemon's log with this text, once it is there.
async fn logged(butler: &Butler, text: &str) -> String {
    wait_for(&format!("`{text}` in the log:\n{}", butler.log()), || async {
        butler.log().lines().find(|line| line.contains(text)).map(str::to_owned)
    })
    .await
}

/// A text has all of these parts.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

/// A text does not tell the secret.
fn is_clean(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

/// A port of this machine where nobody listens.
fn closed() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
