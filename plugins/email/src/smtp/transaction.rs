//! One mail to one or several recipients.

use std::ops::RangeInclusive;

use lettre::Address;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::response::Response;

use super::{Failure, Limits, StepError, one_line};

/// What became of the mail for one recipient; the texts are the server's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Sent,
    /// Not now.
    Later(String),
    /// Never.
    Refused(String),
}

impl Verdict {
    /// About the mail.
    fn of(error: &StepError) -> Self {
        match error.code() {
            Some(500..) => Self::Refused(error.to_string()),
            _ => Self::Later(error.to_string()),
        }
    }

    /// About a recipient. 552: the transaction has too many of them (RFC 5321, 4.5.3.1.10).
    fn of_recipient(error: &StepError) -> Self {
        match error.code() {
            Some(552) => Self::Later(error.to_string()),
            _ => Self::of(error),
        }
    }
}

/// Why a transaction as a whole came to nothing.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// The server has not begun to take the mail: it can be sent again without a risk.
    pub(super) before_content: bool,
    /// The connection is of no use any more.
    pub(super) connection_lost: bool,
}

/// What came of a transaction.
#[derive(Debug)]
pub(super) struct Done {
    /// One for each recipient, in their order.
    pub(super) verdicts: Vec<Verdict>,
    /// The connection is of no use any more.
    pub(super) connection_lost: bool,
}

/// Hands over a mail; whoever is refused stops none of the others.
pub(super) async fn transact(
    connection: &mut AsyncSmtpConnection,
    limits: &Limits,
    from: &Address,
    to: &[Address],
    mail: &str,
) -> Result<Done, Broken> {
    let before = |error: &StepError| Broken {
        failure: match error {
            StepError::OutOfTime => Failure::OutOfTime,
            error => Failure::Broken(format!("the connection to the mail server broke: {error}")),
        },
        before_content: true,
        connection_lost: true,
    };
    let sender = Mail::new(Some(from.clone()), Vec::new());
    if let Err(error) = limits.step(1, connection.command(sender)).await.and_then(|answer| wanted(&answer, FINE)) {
        if error.is_broken() {
            return Err(before(&error));
        }
        let failure = Failure::NoMails(format!("the mail server takes no mails from {from}: {error}"));
        return Err(Broken { failure, before_content: true, connection_lost: false });
    }
    let mut verdicts = Vec::with_capacity(to.len());
    for address in to {
        let recipient = Rcpt::new(address.clone(), Vec::new());
        match limits.step(1, connection.command(recipient)).await.and_then(|answer| wanted(&answer, FINE)) {
            Ok(()) => verdicts.push(Verdict::Sent),
            Err(error) if error.is_broken() => return Err(before(&error)),
            Err(error) => verdicts.push(Verdict::of_recipient(&error)),
        }
    }
    if !verdicts.contains(&Verdict::Sent) {
        return Ok(reset(connection, limits, verdicts).await);
    }
    match limits.step(1, connection.command(Data)).await.and_then(|answer| wanted(&answer, GO_ON)) {
        Ok(()) => {}
        Err(error) if error.is_broken() => return Err(before(&error)),
        Err(error) => return Ok(reset(connection, limits, replace(verdicts, &Verdict::of(&error))).await),
    }
    match limits.step(4, connection.command(content(mail))).await.and_then(|answer| wanted(&answer, FINE)) {
        Ok(()) => Ok(Done { verdicts, connection_lost: false }),
        Err(error) if error.code().is_none() => Err(Broken { before_content: false, ..before(&error) }),
        Err(error) => {
            Ok(Done { verdicts: replace(verdicts, &Verdict::of(&error)), connection_lost: error.is_broken() })
        }
    }
}

/// Codes of answers.
const FINE: RangeInclusive<u16> = 200..=299;
const GO_ON: RangeInclusive<u16> = 354..=354;

/// A good answer, but to something else, is that of a connection that is out of step.
fn wanted(answer: &Response, codes: RangeInclusive<u16>) -> Result<(), StepError> {
    if codes.contains(&u16::from(answer.code())) {
        return Ok(());
    }
    let words = answer.message().collect::<Vec<_>>().join(" ");
    Err(StepError::OutOfStep(format!("{} {}", answer.code(), one_line(&words))))
}

/// Ends a transaction without a mail. A connection that does not answer to that would take its answer for that to the next
/// command.
async fn reset(connection: &mut AsyncSmtpConnection, limits: &Limits, verdicts: Vec<Verdict>) -> Done {
    let answer = limits.step(1, connection.command(Rset)).await.and_then(|answer| wanted(&answer, FINE));
    Done { verdicts, connection_lost: answer.is_err() }
}

/// A mail as it goes over the wire, its end included. In one piece: what is written in two waits for the other side's
/// delayed acknowledgement, some 40 ms a mail.
fn content(mail: &str) -> String {
    let dotted = mail.replace("\r\n.", "\r\n..");
    let (first, end) =
        (if dotted.starts_with('.') { "." } else { "" }, if dotted.ends_with("\r\n") { "" } else { "\r\n" });
    format!("{first}{dotted}{end}.\r\n")
}

/// What is said of the mail concerns all whose address was taken.
fn replace(verdicts: Vec<Verdict>, by: &Verdict) -> Vec<Verdict> {
    verdicts.into_iter().map(|verdict| if verdict == Verdict::Sent { by.clone() } else { verdict }).collect()
}

#[cfg(test)]
mod tests {
    use super::content;

    #[test]
    fn a_mail_ends_where_it_ends_and_nowhere_else() {
        for (mail, wire) in [
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n.\r\n..a\r\n", "..\r\n..\r\n...a\r\n.\r\n"),
            ("", "\r\n.\r\n"),
        ] {
            assert_eq!(content(mail), wire);
        }
    }
}
