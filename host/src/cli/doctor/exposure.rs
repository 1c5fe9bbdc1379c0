//! Who can reach the REST server, and what it lets them do.

use butler_plugin_api::Scope;
use ipnet::IpNet;

use super::super::findings::Findings;
use crate::config::{Grant, Rest, network};
use crate::qlik::{CertificateFacts, ServerFiles};
use crate::store::now_ms;

const LINK: &str = "rest";

/// A network with more addresses than this is wider than a site: 65,536 of IPv4, a subnet of IPv6.
const WIDE: [u8; 2] = [16, 64];

/// Looks at `rest:` of the config.
pub(in super::super) fn check(rest: &Rest, findings: &mut Findings) {
    certificate(rest, findings);
    for grant in &rest.grants {
        if let Some(network) = network(&grant.network) {
            wide(grant, network, findings);
        }
    }
    let listen = rest.listen;
    if listen.ip().is_loopback() {
        let who = if rest.tokens.is_empty() {
            "whoever is on it may do everything, as it has no tokens"
        } else {
            "callers need a token or a grant"
        };
        return findings.ok(LINK, &format!("{listen} can be reached from this machine alone; {who}"));
    }
    if rest.tokens.is_empty() && rest.grants.is_empty() {
        // The config is refused without `insecure`.
        let detail = format!(
            "everybody who reaches {listen} may start tasks, read files and change everything (`rest.insecure`)"
        );
        let remedy =
            "make tokens (`butler token new`) or grants for the addresses of the callers, and remove `rest.insecure`";
        return findings.failed(LINK, &detail, remedy);
    }
    if rest.tls.is_none() {
        let detail = format!(
            "{listen} can be reached from other machines, without encryption: tokens and data can be read on the way"
        );
        findings.note(LINK, &detail, "give it a certificate (`rest.tls`), or listen on 127.0.0.1 alone");
    } else {
        findings.ok(
            LINK,
            &format!("{listen} can be reached from other machines by HTTPS; callers need a token or a grant"),
        );
    }
    if rest.insecure {
        let detail = "`rest.insecure` is set, and of no use beside tokens and grants";
        findings.note(LINK, detail, "remove it: without them it would let everybody in");
    }
}

fn wide(grant: &Grant, network: IpNet, findings: &mut Findings) {
    let [v4, v6] = WIDE;
    let narrowest = if matches!(network, IpNet::V4(_)) { v4 } else { v6 };
    if network.prefix_len() >= narrowest || network.addr().is_loopback() {
        return;
    }
    let scopes: Vec<String> = grant.scopes.iter().copied().map(name).collect();
    let detail = format!("{network} needs no token for {} (`rest.grants`)", scopes.join(", "));
    let remedy = "name the addresses of the callers, or give them tokens";
    if network.prefix_len() == 0 {
        findings.failed(LINK, &format!("everybody: {detail}"), remedy);
    } else {
        findings.note(LINK, &format!("a wide network: {detail}"), remedy);
    }
}

fn name(scope: Scope) -> String {
    serde_json::to_value(scope).ok().and_then(|scope| scope.as_str().map(str::to_owned)).unwrap_or_default()
}

/// That the certificate has expired, in the words of the config's warning, if it has.
pub(in super::super) fn expired(rest: &Rest) -> Option<String> {
    let now = now_ms();
    facts(rest).filter(|facts| facts.has_expired(now)).map(|facts| facts.message("", now))
}

fn facts(rest: &Rest) -> Option<CertificateFacts> {
    let tls = rest.tls.as_ref()?;
    ServerFiles::read(&tls.certificate, &tls.key).and_then(ServerFiles::open).ok()?.facts
}

/// That it can be used, validation has seen; when it ends is said as of all others.
fn certificate(rest: &Rest, findings: &mut Findings) {
    let Some(facts) = facts(rest) else { return };
    let (link, now) = ("certificate rest", now_ms());
    match facts.due(now) {
        Some(_) if facts.has_expired(now) => findings.failed(link, &facts.message("", now), ""),
        Some(_) => findings.note(link, &facts.message("", now), ""),
        None => findings.ok(link, &format!("valid until {}, {}", facts.end_day(), facts.subject)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::{Form, Verdict};
    use super::*;
    use crate::config::Secrets;

    #[test]
    fn what_is_open_to_everybody_fails_and_what_is_wide_is_said() {
        let token = serde_json::json!([{ "name": "a", "sha256": "0".repeat(64), "scopes": ["read"] }]);
        let grant = |network: &str| serde_json::json!([{ "network": network, "scopes": ["tasks"] }]);
        let verdict = |rest: serde_json::Value| {
            let mut findings = Findings::new(Form::Json, Secrets::default());
            check(&serde_json::from_value(rest).unwrap(), &mut findings);
            findings.verdict()
        };
        assert_eq!(verdict(serde_json::json!({})), Verdict::Ok);
        assert_eq!(verdict(serde_json::json!({ "listen": "0.0.0.0:1", "insecure": true })), Verdict::Failed);
        assert_eq!(verdict(serde_json::json!({ "listen": "0.0.0.0:1", "tokens": token })), Verdict::Note);
        for (network, expected) in [
            ("0.0.0.0/0", Verdict::Failed),
            ("::/0", Verdict::Failed),
            ("10.0.0.0/8", Verdict::Note),
            ("fd00::/8", Verdict::Note),
            ("10.1.0.0/16", Verdict::Ok),
            ("127.0.0.0/8", Verdict::Ok),
        ] {
            assert_eq!(verdict(serde_json::json!({ "grants": grant(network) })), expected, "{network}");
        }
    }
}
