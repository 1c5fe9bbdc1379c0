//! A sound config with most sections, as lines of which it is known what stands where.

use serde_json::{Value, json};

pub(crate) fn base() -> Value {
    json!({
        "version": 1,
        "qlik": {
            "host": "127.0.0.1",
            "user": "LAB\\sa_repository",
            "certificates": { "client": "certs/client.pem", "key": "certs/client_key.pem", "ca": "certs/root.pem" },
            "verify": "chain",
            "ports": { "repository": 1, "engine": 1, "systemInfo": 1 },
            "reconcile": { "enabled": true, "every": "1m", "lookBack": "24h" },
            "alertOn": "final",
            "writes": ["license/*"],
        },
        "udp": { "listen": "127.0.0.1:0", "allowFrom": ["127.0.0.1", "10.1.0.0/16"], "maxSize": "64kB" },
        "rest": { "listen": "127.0.0.1:0", "maxPerMinute": 600, "hosts": ["butler.example.com"], "origins": ["https://sense.test"] },
        "scheduler": { "enabled": true },
        "store": { "path": "butler.db", "keep": "30d", "maxSize": "4GB" },
        "pluginDirs": ["plugins"],
        "enrich": { "giveUpAfter": "2m", "distributionLimit": "6h", "concurrency": 16 },
        "appReload": { "users": ["INTERNAL\\*"], "apps": ["Sales"], "streams": ["Finance*"] },
        "scriptLog": { "enabled": true, "maxSize": "4MB", "keep": "7d", "lines": 60 },
        "log": { "level": "info", "format": "human", "file": { "path": "logs/butler.log", "keep": 14 } },
        "links": { "qmc": "https://sense.test/qmc", "hub": "https://sense.test/hub" },
        "tls": { "internal": { "verify": "full" } },
        "shutdownTimeout": "20s",
        "plugins": [
            { "use": "console", "settings": { "format": "line" } },
            {
                "use": "webhook",
                "name": "desk",
                "on": [{
                    "events": ["reload-task.failed", "reload-task.aborted"],
                    "where": { "app.stream": "Finance*" },
                    "throttle": { "per": "task", "every": "15m" },
                    "onUnknown": "deliver",
                }],
                "settings": { "url": "http://127.0.0.1:1/hook", "format": "event" },
                "retry": { "maxAge": "24h", "initial": "2s", "max": "10m" },
                "onStuck": "wait",
                "logLevel": "info",
            },
        ],
    })
}

/// A node that stands in a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its path as reports write it: `plugins[0].settings.format`.
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Line of the key, from 1.
    pub(crate) line: usize,
    /// How many lines it has.
    pub(crate) lines: usize,
}

impl Node {
    pub(crate) fn is_plain(&self) -> bool {
        !self.value.is_array() && !self.value.is_object()
    }

    /// In what holds any keys: conditions, and names of TLS profiles.
    pub(crate) fn is_free(&self) -> bool {
        self.path.contains(".where") || self.path.starts_with("tls.") && self.path.matches('.').count() == 1
    }
}

/// A config as text.
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) nodes: Vec<Node>,
}

impl Document {
    /// Texts are in double quotes, whatever is not plain stands in lines of its own.
    pub(crate) fn new(value: &Value) -> Self {
        let mut writer = Writer::default();
        writer.block(value, 0, "");
        Self { text: writer.lines.join("\n") + "\n", nodes: writer.nodes }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.path == path);
        found.unwrap_or_else(|| panic!("the base has no {path}"))
    }

    pub(crate) fn nodes_where(&self, fits: impl Fn(&Node) -> bool) -> Vec<Node> {
        self.nodes.iter().filter(|node| fits(node)).cloned().collect()
    }
}

#[derive(Default)]
struct Writer {
    lines: Vec<String>,
    nodes: Vec<Node>,
}

impl Writer {
    fn block(&mut self, value: &Value, indent: usize, path: &str) {
        let pad = " ".repeat(indent);
        match value {
            Value::Object(entries) => {
                for (key, entry) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    let written = if key.contains('.') { format!("\"{key}\"") } else { key.clone() };
                    let (at, line) = (self.nodes.len(), self.lines.len() + 1);
                    self.nodes.push(Node {
                        path: path.clone(),
                        key: key.clone(),
                        value: entry.clone(),
                        line,
                        lines: 1,
                    });
                    if entry.is_array() || entry.is_object() {
                        self.lines.push(format!("{pad}{written}:"));
                        self.block(entry, indent + 2, &path);
                    } else {
                        self.lines.push(format!("{pad}{written}: {entry}"));
                    }
                    self.nodes[at].lines = self.lines.len() + 1 - line;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if item.is_object() {
                        self.lines.push(format!("{pad}-"));
                        self.block(item, indent + 2, &format!("{path}[{index}]"));
                    } else {
                        self.lines.push(format!("{pad}- {item}"));
                    }
                }
            }
            _ => self.lines.push(format!("{pad}{value}")),
        }
    }
}
