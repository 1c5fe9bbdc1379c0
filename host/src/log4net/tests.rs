use roxmltree::{Document, Node};

use super::appenders::Appender;
use super::*;
use crate::ingest;

pub(super) fn target() -> Target {
    "butler.example.com:9998".parse().unwrap()
}

/// Values of attributes of this name, of all elements of this name.
pub(super) fn values(file: &str, element: &str, attribute: &str) -> Vec<String> {
    let document = Document::parse(file).unwrap();
    let elements = document.descendants().filter(|node| node.has_tag_name(element));
    elements.filter_map(|node| node.attribute(attribute)).map(str::to_owned).collect()
}

/// The appender of this name.
pub(super) fn appender(name: &str) -> &'static Appender {
    Service::ALL.iter().flat_map(|service| service.appenders()).find(|appender| appender.name == name).unwrap()
}

/// What an appender sends, when log4net has these values.
fn sent(name: &str, values: &[(&str, &str)]) -> String {
    let mut line = appender(name).pattern.to_owned();
    for (property, value) in values {
        line = line
            .replace(&format!("%property{{{property}}}"), value)
            .replace(&format!("%{property};"), &format!("{value};"));
    }
    line.replace("%message", values.iter().find(|(name, _)| *name == "message").unwrap().1)
}

#[test]
fn every_pattern_makes_the_documented_line_and_the_parser_reads_it() {
    const TASK: &[(&str, &str)] = &[
        ("hostname", "n1"),
        ("TaskName", "Load"),
        ("AppName", "App"),
        ("User", r"DIR\joe"),
        ("TaskId", "11111111-2222-3333-4444-555555555555"),
        ("AppId", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"),
        ("date", "2026-03-04 05:06:07,890"),
        ("level", "WARN"),
        ("ExecutionId", "99999999-8888-7777-6666-555555555555"),
        ("message", "Max retries reached"),
    ];
    const ENGINE: &[(&str, &str)] = &[
        ("hostname", "h"),
        ("AppId", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"),
        ("SessionId", "s1"),
        ("ActiveUserDirectory", "DIR"),
        ("ActiveUserId", "joe"),
        ("date", "2026-03-04 05:06:07,890"),
        ("level", "ERROR"),
        ("message", "Script error"),
    ];
    const PROXY: &[(&str, &str)] = &[
        ("hostname", "n1"),
        ("Command", "Start session"),
        ("UserDirectory", "DIR"),
        ("UserId", "joe"),
        ("Origin", "Proxy"),
        ("Context", "ctx"),
        ("message", "text;with;semicolons"),
    ];
    // The lines are the documentation's own, not made by any code of ours.
    for (name, values, line, kind) in [
        (
            "ButlerTaskFailed",
            TASK,
            r"/scheduler-task-failed/;n1;Load;App;DIR\joe;11111111-2222-3333-4444-555555555555;aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee;2026-03-04 05:06:07,890;WARN;99999999-8888-7777-6666-555555555555;Max retries reached",
            "reload-task.failed",
        ),
        (
            "ButlerTaskAborted",
            TASK,
            r"/scheduler-task-aborted/;n1;Load;App;DIR\joe;11111111-2222-3333-4444-555555555555;aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee;2026-03-04 05:06:07,890;WARN;99999999-8888-7777-6666-555555555555;Max retries reached",
            "reload-task.aborted",
        ),
        (
            "ButlerTaskSucceeded",
            TASK,
            r"/scheduler-task-success/;n1;Load;App;DIR\joe;11111111-2222-3333-4444-555555555555;aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee;2026-03-04 05:06:07,890;WARN;99999999-8888-7777-6666-555555555555;Max retries reached",
            "reload-task.succeeded",
        ),
        (
            "ButlerTaskDistributed",
            TASK,
            r"/scheduler-distribute/;n1;Load;App;DIR\joe;11111111-2222-3333-4444-555555555555;aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee;2026-03-04 05:06:07,890;WARN;99999999-8888-7777-6666-555555555555;Max retries reached",
            ingest::DISTRIBUTE_PENDING,
        ),
        (
            "ButlerAppReloadFailed",
            ENGINE,
            r"/engine-reload-failed/;h;aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee;s1;DIR;joe;2026-03-04 05:06:07,890;ERROR;Script error",
            "app-reload.failed",
        ),
        (
            "ButlerUserSessions",
            PROXY,
            "/proxy-session/;n1;Start session;DIR;joe;Proxy;ctx;text;with;semicolons",
            "user-session.started",
        ),
        (
            "ButlerUserConnections",
            PROXY,
            "/proxy-connection/;n1;Start session;DIR;joe;Proxy;ctx;text;with;semicolons",
            "user-session.started",
        ),
    ] {
        assert_eq!(sent(name, values), line, "{name}");
        let heard = ingest::parse(line.as_bytes()).unwrap();
        assert_eq!(heard.kind, kind, "{name}");
        assert_eq!(heard.data.user.as_deref(), Some(r"DIR\joe"));
        let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(heard.data.node, value("hostname"));
        assert_eq!(heard.data.task.map(|task| (task.id, task.name)), value("TaskId").zip(value("TaskName")));
        assert_eq!(heard.data.app.map(|app| app.id), value("AppId"));
        assert_eq!(heard.data.execution.and_then(|run| run.id), value("ExecutionId"));
        let session = heard.data.session.map(|session| *session).unwrap_or_default();
        assert_eq!(
            (session.id, session.origin, session.context),
            (value("SessionId"), value("Origin"), value("Context"))
        );
        let text = heard.data.log.as_ref().map(|log| log.message.clone()).or(heard.data.message);
        assert_eq!(text, value("message"));
        assert_eq!(heard.data.log.map(|log| (log.timestamp, log.level)), value("date").zip(value("level")));
    }
}

#[test]
fn the_logger_and_the_texts_to_match_are_the_documented_ones() {
    const SESSION: &str = "System.Scheduler.Scheduler.Master.Task.TaskSession";
    for (name, logger, texts) in [
        (
            "ButlerTaskFailed",
            SESSION,
            &["Max retries reached", "Failed to start session", "Could not reserve an executor for task"][..],
        ),
        ("ButlerTaskAborted", SESSION, &["Execution State Change to Aborting"]),
        ("ButlerTaskSucceeded", SESSION, &["Execution State Change to FinishedSuccess"]),
        (
            "ButlerTaskDistributed",
            "System.Scheduler.Scheduler.Slave.Tasks.ReloadTask",
            &["Exiting execute of Distribute task request."],
        ),
        ("ButlerUserSessions", "AuditActivity.Proxy", &["Start session for user", "Stop session for user"]),
        (
            "ButlerUserConnections",
            "AuditActivity.Proxy",
            &["connection Opened for session", "connection Closed for session"],
        ),
    ] {
        assert_eq!((appender(name).logger, appender(name).texts), (logger, texts), "{name}");
    }
}

#[test]
fn the_files_that_are_shipped_are_what_the_command_writes() {
    for (service, shipped) in [
        (Service::Scheduler, include_str!("../../../config/log4net/scheduler/LocalLogConfig.xml")),
        (Service::Proxy, include_str!("../../../config/log4net/proxy/LocalLogConfig.xml")),
        (Service::Engine, include_str!("../../../config/log4net/engine/LocalLogConfig.xml")),
    ] {
        let written = document(service, &target());
        assert!(written == shipped, "mend it: butler log-appender --to butler.example.com:9998 --service {service:?}");
        assert_eq!(
            merge(written.as_bytes(), service, &target()).unwrap(),
            written,
            "nothing is missing, nothing is changed"
        );
        assert!(written.len() < MAX_SIZE);

        let names = values(&written, "appender", "name");
        assert!(!names.is_empty() && names.iter().all(|name| !name.starts_with('$')));
        let mut references = values(&written, "appender-ref", "ref");
        references.sort();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(references, sorted, "each is used once");
    }
}

#[test]
fn elements_stand_in_the_order_of_qliks_schema() {
    let written = document(Service::Scheduler, &target());
    let document = Document::parse(&written).unwrap();
    let order = |node: Node<'_, '_>| -> Vec<String> {
        node.children().filter(Node::is_element).map(|child| child.tag_name().name().to_owned()).collect()
    };
    let root = order(document.root_element());
    assert_eq!(root, ["appender", "appender", "appender", "appender", "logger", "logger"]);
    let first = document.root_element().first_element_child().unwrap();
    assert_eq!(first.attribute("type"), Some("log4net.Appender.UdpAppender"));
    let inner = order(first);
    assert_eq!(inner, ["filter", "filter", "filter", "filter", "param", "param", "param", "layout"]);
    let filters: Vec<_> = first.children().filter_map(|child| child.attribute("type")).collect();
    assert_eq!(filters.iter().filter(|one| **one == "log4net.Filter.StringMatchFilter").count(), 3);
    assert_eq!(filters[3..], ["log4net.Filter.DenyAllFilter", "log4net.Layout.PatternLayout"]);
    assert_eq!(order(first.last_element_child().unwrap()), ["converter", "param"]);
}

#[test]
fn targets_are_hosts_and_ports() {
    for (text, host, port) in [
        ("butler.example.com:9998", "butler.example.com", 9998),
        ("10.1.2.3:1", "10.1.2.3", 1),
        ("qs_node-1:65535", "qs_node-1", 65535),
        ("[fd00::1]:9998", "fd00::1", 9998),
    ] {
        assert_eq!(text.parse(), Ok(Target { host: host.to_owned(), port }));
    }
    for (wrong, says) in [
        ("butler", "HOST:PORT"),
        (":9998", "HOST:PORT"),
        ("butler:", "HOST:PORT"),
        ("butler:0", "HOST:PORT"),
        ("butler:70000", "HOST:PORT"),
        ("fd00::1:9998", "neither"),
        ("[butler]:9998", "neither"),
        ("a\"b:9998", "neither"),
        ("http://butler:9998", "neither"),
        ("0.0.0.0:9998", "all addresses"),
        ("[::]:9998", "all addresses"),
    ] {
        let error = wrong.parse::<Target>().unwrap_err().to_string();
        assert!(error.contains(says), "{wrong}: {error}");
    }
}
