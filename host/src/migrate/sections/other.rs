//! Schedules, links, the log, and what this Butler has no counterpart of.

use serde_json::{Map, Value, json};

use super::{Sections, is_web_address};

/// So many days' log files Butler 16 kept.
const DAYS: u32 = 30;

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
                self.old.todo(&at("url"), "is no address such as `https://wiki.example.com`: the link is left out");
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
        // `info` is the usual one.
        let level = self.old.log_level("logLevel").filter(|level| *level != "info");
        log.extend(level.map(|level| ("level".to_owned(), json!(level))));
        log.extend(self.log_file().map(|path| ("file".to_owned(), json!({ "path": path, "keep": DAYS }))));
        self.put("log", log);
    }

    fn log_file(&mut self) -> Option<String> {
        if !self.old.flag("fileLogging") {
            self.old.off("fileLogging");
            self.old.dropped("logDirectory", "`fileLogging` is off");
            return None;
        }
        let folder = self.old.text("logDirectory").unwrap_or_else(|| "log".to_owned());
        let text = "a relative folder starts at the new config file now, not at Butler's own, and an absolute one is taken as it is, \
                    where Butler 16 looked for it below its own; the files are called `butler/butler.<day>.log` in it, so that none of \
                    Butler 16's is removed or written into";
        self.old.differs("logDirectory", text);
        Some(format!("{}/butler/butler.log", folder.trim_end_matches(['/', '\\'])))
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
