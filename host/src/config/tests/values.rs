//! Good configs: what they become, and what placeholders become.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::ClientFiles;

#[test]
fn a_small_config_gets_its_defaults_and_absolute_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("butler.yaml");
    std::fs::write(
        &path,
        r"
version: 1
qlik:
  host: sense.example.com
  user: INTERNAL\sa_repository
  certificates: { client: certs/client.pem, key: /abs/key.pem, ca: certs/root.pem }
udp: { listen: 0.0.0.0:9998 }
pluginDirs: [plugins]
tls: { intern: { ca: ca.pem } }
rest: { tls: { certificate: certs/butler.pem, key: certs/butler_key.pem } }
plugins:
  - use: free
    on: [{ events: [reload-task.failed], where: { task.tags: [a, b] }, throttle: { per: task, every: 15m } }]
",
    )
    .unwrap();
    let loaded = Document::read(&path).unwrap().validate(&plugins(), Vec::new(), &()).unwrap();
    let at = |name: &str| folder.path().join(name);
    let qlik = loaded.config.qlik.unwrap();
    let pem = ClientFiles::Pem { certificate: at("certs/client.pem"), key: PathBuf::from("/abs/key.pem") };
    assert_eq!((qlik.certificates.client, qlik.certificates.ca), (pem, Some(at("certs/root.pem"))));
    assert_eq!(qlik.ports.system_info, 9032);
    assert_eq!(loaded.config.store.path, at("data/butler.db"));
    assert_eq!(loaded.config.plugin_dirs, [at("plugins")]);
    assert_eq!(loaded.config.tls["intern"].ca, Some(at("ca.pem")));
    let server = ServerTls { certificate: at("certs/butler.pem"), key: at("certs/butler_key.pem") };
    assert_eq!(loaded.config.rest.tls, Some(server));
    assert_eq!(loaded.config.shutdown_timeout.duration(), Duration::from_secs(20));
    assert_eq!(loaded.config.plugins[0].instance(), "free");
    assert_eq!(loaded.config.plugins[0].settings, json!({}));
    assert_eq!((loaded.path, loaded.base_dir.as_path()), (path, folder.path()));
    assert!(loaded.secrets.is_empty());
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("line 7, udp.listen: everybody"), "{:?}", loaded.warnings);
}

#[test]
fn doubts_about_rules_are_warnings_without_secrets() {
    let text = "version: 1\nplugins:\n  - use: free\n    on:\n      - events: [a.b, 'doubtful.${env:WORD}']\n";
    let warnings = load(text).unwrap().warnings;
    assert_eq!(warnings, ["line 5, plugins[0].on[0].events[1]: no doubtful.[redacted]; better"]);
}

#[test]
fn placeholders_become_what_the_schema_wants() {
    let settings = settings(
        "url: ${env:URL}\nport: ${env:PORT}\nbold: ${env:YES}\nretries: ${env:PIN}\nchannel: '#a${env:YES}'\n\
         to: [\"${env:PIN}\"]\nauth: { type: basic, user: \"${env:PIN}-$${env:PIN}\", pin: \"${env:PIN}\" }",
    )
    .unwrap();
    assert_eq!(
        settings,
        json!({
            "url": "https://chat.example.com/hook/s3cr3t-p4th", "port": 8443, "bold": true, "retries": 1234,
            "channel": "#atrue", "to": ["1234"], "auth": { "type": "basic", "user": "1234-${env:PIN}", "pin": 1234 },
        })
    );
}

#[test]
fn only_a_whole_placeholder_becomes_a_number() {
    for text in ["port: '1${env:PIN}'", "port: '8080'", "bold: ' ${env:YES}'"] {
        let report = settings(&format!("url: a://b\n{text}")).unwrap_err();
        assert!(report.errors[0].message.starts_with("must be"), "{report}");
    }
}

#[test]
fn what_is_put_in_is_not_looked_through_again() {
    let loaded = load("version: 1\nplugins: [{ use: free, settings: { a: \"${env:LITERAL}\" } }]\n").unwrap();
    assert_eq!(loaded.config.plugins[0].settings["a"], "${env:NOT_AGAIN}");
}

#[test]
fn the_host_takes_placeholders_too() {
    let loaded = load(
        "version: 1\nqlik:\n  host: ${env:HOST_NAME}\n  user: A\\${env:YES}\n  certificates: { client: c, key: k, ca: r }\n  \
         ports: { engine: \"${env:PORT}\" }\nrest: { listen: \"127.0.0.1:${env:PORT}\", insecure: \"${env:YES}\" }\n\
         plugins: [{ use: free, settings: { pin: \"${env:PORT}\" } }]\n",
    )
    .unwrap();
    let qlik = loaded.config.qlik.as_ref().unwrap();
    assert_eq!((qlik.host.as_str(), qlik.user.as_str(), qlik.ports.engine), ("sense.example.com", "A\\true", 8443));
    assert_eq!((loaded.config.rest.listen.port(), loaded.config.rest.insecure), (8443, true));
    assert_eq!(loaded.redacted()["qlik"]["host"], "${env:HOST_NAME}");
    assert_eq!(loaded.secrets.redact("at sense.example.com"), "at [redacted]");
    let short: Vec<_> = loaded.warnings.iter().filter(|text| text.contains("shorter than 6 bytes")).collect();
    assert_eq!(short.len(), 1, "only of settings: {:?}", loaded.warnings);
    assert!(short.iter().all(|text| !text.contains("8443")));
}

#[test]
fn files_are_read_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("url"), "https://example.com/x\r\n").unwrap();
    std::fs::write(at("long"), vec![b'x'; 65_537]).unwrap();
    std::fs::write(at("fits"), vec![b'x'; 65_536]).unwrap();
    std::fs::write(at("binary"), b"\xff\xff\xff").unwrap();
    std::fs::write(at("notepad"), "\u{feff}Größe\r\n").unwrap();
    std::fs::write(at("powershell"), b"\xff\xfeg\0\r\0\n\0").unwrap();
    let load = |name: &str| {
        let text = format!("version: 1\nplugins: [{{ use: free, settings: [\"${{file:{name}}}\"] }}]\n");
        Document::parse(&at("butler.yaml"), text.as_bytes()).unwrap().validate(&plugins(), Vec::new(), &())
    };
    assert_eq!(load("url").unwrap().config.plugins[0].settings, json!(["https://example.com/x"]));
    assert_eq!(load("fits").unwrap().config.plugins[0].settings[0].as_str().unwrap().len(), 65_536);
    assert!(load("long").unwrap_err().to_string().contains("the file `long` is larger than 64 kB"));
    assert!(load("binary").unwrap_err().to_string().contains("the file `binary` is not UTF-8"));
    assert_eq!(
        load("notepad").unwrap().config.plugins[0].settings,
        json!(["Größe"]),
        "the mark at the beginning is no part"
    );
    let utf16 = load("powershell").unwrap_err().to_string();
    assert!(utf16.contains("the file `powershell` is encoded as UTF-16: save it as UTF-8"), "{utf16}");
    assert!(load("none").unwrap_err().to_string().contains(&format!("the full path is {}", at("none").display())));
}

#[test]
fn placeholders_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..17 {
        std::fs::write(folder.path().join(format!("f{n}")), vec![b'a' + n; 65_000]).unwrap();
    }
    let load = |settings: String| {
        let text = format!("version: 1\nplugins: [{{ use: free, settings: [{settings}] }}]\n");
        let document = Document::parse(&folder.path().join("butler.yaml"), text.as_bytes()).unwrap();
        document.validate(&plugins(), Vec::new(), &()).unwrap_err().to_string()
    };
    assert!(load("'${file:f0}',".repeat(1001)).contains("more than 1000 placeholders"));
    let files: Vec<_> = (0..17).map(|n| format!("'${{file:f{n}}}'")).collect();
    assert!(load(files.join(",")).contains("more than 1 MB together"));
}

#[test]
fn a_missing_secret_does_not_hide_other_faults() {
    let report = settings("url: ${env:NOWHERE}\nport: ${env:NOWHERE}\ncolor: ${env:NOWHERE}\nbold: 1").unwrap_err();
    let lines: Vec<_> = report.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [5, 6, 7, 8]);
    assert!(report.errors[3].message.contains("must be `true` or `false`"));
}

#[test]
fn a_default_plugin_error_names_those_that_could_not_be_opened() {
    let document = parse("version: 1\nplugins:\n  - use: chat\n").unwrap();
    let report = document.validate(&plugins(), vec![(0, "it has the wrong version".to_owned())], &()).unwrap_err();
    assert_eq!(report.to_string(), "1 error in butler.yaml\nbutler.yaml:3:10 plugins[0].use: it has the wrong version");
}

#[test]
fn whole_numbers_may_have_a_point() {
    assert_eq!(settings("url: a://b\nport: 80.0").unwrap()["port"], 80);
}

#[test]
fn custom_links_may_hold_variables_of_the_event() {
    for url in [
        "https://wiki.example.com/tasks?name={{taskName}}&app={{app.name}}",
        "https://wiki/{{{taskName}}}/x",
        "https://{{hostName}}:{{port}}/",
        "http://{{hostName}}.example.com/#{{ taskId }}",
        "https://wiki/{plain}",
    ] {
        let text = format!("version: 1\nlinks:\n  custom:\n    - {{ linkText: Wiki, url: '{url}' }}\n");
        let loaded = load(&text).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.config.links.custom[0].url, url);
    }
}
