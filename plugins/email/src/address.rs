//! Which texts are addresses of recipients, and which are senders.
//!
//! The rules for recipients are narrower than those of the standards: what is entered by hand in custom properties and
//! directories is mostly a mistake when it breaks them, and one bad address would only cost the others time.

use lettre::Address;
use lettre::message::Mailbox;

/// Longest address, local part and label of a domain, by RFC 5321 and RFC 1035.
const LONGEST: usize = 254;
const LONGEST_LOCAL: usize = 64;
const LONGEST_LABEL: usize = 63;

/// A recipient's address. The error says for people what is wrong, without the address.
pub(crate) fn recipient(text: &str) -> Result<Address, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.is_ascii() {
        return Err("only ASCII letters are possible");
    }
    if text.matches('@').count() > 1 && text.contains([',', ';']) {
        return Err("write one address per value");
    }
    if text.contains(['<', '>', '"']) || text.contains(char::is_whitespace) {
        return Err("write the bare address, without a name");
    }
    if text.len() > LONGEST {
        return Err("it is longer than 254 characters");
    }
    let Some((local, domain)) = text.rsplit_once('@') else { return Err("it has no @") };
    if local.len() > LONGEST_LOCAL {
        return Err("the part before the @ is longer than 64 characters");
    }
    let Some((_, top)) = domain.rsplit_once('.') else { return Err("its domain has no dot") };
    if domain.split('.').any(|label| label.len() > LONGEST_LABEL) {
        return Err("a part of its domain is longer than 63 characters");
    }
    if top.len() < 2 || !top.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err("its domain does not end as a domain does");
    }
    Address::new(local, domain).map_err(|_| "it is no mail address")
}

/// A sender: an address, or a name and an address: `Qlik Sense <noreply@example.com>`. As in Butler 16, what is in
/// parentheses outside of quotes is a comment. The error says for people what is wrong.
pub(crate) fn sender(text: &str) -> Result<Mailbox, String> {
    let text = without_comments(text);
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim().trim_matches('"').trim(), address.trim()),
        None => ("", text),
    };
    if name.contains(char::is_control) {
        return Err("the name holds a line break or another control character".to_owned());
    }
    if !address.is_ascii() {
        return Err("letters beyond ASCII are possible in the name only; write such a domain as `xn--…`".to_owned());
    }
    let address: Address = address
        .parse()
        .map_err(|_| "write an address, or a name and an address: `Qlik Sense <noreply@example.com>`".to_owned())?;
    let name = Some(name.replace("\\\"", "\"")).filter(|name| !name.is_empty());
    Ok(Mailbox::new(name, address))
}

fn without_comments(text: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let mut kept = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' if depth == 0 && !escaped => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if depth == 0 {
            kept.push(c);
        }
    }
    // Where a comment was between two spaces one is enough.
    kept.replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recipients_are_bare_addresses_with_a_whole_domain() {
        let long = |local: usize, label: usize| format!("{}@{}.io", "a".repeat(local), "b".repeat(label));
        for good in ["joe@x.io", " joe@x.io ", "joe.o'hara+qlik@mail.x-y.example", &long(64, 63), "joe@x.xn--p1ai"] {
            assert!(recipient(good).is_ok(), "{good}: {:?}", recipient(good));
        }
        for (bad, part) in [
            ("", "empty"),
            ("  ", "empty"),
            ("Joe <joe@x.io>", "without a name"),
            ("\"joe\"@x.io", "without a name"),
            ("joe@x.io, ann@x.io", "one address per value"),
            ("joe@x.io;ann@x.io", "one address per value"),
            ("joe@x.io\r\nBcc: eve@x.io", "without a name"),
            ("joe", "no @"),
            ("joe@localhost", "no dot"),
            ("joe@x.i", "does not end"),
            ("joe@10.1.2.3", "does not end"),
            ("joe@x.4io", "does not end"),
            ("joe@.io", "no mail address"),
            ("joe@x..io", "no mail address"),
            ("@x.io", "no mail address"),
            ("joe@ann@x.io", "no mail address"),
            ("jö@x.io", "ASCII"),
            (&long(65, 5), "before the @"),
            (&long(5, 64), "part of its domain"),
            (&format!("joe@{}io", "abcdefgh.".repeat(30)), "254"),
        ] {
            let error = recipient(bad).unwrap_err();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn senders_may_have_names_and_comments() {
        for (text, shown) in [
            ("q@acme.test", "q@acme.test"),
            ("Qlik Sense (no-reply) <q@acme.test>", "\"Qlik Sense\" <q@acme.test>"),
            ("\"Qlik (EU)\" <q@acme.test>", "\"Qlik (EU)\" <q@acme.test>"),
            ("Köln <q@sense1>", "Köln <q@sense1>"),
        ] {
            let mailbox = sender(text).unwrap();
            assert_eq!(mailbox.to_string().replace('"', ""), shown.replace('"', ""), "{text}");
        }
        for bad in ["", "noreply", "Qlik", "Qlik <>", "a\r\nBcc: x@y.z <q@acme.test>", "q@köln.de", "a@A\u{1039f}:"] {
            assert!(sender(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_fits_on_one_line_of_the_protocol(text in "\\PC{0,40}|[a-z@.<> \r\n]{0,20}@[a-z.]{0,9}") {
            if let Ok(address) = recipient(&text) {
                let address = address.to_string();
                prop_assert!(address.is_ascii() && !address.contains([' ', '\r', '\n', '<', '>']));
            }
            if let Ok(mailbox) = sender(&text) {
                prop_assert!(!mailbox.to_string().contains(['\r', '\n']));
            }
        }
    }
}
