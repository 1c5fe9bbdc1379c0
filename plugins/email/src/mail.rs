//! The bytes of a mail.

use std::time::SystemTime;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue, To};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use crate::settings::{Mode, Priority};
use crate::throttle::hex;

/// Longest subject, in characters: mail programs show less, some servers refuse more.
const LONGEST_SUBJECT: usize = 250;

/// What a mail says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) subject: String,
    /// None: the plain form.
    pub(crate) html: Option<String>,
    pub(crate) text: String,
}

/// A mail apart from its recipients; what it says is encoded once for all of them.
pub(crate) struct Draft {
    from: Mailbox,
    subject: String,
    priority: Priority,
    body: MultiPart,
    /// Names the delivery in the mail's id.
    delivery: String,
}

impl Draft {
    pub(crate) fn new(from: &Mailbox, priority: Priority, content: &Content, delivery: &str) -> Self {
        let text = SinglePart::plain(body_text(&content.text));
        let body = MultiPart::alternative().singlepart(text);
        let body = match &content.html {
            Some(html) => body.singlepart(SinglePart::html(body_text(html))),
            None => body,
        };
        Self {
            from: from.clone(),
            subject: one_line(&content.subject),
            priority,
            body,
            delivery: delivery.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect(),
        }
    }

    /// The mail to these recipients. `named`: who is named in it, where that is not only the recipient.
    pub(crate) fn to(&self, to: &[Address], mode: Mode, named: &[Address]) -> Result<Message, lettre::error::Error> {
        let builder = Message::builder().from(self.from.clone()).subject(self.subject.clone()).date(SystemTime::now());
        let (builder, id) = match (mode, to) {
            (Mode::PerRecipient, _) => {
                let builder = to.iter().fold(builder, |builder, to| builder.to(Mailbox::new(None, to.clone())));
                // The same when the mail is repeated, and of its own for each recipient: so a repeated mail can be told.
                let id = to.iter().map(|to| to.to_string().to_lowercase()).collect::<Vec<_>>().join(",");
                (builder, Some(id))
            }
            (Mode::Hidden, _) => (builder.raw_header(header("To", "undisclosed-recipients:;")), None),
            (Mode::Visible, _) => {
                let all: Mailboxes = named.iter().map(|to| Mailbox::new(None, to.clone())).collect();
                (builder.mailbox(To::from(all)), None)
            }
        };
        let mut builder = builder
            .message_id(Some(self.id(id.as_deref())))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            // Exchange goes by this one: no out-of-office notes to the sender.
            .raw_header(header("X-Auto-Response-Suppress", "OOF, AutoReply"));
        let (x, microsoft, importance) = match self.priority {
            Priority::High => ("1 (Highest)", "High", "High"),
            Priority::Low => ("5 (Lowest)", "Low", "Low"),
            Priority::Normal => ("", "", ""),
        };
        if !x.is_empty() {
            builder = builder
                .raw_header(header("X-Priority", x))
                .raw_header(header("X-MSMail-Priority", microsoft))
                .raw_header(header("Importance", importance));
        }
        let envelope = Envelope::new(Some(self.from.email.clone()), to.to_vec())?;
        builder.envelope(envelope).multipart(self.body.clone())
    }

    fn id(&self, recipient: Option<&str>) -> String {
        let of = recipient.map_or_else(|| "all".to_owned(), |text| hex(&Sha256::digest(text)[..8]));
        format!("<{}.{of}@{}>", self.delivery, self.from.email.domain())
    }
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The lines of the head of a mail, for people.
pub(crate) fn head(mail: &Message) -> Vec<String> {
    let bytes = mail.formatted();
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n").map(str::to_owned).collect()
}

/// A subject is one line, whatever a template or a name makes of it.
fn one_line(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    butler_plugin_api::message::cut(&words.join(" "), LONGEST_SUBJECT)
}

/// Line ends of one kind, and nothing that is no text.
fn body_text(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests;
