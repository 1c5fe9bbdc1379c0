//! Messages of the proxy's audit log: sessions and connections of users.
//!
//! ```text
//! Butler 5, 6  TYPE;host;command;directory;user id;origin;context;message
//! before 5     host;command;directory;user id
//! ```
//!
//! The command says what happened, whatever the type: it is what the log line carries itself.
//!
//! **Keys.** These messages have neither an id nor a time. Two connections that one user opens in a second are alike to the
//! last byte, so there is nothing by which a message that came twice could be told from a second connection. They have
//! no keys: each message is an event of its own. Counting one too many, should the network ever double a datagram,
//! beats losing connections that were there; nobody is called at night for either.

use butler_plugin_api::{Data, Session, kind};

use super::text::{Fields, clean, clip, message};
use super::{Heard, Reject, present, user};
use crate::ingest::keys::{KeyBase, Outcome, Subject};

/// Commands of the proxy, in lower case, and the kinds of their events.
const COMMANDS: [(&str, &str); 4] = [
    ("start session", kind::USER_SESSION_STARTED),
    ("stop session", kind::USER_SESSION_STOPPED),
    ("open connection", kind::USER_CONNECTION_OPENED),
    ("close connection", kind::USER_CONNECTION_CLOSED),
];

/// The layout with a type. Origin, context and message may be absent: the event is complete without them.
pub(super) fn typed(fields: &Fields<'_>) -> Result<Heard, Reject> {
    const LEAST: usize = 5;
    let found = fields.len();
    if found < LEAST {
        return Err(Reject::TooFewFields { expected: LEAST, found });
    }
    let command = command(fields.get(2));
    let kind = kind_of(&command).ok_or_else(|| Reject::UnknownCommand(clip(&command, 60).to_owned()))?;
    let session = Session { origin: present(fields.get(5)), context: present(fields.get(6)), ..Session::default() };
    let user = user(fields.get(3), fields.get(4));
    Ok(event(kind, &command, fields.get(1), user, session, fields.rest(7)))
}

/// The layout before Butler 5, which had no type.
pub(super) fn before_5(fields: &Fields<'_>) -> Option<Heard> {
    const FIELDS: usize = 4;
    if fields.len() < FIELDS || fields.get(0).trim_start().starts_with('/') {
        return None;
    }
    let command = command(fields.get(1));
    let kind = kind_of(&command)?;
    // The user's id is the last field, so that a `;` in it does no harm.
    Some(event(kind, &command, fields.get(0), user(fields.get(2), fields.rest(3)), Session::default(), ""))
}

fn command(field: &str) -> String {
    clean(field).trim().to_owned()
}

fn kind_of(command: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(known, _)| command.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

fn event(kind: &str, command: &str, node: &str, user: Option<String>, session: Session, text: &str) -> Heard {
    let told = message(text);
    let told =
        if told.is_empty() { user.as_ref().map(|user| format!("{command} for user {user}")) } else { Some(told) };
    let session = (session != Session::default()).then(|| Box::new(session));
    let data = Data { node: present(node), user, session, message: told, ..Data::default() };
    // Written when it has happened.
    let keys = KeyBase { subject: Subject::Unknown, outcome: Outcome::Succeeded };
    Heard { kind: kind.to_owned(), data, keys }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{keys, parse};

    fn heard(text: &str) -> Heard {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_session_is_read_field_by_field_and_its_message_may_hold_semicolons() {
        let text = r"/proxy-session/;n1;Start session;DIR;joe;Proxy;ctx;text;with;semicolons";
        let session = heard(text);
        assert_eq!(session.kind, kind::USER_SESSION_STARTED);
        let expected = serde_json::json!({
            "node": "n1", "user": "DIR\\joe", "message": "text;with;semicolons",
            "session": { "origin": "Proxy", "context": "ctx" }
        });
        assert_eq!(serde_json::to_value(&session.data).unwrap(), expected);
        assert_eq!(keys(&session, 0), [""; 0], "two sessions may be alike to the last byte");
    }

    #[test]
    fn the_command_decides_whatever_its_case_and_the_type() {
        for (command, kind) in [
            ("Start session", kind::USER_SESSION_STARTED),
            ("STOP SESSION", kind::USER_SESSION_STOPPED),
            (" open Connection ", kind::USER_CONNECTION_OPENED),
            ("Close connection", kind::USER_CONNECTION_CLOSED),
        ] {
            for message_type in ["/proxy-session/", "/Proxy-Connection//"] {
                assert_eq!(heard(&format!("{message_type};n1;{command};DIR;joe;o;c;m")).kind, kind, "{command}");
            }
            let old = heard(&format!("n1;{command};DIR;joe"));
            assert_eq!((old.kind.as_str(), old.data.user.as_deref()), (kind, Some("DIR\\joe")));
        }
    }

    #[test]
    fn the_layout_before_5_has_no_type_and_tells_less() {
        let old = heard("n1;Start session;DIR;jo;e");
        let expected = serde_json::json!({
            "node": "n1", "user": "DIR\\jo;e", "message": "Start session for user DIR\\jo;e"
        });
        assert_eq!(serde_json::to_value(&old.data).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let least = heard("/proxy-connection/;(null);Open connection;;(null)");
        assert_eq!(serde_json::to_value(&least.data).unwrap(), serde_json::json!({}));
        let nobody = heard("/proxy-connection/;n1;Open connection;(null);(null);(null);;a\r\nb");
        assert_eq!((nobody.data.user, nobody.data.session), (None, None));
        assert_eq!(nobody.data.message.as_deref(), Some("a b"));
    }

    #[test]
    fn what_is_no_session_is_rejected_with_the_reason() {
        let reason = |text: &str| parse(text.as_bytes()).unwrap_err().reason();
        assert_eq!(reason("/proxy-session/;n1;Start session;DIR"), "too-few-fields");
        assert_eq!(reason("/proxy-session/;n1;Renew session;DIR;joe"), "unknown-command");
        assert_eq!(reason("/proxy-connection/;n1;(null);DIR;joe;o;c;Start session"), "unknown-command");
        assert_eq!(reason("n1;Renew session;DIR;joe"), "unknown-type");
        assert_eq!(reason("n1;Start session;DIR"), "unknown-type");
        assert_eq!(reason("/n1;Start session;DIR;joe"), "unknown-type");
    }
}
