//! Configs of versions before 16, as their sample files had them.

use serde_json::{Value, json};

use super::{Site, complete, cut, migrate_all, set};

/// Task results that InfluxDB and mail learnt of with 15.0.
const TASKS_OF_15: [&str; 2] = ["distributeTask", "preloadTask"];

/// 15: before UDP messages were guarded, and before the REST server had TLS.
fn version_15() -> Value {
    let mut butler = complete();
    for key in [
        "maxMessageSize",
        "enableSourceValidation",
        "allowedSources",
        "messageQueue",
        "rateLimit",
        "queueMetrics",
        "deduplication",
    ] {
        cut(&mut butler, &format!("udpServerConfig.{key}"));
    }
    cut(&mut butler, "restServerConfig.tls");
    butler
}

/// 14: before InfluxDB had versions, and with four kinds of results fewer.
fn version_14() -> Value {
    let mut butler = version_15();
    for key in ["version", "v1Config", "v2Config", "v3Config"] {
        cut(&mut butler, &format!("influxDb.{key}"));
    }
    for task in ["userSyncTask", "externalProgramTask"].into_iter().chain(TASKS_OF_15) {
        for result in ["Success", "Failure"] {
            cut(&mut butler, &format!("influxDb.{task}{result}"));
        }
    }
    for task in TASKS_OF_15 {
        for result in ["Success", "Failure"] {
            cut(&mut butler, &format!("emailNotification.{task}{result}"));
        }
    }
    for lines in ["headScriptLogLines", "tailScriptLogLines"] {
        cut(&mut butler, &format!("influxDb.reloadTaskSuccess.{lines}"));
    }
    butler
}

/// 13: a misspelt switch, and no question whether the machine may be looked at.
fn version_13() -> Value {
    let mut butler = version_14();
    cut(&mut butler, "systemInfo");
    let on = cut(&mut butler, "restServerEndpointsEnable.apiListEnabledEndpoints");
    set(&mut butler, "restServerEndpointsEnable.apiListEnbledEndpoints", on);
    butler
}

/// 12.4: other names, and no Qlik Cloud.
fn version_12() -> Value {
    let mut butler = version_13();
    for key in [
        "configVisualisation",
        "genericUrls",
        "qlikSenseUrls.appBaseUrl",
        "emailNotification.reloadTaskSuccess",
        "qlikSenseCloud",
    ] {
        cut(&mut butler, key);
    }
    cut(&mut butler, "mqttConfig.qlikSenseCloud");
    cut(&mut butler, "scriptLog.storeOnDisk.qsCloud");
    for block in ["reloadTaskAborted", "reloadTaskFailure", "serviceStopped", "serviceStarted"] {
        let from = cut(&mut butler, &format!("emailNotification.{block}.fromAddress"));
        set(&mut butler, &format!("emailNotification.{block}.fromAdress"), from);
    }
    let log = cut(&mut butler, "scriptLog.storeOnDisk.clientManaged.reloadTaskFailure");
    cut(&mut butler, "scriptLog.storeOnDisk.clientManaged");
    set(&mut butler, "scriptLog.storeOnDisk.reloadTaskFailure", log);
    cut(&mut butler, "configQRS.headers");
    set(&mut butler, "configQRS.headerKey", json!("X-Qlik-User"));
    set(&mut butler, "configQRS.headerValue", json!("UserDirectory=A;UserId=b"));
    cut(&mut butler, "configEngine.headers");
    set(&mut butler, "configEngine.headers.X-Qlik-User", json!("UserDirectory=A;UserId=b"));
    cut(&mut butler, "influxDb.tag");
    set(&mut butler, "influxDb.instanceTag", json!("DEV"));
    butler
}

/// 8.3: InfluxDB belonged to the uptime monitor, New Relic had one account, and nothing watched services and licences.
fn version_8() -> Value {
    let mut butler = version_12();
    for key in ["hostIP", "hostPort", "auth", "dbName", "instanceTag", "retentionPolicy"] {
        let value = cut(&mut butler, &format!("influxDb.{key}"));
        set(&mut butler, &format!("uptimeMonitor.storeInInfluxdb.{key}"), value);
    }
    for key in
        ["influxDb", "serviceMonitor", "qlikSenseLicense", "qlikSenseVersion", "webhookNotification.serviceMonitor"]
    {
        cut(&mut butler, key);
    }
    for section in ["emailNotification", "slackNotification", "teamsNotification"] {
        cut(&mut butler, &format!("{section}.serviceStopped"));
        cut(&mut butler, &format!("{section}.serviceStarted"));
    }
    cut(&mut butler, "incidentTool.newRelic.serviceMonitor");
    for topic in ["serviceRunningTopic", "serviceStoppedTopic", "serviceStatusTopic", "azureEventGrid"] {
        cut(&mut butler, &format!("mqttConfig.{topic}"));
    }
    let accounts = cut(&mut butler, "thirdPartyToolsCredentials.newRelic");
    let mut account = accounts[0].clone();
    cut(&mut account, "accountName");
    set(&mut butler, "thirdPartyToolsCredentials.newRelic", account);
    cut(&mut butler, "uptimeMonitor.storeNewRelic.destinationAccount");
    cut(&mut butler, "incidentTool.newRelic.destinationAccount");
    for endpoint in ["postNewRelicMetric", "postNewRelicEvent"] {
        cut(&mut butler, &format!("restServerEndpointsConfig.newRelic.{endpoint}.destinationAccount"));
    }
    butler
}

/// The entry of a plugin.
fn entry<'c>(config: &'c Value, plugin: &str) -> &'c Value {
    let found = config["plugins"].as_array().unwrap().iter().find(|entry| entry["use"] == plugin);
    found.unwrap_or_else(|| panic!("no {plugin} in {config:#}"))
}

#[test]
fn version_15_is_migrated() {
    let site = Site::new();
    let output = migrate_all(&site, &version_15());
    let config = site.config();
    assert_eq!(config["udp"], json!({ "listen": "127.0.0.1:9998" }));
    // No address is known for sure: not open to all.
    assert_eq!(config["rest"]["listen"], "127.0.0.1:8080");
    assert!(output.stdout.contains("restServerConfig.serverHost: Butler 16 let everybody in"), "{}", output.stdout);
    assert!(
        output.stdout.contains("  udpServerConfig.enableSourceValidation: `enableSourceValidation` is off"),
        "{}",
        output.stdout
    );
}

#[test]
fn version_14_is_migrated() {
    let site = Site::new();
    migrate_all(&site, &version_14());
    let text = entry(&site.config(), "influxdb")["settings"].to_string();
    assert!(text.contains("\"version\":1") || !text.contains("\"version\""), "{text}");
}

#[test]
fn version_13_is_migrated() {
    let site = Site::new();
    migrate_all(&site, &version_13());
    let rows = site.rows();
    assert_eq!(rows["restServerEndpointsEnable.apiListEnbledEndpoints"].outcome, "taken over");
    assert_eq!(site.config()["rest"]["disabledEndpoints"], json!(["fileDelete"]));
}

#[test]
fn version_12_is_migrated() {
    let site = Site::new();
    migrate_all(&site, &version_12());
    let config = site.config();
    assert_eq!(config["qlik"]["user"], r"A\b");
    let rows = site.rows();
    for (key, by) in [
        ("configQRS.headerKey", "butler"),
        ("configQRS.headerValue", "butler"),
        ("configEngine.headers.X-Qlik-User", "butler"),
        ("influxDb.instanceTag", "influxdb"),
        ("emailNotification.reloadTaskFailure.fromAdress", "email"),
        ("scriptLog.storeOnDisk.reloadTaskFailure.logDirectory", "script-log-archive"),
    ] {
        assert!(["taken over", "differs"].contains(&rows[key].outcome.as_str()), "{key}: {:?}", rows[key]);
        assert_eq!(rows[key].by, [by], "{key}");
    }
    let influx = entry(&config, "influxdb")["settings"].to_string();
    assert!(influx.contains("butler_instance") && influx.contains("DEV"), "{influx}");
}

#[test]
fn version_8_is_migrated() {
    let site = Site::new();
    migrate_all(&site, &version_8());
    let config = site.config();
    let influx = entry(&config, "influxdb")["settings"].to_string();
    assert!(influx.contains("influxdb.example.com:8086") && influx.contains("DEV"), "{influx}");
    let new_relic = entry(&config, "new-relic")["settings"]["accounts"].to_string();
    assert!(new_relic.contains("1234567") && new_relic.contains("default"), "{new_relic}");
    assert_eq!(site.rows()["thirdPartyToolsCredentials.newRelic.accountId"].by, ["new-relic"]);
}
