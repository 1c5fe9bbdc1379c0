use proptest::prelude::*;

use super::*;
use crate::ingest::keys;

const T: &str = "11111111-2222-3333-4444-555555555555";
const A: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const E: &str = "99999999-8888-7777-6666-555555555555";
const ZERO: &str = "00000000-0000-0000-0000-000000000000";
const DATE: &str = "2026-03-04 05:06:07,890";

fn message() -> String {
    with("/scheduler-task-failed/", "Load;App;DIR\\joe", T, A, E, "Max retries reached")
}

fn with(message_type: &str, names: &str, task: &str, app: &str, execution: &str, message: &str) -> String {
    format!("{message_type};n1;{names};{task};{app};{DATE};WARN;{execution};{message}")
}

fn heard(text: &str) -> Heard {
    parse(text.as_bytes()).unwrap()
}

fn reason(text: &str) -> &'static str {
    parse(text.as_bytes()).unwrap_err().reason()
}

/// Names of task and app, and the user.
fn names(text: &str) -> [String; 3] {
    let data = heard(text).data;
    [data.task.unwrap().name, data.app.map(|app| app.name).unwrap_or_default(), data.user.unwrap_or_default()]
}

#[test]
fn a_failed_task_is_read_field_by_field() {
    let heard = heard(&message());
    assert_eq!(heard.kind, kind::RELOAD_TASK_FAILED);
    let expected = serde_json::json!({
        "task": { "id": T, "name": "Load", "tags": [], "customProperties": {} },
        "app": { "id": A, "name": "App", "tags": [], "customProperties": {} },
        "execution": { "id": E, "details": [] },
        "log": { "timestamp": DATE, "level": "WARN", "message": "Max retries reached" },
        "node": "n1", "user": "DIR\\joe"
    });
    assert_eq!(serde_json::to_value(&heard.data).unwrap(), expected);
    assert_eq!(keys(&heard, 0), [format!("exec:{E}:failed")]);
}

#[test]
fn types_have_aliases_and_neither_case_nor_repeated_slashes_matter() {
    let cases: [(&[&str], &str, Outcome); 4] = [
        (
            &["/scheduler-task-failed/", "/SCHEDULER-Reload-FAILED/", "//scheduler-reloadtask-failed//"],
            kind::RELOAD_TASK_FAILED,
            Outcome::Failed,
        ),
        (&["/scheduler-task-aborted/", "/scheduler-reload-aborted/"], kind::RELOAD_TASK_ABORTED, Outcome::Aborted),
        (
            &["/scheduler-task-success/", "/scheduler-task-success//", "/scheduler-reloadtask-success/"],
            kind::RELOAD_TASK_SUCCEEDED,
            Outcome::Succeeded,
        ),
        (&["/scheduler-distribute/", " \u{feff}/scheduler-distribute/\n"], DISTRIBUTE_PENDING, Outcome::Pending),
    ];
    for (types, kind, outcome) in cases {
        for message_type in types {
            let heard = heard(&with(message_type.trim_start(), "Load;App;DIR\\joe", T, A, E, "m"));
            assert_eq!((heard.kind.as_str(), heard.keys.outcome), (kind, outcome), "{message_type}");
        }
    }
    for wrong in ["hello", "scheduler-task-failed", "/scheduler-task-failedx/", "/", "///", "/proxy-sessions/"] {
        assert_eq!(reason(wrong), "unknown-type", "{wrong}");
        assert_eq!(reason(&with(wrong, "Load;App;DIR\\joe", "x", A, E, "m")), "unknown-type", "{wrong}");
    }
    assert_eq!((reason(""), reason(" \r\n\0")), ("empty", "empty"));
}

#[test]
fn semicolons_in_the_message_stay_and_missing_fields_reject() {
    let more = heard(&(message() + ";x;;y"));
    assert_eq!(more.data.log.unwrap().message, "Max retries reached;x;;y");
    let all = message();
    let (short, _) = all.rsplit_once(';').unwrap();
    assert_eq!(parse(short.as_bytes()), Err(Reject::TooFewFields { expected: 11, found: 10 }));
    assert_eq!(heard(&(short.to_owned() + ";")).data.log.unwrap().message, "");
}

#[test]
fn semicolons_in_names_are_found_by_the_ids() {
    let of = |names_| names(&with("/scheduler-task-failed/", names_, T, A, E, "m;n"));
    assert_eq!(of("Load;all;App;DIR\\joe"), ["Load;all", "App", "DIR\\joe"]);
    assert_eq!(of("Load;Sales; north;DIR\\joe"), ["Load", "Sales; north", "DIR\\joe"]);
    assert_eq!(of("Reload of Sales;north;Sales;north;DIR\\joe"), ["Reload of Sales;north", "Sales;north", "DIR\\joe"]);
    assert_eq!(of("Load;App;DIR\\joe;doe"), ["Load", "App", "DIR\\joe;doe"]);
    assert_eq!(of("a;b;c;d;e;joe"), ["a;b;c;d", "e", "joe"]);
    assert_eq!(of(";;"), ["", "", ""]);
    assert_eq!(of(";;;;;"), [";;;", "", ""]);
    let text = with("/scheduler-task-failed/", "a;b;c;d\\e", T, "(null)", "", "m;n");
    let heard = heard(&text);
    assert_eq!(heard.data.log.unwrap().message, "m;n");
    assert_eq!((heard.data.task.unwrap().id.as_str(), heard.data.app), (T, None));
}

#[test]
fn ids_that_are_none_are_treated_as_none() {
    for none in ["", "(null)", "(NULL)", " ", ZERO] {
        let heard = heard(&with("/scheduler-task-failed/", "Load;(null);(null)", T, none, none, "(null)"));
        assert_eq!((heard.data.app, heard.data.execution, heard.data.user), (None, None, None), "{none}");
        assert_eq!(heard.keys.subject, Subject::Task(T.to_owned()));
        assert_eq!(heard.data.log.unwrap().message, "");
        assert_eq!(reason(&with("/scheduler-task-failed/", "Load;App;DIR\\joe", none, A, E, "m")), "no-task-id");
        assert_eq!(reason(&with("/scheduler-task-failed/", "Lo;ad;App;joe", none, A, E, "m")), "no-task-id");
    }
}

#[test]
fn ids_that_are_wrong_reject() {
    let of = |names, task, app| reason(&with("/scheduler-task-failed/", names, task, app, E, "m"));
    assert_eq!(of("Load;App;joe", "not-a-guid", A), "bad-task-id");
    assert_eq!(of("Load;App;joe", T, "x"), "bad-app-id");
    assert_eq!(of("Lo;ad;App;joe", "x", A), "no-id-pair");
    assert_eq!(of("Lo;ad;App;joe", T, "x"), "no-id-pair");
    let distribute = heard(&with("/scheduler-distribute/", "Load;x;joe", T, "x", E, "m"));
    assert_eq!((distribute.data.app, distribute.data.task.unwrap().id.as_str()), (None, T));
}

#[test]
fn ids_are_compared_in_lower_case_and_dates_of_other_forms_do_no_harm() {
    let text = message().to_uppercase().replace(DATE, "04.03.2026 5 Uhr");
    let heard = heard(&text);
    assert_eq!(heard.data.task.as_ref().unwrap().id, T);
    assert_eq!(heard.data.app.as_ref().unwrap().id, A);
    assert_eq!(heard.data.log.as_ref().unwrap().timestamp, "04.03.2026 5 Uhr");
    assert_eq!(keys(&heard, 0), [format!("exec:{E}:failed")]);
}

#[test]
fn control_characters_become_blanks_and_long_fields_are_cut() {
    let task = format!("a\u{7}b\r\nc{}", "x".repeat(600));
    let text = with("/scheduler-task-failed/", &format!("{task};App;joe"), T, A, E, &"é".repeat(9000));
    let data = heard(&text).data;
    let task = data.task.unwrap().name;
    assert!(task.starts_with("a b cx"));
    assert_eq!((task.chars().count(), data.log.unwrap().message.len()), (500, 8192));
}

#[test]
fn invalid_utf8_is_replaced() {
    let mut bytes = message().into_bytes();
    let at = bytes.windows(4).position(|window| window == b"Load").unwrap();
    bytes[at] = 0xff;
    assert_eq!(parse(&bytes).unwrap().data.task.unwrap().name, "\u{fffd}oad");
}

#[test]
fn an_engine_message_is_an_app_reload() {
    let text = format!("/engine-reload-failed/;h;{A};S1;DIR;joe;{DATE};ERROR;Script error;line 3");
    let engine = heard(&text);
    assert_eq!(engine.kind, kind::APP_RELOAD_FAILED);
    let expected = serde_json::json!({
        "app": { "id": A, "name": "", "tags": [], "customProperties": {} },
        "log": { "timestamp": DATE, "level": "ERROR", "message": "Script error;line 3" },
        "node": "h", "user": "DIR\\joe", "session": { "id": "S1" }
    });
    assert_eq!(serde_json::to_value(&engine.data).unwrap(), expected);
    assert_eq!(keys(&engine, 60_000), [format!("app:{A}:s1:failed:a1"), format!("app:{A}:s1:failed:b1")]);
    let nameless = heard(&text.replace(A, "").replace("S1", "(null)"));
    assert!(nameless.data.app.is_none() && keys(&nameless, 0).is_empty());
    assert_eq!(heard(&text.replace("joe", "jo;e")).data.user.unwrap(), "DIR\\jo;e");
    assert_eq!(reason(&text.replace(A, "x")), "bad-app-id");
    assert_eq!(reason(&format!("/engine-reload-failed/;h;{A};s1;DIR;joe;{DATE};ERROR")), "too-few-fields");
}

#[test]
fn the_layout_before_11_is_a_failed_task() {
    let all = message();
    let (_, old) = all.split_once(';').unwrap();
    assert_eq!(heard(old), heard(&all));
    assert_eq!(names(&old.replace("Load", "Lo;ad")), ["Lo;ad", "App", "DIR\\joe"]);
    assert_eq!(reason(&old.replace(T, "x")), "unknown-type");
    assert_eq!(reason("n1;Load;App;joe"), "unknown-type");
}

#[test]
fn every_reason_is_listed_once() {
    let rejects = [
        Reject::Empty,
        Reject::UnknownType(String::new()),
        Reject::TooFewFields { expected: 0, found: 0 },
        Reject::NoTaskId,
        Reject::BadTaskId(String::new()),
        Reject::BadAppId(String::new()),
        Reject::NoIdPair(0),
        Reject::UnknownCommand(String::new()),
    ];
    assert_eq!(rejects.map(|reject| reject.reason()), Reject::REASONS);
}

const STARTS: &[&str] = &[
    "/scheduler-task-failed/",
    "/scheduler-distribute/",
    "/engine-reload-failed/",
    "/proxy-session/;n1;Start session",
    "n1",
    "n1;Close connection",
];

/// Pieces of messages, to get past the first checks.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(T.to_owned()),
        Just(A.to_owned()),
        Just(DATE.to_owned()),
        Just(String::new()),
        Just("(null)".to_owned()),
        Just("D\\u".to_owned()),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_bytes_wedge_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn whatever_is_accepted_is_bounded_and_has_an_identity(
        kind in proptest::sample::select(STARTS),
        pieces in proptest::collection::vec(piece(), 0..40)
    ) {
        let Ok(heard) = parse(format!("{kind};{}", pieces.join(";")).as_bytes()) else { return Ok(()) };
        let message = heard.data.message.clone().or(heard.data.log.clone().map(|log| log.message)).unwrap_or_default();
        prop_assert!(message.len() <= 8192);
        prop_assert_eq!(heard.data.log.is_none(), heard.is_session());
        prop_assert!(heard.data.log.clone().is_none_or(|log| log.level.chars().count() <= 500));
        if let Some(task) = &heard.data.task {
            prop_assert!(is_guid(&task.id) && task.id != ZERO && task.name.chars().count() <= 500);
            prop_assert!(!keys(&heard, 0).is_empty());
        }
        let task = heard.data.task.clone().map(|task| task.name);
        for text in [task, heard.data.user.clone(), heard.data.node.clone(), Some(message)].into_iter().flatten() {
            prop_assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_semicolon_in_any_one_field_survives(
        // No part begins with a blank or ends as an app is called; for these see `split_names`.
        task in "[a-z][a-zA-Z0-9 _-]{0,8}[a-z](;[a-z0-9][a-zA-Z0-9 _-]{0,8}[a-z]){0,4}", app in "[A-Z0-9_-]{1,30}",
        user in "[A-Z]{1,5}\\\\[a-z;]{1,9}", message in "[a-zA-Z0-9 ;]{0,30}[a-z]"
    ) {
        let text = with("/scheduler-task-failed/", &format!("{task};{app};{user}"), T, A, E, &message);
        let heard = heard(&text);
        prop_assert_eq!(&heard.data.log.as_ref().unwrap().message, &message);
        prop_assert_eq!(&heard.data.task.as_ref().unwrap().id, T);
        prop_assert_eq!(names(&text), [task, app, user]);
    }

    #[test]
    fn no_part_of_a_name_is_lost_whatever_it_holds(names_ in "[a-z;\\\\ (]{0,60}", message in "[a-z;]{0,20}") {
        let names_ = format!("n;{names_};x;u");
        let text = with("/scheduler-task-aborted/", &names_, T, A, E, &message);
        let heard = heard(&text);
        prop_assert_eq!(&heard.data.log.as_ref().unwrap().message, &message);
        let execution = heard.data.execution.as_ref().and_then(|run| run.id.clone());
        prop_assert_eq!(execution.as_deref(), Some(E));
        let squeeze = |text: String| text.replace([';', ' '], "");
        prop_assert_eq!(squeeze(names(&text).concat()), squeeze(names_));
    }
}
