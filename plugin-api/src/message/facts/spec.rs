//! Every variable that templates of Butler 16 have, by kind of event, in the form that it has there and in every format.
//!
//! A variable that does not exist prints nothing and is no error, so only such lists show that none was forgotten.

use serde_json::Value;

use super::*;
use crate::message::{Format, Template};
use crate::{CustomLink, Links, sample_delivery};

/// What kinds have, as names with spaces between.
struct Group {
    kinds: &'static [&'static str],
    names: &'static [&'static str],
}

const TASK: &str = "hostName user taskName taskId taskCustomProperties taskTags taskIsManuallyTriggered taskMaxRetries \
    taskModifiedByUsername taskModifiedDate taskSessionTimeout taskNextExecution logTimeStamp logLevel logMessage \
    executingNodeName executionStatusNum executionStatusText executionDetails executionDetailsConcatenated qlikSenseQMC \
    qliksSenseQMC qlikSenseHub qliksSenseHub genericUrls taskType executionId butlerVersion";
const RUN: &str = "executionDuration.hours executionDuration.minutes executionDuration.seconds \
    executionStartTime.startTimeUTC executionStartTime.startTimeLocal1 executionStartTime.startTimeLocal2 \
    executionStartTime.startTimeLocal3 executionStartTime.startTimeLocal4 executionStartTime.startTimeLocal5 \
    executionStopTime.stopTimeUTC executionStopTime.stopTimeLocal1 executionStopTime.stopTimeLocal2 \
    executionStopTime.stopTimeLocal3 executionStopTime.stopTimeLocal4 executionStopTime.stopTimeLocal5";
const DETAILS: &str = "executionDetails.[0].timestampUTC executionDetails.[0].timestampLocal1 \
    executionDetails.[0].timestampLocal2 executionDetails.[0].timestampLocal3 executionDetails.[0].timestampLocal4 \
    executionDetails.[0].timestampLocal5 executionDetails.[0].message executionDetails.[0].detailsType \
    taskCustomProperties.[0].name taskCustomProperties.[0].value taskTags.[0]";
const APP: &str = "appName appId appUrl appDescription appFileSize appLastSuccessfulReload appLastModifiedDate \
    appLastModifiedByUserName appPublishTime appPublished appStreamName appStreamName.name appStreamName.id \
    appCustomProperties appCustomProperties.[0].name appCustomProperties.[0].value appTags appTags.[0] appOwnerName \
    appOwnerUserId appOwnerUserDirectory appOwnerEmail";
const LOG: &str = "scriptLogSize scriptLogSizeRows scriptLogSizeCharacters scriptLogHead scriptLogTail \
    scriptLogHeadCount scriptLogTailCount";
const LINKS: &str = "genericUrls.[0].id genericUrls.[0].linkText genericUrls.[0].comment genericUrls.[0].url";

/// Forms that only mails about distributions had.
const DISTRIBUTION: &str = "executionStartTime.year executionStartTime.month executionStartTime.day \
    executionStartTime.hour executionStartTime.minute executionStartTime.second executionStartTime.millisecond \
    executionStopTime.year executionStopTime.millisecond executionDetails.[0].detailCreatedDate";

const GROUPS: &[Group] = &[
    Group {
        kinds: &["reload-task.failed", "reload-task.aborted", "reload-task.succeeded"],
        names: &[TASK, RUN, DETAILS, APP, LOG, LINKS, "taskIsPartialReload"],
    },
    Group {
        kinds: &["distribute-task.failed", "distribute-task.aborted", "distribute-task.succeeded"],
        names: &[TASK, RUN, DETAILS, LINKS, DISTRIBUTION],
    },
    // `emailRecipients` comes from the plugin that knows them.
    Group {
        kinds: &["preload-task.failed", "preload-task.succeeded"],
        names: &[TASK, RUN, DETAILS, LINKS, "executionDetailsText appName appId"],
    },
    Group {
        kinds: &["service.stopped", "service.started"],
        names: &[
            "host serviceStatus servicePrevStatus serviceName serviceDisplayName serviceFriendlyName serviceStartType \
             serviceExePath genericUrls qlikSenseQMC qlikSenseHub",
            LINKS,
        ],
    },
    Group {
        kinds: &["cloud-app-reload.failed"],
        names: &[
            "tenantId userId tenantComment tenantUrl userName appId appName appUrl appDescription appHasSectionAccess \
             appIsPublished appPublishTime appThumbnail reloadTrigger source eventType eventTypeVersion \
             endedWithMemoryConstraint isDirectQueryMode isPartialReload isSessionApp isSkipStore reloadId statements \
             status usageDuration peakMemoryBytes rowLimit sizeMemoryBytes appFileSize errorCode errorMessage logMessage \
             executionStatusText qlikSenseQMC qlikSenseHub genericUrls appOwnerName appOwnerUserId appOwnerPicture \
             appOwnerEmail",
            RUN,
            LOG,
            LINKS,
        ],
    },
];

fn instance() -> Instance {
    let mut wiki = CustomLink::new("Wiki", "https://wiki.test/");
    (wiki.id, wiki.comment) = ("wiki".to_owned(), "What to do".to_owned());
    let links = Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        hub: Some("https://sense.test/hub".to_owned()),
        app_base_url: Some("https://sense.test/sense/app".to_owned()),
        custom: vec![wiki],
    };
    Instance { name: "chat".to_owned(), host_version: "1.2.3".to_owned(), links, ..Instance::default() }
}

/// As mails and as chats show it.
fn contexts(delivery: &Delivery) -> [Value; 2] {
    let mail = Presentation::new(Some("Europe/Stockholm"), 10, 20).unwrap();
    let chat = mail.clone().slashed_users();
    [mail, chat].map(|presentation| Facts::of(delivery, &instance(), &presentation).context(Cut::NONE))
}

/// What a variable prints, in any format.
fn print(name: &str, context: &Value, format: Format) -> String {
    let is_json = matches!(format, Format::Json | Format::SlackJson);
    let source = if is_json {
        format!("{{\"x\": \"{{{{{name}}}}}\", \"y\": \"{{{{{{{name}}}}}}}\"}}")
    } else {
        format!("{{{{{name}}}}}")
    };
    let template = Template::new(name, &source, format).unwrap();
    if is_json {
        let both = template.json(context).unwrap();
        assert_eq!(both["x"], both["y"], "{name}: two braces and three");
        both["x"].as_str().unwrap().to_owned()
    } else {
        template.text(context).unwrap()
    }
}

#[test]
fn every_variable_of_the_original_prints_something_for_every_kind_that_has_it_everywhere() {
    let mut printed = 0;
    for group in GROUPS {
        for kind in group.kinds {
            for context in contexts(&sample_delivery(kind)) {
                for name in group.names.iter().flat_map(|names| names.split_whitespace()) {
                    for format in [Format::Html, Format::Json, Format::SlackJson, Format::Text] {
                        let text = print(name, &context, format);
                        assert!(!text.trim().is_empty(), "{kind}: `{name}` prints nothing in {format:?}");
                        // Butler 16 printed these as `[object Object]`; lists of objects have no form of their own.
                        assert!(!text.contains("[object"), "{kind}: {name}");
                        printed += 1;
                    }
                }
            }
        }
    }
    assert!(printed > 4000, "{printed}");
}

#[test]
fn values_have_the_form_that_they_have_in_the_original() {
    let reload = "reload-task.failed";
    let cloud = "cloud-app-reload.failed";
    for (kind, name, mail, chat) in [
        (reload, "hostName", "sense1", "sense1"),
        (reload, "user", r"LAB\sa_scheduler", "LAB/sa_scheduler"),
        ("reload-task.aborted", "user", r"LAB\sa_scheduler", "LAB/sa_scheduler"),
        (reload, "taskTags", "nightly,finance", "nightly,finance"),
        (reload, "taskIsManuallyTriggered", "false", "false"),
        (reload, "taskSessionTimeout", "1440", "1440"),
        (reload, "taskModifiedByUsername", r"LAB\ann", r"LAB\ann"),
        (reload, "taskNextExecution", "2026-03-05T05:00:00.000Z", "2026-03-05T05:00:00.000Z"),
        (reload, "appUrl", "https://sense.test/sense/app/aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", ""),
        (reload, "appFileSize", "123456", "123456"),
        (reload, "appStreamName", "Finance EU", "Finance EU"),
        (reload, "appStreamName.name", "Finance EU", "Finance EU"),
        (reload, "executionDuration.hours", "0", "0"),
        (reload, "executionDuration.minutes", "1", "1"),
        (reload, "executionDuration.seconds", "6", "6"),
        (reload, "executionStartTime.startTimeUTC", "2026-03-04T05:05:01.120Z", "2026-03-04T05:05:01.120Z"),
        (reload, "executionStartTime.startTimeLocal1", "2026-03-04 06:05:01", "2026-03-04 06:05:01"),
        (reload, "executionStartTime.startTimeLocal2", "3/4/2026, 6:05:01 AM", "3/4/2026, 6:05:01 AM"),
        (reload, "executionStopTime.stopTimeLocal3", "Mar 4, 2026, 6:06:07 AM", "Mar 4, 2026, 6:06:07 AM"),
        (reload, "executionDetails.[2].timestampLocal1", "2026-03-04 06:06:07", "2026-03-04 06:06:07"),
        (reload, "executionStatusNum", "8", "8"),
        (reload, "executionStatusText", "FinishedFail", "FinishedFail"),
        (reload, "scriptLogHeadCount", "10", "10"),
        ("service.stopped", "serviceStatus", "STOPPED", "STOPPED"),
        ("service.started", "servicePrevStatus", "STOPPED", "STOPPED"),
        ("service.stopped", "serviceStartType", "Automatic", "Automatic"),
        (cloud, "peakMemoryBytes", "7,340,032", "7,340,032"),
        (cloud, "sizeMemoryBytes", "1,048,576", "1,048,576"),
        (cloud, "appFileSize", "123,456", "123,456"),
        (cloud, "userName", "Bo Lund", "Bo Lund"),
        (cloud, "endedWithMemoryConstraint", "false", "false"),
        (cloud, "executionDuration.seconds", "5", "5"),
        (cloud, "qlikSenseQMC", "https://lab.eu.qlikcloud.test/console", ""),
    ] {
        let contexts = contexts(&sample_delivery(kind));
        // Addresses are the same for both.
        let chat = if chat.is_empty() { mail } else { chat };
        for (context, expected) in contexts.iter().zip([mail, chat]) {
            assert_eq!(print(name, context, Format::Text), expected, "{kind} {name}");
            assert_eq!(print(name, context, Format::Json), expected, "{kind} {name}");
        }
    }
}

#[test]
fn what_never_happens_says_so() {
    let mut delivery = sample_delivery("reload-task.failed");
    delivery.event.data.task.as_mut().unwrap().next_execution = Some("1753-01-01T00:00:00.000Z".to_owned());
    delivery.event.data.execution.as_mut().unwrap().stop_time = Some("1753-01-01T00:00:00.000Z".to_owned());
    for context in contexts(&delivery) {
        assert_eq!(print("taskNextExecution", &context, Format::Text), "Never");
        for form in ["UTC", "Local1", "Local2", "Local3", "Local4", "Local5"] {
            assert_eq!(print(&format!("executionStopTime.stopTime{form}"), &context, Format::Text), "-");
        }
    }
}
