//! Certificates of `tls:` profiles, by which plugins reach destinations.

use std::collections::BTreeMap;

use super::super::findings::Findings;
use crate::config::TlsProfile;
use crate::qlik::{CertificateRole, profile_certificates};
use crate::store::now_ms;

/// Looks at all of them, used or not.
pub(in super::super) fn check(profiles: &BTreeMap<String, TlsProfile>, findings: &mut Findings) {
    let now = now_ms();
    for (name, profile) in profiles {
        let link = format!("certificate tls.{name}");
        let all = match profile_certificates(profile) {
            Ok(all) => all,
            Err(error) => {
                findings.failed(&link, &error.to_string(), "");
                continue;
            }
        };
        for facts in all {
            let (what, remedy) = if facts.role == CertificateRole::Client {
                ("client certificate", format!("put a new one and its key in place of the files of `tls.{name}`"))
            } else {
                ("authority", format!("put that which the destination has now into the file of `tls.{name}.ca`"))
            };
            let file = facts.file.as_deref().unwrap_or(std::path::Path::new("")).display();
            let detail = format!("the {what} {file} {}", facts.validity(now));
            match facts.due(now) {
                Some(_) if facts.has_expired(now) => findings.failed(&link, &detail, &remedy),
                Some(_) => findings.note(&link, &detail, &remedy),
                None => {
                    let detail = format!("the {what} is valid until {}, {}", facts.end_day(), facts.subject);
                    findings.ok(&link, &detail);
                }
            }
        }
    }
}
