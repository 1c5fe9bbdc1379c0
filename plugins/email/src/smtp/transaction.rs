//! One mail to one or several recipients.

use lettre::Address;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};

use super::{Failure, Limits, StepError};

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
    fn of(error: &StepError) -> Self {
        match error.code() {
            Some(500..) => Self::Refused(error.to_string()),
            _ => Self::Later(error.to_string()),
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

/// Hands over a mail. One verdict for each recipient, in their order; whoever is refused stops none of the others.
pub(super) async fn transact(
    connection: &mut AsyncSmtpConnection,
    limits: &Limits,
    from: &Address,
    to: &[Address],
    mail: &str,
) -> Result<Vec<Verdict>, Broken> {
    let before = |error: &StepError| Broken {
        failure: match error {
            StepError::OutOfTime => Failure::OutOfTime,
            error => Failure::Broken(format!("the connection to the mail server broke: {error}")),
        },
        before_content: true,
        connection_lost: true,
    };
    if let Err(error) = limits.step(1, connection.command(Mail::new(Some(from.clone()), Vec::new()))).await {
        if error.is_broken() {
            return Err(before(&error));
        }
        let failure = Failure::NoMails(format!("the mail server takes no mails from {from}: {error}"));
        return Err(Broken { failure, before_content: true, connection_lost: false });
    }
    let mut verdicts = Vec::with_capacity(to.len());
    for address in to {
        match limits.step(1, connection.command(Rcpt::new(address.clone(), Vec::new()))).await {
            Ok(_) => verdicts.push(Verdict::Sent),
            Err(error) if error.is_broken() => return Err(before(&error)),
            Err(error) => verdicts.push(Verdict::of(&error)),
        }
    }
    if !verdicts.contains(&Verdict::Sent) {
        // Should it fail, the next mail finds out.
        let _ = limits.step(1, connection.command(Rset)).await;
        return Ok(verdicts);
    }
    match limits.step(1, connection.command(Data)).await {
        Ok(_) => {}
        Err(error) if error.is_broken() => return Err(before(&error)),
        Err(error) => {
            let _ = limits.step(1, connection.command(Rset)).await;
            return Ok(replace(verdicts, &Verdict::of(&error)));
        }
    }
    match limits.step(4, connection.command(content(mail))).await {
        Ok(_) => Ok(verdicts),
        Err(error) if error.code().is_none() => Err(Broken { before_content: false, ..before(&error) }),
        Err(error) => Ok(replace(verdicts, &Verdict::of(&error))),
    }
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
