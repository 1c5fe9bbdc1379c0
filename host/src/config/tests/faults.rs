//! Each fault is told with its line and in words.

use std::fmt::Write as _;

use super::*;

/// Faulty configs: text, line of the first error, its path, part of the error.
const FAULTS: &[(&str, usize, &str, &str)] = &[
    // The host's own schema.
    ("udp: { listen: 0.0.0.0:1 }\n", 1, "", "`version` is missing"),
    ("version: 2\n", 1, "version", "must be at most 1, not `2`"),
    ("version: one\n", 1, "version", "must be a whole number, not a text"),
    ("version: '1'\n", 1, "version", "write it without quotes"),
    ("version: 1\nplugin: []\n", 2, "plugin", "did you mean `plugins`?"),
    ("version: 1\nplugin-dirs: []\n", 2, "plugin-dirs", "did you mean `pluginDirs`?"),
    ("version: 1\nzzz: 1\n", 2, "zzz", "unknown key"),
    ("version: 1\nstore:\n  pth: x\n", 3, "store.pth", "did you mean `path`?"),
    ("version: 1\nlog:\n  xyzzy: x\n", 3, "log.xyzzy", "known here: file, format, level"),
    (
        "version: 1\nstore:\n  keep: 30\n",
        3,
        "store.keep",
        "a whole number and a unit (ms, s, m, h, d), such as `90s`, not `30`",
    ),
    (
        "version: 1\nstore:\n  path: /var/lib/butler/\n",
        3,
        "store.path",
        "not a folder: such as `/var/lib/butler/butler.db`",
    ),
    ("version: 1\nstore:\n  keep: 30 days\n", 3, "store.keep", "not `30 days`"),
    ("version: 1\nstore:\n  keep: 99999999999d\n", 3, "store.keep", "a whole number and a unit"),
    ("version: 1\nstore:\n  keep: 9999999999d\n", 3, "store.keep", "must be at most 36500d"),
    ("version: 1\nstore:\n  maxSize: 4mb\n", 3, "store.maxSize", "such as `4MB`, not `4mb`"),
    (
        "version: 1\nlog:\n  level: warning\n",
        3,
        "log.level",
        "must be one of `error`, `warn`, `info`, `debug`, `trace`",
    ),
    ("version: 1\nlog:\n  format: jsn\n", 3, "log.format", "did you mean `json`?"),
    ("version: 1\nlog: info\n", 2, "log", "must be a mapping, not a text"),
    ("version: 1\nlog:\n  file: { keep: 3 }\n", 3, "log.file", "`path` is missing"),
    ("version: 1\nlog:\n  file: { path: a.log, keep: 0 }\n", 3, "log.file.keep", "must be at least 1"),
    ("version: 1\nlog:\n  file: { path: a.log, keep: 14d }\n", 3, "log.file.keep", "must be a whole number"),
    ("version: 1\nlog:\n  file: { path: logs/ }\n", 3, "log.file.path", "must name a file"),
    ("version: 1\nlog:\n  file: { path: '' }\n", 3, "log.file.path", "must name a file"),
    ("version: 1\nlog:\n  file: { path: a.log, maxSize: 0B }\n", 3, "log.file.maxSize", "must be more than nothing"),
    ("version: 1\nudp:\n", 2, "udp", "has no value"),
    ("version: 1\nudp:\n  allowFrom: []\n", 2, "udp", "`listen` is missing"),
    ("version: 1\nudp:\n  listen: 9998\n", 3, "udp.listen", "must be a text, not a number"),
    ("version: 1\nudp:\n  listen: localhost:9998\n", 3, "udp.listen", "write 127.0.0.1:9998"),
    ("version: 1\nudp:\n  listen: :9998\n", 3, "udp.listen", "write 0.0.0.0:9998"),
    ("version: 1\nudp:\n  listen: 0.0.0.0\n", 3, "udp.listen", "must be an IP address with a port"),
    (
        "version: 1\nudp:\n  listen: 0.0.0.0:1\n  allowFrom: 10.0.0.0/8\n",
        4,
        "udp.allowFrom",
        "write it as a list: [10.0.0.0/8]",
    ),
    (
        "version: 1\nudp:\n  listen: 0.0.0.0:1\n  allowFrom:\n    - 10.0.0.1\n    - 10.0.0.0/33\n",
        6,
        "udp.allowFrom[1]",
        "a network such as",
    ),
    ("version: 1\nudp:\n  listen: 0.0.0.0:1\n  allowFrom: [a b]\n", 4, "udp.allowFrom[0]", "not `a b`"),
    ("version: 1\nudp:\n  listen: 0.0.0.0:1\n  allowFrom: [10.0.0.300]\n", 4, "udp.allowFrom[0]", "not `10.0.0.300`"),
    ("version: 1\nudp:\n  listen: 0.0.0.0:1\n  maxPerMinute: 0\n", 4, "udp.maxPerMinute", "must be at least 1"),
    (
        "version: 1\nudp:\n  listen: 0.0.0.0:1\n  maxPerMinute: 5000000000\n",
        4,
        "udp.maxPerMinute",
        "must be at most 4294967295",
    ),
    ("version: 1\nudp:\n  listen: 0.0.0.0:1\n  maxSize: 0B\n", 4, "udp.maxSize", "must be more than nothing"),
    (
        "version: 1\nudp:\n  listen: 127.0.0.1:1\n  sessions:\n    listen: localhost:9997\n",
        5,
        "udp.sessions.listen",
        "write 127.0.0.1:9997",
    ),
    (
        "version: 1\nudp:\n  listen: 127.0.0.1:1\n  sessions: { listen: \"127.0.0.1:1\" }\n",
        4,
        "udp.sessions.listen",
        "must be another port than that of `udp.listen`",
    ),
    (
        "version: 1\nudp:\n  listen: 127.0.0.1:1\n  sessions:\n    excludeUsers: ['A\\*', sa_api]\n",
        5,
        "udp.sessions.excludeUsers[1]",
        "such as `INTERNAL\\sa_api` or `INTERNAL\\*`, not `sa_api`",
    ),
    ("version: 1\nappReload:\n  users: [ann]\n", 3, "appReload.users[0]", "must be directory and user id"),
    ("version: 1\nappReload:\n  apps: [Sales, ' ']\n", 3, "appReload.apps[1]", "must not be empty"),
    ("version: 1\nappReload:\n  streams: ['']\n", 3, "appReload.streams[0]", "must not be empty"),
    ("version: 1\nappReload:\n  stream: [a]\n", 3, "appReload.stream", "did you mean `streams`?"),
    ("version: 1\nrest:\n  listen: 0.0.0.0:8080\n", 3, "rest.listen", "needs `tokens` or `grants`"),
    ("version: 1\nrest:\n  insecure: yes\n", 3, "rest.insecure", "write `true`"),
    (
        "version: 1\nrest:\n  tokens:\n    - { name: a, sha256: abc, scopes: [read] }\n",
        4,
        "rest.tokens[0].sha256",
        "64 hexadecimal digits",
    ),
    (
        "version: 1\nrest:\n  grants:\n    - { network: 10.0.0.0/8, scopes: [reed] }\n",
        4,
        "rest.grants[0].scopes[0]",
        "did you mean `read`?",
    ),
    (
        "version: 1\nrest:\n  grants:\n    - network: 10.0.0.0/40\n      scopes: [read]\n",
        4,
        "rest.grants[0].network",
        "must be an address or a network",
    ),
    (
        "version: 1\nrest:\n  grants:\n    - network: 10.0.0.0/8\n      scopes: []\n",
        5,
        "rest.grants[0].scopes",
        "at least one scope",
    ),
    (
        "version: 1\nrest:\n  tokens:\n    - { name: a, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, scopes: [read], networks: [10.0.0.1, sense] }\n",
        4,
        "rest.tokens[0].networks[1]",
        "must be an address or a network",
    ),
    (
        "version: 1\nrest:\n  tokens:\n    - { name: a, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, scopes: [read], networks: [] }\n",
        4,
        "rest.tokens[0].networks",
        "leave `networks` out",
    ),
    ("version: 1\nrest:\n  hosts: [\"https://a.example.com\"]\n", 3, "rest.hosts[0]", "without scheme and port"),
    ("version: 1\nrest:\n  origins: [\"https://a.example.com/\"]\n", 3, "rest.origins[0]", "must be an origin"),
    ("version: 1\nshutdownTimeout: 500ms\n", 2, "shutdownTimeout", "must be at least 1s, not `500ms`"),
    ("version: 1\nenrich:\n  concurrency: 1000\n", 3, "enrich.concurrency", "must be at most 256"),
    ("version: 1\ntls:\n  intern:\n    client: a.pem\n", 3, "tls.intern", "`client` and `key` belong together"),
    ("version: 1\nlinks:\n  hup: https://sense/hub\n", 3, "links.hup", "did you mean `hub`?"),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/', colour: red }\n",
        4,
        "links.custom[0].colour",
        "unknown key",
    ),
    ("version: 1\nlinks:\n  hub: sense/hub\n", 3, "links.hub", "must be an address such as"),
    ("version: 1\nlinks:\n  hub: 'javascript:alert(1)'\n", 3, "links.hub", "must be an address such as"),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'wiki/{{taskName}}' }\n",
        4,
        "links.custom[0].url",
        "begins with `https://` or `http://`, variables stand behind that, not `wiki/{{taskName}}`",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'javascript:{{taskName}}' }\n",
        4,
        "links.custom[0].url",
        "begins with `https://` or `http://`",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: '{{appUrl}}' }\n",
        4,
        "links.custom[0].url",
        "begins with `https://` or `http://`",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/?t={{taskName}' }\n",
        4,
        "links.custom[0].url",
        "has `{{` without `}}`",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/{{appId/{{taskName}}' }\n",
        4,
        "links.custom[0].url",
        "has `{{` without `}}`",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/?t=taskName}}' }\n",
        4,
        "links.custom[0].url",
        "has `}}` without `{{`",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/{{ }}' }\n",
        4,
        "links.custom[0].url",
        "without the name of a variable",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/?t={{upper taskName}}' }\n",
        4,
        "links.custom[0].url",
        "takes only names of variables, such as `{{taskName}}` or `{{app.name}}`: no helper, no block",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/{{#if x}}a{{/if}}' }\n",
        4,
        "links.custom[0].url",
        "takes only names of variables",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/{{this}}' }\n",
        4,
        "links.custom[0].url",
        "takes only names of variables",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/{{app..name}}' }\n",
        4,
        "links.custom[0].url",
        "takes only names of variables",
    ),
    (
        "version: 1\nlinks:\n  custom:\n    - { linkText: Wiki, url: 'https://wiki/{{{{raw}}}}' }\n",
        4,
        "links.custom[0].url",
        "has `{{` without `}}`",
    ),
    (
        "version: 1\nqlik:\n  host: a\n  user: me\n  certificates: { client: c, key: k, ca: r }\n",
        4,
        "qlik.user",
        "must be directory and user id",
    ),
    (
        "version: 1\nqlik:\n  host: https://a\n  user: A\\b\n  certificates: { client: c, key: k, ca: r }\n",
        3,
        "qlik.host",
        "leave out scheme",
    ),
    (
        "version: 1\nqlik:\n  host: a\n  user: A\\b\n  certificates: { client: c, key: k, ca: r }\n  ports:\n    engine: 70000\n",
        7,
        "qlik.ports.engine",
        "must be at most 65535",
    ),
    (
        "version: 1\nqlik:\n  host: a\n  user: A\\b\n  certificates: { client: c, key: k }\n",
        5,
        "qlik.certificates",
        "`ca` is missing",
    ),
    ("version: 1\nstore:\n  keep: 0s\n  keeep: 1d\n", 3, "store.keep", "must be more than no time"),
    // Instances.
    ("version: 1\nplugins: chat\n", 2, "plugins", "must be a list, not a text"),
    (
        "version: 1\nrest:\n  disabledEndpoints: [ok, bad]\n",
        3,
        "rest.disabledEndpoints[1]",
        "must be an endpoint of Butler",
    ),
    ("version: 1\nrest:\n  disabledEndpoints: [ok, bad1]\n", 3, "rest.disabledEndpoints[1]", "did you mean `good1`?"),
    ("version: 1\nplugins:\n  - settings: {}\n", 3, "plugins[0]", "`use` is missing"),
    ("version: 1\nplugins:\n  - use: Chat!\n", 3, "plugins[0].use", "must be lower-case letters"),
    ("version: 1\nplugins:\n  - use: free\n    name: -x\n", 4, "plugins[0].name", "with a letter or digit first"),
    (
        "version: 1\nplugins:\n  - use: free\n  - use: free\n",
        4,
        "plugins[1].use",
        "plugins[0] has the same instance name, `free`",
    ),
    (
        "version: 1\nplugins:\n  - use: free\n    name: a\n  - use: chat\n    name: a\n    settings: { url: 'a://b' }\n",
        6,
        "plugins[1].name",
        "plugins[0] has the same",
    ),
    ("version: 1\nplugins:\n  - use: chatt\n", 3, "plugins[0].use", "there is no plugin `chatt`"),
    ("version: 1\nplugins:\n  - use: ${env:WORD}\n", 3, "plugins[0].use", "must be written out"),
    ("version: 1\nplugins:\n  - use: broken\n", 3, "plugins[0].use", "brings a broken schema of its settings"),
    (
        "version: 1\nplugins:\n  - use: free\n    retry: { initial: 10s, max: 5s }\n",
        4,
        "plugins[0].retry",
        "`max` must not be shorter than `initial`",
    ),
    (
        "version: 1\nplugins:\n  - use: free\n    on:\n      - events: []\n",
        5,
        "plugins[0].on[0].events",
        "at least one entry",
    ),
    (
        "version: 1\nplugins:\n  - use: free\n    on:\n      - events: [a]\n        onUnkown: drop\n",
        6,
        "plugins[0].on[0].onUnkown",
        "did you mean `onUnknown`?",
    ),
    (
        "version: 1\nplugins:\n  - use: free\n    on:\n      - events: [a]\n        where:\n          task.bad: 1\n",
        7,
        "plugins[0].on[0].where['task.bad']",
        "no such field",
    ),
    (
        "version: 1\nplugins:\n  - use: free\n    on:\n      - events: [a]\n        throttle: { per: task, every: 0s }\n",
        6,
        "plugins[0].on[0].throttle.every",
        "must be more than no time",
    ),
    // Settings.
    ("version: 1\nplugins:\n  - use: chat\n", 3, "plugins[0].settings", "add `url:` (Incoming webhook URL)"),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: nowhere\n",
        5,
        "plugins[0].settings.url",
        "must be a URL with its scheme",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      colour: red\n",
        6,
        "plugins[0].settings.colour",
        "did you mean `color`?",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      color: blue\n",
        6,
        "plugins[0].settings.color",
        "must be one of `red`, `green`",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      port: 70000\n",
        6,
        "plugins[0].settings.port",
        "must be at most 65535",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      ratio: 1\n",
        6,
        "plugins[0].settings.ratio",
        "must be less than 1",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      channel: Alerts\n",
        6,
        "plugins[0].settings.channel",
        "A channel, such as `#alerts`",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      to: 5\n",
        6,
        "plugins[0].settings.to",
        "must be a text or a list, not a number",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      to: []\n",
        6,
        "plugins[0].settings.to",
        "at least one entry",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      auth:\n        type: basik\n",
        7,
        "plugins[0].settings.auth.type",
        "must be one of `basic`, `token`",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      auth:\n        type: token\n        token: short\n",
        8,
        "plugins[0].settings.auth.token",
        "at least 20 characters",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a://b\n      auth: { type: basic }\n",
        6,
        "plugins[0].settings.auth",
        "`user` is missing",
    ),
    // Placeholders.
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: ${env:NOWHERE}\n",
        5,
        "plugins[0].settings.url",
        "the environment variable `NOWHERE` is not set",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: a${file:no/such}\n",
        5,
        "plugins[0].settings.url",
        "the file `no/such` cannot be read",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: ${file:.}\n",
        5,
        "plugins[0].settings.url",
        "is no regular file",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: ${ENV:URL}\n",
        5,
        "plugins[0].settings.url",
        "did you mean `env`?",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: pa${ss\n",
        5,
        "plugins[0].settings.url",
        "is not closed",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: pa${ss}\n",
        5,
        "plugins[0].settings.url",
        "unknown placeholder",
    ),
    (
        "version: 1\nplugins:\n  - use: chat\n    settings:\n      url: ${env:WORD}\n",
        5,
        "plugins[0].settings.url",
        "must be a URL",
    ),
    // YAML.
    ("", 0, "", "the file is empty"),
    ("# nothing\n", 0, "", "version: 1"),
    ("just a text\n", 1, "", "must hold a mapping"),
    ("- version: 1\n", 1, "", "must hold a mapping"),
    ("version: 1\nversion: 1\n", 2, "version", "first in line 1"),
    ("version: 1\nstore:\n\tkeep: 30d\n", 3, "", "a tab in the indentation"),
    ("version: 1\n---\nversion: 1\n", 2, "", "a second document"),
    ("version: 1\n5: x\n", 2, "", "a key must be a text, and `5` is none"),
    ("version: 1\n? [a]\n: b\n", 2, "", "a key must be a text"),
    ("version: 1\nstore: !mine {}\n", 2, "store", "tags"),
    ("version: 1\nstore:\n  <<: {}\n", 3, "store", "merging of mappings"),
    ("version: .inf\n", 1, "version", "is not a finite number"),
    ("version: 1\nlinks: { hub: ${env:URL} }\n", 2, "", "double quotes"),
    ("version: 1\nstore: { keep: 30d\n", 3, "", "no valid YAML"),
    ("version: 1\nplugins: &a [*a]\n", 2, "plugins[0]", "within its own anchor"),
];

#[test]
fn each_fault_is_told_with_its_line_and_in_words() {
    let mut wrong = String::new();
    for (text, line, path, part) in FAULTS {
        let Err(report) = load(text) else {
            writeln!(wrong, "accepted: {text}\n\n").unwrap();
            continue;
        };
        let error = &report.errors[0];
        let words = format!("{}\n{}", error.message, error.suggestion.clone().unwrap_or_default());
        if error.line != *line
            || error.path != *path
            || !words.contains(part)
            || report.errors.len() != 1 + text.matches("keeep").count()
        {
            writeln!(wrong, "expected line {line}, {path}, {part}\n{report}\nof\n{text}\n\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn all_faults_are_told_at_once_and_by_line() {
    let text = r#"
version: 1
udp:
  listen: 0.0.0.0
rest:
  listen: 0.0.0.0:8080
  unsecure: true
store: { keep: 30, maxSise: 4GB }
plugins:
  - use: chat
    settings:
      uri: https://chat.example.com
      bold: "yes"
  - use: chat
    name: two
    on:
      - events: [a.*]
        where: { task.bad: x, task.name: y }
    settings: { url: "${env:NOWHERE}", port: "${env:WORD}" }
  - use: gone
"#;
    let document = parse(text).unwrap();
    let source = Source { env: &env, base_dir: document.base_dir() };
    let unusable = vec![(2, "the file of the plugin `gone` is no plugin".to_owned())];
    let report = document.validate_with(&plugins(), unusable, &NoBad, &source).unwrap_err();
    insta::assert_snapshot!(report, @r"
    11 errors in butler.yaml
    butler.yaml:4:11 udp.listen: must be an IP address with a port, such as `0.0.0.0:9998`, not `0.0.0.0`
    butler.yaml:7:3 rest.unsecure: unknown key
        did you mean `insecure`?
    butler.yaml:8:16 store.keep: must be a whole number and a unit (ms, s, m, h, d), such as `90s`, not `30`
    butler.yaml:8:20 store.maxSise: unknown key
        did you mean `maxSize`?
    butler.yaml:11:5 plugins[0].settings: `url` is missing
        add `url:` (Incoming webhook URL)
    butler.yaml:12:7 plugins[0].settings.uri: unknown key
        did you mean `url`?
    butler.yaml:13:13 plugins[0].settings.bold: must be `true` or `false`, not a text
        write `true`
    butler.yaml:18:28 plugins[1].on[0].where['task.bad']: no such field
        better
    butler.yaml:19:22 plugins[1].settings.url: the environment variable `NOWHERE` is not set
        set it for the account that Butler runs under
    butler.yaml:19:46 plugins[1].settings.port: must be a whole number, not a text
    butler.yaml:20:10 plugins[2].use: the file of the plugin `gone` is no plugin
    ");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["errors"][0]["line"], 4);
    assert_eq!(json["file"], "butler.yaml");
}

#[test]
fn errors_never_quote_a_secret() {
    let secrets = ["s3cr3t-p4th", "correct horse", "8443", "1234"];
    for text in [
        "version: 1\nqlik: { host: \"${env:URL}\", user: \"${env:WORD}\", certificates: { client: c, key: k, ca: r } }",
        "version: 1\nudp: { listen: \"${env:WORD}\", allowFrom: [\"${env:URL}\", \"${env:WORD}\"] }",
        "version: 1\nrest: { listen: \"${env:PORT}\", insecure: \"${env:WORD}\", origins: [\"${env:URL}\"] }",
        "version: 1\nstore: { keep: \"${env:PIN}\", maxSize: \"${env:WORD}\" }\nlog: { level: \"${env:PORT}\" }",
        "version: \"${env:PIN}\"\nshutdownTimeout: \"${env:PORT}\"",
        "version: 1\nplugins: [{ use: free, name: \"${env:WORD}\" }, { use: free, name: \"${env:WORD}\" }]",
        "version: 1\nplugins: [{ use: free, name: \"a${env:PIN}\" }, { use: free, name: \"a${env:PIN}\" }]",
    ] {
        let report = load(text).unwrap_err();
        let shown = format!("{report} {report:?}");
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
    for text in ["color: ${env:WORD}", "port: ${env:URL}", "channel: ${env:PIN}", "auth: { type: \"${env:WORD}\" }"] {
        let report = settings(&format!("url: a://b\n{text}")).unwrap_err();
        let shown = format!("{report} {report:?}");
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}

#[test]
fn a_long_list_of_faults_is_cut() {
    let text = (0..1000).map(|n| format!("a{n}: 1")).collect::<Vec<_>>().join("\n");
    let report = load(&format!("version: 1\n{text}")).unwrap_err();
    assert_eq!((report.errors.len(), report.omitted), (200, 800));
    assert!(report.to_string().starts_with("1000 errors in butler.yaml\n"));
    assert!(report.to_string().ends_with("\n… and 800 more"));
}
