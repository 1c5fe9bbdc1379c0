use butler_plugin_api::{Endpoint, Manifest, Scope};
use serde_json::{Value, json};

use super::super::account::Outcome;
use super::*;

#[allow(clippy::needless_pass_by_value, reason = "called with `json!`")]
fn translated(butler: Value, folders: &[&str]) -> Translated {
    let manifest =
        Manifest::new("files", "").endpoint(Endpoint::new("PUT", "/v4/filecopy", Scope::Files, "").named("fileCopy"));
    let known = Known::new([&manifest]);
    translate(json!({ "butler": butler, "folders": folders }), &known, false).unwrap()
}

/// The keys of what is to be told, with how it counts; not that there is no Qlik Sense.
fn told(translated: &Translated) -> Vec<String> {
    let notes = translated.reader.notes.iter().filter(|note| !note.text.starts_with("names no server"));
    notes.map(|note| format!("{:?} {}", note.outcome, note.key)).collect()
}

fn text_of<'t>(translated: &'t Translated, key: &str) -> &'t str {
    let found = translated.reader.notes.iter().find(|note| note.key == key);
    &found.unwrap_or_else(|| panic!("nothing is told of {key}: {:?}", told(translated))).text
}

fn qlik_sections() -> Value {
    let folder = env!("CARGO_MANIFEST_DIR");
    let file = |name: &str| format!("{folder}/{name}");
    let headers =
        json!({ "static": [{ "name": "x-qlik-user", "value": "UserId=sa_repository; UserDirectory=Internal" }] });
    json!({
        "cert": { "clientCert": file("Cargo.toml"), "clientCertKey": file("Cargo.toml"), "clientCertCA": "Cargo.toml" },
        "configQRS": { "authentication": "certificates", "host": "sense", "port": 4242, "useSSL": true, "headers": headers, "rejectUnauthorized": true },
        "configEngine": { "engineVersion": "12.612.0", "host": "sense", "port": 4747, "useSSL": true, "headers": headers, "rejectUnauthorized": true },
    })
}

#[test]
fn the_connection_to_qlik_sense() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let done = translated(qlik_sections(), &[folder]);
    let file = format!("{folder}/Cargo.toml");
    assert_eq!(
        done.config["qlik"],
        json!({ "host": "sense", "user": r"Internal\sa_repository", "certificates": { "client": file, "key": file, "ca": file } })
    );
    assert_eq!(told(&done), ["NoEffect configQRS.authentication", "Dropped configEngine.engineVersion"]);
    let mut old = qlik_sections();
    old["configQRS"]["rejectUnauthorized"] = json!(false);
    old["configQRS"]["port"] = json!(14242);
    old["configEngine"]["port"] = json!(70000);
    old["configEngine"]["host"] = json!("other");
    old["configEngine"]["useSSL"] = json!(false);
    old["configEngine"]["headers"]["static"] =
        json!([{ "name": "X-Other", "value": "1" }, { "name": "X-Qlik-User", "value": "UserDirectory=A;UserId=b" }]);
    old["cert"]["clientCertKey"] = json!("gone.pem");
    let done = translated(old, &[folder]);
    assert_eq!(done.config["qlik"]["verify"], "none");
    assert_eq!(done.config["qlik"]["ports"], json!({ "repository": 14242 }));
    assert_eq!(done.config["qlik"]["certificates"]["key"], format!("{folder}/gone.pem"));
    let told = told(&done);
    for expected in [
        "Differs configEngine.host",
        "Dropped configEngine.headers.static[0]",
        "Differs configEngine.headers.static[1].value",
        "ToDo cert.clientCertKey",
        "Differs configEngine.rejectUnauthorized",
        "ToDo configQRS.rejectUnauthorized",
        "ToDo configEngine.port",
        "ToDo configEngine.useSSL",
    ] {
        assert!(told.iter().any(|it| it == expected), "{expected}: {told:#?}");
    }
    assert!(text_of(&done, "configQRS.rejectUnauthorized").contains("`chain`"));
}

#[test]
fn half_a_connection_says_what_is_missing() {
    let done = translated(json!({ "configQRS": { "host": "sense" } }), &[]);
    assert_eq!(done.config["qlik"]["user"], r"INTERNAL\sa_repository");
    assert_eq!(done.config["qlik"]["certificates"]["ca"], "certs/root.pem");
    let told = told(&done);
    for expected in ["ToDo configQRS.headers.static", "ToDo cert.clientCert", "ToDo configQRS.rejectUnauthorized"] {
        assert!(told.iter().any(|it| it == expected), "{expected}: {told:#?}");
    }
    let done = translated(json!({ "cert": { "clientCert": "x" }, "configQRS": { "port": 1 } }), &[]);
    assert!(!done.config.contains_key("qlik"));
    assert_eq!(done.reader.notes.iter().filter(|note| note.outcome == Outcome::Dropped).count(), 2);
    for (value, user) in [
        ("UserDirectory=A;UserId=b", Some(r"A\b")),
        ("userdirectory = A ; userid = b c", Some(r"A\b c")),
        ("UserDirectory=;UserId=b", None),
        ("UserId=b", None),
        (r"UserDirectory=A\B;UserId=b", None),
    ] {
        let mut old = qlik_sections();
        old["configQRS"]["headers"]["static"][0]["value"] = json!(value);
        old["configEngine"] = json!({});
        let done = translated(old, &[]);
        assert_eq!(done.config["qlik"]["user"], user.unwrap_or(r"INTERNAL\sa_repository"), "{value}");
    }
}

#[test]
fn the_filter_of_tasks() {
    let mut old = qlik_sections();
    let id = "5d2c7f10-1111-4a2b-9c3d-0123456789ab";
    old["startTaskFilter"] = json!({ "enable": true, "allowTask": {
        "taskId": [id, "odd"], "tag": null, "customProperty": [{ "name": "a", "value": "b" }, { "name": "c", "value": "" }] } });
    let done = translated(old.clone(), &[]);
    assert_eq!(
        done.config["qlik"]["startTaskFilter"],
        json!({ "taskIds": [id], "customProperties": [{ "name": "a", "value": "b" }] })
    );
    assert!(told(&done).contains(&"ToDo startTaskFilter.allowTask.taskId[1]".to_owned()));
    old["startTaskFilter"]["allowTask"] = json!({ "taskId": [], "tag": [], "customProperty": [] });
    let done = translated(old.clone(), &[]);
    assert_eq!(done.config["qlik"]["startTaskFilter"], json!({}));
    assert!(text_of(&done, "startTaskFilter.enable").contains("no task can be started"));
    old["startTaskFilter"]["enable"] = json!(false);
    let done = translated(old, &[]);
    assert!(done.config["qlik"].get("startTaskFilter").is_none());
    assert_eq!(text_of(&done, "startTaskFilter"), "it is switched off");
}

#[test]
fn udp() {
    let old = json!({ "udpServerConfig": {
        "enable": true, "serverHost": "127.0.0.1", "portTaskFailure": 9998, "maxMessageSize": 1000,
        "enableSourceValidation": true, "allowedSources": ["10.1.2.3", "sense-1", "not a host"],
        "messageQueue": { "maxConcurrent": 10 }, "rateLimit": { "enable": true, "maxMessagesPerMinute": 600 },
        "deduplication": { "enable": true, "ttlMinutes": 10 },
    } });
    let done = translated(old.clone(), &[]);
    assert_eq!(
        done.config["udp"],
        json!({ "listen": "127.0.0.1:9998", "allowFrom": ["10.1.2.3", "sense-1"], "maxSize": "1000B", "maxPerMinute": 600 })
    );
    assert_eq!(
        told(&done),
        [
            "ToDo udpServerConfig.allowedSources[2]",
            "Dropped udpServerConfig.messageQueue",
            "Dropped udpServerConfig.deduplication"
        ]
    );
    let mut old = old;
    old["udpServerConfig"]["serverHost"] = json!("10.255.255.254");
    old["udpServerConfig"]["allowedSources"] = json!([]);
    old["udpServerConfig"]["rateLimit"]["enable"] = json!(false);
    old["udpServerConfig"]["deduplication"]["enable"] = json!(false);
    old["udpServerConfig"]["maxMessageSize"] = json!(65507);
    let done = translated(old.clone(), &[]);
    assert_eq!(done.config["udp"], json!({ "listen": "10.255.255.254:9998" }));
    assert!(text_of(&done, "udpServerConfig.serverHost").contains("no address of this machine"));
    assert!(text_of(&done, "udpServerConfig.allowedSources").contains("everybody may send"));
    assert!(told(&done).contains(&"Differs udpServerConfig.deduplication".to_owned()));
    // Before 16 there was no list of senders.
    let done = translated(
        json!({ "udpServerConfig": { "enable": true, "serverHost": "butler.local", "portTaskFailure": 0 } }),
        &[],
    );
    assert_eq!(done.config["udp"], json!({ "listen": "0.0.0.0:9998" }));
    assert_eq!(
        told(&done),
        [
            "Differs udpServerConfig.serverHost",
            "ToDo udpServerConfig.portTaskFailure",
            "ToDo udpServerConfig.enableSourceValidation"
        ]
    );
    old["udpServerConfig"]["enable"] = json!(false);
    let done = translated(old.clone(), &[]);
    assert!(!done.config.contains_key("udp"));
    assert_eq!(told(&done), ["Dropped udpServerConfig"]);
    // What it heard of by no road before, it hears of by no other now.
    old.as_object_mut().unwrap().extend(qlik_sections().as_object().unwrap().clone());
    let done = translated(old.clone(), &[]);
    assert_eq!(done.config["qlik"]["reconcile"], json!({ "enabled": false }));
    assert!(text_of(&done, "udpServerConfig.enable").contains("`qlik.reconcile.enabled: false`"));
    old["udpServerConfig"]["enable"] = json!(true);
    assert!(translated(old, &[]).config["qlik"].get("reconcile").is_none());
}

fn rest_sections(host: &str) -> Value {
    json!({
        "restServerConfig": { "enable": true, "serverHost": host, "serverPort": 8080, "backgroundServerPort": 8081, "tls": { "enable": false, "cert": "x" } },
        "restServerEndpointsEnable": {
            "senseStartTask": true, "fileCopy": true, "butlerping": false, "odd": true,
            "scheduler": { "getSchedule": false, "updateSchedule": false }, "newRelic": { "postNewRelicEvent": "yes" },
            "strange": { "fileDelete": true }, "stopSchedule": true,
        },
    })
}

#[test]
fn rest_on_this_machine_needs_nothing() {
    let done = translated(rest_sections("localhost"), &[]);
    let rest = &done.config["rest"];
    assert_eq!(rest["listen"], "127.0.0.1:8080");
    assert!(rest.get("grants").is_none() && rest.get("tls").is_none());
    let off = rest["disabledEndpoints"].as_array().unwrap();
    // All but the two that are on, and the one that never was.
    assert_eq!(off.len(), SWITCHES.len() - 3);
    assert!(
        off.contains(&json!("getSchedule"))
            && !off.contains(&json!("senseStartTask"))
            && !off.contains(&json!("updateSchedule"))
    );
    // A switch counts where Butler 16 looked for it.
    assert!(off.contains(&json!("fileDelete")) && off.contains(&json!("stopSchedule")));
    for odd in ["strange.fileDelete", "stopSchedule"] {
        assert!(!done.reader.used.contains(&format!("restServerEndpointsEnable.{odd}")), "{odd}");
    }
    assert_eq!(
        told(&done),
        [
            "ToDo restServerEndpointsEnable.newRelic.postNewRelicEvent",
            "NoEffect restServerEndpointsEnable.scheduler.updateSchedule",
            "Dropped restServerConfig.backgroundServerPort",
            "Dropped restServerConfig.tls",
        ]
    );
    assert!(!done.reader.used.contains("restServerEndpointsEnable.odd"));
}

const SWITCHES: [&str; 25] = crate::rest::SWITCHES_OF_BUTLER_16;

#[test]
fn rest_beyond_this_machine_trusts_only_addresses_that_the_old_config_names() {
    // Nobody is named: not open to all.
    let done = translated(rest_sections("0.0.0.0"), &[]);
    assert_eq!((&done.config["rest"]["listen"], done.config["rest"].get("grants")), (&json!("127.0.0.1:8080"), None));
    let text = text_of(&done, "restServerConfig.serverHost");
    assert!(text.contains("listen: 0.0.0.0:8080") && text.contains("butler token new"), "{text}");
    assert!(text.contains("`rest.hosts`"), "{text}");

    let mut old = rest_sections("butler.example.com");
    old["configQRS"] = json!({ "host": "10.1.2.3" });
    old["configEngine"] = json!({ "host": "sense.example.com" });
    old["udpServerConfig"] = json!({ "enable": true, "enableSourceValidation": true, "allowedSources": ["10.1.2.3", "10.1.2.4", "node", "127.0.0.1", "0.0.0.0/0"] });
    let done = translated(old.clone(), &[]);
    let rest = &done.config["rest"];
    let grant = |network: &str| json!({ "network": network, "scopes": ["tasks", "files"] });
    assert_eq!(rest["grants"], json!([grant("10.1.2.3"), grant("10.1.2.4")]));
    assert_eq!((&rest["listen"], &rest["hosts"]), (&json!("0.0.0.0:8080"), &json!(["butler.example.com"])));
    let text = text_of(&done, "restServerConfig.serverHost");
    assert!(text.contains("10.1.2.3, 10.1.2.4") && text.contains("`rest.hosts`"), "{text}");
    assert!(rest.get("insecure").is_none());

    // The list is in force only with its switch.
    old["udpServerConfig"]["enableSourceValidation"] = json!(false);
    assert_eq!(translated(old.clone(), &[]).config["rest"]["grants"], json!([grant("10.1.2.3")]));
    old["restServerEndpointsEnable"] = json!({});
    assert_eq!(translated(old, &[]).config["rest"]["listen"], "127.0.0.1:8080");

    let done = translated(
        json!({ "restServerConfig": { "enable": false, "serverHost": "x" }, "restServerEndpointsEnable": { "fileCopy": true } }),
        &[],
    );
    assert!(!done.config.contains_key("rest"));
    assert_eq!(
        told(&done),
        ["Dropped restServerConfig", "Differs restServerConfig.enable", "Dropped restServerEndpointsEnable"]
    );
}

#[test]
fn rest_with_a_certificate() {
    let mut old = rest_sections("localhost");
    let folder = env!("CARGO_MANIFEST_DIR");
    old["restServerConfig"]["tls"] =
        json!({ "enable": true, "cert": "Cargo.toml", "key": "Cargo.toml", "ca": "ca.pem" });
    let done = translated(old.clone(), &[folder]);
    let file = format!("{folder}/Cargo.toml");
    assert_eq!(done.config["rest"]["tls"], json!({ "certificate": file, "key": file }));
    assert!(text_of(&done, "restServerConfig.tls.ca").contains("behind the server's own"));
    old["restServerConfig"]["tls"] = json!({ "enable": true, "cert": "Cargo.toml" });
    let done = translated(old, &[folder]);
    assert!(done.config["rest"].get("tls").is_none());
    assert!(text_of(&done, "restServerConfig.tls").contains("without TLS"));
}

#[test]
fn a_tenant_of_qlik_cloud() {
    let tenant = json!({
        "id": "acme.eu.qlikcloud.com", "tenantUrl": "https://acme.eu.qlikcloud.com/", "authType": "jwt", "auth": { "jwt": { "token": " t${x} " } },
        "qlikSenseUrls": { "qmc": "https://acme.eu.qlikcloud.com/console", "hub": "nowhere" }, "comment": "Mine",
        "alert": { "chat": 1 },
    });
    let old = json!({ "qlikSenseCloud": { "enable": true, "event": { "mqtt": { "tenant": tenant } } } });
    let done = translated(old.clone(), &[]);
    assert_eq!(
        done.config["qlikCloud"]["tenants"],
        json!([{
            "id": "acme", "url": "https://acme.eu.qlikcloud.com", "comment": "Mine",
            "token": "${file:secrets/qlikSenseCloud.event.mqtt.tenant.auth.jwt.token}",
            "links": { "qmc": "https://acme.eu.qlikcloud.com/console" },
        }])
    );
    assert_eq!(done.secrets["secrets/qlikSenseCloud.event.mqtt.tenant.auth.jwt.token"], "t${x}");
    assert!(text_of(&done, "qlikSenseCloud.event.mqtt.tenant.id").contains("must be its id"));
    assert!(told(&done).contains(&"ToDo qlikSenseCloud.event.mqtt.tenant.qlikSenseUrls.hub".to_owned()));
    assert!(!done.reader.used.iter().any(|used| used.contains("alert")));
    let mut other = old;
    other["qlikSenseCloud"]["event"]["mqtt"]["tenant"]["tenantUrl"] = json!("acme");
    let done = translated(other.clone(), &[]);
    assert!(
        !done.config.contains_key("qlikCloud")
            && text_of(&done, "qlikSenseCloud.event.mqtt.tenant.tenantUrl").contains("no address")
    );
    other["qlikSenseCloud"]["enable"] = json!(false);
    assert_eq!(told(&translated(other, &[])), ["Dropped qlikSenseCloud"]);
}

#[test]
fn links_log_schedules_and_what_has_no_successor() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().to_str().unwrap();
    let old = json!({
        "logLevel": "Verbose", "fileLogging": true, "logDirectory": "log", "anonTelemetry": true, "systemInfo": { "enable": true },
        "restServerApiDocGenerate": false, "configVisualisation": { "enable": true, "port": 3100 }, "dockerHealthCheck": { "enable": true, "port": 1 },
        "qlikSenseUrls": { "qmc": "https://q/qmc", "hub": "", "appBaseUrl": "ftp://x" },
        "genericUrls": [
            { "id": "a", "linkText": "A", "comment": "c", "url": "https://a" }, { "id": "b", "url": "https://b" }, { "id": "c", "url": "c" },
        ],
        "scheduler": { "enable": true, "configfile": "schedule.yaml" },
    });
    let done = translated(old.clone(), &[base]);
    assert_eq!(
        done.config["log"],
        json!({ "level": "debug", "file": { "path": "log/butler/butler.log", "keep": 30 } })
    );
    let text = text_of(&done, "logDirectory");
    assert!(
        text.contains("an absolute one is taken as it is") && text.contains("none of Butler 16's is removed"),
        "{text}"
    );
    assert_eq!(
        done.config["links"],
        json!({ "qmc": "https://q/qmc", "custom": [
            { "id": "a", "linkText": "A", "comment": "c", "url": "https://a" }, { "id": "b", "linkText": "b", "url": "https://b" },
        ] })
    );
    assert_eq!(
        told(&done),
        [
            "ToDo scheduler.configfile",
            "ToDo qlikSenseUrls.appBaseUrl",
            "ToDo genericUrls[2].url",
            "Differs logLevel",
            "Differs logDirectory",
            "Dropped anonTelemetry",
            "Dropped systemInfo",
            "Dropped configVisualisation",
            "ToDo dockerHealthCheck",
            "Dropped restServerApiDocGenerate",
        ]
    );
    assert_eq!(done.schedules, None);
    std::fs::write(folder.path().join("schedule.yaml"), "").unwrap();
    let done = translated(old.clone(), &[base]);
    assert_eq!(done.schedules, Some(format!("{base}/schedule.yaml")));
    assert!(!done.config.contains_key("scheduler"));
    let mut off = old;
    off["scheduler"]["enable"] = json!(false);
    off["logLevel"] = json!("loud");
    off["fileLogging"] = json!(false);
    let done = translated(off.clone(), &[base]);
    assert_eq!(done.config["scheduler"], json!({ "enabled": false }));
    assert!(done.schedules.is_some() && !done.config.contains_key("log"));
    assert!(told(&done).contains(&"ToDo logLevel".to_owned()));
    let done = translated(off, &[]);
    assert_eq!((done.schedules.clone(), text_of(&done, "scheduler.configfile")), (None, "it is switched off"));
}
