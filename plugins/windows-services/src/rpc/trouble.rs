//! What to do when `net` got no answer: for people who are woken up by it.

use std::path::Path;
use std::time::Duration;

use super::answer::{Fault, Subject};
use crate::backend::Failure;

/// What to do when a host does not answer.
const NETWORK: &str = "check that the host runs and shares files (SMB), and that no firewall is in between";

/// Who was asked, and as whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) credentials: &'a Path,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The host refuses user name or password: to ask again may lock the account.
    Logon(String),
    /// The host as a whole.
    Host(String),
    /// This service alone.
    Service(Failure),
}

impl Call<'_> {
    /// The time was over.
    pub(crate) fn silent(&self, limit: Duration) -> Trouble {
        Trouble::Host(format!("{} within {limit:?}: {}", self.no_answer(), NETWORK))
    }

    /// In words.
    pub(crate) fn explain(&self, fault: &Fault) -> Trouble {
        let code = fault.code.as_deref().unwrap_or_default();
        let Self { host, credentials, .. } = self;
        let file = credentials.display();
        if fault.subject == Subject::Service {
            return Trouble::Service(match code {
                "WERR_SERVICE_DOES_NOT_EXIST" | "WERR_NO_SUCH_SERVICE" | "0x00000424" => Failure::Missing,
                "WERR_ACCESS_DENIED" => Failure::Service(format!(
                    "{host} does not let the account of {file} ask for this service ({code}): make it an administrator of the \
                     host, or give it the rights to query the service's status and configuration"
                )),
                _ => Failure::Service(format!("{host} does not tell the state of this service: {}", fault.text)),
            });
        }
        let text = match code {
            "NT_STATUS_LOGON_FAILURE" | "NT_STATUS_WRONG_PASSWORD" | "NT_STATUS_NO_SUCH_USER" => {
                return Trouble::Logon(format!("{host} refuses the logon ({code}): check the lines of {file}"));
            }
            "NT_STATUS_ACCOUNT_DISABLED"
            | "NT_STATUS_ACCOUNT_EXPIRED"
            | "NT_STATUS_ACCOUNT_LOCKED_OUT"
            | "NT_STATUS_ACCOUNT_RESTRICTION"
            | "NT_STATUS_INVALID_LOGON_HOURS"
            | "NT_STATUS_INVALID_WORKSTATION"
            | "NT_STATUS_LOGON_TYPE_NOT_GRANTED"
            | "NT_STATUS_PASSWORD_EXPIRED"
            | "NT_STATUS_PASSWORD_MUST_CHANGE" => {
                format!("{host} does not let the account of {file} in ({code}): see to the account in Windows")
            }
            "NT_STATUS_ACCESS_DENIED" | "WERR_ACCESS_DENIED" => format!(
                "{host} does not let the account of {file} ask for services ({code}): make it an administrator of the host; one \
                 of its own accounts must be the built-in Administrator, since Windows takes the rights from others that come \
                 by the network"
            ),
            "NT_STATUS_NTLM_BLOCKED" => format!(
                "{host} refuses NTLM, and there was no Kerberos ticket ({code}): give {file} the full DNS name of the domain, \
                 the host its full name, and check that this machine finds the domain's controllers"
            ),
            "NT_STATUS_CONNECTION_DISCONNECTED"
            | "NT_STATUS_CONNECTION_REFUSED"
            | "NT_STATUS_CONNECTION_RESET"
            | "NT_STATUS_HOST_UNREACHABLE"
            | "NT_STATUS_INVALID_NETWORK_RESPONSE"
            | "NT_STATUS_IO_TIMEOUT"
            | "NT_STATUS_NETWORK_UNREACHABLE" => format!("{} ({code}): {}", self.no_answer(), NETWORK),
            // So it says of names that cannot be resolved.
            _ if fault.text.contains("Unable to find a suitable server") => {
                format!("{host} has no address: check how it is written, and this machine's DNS")
            }
            _ if fault.text.is_empty() => format!("`net` failed at {host} and did not say why"),
            _ => format!("`net` failed at {host}: {}", fault.text),
        };
        Trouble::Host(text)
    }

    fn no_answer(&self) -> String {
        format!("{} does not answer at TCP port {}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests;
