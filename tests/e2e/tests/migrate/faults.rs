//! Old configs that are broken, incomplete, or written by hand.

use e2e::run;
use serde_json::json;

use super::{Site, complete};

#[test]
fn what_is_no_config_of_butler_16_is_refused_with_its_line() {
    let site = Site::new();
    let old = site.path("old.yaml");
    let name = old.to_str().unwrap();
    let large = format!("Butler:\n{}", "  # comment comment comment\n".repeat(40_000));
    let deep = format!("Butler: {}{}\n", "[".repeat(100), "]".repeat(100));
    let texts: [(&[u8], &str); 20] = [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf# nothing here\n", "the file is empty"),
        (b"just a text", ":1:1 the file must hold a mapping"),
        (b"- Butler\n", ":1:1 the file must hold a mapping"),
        (b"butler:\n  logLevel: info\n", "the file has no key `Butler`"),
        (b"Butler:\n", "there is nothing below `Butler`"),
        (b"Butler: 5\n", "there is nothing below `Butler`"),
        (b"version: 1\nplugins:\n  - use: console\n", "it has the form of this Butler already"),
        (
            b"Butler:\n  logLevel: info\n  logLevel: debug\n",
            ":3:3 Butler.logLevel: the key is here a second time, first in line 2",
        ),
        (b"Butler:\n  heartbeat:\n  \tenable: true\n", ":3:3 a tab in the indentation"),
        (b"Butler:\n  heartbeat:\n    enable: true\n   frequency: x\n", ":4:"),
        (b"Butler:\n  subject: a: b\n", ":2:"),
        (b"Butler:\n  list: [1, 2\n", "this is no valid YAML"),
        (b"Butler:\n  text: \"open\n", "this is no valid YAML"),
        (b"Butler:\n  a: &x 1\n  b: *y\n", ":3:"),
        (b"Butler:\n  a: 1\n---\nButler:\n  a: 2\n", "a second document begins here"),
        (b"Butler:\n  a: \xff\xfe\n", ":2:6 a byte here is not UTF-8"),
        (b"\xff\xfeB\0u\0t\0l\0e\0r\0:\0", ":1:1 the file is encoded as UTF-16"),
        (large.as_bytes(), "the file is larger than 1 MB"),
        (deep.as_bytes(), "nested more than 64 deep"),
    ];
    for (bytes, part) in texts {
        std::fs::write(&old, bytes).unwrap();
        let output = site.migrate(&[]);
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{begin:?}: {output:?}");
        assert!(output.stderr.contains(name) && output.stderr.contains(part), "{begin:?}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        assert!(!site.path("new").exists(), "{begin:?}");
    }
    // Bytes of a program.
    std::fs::copy(std::env::current_exe().unwrap(), &old).unwrap();
    let output = site.migrate(&[]);
    assert_eq!(output.code, 2, "{output:?}");
    for (path, part) in [(site.path("absent.yaml"), "cannot be read"), (site.path("cert"), "this is a folder")] {
        let output = run(&["migrate", path.to_str().unwrap(), "--out", site.path("new").to_str().unwrap()]);
        assert!(output.code == 2 && output.stderr.contains(part), "{output:?}");
    }
}

#[test]
fn half_a_config_is_migrated_as_far_as_it_goes() {
    let site = Site::new();
    for (text, sections) in [
        ("Butler:\n  logLevel: debug\n", vec!["log", "version"]),
        ("Butler:\n  heartbeat:\n  slackNotification: null\n  qlikSenseUrls: {}\n  genericUrls: []\n", vec!["version"]),
        ("Butler:\n  configQRS:\n    host: sense.example.com\n", vec!["qlik", "version"]),
        ("Butler:\n  udpServerConfig:\n    enable: true\n", vec!["udp", "version"]),
    ] {
        site.write("old.yaml", text);
        let output = site.migrate(&[]);
        assert_eq!(output.code, 0, "{text}: {output:?}");
        let config = site.config();
        let names: Vec<&str> = config.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, sections, "{text}");
        std::fs::remove_dir_all(site.path("new")).unwrap();
    }
}

#[test]
fn a_file_edited_by_hand_is_read() {
    let site = Site::new();
    let text = "\u{feff}# Ours\r\nButler:\r\n  logLevel: INFO   # as always\r\n  genericUrls:\r\n  - {id: a, linkText: 'A', comment: \"\", url: https://example.com}\r\n\
                \x20 defaults: &address 10.1.2.3\r\n  configQRS:\r\n    host: *address\r\n    \"port\": 4243\r\n    prot: 1\r\n  slackNotifications:\r\n    \
                enable: true\r\n    url: x\r\n  dockerHealtCheck: true\r\nlogLevel: debug\r\n";
    site.write("old.yaml", text);
    let output = site.migrate(&[]);
    assert_eq!(output.code, 0, "{output:?}");
    let config = site.config();
    assert_eq!(
        (&config["qlik"]["host"], &config["qlik"]["ports"]),
        (&json!("10.1.2.3"), &json!({ "repository": 4243 }))
    );
    assert_eq!(config["links"]["custom"][0]["url"], "https://example.com");
    assert!(config.get("log").is_none(), "{config:#}");
    for line in [
        "  line 6, defaults: not known to Butler 16, which gave it no effect\n",
        "  line 10, configQRS.prot: not known to Butler 16, which gave it no effect, misspelt? There is `port`\n",
        "  line 11, slackNotifications: not known to Butler 16, which gave it no effect, misspelt? There is `slackNotification`\n",
        "  line 14, dockerHealtCheck: not known to Butler 16, which gave it no effect, misspelt? There is `dockerHealthCheck`\n",
        "  line 15, (root) logLevel: stands beside `Butler`, where Butler 16 takes nothing\n",
        "     6  not known\n",
    ] {
        assert!(output.stdout.contains(line), "{line}\n{}", output.stdout);
    }
    assert_eq!(site.rows()["slackNotifications.url"].line, 13);
}

#[test]
fn nothing_is_replaced() {
    let site = Site::new();
    site.write_old(&json!({ "logLevel": "info" }));
    for name in ["butler.yaml", "migration.md", "butler.schema.json"] {
        site.write(&format!("new/{name}"), "mine");
        let output = site.migrate(&[]);
        assert!(
            output.code == 1 && output.stderr.contains(&format!("{name} is there already and is kept")),
            "{output:?}"
        );
        assert_eq!(site.files().into_iter().collect::<Vec<_>>(), [(name.to_owned(), b"mine".to_vec())]);
        std::fs::remove_dir_all(site.path("new")).unwrap();
    }
    // One that cannot be written leaves none of the others.
    site.write("new/secrets", "mine");
    site.write_old(&complete());
    let output = site.migrate(&[]);
    assert!(output.code == 1 && output.stderr.contains("cannot be written, so nothing was"), "{output:?}");
    assert_eq!(site.files().into_iter().collect::<Vec<_>>(), [("secrets".to_owned(), b"mine".to_vec())]);
    std::fs::remove_dir_all(site.path("new")).unwrap();
    site.write_old(&json!({ "logLevel": "info" }));
    // What else lies there does not matter.
    site.write("new/notes.txt", "mine");
    assert_eq!(site.migrate(&[]).code, 0);
    assert_eq!(site.read("new/notes.txt"), "mine");
}

/// What one plugin refuses would keep all of Butler from starting.
#[test]
fn what_plugins_refuse_is_left_out() {
    let site = Site::new();
    let mut butler = complete();
    let one = |name: &str| json!([{ "name": name, "value": "x" }]);
    butler["uptimeMonitor"]["storeNewRelic"]["attribute"]["static"] = one("appId");
    butler["influxDb"]["tag"]["static"] = one("time");
    butler["serviceMonitor"]["frequency"] = json!("on sat-mon at 8:00");
    butler["serviceMonitor"]["monitor"] = json!([{ "host": r"\\srv1", "services": [{ "name": "A" }] }, { "host": "srv2", "services": [{ "name": "B" }] }]);
    site.write_old(&butler);
    let output = site.migrate(&[]);
    assert!(output.code == 0 && output.stdout.contains("the new config is valid."), "{output:?}");
    let config = site.config();
    let settings = |plugin: &str| {
        let mut plugins = config["plugins"].as_array().unwrap().iter();
        plugins.find(|entry| entry["use"] == plugin).unwrap()["settings"].clone()
    };
    assert!(settings("new-relic")["metrics"][0].get("attributes").is_none(), "{config:#}");
    assert!(settings("influxdb").get("tags").is_none(), "{config:#}");
    let services = settings("windows-services");
    assert_eq!(
        (&services["when"]["cron"], &services["hosts"]),
        (&json!("0 8 * * sat,sun,mon"), &json!([{ "host": "srv2", "services": ["B"] }]))
    );
    for key in
        ["uptimeMonitor.storeNewRelic.attribute.static[0]", "influxDb.tag.static[0]", "serviceMonitor.monitor[0]"]
    {
        assert!(output.stdout.contains(&format!("{key}: it is left out: ")), "{key}: {}", output.stdout);
    }
}

#[test]
fn a_result_that_cannot_work_is_kept_and_told() {
    let site = Site::new();
    let mut butler = json!({ "restServerConfig": complete()["restServerConfig"] });
    butler["restServerConfig"]["serverHost"] = json!("localhost");
    std::fs::remove_file(site.path("cert/rest_key.pem")).unwrap();
    site.write_old(&butler);
    let output = site.migrate(&[]);
    assert_eq!(output.code, 1, "{output:?}");
    let config = site.path("new/butler.yaml");
    assert!(
        output.stderr.contains(&format!("{}:", config.display())) && output.stderr.contains("rest_key.pem"),
        "{output:?}"
    );
    assert!(output.stdout.contains("NOT valid yet"), "{output:?}");
    let report = site.read("new/migration.md");
    assert!(report.contains("## What is wrong with the new config") && report.contains("rest_key.pem"), "{report}");
    // The way out of it is the one that `butler check` shows as well.
    let checked = run(&["check", "-c", config.to_str().unwrap()]);
    assert_eq!((checked.code, checked.stderr.trim()), (2, output.stderr.trim()));
}

#[test]
fn schedules_that_are_broken_or_missing() {
    let site = Site::new();
    site.write_old(&json!({ "scheduler": { "enable": true, "configfile": "schedule.yaml" } }));
    site.write("schedule.yaml", "butlerSchedule:\n  - name: x\n    cronSchedule: 0 6 * * 9\n");
    let output = site.migrate(&[]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stdout.contains("line 3, scheduler.configfile: ") || output.stdout.contains("scheduler.configfile: "),
        "{output:?}"
    );
    assert!(output.stdout.contains("line 3: `cronSchedule`") && output.stdout.contains("`--schedule`"), "{output:?}");
    assert!(!site.path("new/schedules.yaml").exists());
    std::fs::remove_dir_all(site.path("new")).unwrap();

    // One that is named is meant: as broken as the config itself would be.
    let schedule = site.path("schedule.yaml");
    let output = site.migrate(&["--schedule", schedule.to_str().unwrap()]);
    assert!(output.code == 2 && output.stderr.contains("schedule.yaml: line 3: `cronSchedule`"), "{output:?}");
    assert!(!site.path("new").exists());

    std::fs::remove_file(schedule).unwrap();
    let output = site.migrate(&[]);
    assert!(output.code == 0 && output.stdout.contains("`schedule.yaml` is not found"), "{output:?}");
}

#[test]
fn relative_paths_start_where_the_old_butler_was_started() {
    let site = Site::new();
    let butler = json!({
        "configQRS": { "host": "sense.example.com" },
        "cert": { "clientCert": "cert/client.pem", "clientCertKey": "cert/client_key.pem", "clientCertCA": "cert/root.pem" },
    });
    let expected = site.path("cert/client.pem");
    let client = |site: &Site| site.config()["qlik"]["certificates"]["client"].as_str().unwrap().to_owned();
    // Beside the file, above its folder `config`, and in a folder that is named.
    site.write_old(&butler);
    assert_eq!(site.migrate(&[]).code, 0);
    assert_eq!(client(&site), expected.to_str().unwrap());
    site.write("config/old.yaml", &site.read("old.yaml"));
    site.write("elsewhere/old.yaml", &site.read("old.yaml"));
    let folder = site.folder.path().to_str().unwrap();
    let elsewhere = site.path("elsewhere");
    for (old, base, found) in [
        ("config/old.yaml", None, true),
        // A folder that is named counts alone.
        ("config/old.yaml", elsewhere.to_str(), false),
        ("elsewhere/old.yaml", Some(folder), true),
        ("elsewhere/old.yaml", None, false),
    ] {
        std::fs::remove_dir_all(site.path("new")).unwrap();
        let (old, out) = (site.path(old), site.path("new"));
        let mut arguments = vec!["migrate", old.to_str().unwrap(), "--out", out.to_str().unwrap()];
        arguments.extend(base.iter().flat_map(|base| ["--base", base]));
        let output = run(&arguments);
        assert_eq!((output.code, client(&site) == expected.to_str().unwrap()), (0, found), "{output:?}");
        assert_eq!(output.stdout.contains("cert.clientCert: `cert/client.pem` is not found"), !found, "{output:?}");
    }
}
