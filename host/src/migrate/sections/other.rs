//! Schedules, links, the log, and what this Butler has no counterpart of.

use serde_json::{Map, Value, json};

use super::{Sections, is_web_address};

impl Sections<'_> {
    /// The file of schedules, if there is one and no other was named.
    pub(super) fn scheduler(&mut self, has_schedules: bool) -> Option<String> {
        let file = "scheduler.configfile";
        let on = self.old.flag("scheduler.enable");
        if !self.old.has("scheduler") {
            return None;
        }
        if !on {
            self.old.differs("scheduler.enable", "off (`scheduler.enabled: false`): schedules are kept, and none runs");
            self.config.insert("scheduler".to_owned(), json!({ "enabled": false }));
        }
        if has_schedules {
            self.old.dropped(file, "`--schedule` names the file");
            return None;
        }
        let named = self.old.text(file)?;
        // One that is not there is no loss while the scheduler is off.
        if !on && !self.folders.iter().any(|folder| folder.join(&named).is_file()) {
            self.old.off(file);
            return None;
        }
        let path = self.old.path(file)?;
        std::path::Path::new(&path).is_file().then_some(path)
    }

    pub(super) fn links(&mut self) {
        let mut links = Map::new();
        for name in ["qmc", "hub", "appBaseUrl"] {
            self.link(&format!("qlikSenseUrls.{name}"), name, &mut links);
        }
        let mut custom = Vec::new();
        for item in 0..self.old.len("genericUrls") {
            let at = |name: &str| format!("genericUrls[{item}].{name}");
            let (id, text) = (self.old.text(&at("id")), self.old.text(&at("linkText")));
            let (comment, url) = (self.old.text(&at("comment")), self.old.text(&at("url")));
            let Some(url) = url.filter(|url| is_web_address(url)) else {
                self.todo(&at("url"), "is no address such as `https://wiki.example.com`: the link is left out");
                continue;
            };
            let text = text.or_else(|| id.clone()).unwrap_or_else(|| url.clone());
            let mut link = Map::from_iter([("linkText".to_owned(), json!(text)), ("url".to_owned(), json!(url))]);
            link.extend(id.map(|id| ("id".to_owned(), json!(id))));
            link.extend(comment.map(|comment| ("comment".to_owned(), json!(comment))));
            custom.push(Value::Object(link));
        }
        if !custom.is_empty() {
            links.insert("custom".to_owned(), Value::Array(custom));
        }
        self.put("links", links);
    }

    pub(super) fn log(&mut self) {
        let mut log = Map::new();
        log.extend(self.level().map(|level| ("level".to_owned(), json!(level))));
        log.extend(self.log_file().map(|path| ("file".to_owned(), json!({ "path": path, "keep": 30 }))));
        self.put("log", log);
    }

    /// The level, if it is not the usual one.
    fn level(&mut self) -> Option<&'static str> {
        let (level, differs) = match self.old.text("logLevel")?.to_lowercase().as_str() {
            "error" => ("error", None),
            "warn" => ("warn", None),
            "info" => ("info", None),
            "debug" => ("debug", None),
            "verbose" => ("debug", Some("there is no `verbose` between `info` and `debug`: it is `debug`")),
            "silly" => ("trace", Some("the most detailed level is called `trace`")),
            _ => {
                self.old.todo("logLevel", "is no level: error, warn, info, debug or trace");
                return None;
            }
        };
        if let Some(differs) = differs {
            self.old.differs("logLevel", differs);
        }
        (level != "info").then_some(level)
    }

    fn log_file(&mut self) -> Option<String> {
        if !self.old.flag("fileLogging") {
            self.old.off("fileLogging");
            self.old.dropped("logDirectory", "`fileLogging` is off");
            return None;
        }
        let folder = self.old.text("logDirectory").unwrap_or_else(|| "log".to_owned());
        let text = "the folder starts at the new config file, unless it is absolute (Butler 16 took both kinds within its own folder); \
                    the files are called `butler-5.<day>.log`, beside those of Butler 16, and 30 are kept";
        self.old.differs("logDirectory", text);
        // Butler 16 calls its own `butler.<day>.log`: under this name they would be written into and removed.
        Some(format!("{}/butler-5.log", folder.trim_end_matches(['/', '\\'])))
    }

    /// What has no counterpart.
    pub(super) fn without_successor(&mut self) {
        self.old.dropped("anonTelemetry", "Butler sends nothing that the config does not name");
        self.old.dropped("systemInfo", "Butler collects nothing about its machine");
        self.old.dropped("configVisualisation", "there is no page that shows the config");
        if self.is_on("dockerHealthCheck") {
            let text = "`GET /health` is answered by the REST server: let the container's health check ask the port of `rest.listen`";
            self.old.todo("dockerHealthCheck", text);
        }
        self.old.dropped("restServerApiDocGenerate", "the API's description is always there, at `/documentation`");
    }
}
