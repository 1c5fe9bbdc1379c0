//! Why there is no connection, and why a message is not taken: in words that say what to do.

use std::error::Error;
use std::io;

use butler_plugin_api::DeliveryError;
use rumqttc_v4 as v4;
use rumqttc_v5 as v5;

/// Why a connection cannot be made, or is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// What has happened; goes on after the name of the broker.
    pub(crate) text: String,
    /// The broker does not let us in: asking again soon would lock an account.
    pub(crate) refused: bool,
    /// The broker has ended the connection without a word.
    pub(crate) closed: bool,
    /// We ended it.
    pub(crate) ended: bool,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), refused: false, closed: false, ended: false }
    }

    fn refused(text: impl Into<String>) -> Self {
        Self { refused: true, ..Self::new(text) }
    }

    fn closed(text: impl Into<String>) -> Self {
        Self { closed: true, ..Self::new(text) }
    }

    fn ended() -> Self {
        Self { ended: true, ..Self::new("the connection is ended") }
    }

    fn io(error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => ": does the broker run there, and is the port of `url` right?",
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                return Self::closed(format!("closes the connection ({error})"));
            }
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ": is `url` right, and does a firewall let Butler through?"
            }
            // The system's words: names have no kind of error of their own.
            _ if ["lookup", "No such host"].iter().any(|part| error.to_string().contains(part)) => {
                ": is the host of `url` right, and does the DNS of this machine know it?"
            }
            _ => "",
        };
        Self::new(format!("cannot be reached: {}{hint}", causes(error)))
    }

    fn tls(error: &dyn Error) -> Self {
        let text = causes(error);
        let hint = if text.contains("UnknownIssuer") {
            "; if the broker has a certificate of your own authority, name that in `tls.ca`"
        } else if text.contains("corrupt message") || text.contains("InvalidContentType") {
            "; there is no TLS on this port: `mqtt://` or `ws://` may be right in `url`"
        } else if text.contains("CertificateRequired") || text.contains("HandshakeFailure") {
            "; the broker may ask for a client certificate: `tls.certificate` and `tls.key`"
        } else if text.contains("not valid for name") || text.contains("NotValidForName") {
            "; use the name of the certificate in `url`"
        } else {
            ""
        };
        Self::new(format!("cannot be reached by TLS: {text}{hint}"))
    }

    fn silent_ping() -> Self {
        Self::new("does not answer any more (no answer to a ping)")
    }
}

const LOGIN: &str = "refuses the login: correct `user` and `password`, or `tls.certificate`, or the broker's rights for \
                     this client";
const CLIENT_ID: &str = "refuses the client id: choose another one in `clientId`";
const VERSION: &str = "does not speak this version of MQTT: correct `version`";

/// An error with its causes, those that are told already left out.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What goes wrong while TLS is set up comes as an I/O error as well.
fn of_io(error: &io::Error) -> Failure {
    match error.get_ref().filter(|inner| inner.is::<rustls::Error>()) {
        Some(inner) => Failure::tls(inner),
        None => Failure::io(error),
    }
}

fn of_tls(error: &v4::TlsError) -> Failure {
    match error {
        v4::TlsError::Io(error) => of_io(error),
        other => Failure::tls(other),
    }
}

/// The same for all of WebSocket's own errors, which have many forms.
fn of_websocket(error: &dyn Error) -> Failure {
    let text = causes(error);
    if text.contains("closed") || text.contains("reset") {
        return Failure::closed(format!("closes the connection ({text})"));
    }
    Failure::new(format!(
        "does not speak MQTT over WebSocket there: {text}: is the path of `url` right (often `/mqtt`)?"
    ))
}

impl From<v4::ConnectionError> for Failure {
    fn from(error: v4::ConnectionError) -> Self {
        use v4::ConnectReturnCode as Code;
        use v4::{ConnectionError as Error, StateError as State};
        match &error {
            Error::RequestsDone => Self::ended(),
            Error::Io(error) | Error::MqttState(State::Io(error) | State::Deserialization(v4::Error::Io(error))) => {
                of_io(error)
            }
            Error::Tls(error) => of_tls(error),
            Error::ConnectionRefused(code) => match code {
                Code::BadUserNamePassword | Code::NotAuthorized => Self::refused(format!("{LOGIN} ({code:?})")),
                Code::BadClientId => Self::refused(CLIENT_ID),
                Code::RefusedProtocolVersion => Self::refused(VERSION),
                other => Self::new(format!("refuses the connection: {other:?}")),
            },
            Error::MqttState(State::ConnectionAborted) => Self::closed("closes the connection"),
            Error::MqttState(State::AwaitPingResp) => Self::silent_ping(),
            Error::Websocket(error) => of_websocket(error),
            Error::ResponseValidation(error) => of_websocket(error),
            other => Self::new(format!("breaks the rules of MQTT: {}", causes(other))),
        }
    }
}

impl From<v5::ConnectionError> for Failure {
    fn from(error: v5::ConnectionError) -> Self {
        use v5::ConnectReturnCode as Code;
        use v5::{ConnectionError as Error, StateError as State};
        match &error {
            Error::RequestsDone => Self::ended(),
            Error::Io(error) | Error::MqttState(State::Io(error) | State::Deserialization(v5::Error::Io(error))) => {
                of_io(error)
            }
            Error::Tls(error) => of_tls(error),
            Error::ConnectionRefused(code) | Error::MqttState(State::ConnFail { reason: code }) => match code {
                Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned | Code::BadAuthenticationMethod => {
                    Self::refused(format!("{LOGIN} ({code:?})"))
                }
                Code::BadClientId | Code::ClientIdentifierNotValid => Self::refused(CLIENT_ID),
                Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => Self::refused(VERSION),
                other => Self::new(format!("refuses the connection: {other:?}")),
            },
            Error::MqttState(State::ServerDisconnect { reason_code, reason_string }) => {
                let words = reason_string.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
                Self::closed(format!("closes the connection: {reason_code:?}{words}"))
            }
            Error::MqttState(State::ConnectionAborted) => Self::closed("closes the connection"),
            Error::MqttState(State::AwaitPingResp) => Self::silent_ping(),
            Error::Websocket(error) => of_websocket(error),
            Error::ResponseValidation(error) => of_websocket(error),
            other => Self::new(format!("breaks the rules of MQTT: {}", causes(other))),
        }
    }
}

/// Why the broker does not have a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The connection was lost before the broker acknowledged it.
    #[error("the connection was lost before the broker acknowledged the message")]
    Lost,
    /// Not now, or not until somebody changes something.
    #[error("{0}")]
    Later(String),
    /// Never, as the message is.
    #[error("{0}")]
    Never(String),
}

impl Refusal {
    pub(super) fn of_puback(reason: v5::PubAckReason) -> Result<(), Self> {
        use v5::PubAckReason as Reason;
        match reason {
            Reason::Success | Reason::NoMatchingSubscribers => Ok(()),
            Reason::TopicNameInvalid => Err(Self::Never("the broker does not take this topic".to_owned())),
            Reason::PayloadFormatInvalid => Err(Self::Never("the broker does not take this payload".to_owned())),
            // Rights are changed, and quotas are for a time.
            Reason::NotAuthorized => Err(Self::Later(
                "the broker does not allow this client to publish to the topic: change its rights, or the topic"
                    .to_owned(),
            )),
            Reason::QuotaExceeded => Err(Self::Later("a quota of the broker is used up".to_owned())),
            Reason::UnspecifiedError | Reason::ImplementationSpecificError | Reason::PacketIdentifierInUse => {
                Err(Self::Later(format!("the broker does not take the message: {reason:?}")))
            }
        }
    }

    pub(super) fn of_pubrec(reason: v5::PubRecReason) -> Result<(), Self> {
        use v5::{PubAckReason as Ack, PubRecReason as Rec};
        Self::of_puback(match reason {
            Rec::Success => Ack::Success,
            Rec::NoMatchingSubscribers => Ack::NoMatchingSubscribers,
            Rec::UnspecifiedError => Ack::UnspecifiedError,
            Rec::ImplementationSpecificError => Ack::ImplementationSpecificError,
            Rec::NotAuthorized => Ack::NotAuthorized,
            Rec::TopicNameInvalid => Ack::TopicNameInvalid,
            Rec::PacketIdentifierInUse => Ack::PacketIdentifierInUse,
            Rec::QuotaExceeded => Ack::QuotaExceeded,
            Rec::PayloadFormatInvalid => Ack::PayloadFormatInvalid,
        })
    }
}

impl From<v4::ClientError> for Refusal {
    fn from(error: v4::ClientError) -> Self {
        match error {
            v4::ClientError::InvalidRequest(_) => Self::Never("this is no topic to publish to".to_owned()),
            _ => Self::Lost,
        }
    }
}

impl From<v5::ClientError> for Refusal {
    fn from(error: v5::ClientError) -> Self {
        match error {
            v5::ClientError::InvalidRequest(_) => Self::Never("this is no topic to publish to".to_owned()),
            _ => Self::Lost,
        }
    }
}

impl From<v4::PublishNoticeError> for Refusal {
    fn from(_: v4::PublishNoticeError) -> Self {
        Self::Lost
    }
}

impl From<v5::PublishNoticeError> for Refusal {
    fn from(error: v5::PublishNoticeError) -> Self {
        match error {
            v5::PublishNoticeError::V5PubAck(reason) => Self::of_puback(reason).err().unwrap_or(Self::Lost),
            v5::PublishNoticeError::V5PubRec(reason) => Self::of_pubrec(reason).err().unwrap_or(Self::Lost),
            _ => Self::Lost,
        }
    }
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Never(why) => Self::reject(why),
            other => Self::retry(other.to_string()),
        }
    }
}

pub(super) fn subscription(error: &v4::SubscribeNoticeError) -> String {
    match error {
        v4::SubscribeNoticeError::V4SubAckFailure(_) => "the broker does not allow it".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn subscription_v5(error: &v5::SubscribeNoticeError) -> String {
    match error {
        v5::SubscribeNoticeError::V5SubAckFailure(reasons) => format!("the broker does not allow it: {reasons:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_mqtt_5_are_retried_or_rejected() {
        use v5::PubAckReason as Reason;
        for (reason, retried) in [
            (Reason::NotAuthorized, true),
            (Reason::QuotaExceeded, true),
            (Reason::UnspecifiedError, true),
            (Reason::ImplementationSpecificError, true),
            (Reason::PacketIdentifierInUse, true),
            (Reason::TopicNameInvalid, false),
            (Reason::PayloadFormatInvalid, false),
        ] {
            let error = DeliveryError::from(Refusal::of_puback(reason).unwrap_err());
            assert_eq!(matches!(error, DeliveryError::Retry { .. }), retried, "{reason:?}");
        }
        assert_eq!(Refusal::of_puback(Reason::NoMatchingSubscribers), Ok(()), "nobody listens: the broker has it");
        assert!(Refusal::of_pubrec(v5::PubRecReason::QuotaExceeded).is_err());
    }

    #[test]
    fn failures_say_what_helps() {
        use io::ErrorKind;
        let refused = |code| Failure::from(v4::ConnectionError::ConnectionRefused(code));
        let login = refused(v4::ConnectReturnCode::NotAuthorized);
        assert!(login.refused && login.text.contains("`password`"), "{login}");
        let login = Failure::from(v5::ConnectionError::ConnectionRefused(v5::ConnectReturnCode::BadUserNamePassword));
        assert!(login.refused && login.text.contains("`password`"), "{login}");
        assert!(refused(v4::ConnectReturnCode::BadClientId).text.contains("`clientId`"));
        assert!(!refused(v4::ConnectReturnCode::ServiceUnavailable).refused);
        let down = Failure::from(v4::ConnectionError::Io(ErrorKind::ConnectionRefused.into()));
        assert!(down.text.contains("does the broker run"), "{down}");
        let reset =
            Failure::from(v4::ConnectionError::MqttState(v4::StateError::Io(ErrorKind::ConnectionReset.into())));
        assert!(reset.closed, "{reset}");
        let issuer = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let issuer = io::Error::new(ErrorKind::InvalidData, issuer);
        let issuer = Failure::from(v4::ConnectionError::Tls(v4::TlsError::Io(issuer)));
        assert!(issuer.text.contains("`tls.ca`"), "{issuer}");
    }
}
