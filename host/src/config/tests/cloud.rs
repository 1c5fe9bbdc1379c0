//! Tenants of Qlik Cloud.

use super::*;

/// A config with these tenants, one text of entries each.
fn tenants(entries: &[&str]) -> String {
    let entries: Vec<String> = entries.iter().map(|entry| format!("    - {{ {entry} }}\n")).collect();
    format!("version: 1\ntls:\n  internal: {{}}\nqlikCloud:\n  tenants:\n{}", entries.concat())
}

const SOUND: &str = r#"id: acme, url: "https://acme.test", token: "${env:WORD2}", webhookSecret: "${env:WORD}""#;

#[test]
fn each_fault_of_a_tenant_is_told_with_its_line_and_a_remedy() {
    let faults = [
        (vec![SOUND, SOUND], 7, "qlikCloud.tenants[1].id", "another tenant has the same `id`"),
        (vec![r#"id: acme, url: "http://acme.test", token: a"#], 6, "qlikCloud.tenants[0].url", "write `https`"),
        (
            vec![r#"id: acme, url: "https://acme.test/hub", token: a"#],
            6,
            "qlikCloud.tenants[0].url",
            "the address of the tenant alone",
        ),
        (
            vec![r#"id: acme, url: "https://me:pw@acme.test", token: a"#],
            6,
            "qlikCloud.tenants[0].url",
            "of the tenant alone",
        ),
        (vec!["id: acme, url: acme.test, token: a"], 6, "qlikCloud.tenants[0].url", "of the tenant alone"),
        (
            vec![r#"id: acme.test, url: "https://acme.test", token: a"#],
            6,
            "qlikCloud.tenants[0].id",
            "not its host name",
        ),
        (
            vec![r#"id: acme, url: "https://acme.test", token: a, tls: internl"#],
            6,
            "qlikCloud.tenants[0].tls",
            "did you mean `internal`?",
        ),
        (
            vec![r#"id: acme, url: "https://acme.test", token: a, tls: zzz"#],
            6,
            "qlikCloud.tenants[0].tls",
            "add the profile there",
        ),
        (
            vec![r#"id: acme, url: "https://acme.test", token: "${env:WORD}""#],
            6,
            "qlikCloud.tenants[0].token",
            "in one piece",
        ),
        (vec![r#"id: acme, url: "https://acme.test", token: "${env:EMPTY}""#], 6, "qlikCloud.tenants[0].token", ""),
        (
            vec![r#"id: acme, url: "https://acme.test", token: a, webhookSecret: "${env:EMPTY}""#],
            6,
            "qlikCloud.tenants[0].webhookSecret",
            "",
        ),
        (
            vec![r#"id: acme, url: "https://acme.test", token: a, webhookSecret: "a\nb""#],
            6,
            "qlikCloud.tenants[0].webhookSecret",
            "in one piece",
        ),
        (vec![r#"id: acme, url: "https://acme.test""#], 6, "qlikCloud.tenants[0]", "`token` is missing"),
        (
            vec![r#"id: acme, url: "https://acme.test", token: a, links: { hub: hub }"#],
            6,
            "qlikCloud.tenants[0].links.hub",
            "must be an address such as",
        ),
        (
            vec![r#"id: acme, url: "https://acme.test", token: a, links: { hup: "https://a.test" }"#],
            6,
            "qlikCloud.tenants[0].links.hup",
            "did you mean `hub`?",
        ),
    ];
    for (entries, line, path, part) in faults {
        let text = tenants(&entries);
        let report = load(&text.replace("WORD2", "PORT")).unwrap_err();
        let error = &report.errors[0];
        let words = format!("{}\n{}", error.message, error.suggestion.clone().unwrap_or_default());
        assert_eq!((error.line, error.path.as_str(), report.errors.len()), (line, path, 1), "{report}\nof\n{text}");
        assert!(words.contains(part), "{part}: {report}\nof\n{text}");
        assert!(
            !report.to_string().contains("correct horse") && !report.to_string().contains("me:pw@acme.test\n"),
            "{report}"
        );
    }
}

#[test]
fn secrets_of_a_tenant_are_hidden_and_those_that_are_written_out_are_warned_of() {
    let loaded = load(&tenants(&[&SOUND.replace("WORD2", "PIN")])).unwrap();
    let tenant = &loaded.config.qlik_cloud.as_ref().unwrap().tenants[0];
    assert_eq!((tenant.token.as_str(), tenant.webhook_secret.as_deref()), ("1234", Some("correct horse")));
    assert_eq!(loaded.secrets.redact("it is correct horse"), "it is [redacted]");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let written =
        load(&tenants(&[r#"id: acme, url: "https://acme.test/", token: a, webhookSecret: b, tls: internal"#])).unwrap();
    let words = |name: &str| format!("line 6, qlikCloud.tenants[0].{name}: is written out");
    assert!(written.warnings.len() == 2, "{:?}", written.warnings);
    for (warning, name) in written.warnings.iter().zip(["token", "webhookSecret"]) {
        assert!(warning.starts_with(&words(name)) && warning.contains("${file:PATH}"), "{warning}");
    }
}
