//! A config with every key.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::{Site, complete, migrate_all};

/// Sections of the old config whose secrets must be in files of their own.
const SECRETS: [&str; 8] = [
    "mail-password",
    "NRII-0123456789",
    "influx-token",
    "mqtt-password",
    "cloud-token",
    "connect.signl4.com/webhook/abcde12345",
    "https://example.com/heartbeat",
    "header-value",
];

#[test]
fn every_key_is_accounted_for_and_the_result_is_valid() {
    let site = Site::new();
    let output = migrate_all(&site, &complete());
    assert!(output.stdout.contains("the new config is valid."), "{}", output.stdout);
    assert!(output.stdout.contains("     0  not known\n"), "{}", output.stdout);

    // By another program, with the schema that lies beside it.
    let checked = Command::new("check-jsonschema")
        .arg("--schemafile")
        .args([site.path("new/butler.schema.json"), site.path("new/butler.yaml")])
        .output()
        .expect("check-jsonschema is installed (tests/requirements.txt)");
    assert!(checked.status.success(), "{checked:?}");
    let text = site.read("new/butler.yaml");
    assert!(
        text.starts_with(
            "# yaml-language-server: $schema=butler.schema.json\n#\n# Made by `butler migrate` from old.yaml"
        ),
        "{text}"
    );
    let sections: Vec<&str> =
        text.lines().filter_map(|line| line.strip_suffix(':').filter(|line| !line.starts_with([' ', '#']))).collect();
    assert_eq!(sections, ["qlik", "qlikCloud", "udp", "rest", "links", "tls", "log", "plugins"]);

    let config = site.config();
    let used: BTreeSet<&str> =
        config["plugins"].as_array().unwrap().iter().map(|entry| entry["use"].as_str().unwrap()).collect();
    let expected = [
        "email",
        "file-ops",
        "heartbeat",
        "influxdb",
        "key-value",
        "licenses",
        "mqtt",
        "new-relic",
        "script-log-archive",
        "server-version",
        "signl4",
        "slack",
        "teams",
        "uptime",
        "webhook",
        "windows-services",
    ];
    assert_eq!(used, BTreeSet::from(expected));
    // Whoever owns a section has read it.
    let rows = site.rows();
    for (key, owner) in [
        ("teamsNotification.reloadTaskFailure.webhookURL", "teams"),
        ("slackNotification.reloadTaskFailure.webhookURL", "slack"),
        ("emailNotification.smtp.host", "email"),
        ("incidentTool.signl4.url", "signl4"),
        ("mqttConfig.brokerHost", "mqtt"),
        ("heartbeat.remoteURL", "heartbeat"),
        ("keyValueStore.maxKeysPerNamespace", "key-value"),
        ("configQRS.host", "butler"),
        ("serviceMonitor.monitor[0].host", "windows-services"),
    ] {
        assert!(rows[key].by.iter().any(|by| by == owner), "{key}: {:?}", rows[key]);
    }
}

#[test]
fn the_hosts_sections_are_as_they_should_be() {
    let site = Site::new();
    migrate_all(&site, &complete());
    let config = site.config();
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    assert_eq!(
        config["qlik"],
        json!({
            "host": "sense.example.com",
            "user": r"Internal\sa_repository",
            "certificates": { "client": path("cert/client.pem"), "key": path("cert/client_key.pem"), "ca": path("cert/root.pem") },
            "startTaskFilter": {
                "taskIds": ["5d2c7f10-1111-4a2b-9c3d-0123456789ab"],
                "tags": ["startable"],
                "customProperties": [{ "name": "env", "value": "test" }],
            },
        })
    );
    assert_eq!(
        config["qlikCloud"]["tenants"],
        json!([{
            "id": "acme",
            "url": "https://acme.eu.qlikcloud.com",
            "comment": "A comment",
            "token": "${file:secrets/qlikSenseCloud.event.mqtt.tenant.auth.jwt.token}",
            "links": { "qmc": "https://acme.eu.qlikcloud.com/console", "hub": "https://acme.eu.qlikcloud.com" },
        }])
    );
    assert_eq!(
        config["udp"],
        json!({ "listen": "127.0.0.1:9998", "allowFrom": ["10.1.2.3", "sense.example.com"], "maxPerMinute": 600 })
    );
    assert_eq!(
        config["rest"],
        json!({
            "listen": "0.0.0.0:8080",
            "grants": [{ "network": "10.1.2.3", "scopes": ["read", "tasks", "kv", "files", "messages", "scheduler"] }],
            "disabledEndpoints": ["fileDelete"],
            "tls": { "certificate": path("cert/rest.pem"), "key": path("cert/rest_key.pem") },
        })
    );
    assert_eq!(
        config["links"],
        json!({
            "qmc": "https://sense.example.com/qmc",
            "hub": "https://sense.example.com/hub",
            "appBaseUrl": "https://sense.example.com/sense/app",
            "custom": [{ "id": "wiki", "linkText": "A link", "comment": "A comment", "url": "https://example.com/genericUrls/url" }],
        })
    );
    let rows = site.rows();
    for (key, outcome) in [
        ("logLevel", "taken over"),
        ("fileLogging", "taken over"),
        ("logDirectory", "differs"),
        ("anonTelemetry", "left out"),
        ("systemInfo.enable", "left out"),
        ("configVisualisation.port", "left out"),
        ("dockerHealthCheck.port", "to do"),
        ("scheduler.configfile", "taken over"),
        ("restServerApiDocGenerate", "left out"),
        ("restServerEndpointsEnable.fileDelete", "taken over"),
        ("restServerEndpointsEnable.newRelic.postNewRelicEvent", "taken over"),
        ("restServerEndpointsEnable.scheduler.updateSchedule", "never had an effect"),
        ("restServerConfig.serverHost", "to do"),
        ("restServerConfig.backgroundServerPort", "left out"),
        ("restServerConfig.tls.ca", "to do"),
        ("udpServerConfig.messageQueue.maxSize", "left out"),
        ("udpServerConfig.deduplication.ttlMinutes", "left out"),
        ("configQRS.authentication", "never had an effect"),
        ("configEngine.engineVersion", "left out"),
        ("qlikSenseCloud.event.mqtt.tenant.id", "to do"),
        ("qlikSenseCloud.event.mqtt.tenant.authType", "never had an effect"),
    ] {
        // Plugins look at some of them as well.
        assert!(rows[key].outcome == outcome && rows[key].by.contains(&"butler".to_owned()), "{key}: {:?}", rows[key]);
    }
}

#[test]
fn secrets_are_in_files_of_their_own() {
    let site = Site::new();
    let output = migrate_all(&site, &complete());
    let files = site.files();
    let (secrets, open): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| name.starts_with("secrets/"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for secret in SECRETS {
        assert!(
            secrets.iter().any(|(_, bytes)| text(bytes).contains(secret)),
            "{secret} is in no file of {:?}",
            files.keys()
        );
        for (name, bytes) in &open {
            assert!(!text(bytes).contains(secret), "{secret} stands in {name}");
        }
        assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{secret} is printed");
    }
    #[cfg(unix)]
    for (name, _) in secrets {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(site.path("new").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Each is used.
    let config = site.read("new/butler.yaml");
    for name in files.keys().filter(|name| name.starts_with("secrets/")) {
        assert!(config.contains(&format!("${{file:{name}}}")), "{name} is not used");
    }
}

#[test]
fn two_runs_give_the_same_bytes() {
    let site = Site::new();
    migrate_all(&site, &complete());
    let first = site.files();
    std::fs::remove_dir_all(site.path("new")).unwrap();
    migrate_all(&site, &complete());
    assert_eq!(site.files(), first);
    for name in ["butler.schema.json", "butler.yaml", "migration.md", "schedules.yaml"] {
        assert!(first.contains_key(name), "{:?}", first.keys());
    }
}

#[test]
fn schedules_come_along() {
    let site = Site::new();
    let output = migrate_all(&site, &complete());
    let schedules = site.read("new/schedules.yaml");
    for line in ["schedules:\n  - id: morning\n", "    cron: 0 6 * 1 1-5\n", "    timeZone: Europe/Oslo\n"] {
        assert!(schedules.contains(line), "{line}: {schedules}");
    }
    assert!(output.stdout.contains("butler schedules import"), "{}", output.stdout);

    // Another file than that of the config.
    std::fs::remove_dir_all(site.path("new")).unwrap();
    let other = site.path("other.yaml");
    std::fs::write(&other, site.read("schedule.yaml").replace("morning", "evening")).unwrap();
    let output = site.migrate(&["--schedule", other.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(site.read("new/schedules.yaml").contains("id: evening"));
    assert_eq!(site.rows()["scheduler.configfile"].outcome, "left out");
}

/// All that can be off is off: nothing of it remains.
#[test]
fn what_is_switched_off_is_left_out() {
    fn switch_off(value: &mut Value) {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    if name == "enable" {
                        *value = json!(false);
                    }
                    switch_off(value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(switch_off),
            _ => {}
        }
    }
    let site = Site::new();
    let mut butler = complete();
    switch_off(&mut butler);
    migrate_all(&site, &butler);
    let config = site.config();
    for section in ["qlikCloud", "udp", "rest"] {
        assert!(config.get(section).is_none(), "{config:#}");
    }
    assert_eq!(config["scheduler"], json!({ "enabled": false }));
    assert!(config["qlik"].get("startTaskFilter").is_none(), "{config:#}");
    // File operations and keys have other switches: those of their endpoints, and of the whole REST server.
    let used: BTreeSet<&str> =
        config["plugins"].as_array().into_iter().flatten().map(|entry| entry["use"].as_str().unwrap()).collect();
    let quiet = [
        "email",
        "teams",
        "slack",
        "webhook",
        "signl4",
        "new-relic",
        "influxdb",
        "mqtt",
        "heartbeat",
        "uptime",
        "licenses",
    ];
    assert!(quiet.iter().all(|name| !used.contains(name)), "{used:?}");
}
