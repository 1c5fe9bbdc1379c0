use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::super::tests::{appender, target, values};
use super::*;

fn merged(file: &str, service: Service) -> String {
    merge(file.as_bytes(), service, &target()).unwrap()
}

fn refused(file: &str) -> String {
    merge(file.as_bytes(), Service::Scheduler, &target()).unwrap_err().to_string()
}

/// A file of two other tools, with a logger that ours need too.
const OTHERS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- by hand -->
<configuration>
	<appender name="LogEvent" type="log4net.Appender.UdpAppender">
		<param name="threshold" value="warn"/> <!-- &<> "'" -->
		<param name='remotePort' value='9996' />
		<layout type="log4net.Layout.PatternLayout"><param name="conversionpattern" value="/qseow-scheduler/;%message&#x20;" /></layout>
	</appender>
	<!-- <appender name="ButlerTaskFailed" /> -->
	<appender name="Mail" type="log4net.Appender.SmtpAppender"><evaluator type="x"/></appender>

	<logger name="System.Scheduler.Scheduler.Master.Task.TaskSession" additivity="true">
		<level value="INFO" />
		<appender-ref ref="LogEvent" />
	</logger>
	<logger name="System">
		<appender-ref ref="LogEvent" />
	</logger>
	<!-- the end -->
</configuration>
<!-- after -->
"#;

#[test]
fn what_other_tools_have_stays_to_the_last_blank() {
    let all = merged(OTHERS, Service::Scheduler);
    assert_eq!(
        values(&all, "appender", "name"),
        ["LogEvent", "Mail", "ButlerTaskFailed", "ButlerTaskAborted", "ButlerTaskSucceeded", "ButlerTaskDistributed"]
    );
    let expected = OTHERS.replace(
        "\t<logger name=\"System\">\n\t\t<appender-ref ref=\"LogEvent\" />\n\t</logger>",
        "\t<logger name=\"System\">\n\t\t<appender-ref ref=\"LogEvent\" />\n\t</logger>\n\n  \
         <logger name=\"System.Scheduler.Scheduler.Slave.Tasks.ReloadTask\">\n    \
         <appender-ref ref=\"ButlerTaskDistributed\" />\n  </logger>",
    );
    let expected = expected.replace(
        "\t\t<level value=\"INFO\" />\n\t\t<appender-ref ref=\"LogEvent\" />\n",
        "\t\t<level value=\"INFO\" />\n\t\t<appender-ref ref=\"LogEvent\" />\n\
         \t\t<appender-ref ref=\"ButlerTaskFailed\" />\n\t\t<appender-ref ref=\"ButlerTaskAborted\" />\n\
         \t\t<appender-ref ref=\"ButlerTaskSucceeded\" />\n",
    );
    let mut without = all.clone();
    for appender in Service::Scheduler.appenders() {
        without = without.replace(&format!("\n\n  {}", write::appender(appender, &target())), "");
    }
    assert_eq!(without, expected);
    assert_eq!(merged(&all, Service::Scheduler), all, "a second time changes nothing");
}

#[test]
fn ours_with_another_address_are_updated_where_they_stand() {
    let old =
        OTHERS.replace("<!-- <appender name=\"ButlerTaskFailed\" /> -->", "<appender name=\"ButlerTaskFailed\"/>");
    let all = merged(&old, Service::Scheduler);
    let names = values(&all, "appender", "name");
    assert_eq!(names[..3], ["LogEvent", "ButlerTaskFailed", "Mail"]);
    assert_eq!(names.len(), 6);
    let other: Target = "[fd00::17]:10998".parse().unwrap();
    let moved = merge(all.as_bytes(), Service::Scheduler, &other).unwrap();
    assert_eq!(all.replace("butler.example.com", "fd00::17").replace("\"9998\"", "\"10998\""), moved);
}

#[test]
fn a_logger_of_several_with_one_name_that_counts_is_the_last() {
    let name = "System.Scheduler.Scheduler.Slave.Tasks.ReloadTask";
    let file = format!("<configuration><logger name='{name}' /><logger name='{name}' /></configuration>");
    let all = merged(&file, Service::Scheduler);
    let loggers = format!(
        "<logger name='{name}' /><logger name='{name}'>\n    <appender-ref ref=\"ButlerTaskDistributed\" />\n  </logger>"
    );
    assert!(all.contains(&loggers), "{all}");
    assert_eq!(merged(&all, Service::Scheduler), all);
}

#[test]
fn what_is_added_where_something_is_replaced_comes_before_it() {
    let file = "<configuration><logger name='X'/><appender name='ButlerUserSessions'/></configuration>";
    let all = merged(file, Service::Proxy);
    assert!(all.starts_with("<configuration><logger name='X'/>\n\n  <logger name=\"AuditActivity.Proxy\">"), "{all}");
    assert_eq!(merged(&all, Service::Proxy), all);
}

#[test]
fn files_with_little_in_them_are_filled() {
    for file in [
        "<configuration/>",
        "<configuration />\r\n",
        "\u{feff}<?xml version='1.0' encoding='utf-8'?>\n<configuration></configuration>",
        "<configuration>\n  <!-- nothing yet -->\n</configuration>",
        "<configuration>\n  <root />\n</configuration>",
        "<configuration><logger name='AuditActivity.Proxy'></logger></configuration>",
    ] {
        let all = merged(file, Service::Proxy);
        assert_eq!(values(&all, "appender", "name"), ["ButlerUserSessions", "ButlerUserConnections"], "{file}");
        assert_eq!(values(&all, "appender-ref", "ref"), ["ButlerUserSessions", "ButlerUserConnections"], "{file}");
        let elements = Document::parse(&all).unwrap();
        let order: Vec<_> = elements.root_element().children().filter(Node::is_element).collect();
        assert!(order.last().unwrap().has_tag_name("logger") || file.contains("<root"), "{all}");
        assert_eq!(merged(&all, Service::Proxy), all, "{file}");
        assert_eq!(all.starts_with('\u{feff}'), file.starts_with('\u{feff}'));
    }
}

#[test]
fn line_ends_of_windows_stay() {
    let all = merged(&OTHERS.replace('\n', "\r\n"), Service::Scheduler);
    assert_eq!(all.matches('\n').count(), all.matches("\r\n").count());
    assert_eq!(all.replace("\r\n", "\n"), merged(OTHERS, Service::Scheduler));
}

#[test]
fn what_is_no_such_file_is_refused_with_what_to_do() {
    for (file, says) in [
        ("", "the shell has emptied it"),
        ("\u{feff} \r\n", "the shell has emptied it"),
        ("<configuration>", "not well-formed"),
        ("<configuration><appender></configuration>", "not well-formed"),
        ("<configuration><appender name=\"a\" name=\"b\"/></configuration>", "not well-formed"),
        ("<configuration><appender name=a /></configuration>", "not well-formed"),
        ("<configuration><!-- a -- b --></configuration>", "not well-formed"),
        ("<configuration>&nbsp;</configuration>", "not well-formed"),
        ("<configuration><a x=\"<\"/></configuration>", "not well-formed"),
        ("<configuration/><configuration/>", "not well-formed"),
        ("<configuration/>x", "not well-formed"),
        ("<configuration>\0</configuration>", "not well-formed"),
        ("<!DOCTYPE configuration [<!ENTITY a 'b'>]><configuration>&a;</configuration>", "DOCTYPE"),
        ("<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><configuration/>", "not in UTF-8"),
        ("<log4net><appender name=\"a\"/></log4net>", "<log4net> and not <configuration>"),
        ("<configuration xmlns=\"urn:x\"/>", "<configuration xmlns=\"urn:x\"> and not"),
        ("<configuration><appSettings/></configuration>", "no log4net configuration"),
        ("<configuration><log4net><appender name='a'/></log4net></configuration>", "no log4net configuration"),
    ] {
        let message = refused(file);
        assert!(message.contains(says), "{file}: {message}");
    }
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("<configuration/>".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let message = merge(&utf16, Service::Engine, &target()).unwrap_err().to_string();
    assert!(message.contains("not in UTF-8"), "{message}");
}

#[test]
fn no_size_and_no_depth_is_too_much() {
    let of_size = |size: usize| format!("<configuration>{}</configuration>", " ".repeat(size - 31));
    assert!(refused(&of_size(MAX_SIZE + 1)).starts_with("the file has more than 1 MB"));
    assert!(refused(&of_size(MAX_SIZE)).contains("with Butler's appenders"));
    let room = merged("<configuration></configuration>", Service::Scheduler).len() - 31;
    let full = merged(&of_size(MAX_SIZE - room), Service::Scheduler);
    assert_eq!(full.len(), MAX_SIZE);
    assert_eq!(merged(&full, Service::Scheduler), full);
    let deep =
        |depth| format!("<configuration><logger/>{}{}</configuration>", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(refused(&deep(140_000)).contains("more elements"));
    let nested = deep(15_000);
    assert!(merged(&nested, Service::Scheduler).contains(&nested[24..nested.len() - 16]));
}

/// Everything in a file that is not ours, in order, as it is written; what is between appenders, loggers and references is
/// left out if it is blank.
fn foreign(file: &str) -> Vec<String> {
    fn collect(file: &str, node: Node<'_, '_>, found: &mut Vec<String>) {
        let ours = node.attribute("name").or(node.attribute("ref")).is_some_and(|name| name.starts_with("Butler"));
        if ours || (node.is_text() && node.text().is_some_and(|text| text.trim().is_empty())) {
            return;
        }
        if node.is_element() {
            let attributes: Vec<_> = node.attributes().map(|one| (one.name(), one.value())).collect();
            found.push(format!("{:?} {attributes:?}", node.tag_name()));
            node.children().for_each(|child| collect(file, child, found));
            found.push("end".to_owned());
        } else if node.is_text() {
            // Blanks of ours may stand beside it.
            found.push(node.text().unwrap_or_default().trim().to_owned());
        } else if !node.is_root() {
            found.push(file[node.range()].to_owned());
        } else {
            node.children().for_each(|child| collect(file, child, found));
        }
    }
    let document = Document::parse(file).unwrap();
    let mut found = Vec::new();
    collect(file, document.root(), &mut found);
    found
}

/// Blanks, comments and texts between elements.
fn between() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ \t\n]{1,4}",
        "<!-- [a-z<>& ]{0,9} -->\n",
        Just("<?tool x?>".to_owned()),
        Just("<![CDATA[<logger/>]]>".to_owned()),
        Just("&lt;text&#10;".to_owned()),
    ]
}

fn element() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("AuditActivity.Proxy".to_owned()),
        Just("ButlerUserSessions".to_owned()),
        Just("ButlerTaskFailed".to_owned()),
        "[A-Za-z]{1,6}"
    ];
    let quoted = prop_oneof![Just('"'), Just('\'')];
    let inner = prop_oneof![
        Just("<level value='INFO'/>".to_owned()),
        Just("<appender-ref ref='ButlerUserSessions' />".to_owned()),
        Just("<appender-ref\n ref=\"LogEvent\"></appender-ref>".to_owned()),
        Just("<appender name='ButlerUserSessions'/>".to_owned()),
    ];
    let inner = prop::collection::vec((between(), inner), 0..4);
    (
        prop_oneof![Just("appender"), Just("logger"), Just("root"), Just("param")],
        name,
        quoted,
        inner,
        between(),
        any::<bool>(),
    )
        .prop_map(|(tag, name, quote, inner, end, short)| {
            let inner: String = inner.into_iter().map(|(before, one)| before + &one).collect();
            if short {
                format!("<{tag} name={quote}{name}{quote} />")
            } else {
                format!("<{tag} name={quote}{name}{quote}>{inner}{end}</{tag} >")
            }
        })
}

proptest! {
    #[test]
    fn merging_keeps_every_foreign_element_in_order_and_settles_at_once(
        elements in prop::collection::vec((between(), element()), 0..8), end in between(), windows in any::<bool>(),
    ) {
        let body = elements.iter().flat_map(|(before, one)| [before.as_str(), one]).collect::<String>();
        let mut file = format!("<!-- first -->\n<configuration a='b'><logger name='X'/>{body}{end}</configuration>\n<!-- last -->");
        if windows {
            file = file.replace('\n', "\r\n");
        }
        let all = merged(&file, Service::Proxy);
        let (mut kept, had) = (foreign(&all), foreign(&file));
        let logger = "logger [(\"name\", \"AuditActivity.Proxy\")]";
        if !had.iter().any(|one| one == logger) {
            // It was made for ours, and has nothing else.
            let made = kept.iter().position(|one| one == logger).unwrap();
            prop_assert_eq!(&kept[made + 1], "end");
            kept.drain(made..made + 2);
        }
        prop_assert_eq!(kept, had);
        prop_assert_eq!(merged(&all, Service::Proxy), all.clone());
        // Ours are there, each is referred to by the logger that counts, and has the address.
        let document = Document::parse(&all).unwrap();
        let root = document.root_element();
        for name in ["ButlerUserSessions", "ButlerUserConnections"] {
            let ours = root.children().filter(|node| node.has_tag_name("appender") && node.attribute("name") == Some(name));
            let texts: Vec<_> = ours.map(|node| all[node.range()].replace("\r\n", "\n")).collect();
            let expected = write::appender(appender(name), &target());
            prop_assert!(!texts.is_empty() && texts.iter().all(|text| *text == expected));
            let logger = root.children().rfind(|node| {
                node.has_tag_name("logger") && node.attribute("name") == Some("AuditActivity.Proxy")
            });
            prop_assert!(logger.unwrap().children().any(|node| node.attribute("ref") == Some(name)));
        }
    }

    #[test]
    fn no_bytes_wedge_the_merge(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[<>/a-c\"' =!-]{0,60}") {
        let _ = merge(&bytes, Service::Scheduler, &target());
        let _ = merge(format!("<configuration>{text}</configuration>").as_bytes(), Service::Scheduler, &target());
    }
}
