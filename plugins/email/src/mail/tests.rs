//! The bytes of mails.

use super::*;

fn content(subject: &str, html: &str, text: &str) -> Content {
    Content { subject: subject.to_owned(), html: Some(html.to_owned()), text: text.to_owned() }
}

fn sender() -> Mailbox {
    crate::address::sender("Qlik Sense Köln <noreply@acme.test>").unwrap()
}

fn addresses(count: usize) -> Vec<Address> {
    (0..count).map(|number| format!("user{number}@x.io").parse().unwrap()).collect()
}

fn mail(content: &Content, priority: Priority) -> String {
    let to = addresses(1);
    let mail = Draft::new(&sender(), priority, content, "d-1").to(&to, Mode::PerRecipient, &to).unwrap();
    String::from_utf8(mail.formatted()).unwrap()
}

/// Without what differs each time.
fn steady(mail: &str) -> String {
    let boundary = mail.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let lines = mail.split("\r\n").map(|line| if line.starts_with("Date: ") { "Date: …" } else { line });
    lines.collect::<Vec<_>>().join("\n").replace(boundary, "BOUNDARY")
}

#[test]
fn a_mail_is_text_and_html_with_all_its_headers() {
    let content = content("Reload task failed: Größe", "<p>Größe &amp; \u{1F600}</p>", "Größe & \u{1F600}");
    insta::assert_snapshot!("mail", steady(&mail(&content, Priority::High)));
    let plain = Content { html: None, ..content };
    assert!(!mail(&plain, Priority::High).contains("text/html"));
}

#[test]
fn priorities() {
    let content = content("s", "h", "t");
    let low = mail(&content, Priority::Low);
    for header in ["X-Priority: 5 (Lowest)", "X-MSMail-Priority: Low", "Importance: Low"] {
        assert!(low.contains(&format!("\r\n{header}\r\n")), "{low}");
    }
    let normal = mail(&content, Priority::Normal);
    for header in ["X-Priority", "X-MSMail-Priority", "Importance"] {
        assert!(!normal.contains(header), "{normal}");
    }
}

#[test]
fn a_subject_is_one_line_and_brings_no_header() {
    for subject in
        ["a\r\nBcc: eve@x.io\r\n\r\nbody", "a\nBcc: eve@x.io", "a\rBcc: eve@x.io", "a\u{2028}Bcc:\u{0}eve@x.io"]
    {
        let mail = mail(&content(subject, "h", "t"), Priority::Normal);
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("\r\nBcc") && !head.contains("\nBcc"), "{head}");
        assert!(head.contains("Subject: a "), "{head}");
    }
    assert_eq!(one_line("  R&D \"x\"\t\r\n y "), "R&D \"x\" y");
    assert_eq!(one_line(&"ä".repeat(1000)).chars().count(), 251);
}

#[test]
fn long_lines_and_control_characters_keep_the_form_of_mails() {
    let line = "x".repeat(3 << 20);
    let text = format!("{line}\r.\r\n.\n\u{0}\u{1b}[31m{}\u{202e}", "\u{5d0}".repeat(5000));
    let mail = mail(&content(&"s ".repeat(2000), &text, &text), Priority::Normal);
    assert!(mail.split("\r\n").all(|line| line.len() <= 998), "a line is too long for mail servers");
    assert!(mail.is_ascii() && !mail.replace("\r\n", "").contains(['\r', '\n', '\0', '\u{1b}']));
}

#[test]
fn ids_are_the_same_when_a_mail_is_repeated_and_differ_by_recipient() {
    let draft = |delivery: &str| Draft::new(&sender(), Priority::Normal, &content("s", "h", "t"), delivery);
    let id = |mail: &Message| head(mail).into_iter().find(|line| line.starts_with("Message-ID: ")).unwrap();
    let [a, b] = &addresses(2)[..] else { panic!() };
    let of = |delivery: &str, to: &Address, mode| id(&draft(delivery).to(std::slice::from_ref(to), mode, &[]).unwrap());
    let one = Mode::PerRecipient;
    assert_eq!(of("d1", a, one), of("d1", a, one));
    assert_ne!(of("d1", a, one), of("d1", b, one));
    assert_ne!(of("d1", a, one), of("d2", a, one));
    assert_eq!(of("d1", a, Mode::Hidden), "Message-ID: <d1.all@acme.test>");
    assert!(!of("d>1\r\nX: y", a, one).contains("d>1"));
}

#[test]
fn who_is_named_in_the_mail() {
    let to = addresses(300);
    let draft = Draft::new(&sender(), Priority::Normal, &content("s", "h", "t"), "d-1");
    let shown = |to: &[Address], mode| {
        let mail = draft.to(to, mode, &addresses(300)).unwrap();
        assert_eq!(mail.envelope().to().len(), to.len());
        let head = head(&mail);
        head.into_iter().filter(|line| line.contains("@x.io") || line.starts_with("To")).collect::<Vec<_>>()
    };
    assert_eq!(shown(&to[..1], Mode::PerRecipient), ["To: user0@x.io"]);
    assert_eq!(shown(&to, Mode::Hidden), ["To: undisclosed-recipients:;"]);
    let all = shown(&to[..100], Mode::Visible);
    // The list is made once: it is not read and written anew for each of them.
    let many = addresses(20_000);
    draft.to(&many[..1], Mode::Visible, &many).unwrap();
    assert!(all.len() == 1 && all[0].matches('@').count() == 300 && all[0].contains("user299@x.io"), "{all:?}");
}
