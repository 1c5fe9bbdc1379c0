//! The blocks of Butler 16's config that say what a destination tells whom, and the kinds of values in them.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::Import;
use crate::event::kind;

/// Butler 16's own `rateLimit` where the config had none, in seconds.
const RATE_LIMIT: u64 = 300;
/// Longest time of a `throttle` in the config.
const LONGEST_THROTTLE: Duration = Duration::from_hours(36_500 * 24);
/// Most lines of either end of a script log.
const MOST_LINES: u64 = 1000;

/// A block that is switched on: what a destination tells of some kinds of events.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Block {
    /// Its path, such as `teamsNotification.reloadTaskFailure`.
    pub path: String,
    /// The kinds of events that it is about.
    pub events: Vec<&'static str>,
    /// The path of its rate limit.
    pub rate_limit: String,
    /// What the rate limit counts by, as in `throttle.per`: `task`, `service`, `app` or `kind`.
    pub per: &'static str,
}

impl Block {
    /// A block with a rate limit of its own.
    pub fn new(path: impl Into<String>, events: &[&'static str], per: &'static str) -> Self {
        let path = path.into();
        Self { rate_limit: format!("{path}.rateLimit"), path, events: events.to_vec(), per }
    }

    /// The path of one of its keys.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

impl Import {
    /// The blocks of a destination (`teams`, `slack`, `email`) that are switched on: those about tasks, by their names in its
    /// section, then those about Windows services and apps of Qlik Cloud. The others are remarked.
    pub fn blocks(&mut self, destination: &str, tasks: &[(&str, &[&'static str])]) -> Vec<Block> {
        let section = format!("{destination}Notification");
        // What of the section is read already is in use, whatever its switch says.
        let in_use = self.imported.used_keys.iter().any(|key| key.starts_with(&format!("{section}.")));
        let on = self.flag(&format!("{section}.enable"));
        let mut blocks = Vec::new();
        if !on && !in_use {
            self.off(&section);
        }
        for (name, events) in tasks {
            let path = format!("{section}.{name}");
            if on && self.flag(&format!("{path}.enable")) {
                blocks.push(Block::new(path, events, "task"));
            } else if on || in_use {
                self.off(&path);
            }
        }
        let services = self.tells_services(destination);
        for (name, event) in [("serviceStopped", kind::SERVICE_STOPPED), ("serviceStarted", kind::SERVICE_STARTED)] {
            let path = format!("{section}.{name}");
            if on && services {
                let rate_limit = format!("{section}.serviceStopped.rateLimit");
                blocks.push(Block { rate_limit, ..Block::new(path, &[event], "service") });
            } else if on || in_use {
                let why = format!(
                    "this destination tells nothing of Windows services: `serviceMonitor.enable` and \
                     `serviceMonitor.alertDestination.{destination}.enable` must both be on for that"
                );
                self.dropped(&path, if on { &why } else { "it is switched off" });
            }
        }
        if on && services {
            let why = "Butler 16 had one limit for both, that of `serviceStopped`. Now a stop and a start count for \
                       themselves, so that a start that follows a stop is told";
            self.no_effect(&format!("{section}.serviceStarted.rateLimit"), why);
        }
        let cloud = format!("qlikSenseCloud.event.mqtt.tenant.alert.{section}.reloadAppFailure");
        // Both are read.
        if self.flag("qlikSenseCloud.enable") & self.flag(&format!("{cloud}.enable")) {
            blocks.push(Block::new(cloud, &[kind::CLOUD_APP_RELOAD_FAILED], "app"));
        } else {
            self.off(&cloud);
        }
        blocks
    }

    /// Whether a monitor and what a destination gets of it are both switched on, by its path and that of its part there; if
    /// not, that part is remarked.
    pub fn both(&mut self, monitor: &str, destination: &str) -> bool {
        // Both are read.
        let are_on = self.flag(&format!("{monitor}.enable")) & self.flag(&format!("{destination}.enable"));
        if !are_on {
            self.dropped(destination, &format!("it or `{monitor}.enable` is off"));
        }
        are_on
    }

    /// Whether Windows services are watched, and told by a destination.
    pub fn tells_services(&mut self, destination: &str) -> bool {
        let switch = format!("serviceMonitor.alertDestination.{destination}.enable");
        self.flag("serviceMonitor.enable") & self.flag(&switch)
    }

    /// A `rateLimit` in seconds as a time such as `300s`, at most `longest`; `None` if everything is to be sent.
    pub fn rate_limit(&mut self, path: &str, longest: Duration) -> Option<String> {
        if !self.has(path) {
            self.used(path);
            return Some(format!("{RATE_LIMIT}s"));
        }
        let seconds = self.number(path)?;
        if seconds == 0 {
            let why = "in Butler 16, 0 let the first message about a thing through and no other until its next start: now \
                       all are sent";
            self.differs(path, why);
            return None;
        }
        if seconds > longest.as_secs() {
            self.differs(path, &format!("the longest time is {} days now", longest.as_secs() / 86_400));
        }
        Some(format!("{}s", seconds.min(longest.as_secs())))
    }

    /// The `throttle` of a block's rule; `None` if it has none.
    pub fn throttle(&mut self, block: &Block) -> Option<Value> {
        let every = self.rate_limit(&block.rate_limit, LONGEST_THROTTLE)?;
        Some(json!({ "per": block.per, "every": every }))
    }

    /// An address with a secret in it, such as that of a webhook: what is to be written in its place. `None` if it is
    /// absent or no address that can be called (which is remarked). Of redirects, see [`redirects`](Self::redirects).
    pub fn secret_address(&mut self, path: &str) -> Option<String> {
        let address = self.typed(path, "a text", |value| value.as_str().map(|text| text.trim().to_owned()))?;
        let url = Url::parse(&address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let is_plain = address.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte));
        if let Some(url) = url.filter(|_| is_plain) {
            self.redirects(path, &url);
            return Some(self.keep_secret(path, address));
        }
        if !address.is_empty() {
            // It is not quoted, since it may hold a secret in spite of that.
            self.todo(
                path,
                "it is no address that can be called: one begins with `https://` or `http://` and has a host",
            );
        }
        None
    }

    /// Tells that redirects are not followed any more, if an address is one of `http:`, from which they usually start.
    pub fn redirects(&mut self, path: &str, url: &Url) {
        if url.scheme() == "http" {
            let text = "redirects are not followed any more, as Butler 16 did: if this address leads to another, such as one of \
                        `https:`, write that";
            self.todo(path, text);
        }
    }

    /// One of some words, whatever its case, as it is written in the list; `None` if it is absent or none of them (which is
    /// remarked).
    pub fn choice(&mut self, path: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(path)?;
        let found = words.iter().find(|word| word.eq_ignore_ascii_case(&text)).copied();
        if found.is_none() {
            self.todo(path, &format!("it should be one of {}, and is left out", words.join(", ")));
        }
        found
    }

    /// A level of the log, as it is called now; `None` if it is absent or none (which is remarked).
    pub fn log_level(&mut self, path: &str) -> Option<&'static str> {
        let known = match self.text(path)?.to_lowercase().as_str() {
            "error" => "error",
            "warn" => "warn",
            "info" => "info",
            "debug" => "debug",
            "verbose" => {
                self.differs(path, "there is no `verbose` between `info` and `debug`: it is `debug`");
                "debug"
            }
            "silly" => {
                self.differs(path, "the most detailed level is called `trace`");
                "trace"
            }
            _ => {
                self.todo(path, "it is no level, and is left out: write error, warn, info, debug or trace");
                return None;
            }
        };
        Some(known)
    }

    /// How many lines of the script log are shown: at most 1000.
    pub fn log_lines(&mut self, path: &str) -> Option<u64> {
        let lines = self.number(path)?;
        if lines > MOST_LINES {
            self.differs(path, "at most 1000 lines of either end of the script log are shown now");
        }
        Some(lines.min(MOST_LINES))
    }

    /// The file of a template: the first of these that is there. `path` is the key that names it, for remarks.
    pub fn template(&mut self, path: &str, files: &[String]) -> Option<String> {
        let first = files.first()?;
        let Some((taken, found)) = files.iter().find_map(|file| Some((file, self.found(file)?))) else {
            let why = format!(
                "`{first}` is not there: bring the file, or take `templateFile` out for the built-in form. Until then \
                 alerts go out in a plain one"
            );
            self.todo(path, &why);
            return Some(self.place(first));
        };
        if taken != first {
            self.differs(path, &format!("`{first}` is not there, so Butler 16 sent nothing; `{taken}` is taken"));
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Fate, Imported};

    fn import(butler: &Value, folders: &[&str]) -> Import {
        Import::new(json!({ "butler": butler, "folders": folders })).unwrap()
    }

    fn told(import: Import) -> Vec<(String, Fate)> {
        let answer: Imported = serde_json::from_value(import.finish()).unwrap();
        answer.remarks.into_iter().map(|remark| (remark.key, remark.fate)).collect()
    }

    #[test]
    fn rate_limits() {
        let week = Duration::from_hours(168);
        for (value, every, fate) in [
            (json!(60), Some("60s"), None),
            (json!(60.0), Some("60s"), None),
            (Value::Null, Some("300s"), None),
            (json!(0), None, Some(Fate::Differs)),
            (json!(604_801), Some("604800s"), Some(Fate::Differs)),
            (json!("60"), None, Some(Fate::ToDo)),
            (json!(-1), None, Some(Fate::ToDo)),
        ] {
            let mut import = import(&json!({ "rateLimit": value }), &[]);
            assert_eq!(import.rate_limit("rateLimit", week).as_deref(), every, "{value}");
            assert_eq!(told(import).pop().map(|(_, fate)| fate), fate, "{value}");
        }
        assert_eq!(import(&json!({}), &[]).rate_limit("rateLimit", week).as_deref(), Some("300s"));
    }

    #[test]
    fn only_addresses_that_can_be_called_become_secrets() {
        for (value, is_sound) in [
            (" https://flow.test/a?sig=%2F ", true),
            ("https://10.0.0.1:8080/", true),
            ("ftp://flow.test/", false),
            ("https://", false),
            ("flow.test", false),
            ("https://flow.test/\u{e4}", false),
            ("https://flow.test/{id}", false),
            ("", false),
        ] {
            let mut import = import(&json!({ "url": value }), &[]);
            assert_eq!(import.secret_address("url").is_some(), is_sound, "{value}");
            assert_eq!(told(import).is_empty(), is_sound || value.is_empty(), "{value}");
        }
    }

    #[test]
    fn redirects_are_told_of() {
        let mut import = import(&json!({ "a": " http://flow.test/x ", "b": "https://flow.test/x" }), &[]);
        assert_eq!(import.secret_address("a").as_deref(), Some("${file:secrets/a}"));
        assert_eq!(import.secret_address("b").as_deref(), Some("${file:secrets/b}"));
        let answer: Imported = serde_json::from_value(import.finish()).unwrap();
        assert_eq!(answer.secrets["secrets/a"], "http://flow.test/x", "without blanks");
        let [remark] = answer.remarks.as_slice() else { panic!("{:?}", answer.remarks) };
        assert_eq!((remark.key.as_str(), remark.fate), ("a", Fate::ToDo));
        assert!(remark.text.contains("redirects are not followed"), "{remark:?}");
    }

    #[test]
    fn words_count_in_any_case() {
        let mut import = import(&json!({ "a": " High", "b": "urgent", "c": 5 }), &[]);
        let words = ["high", "low"];
        assert_eq!(["a", "b", "c", "d"].map(|key| import.choice(key, &words)), [Some("high"), None, None, None]);
        assert_eq!(told(import), [("b".to_owned(), Fate::ToDo), ("c".to_owned(), Fate::ToDo)]);
    }

    #[test]
    fn levels_have_other_names() {
        for (level, expected, fate) in [
            (json!(" Info "), Some("info"), None),
            (json!("Verbose"), Some("debug"), Some(Fate::Differs)),
            (json!("silly"), Some("trace"), Some(Fate::Differs)),
            (json!("loud"), None, Some(Fate::ToDo)),
            (json!(5), None, Some(Fate::ToDo)),
            (json!(""), None, None),
        ] {
            let mut import = import(&json!({ "level": level }), &[]);
            assert_eq!(import.log_level("level"), expected, "{level}");
            assert_eq!(told(import).pop().map(|(_, fate)| fate), fate, "{level}");
        }
    }

    #[test]
    fn a_monitor_and_its_destination_count_together() {
        for (monitor, destination) in [(true, true), (true, false), (false, true), (false, false)] {
            let old = json!({ "monitor": { "enable": monitor, "to": { "enable": destination } } });
            let mut import = import(&old, &[]);
            let are_on = import.both("monitor", "monitor.to");
            assert_eq!(are_on, monitor && destination);
            let answer: Imported = serde_json::from_value(import.finish()).unwrap();
            assert!(["monitor.enable", "monitor.to.enable"].iter().all(|key| answer.used_keys.contains(*key)));
            let texts: Vec<&str> = answer.remarks.iter().map(|remark| remark.text.as_str()).collect();
            assert_eq!(texts, if are_on { vec![] } else { vec!["it or `monitor.enable` is off"] });
        }
    }

    #[test]
    fn the_first_template_that_is_there_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("second"), "").unwrap();
        let files = ["first", "second"].map(str::to_owned);
        let old = json!({ "file": "first" });
        let mut import = import(&old, &[base]);
        assert_eq!(import.template("file", &files), Some(format!("{base}/second")));
        assert_eq!(import.template("file", &files[1..]), Some(format!("{base}/second")));
        assert_eq!(import.template("file", &[format!("{base}/second")]), Some(format!("{base}/second")));
        assert_eq!(import.template("file", &files[..1]), Some(format!("{base}/first")));
        assert_eq!(import.template("file", &["/no/such/file".to_owned()]), Some("/no/such/file".to_owned()));
        let fates: Vec<Fate> = told(import).into_iter().map(|(_, fate)| fate).collect();
        assert_eq!(fates, [Fate::Differs, Fate::ToDo, Fate::ToDo]);
    }

    /// A switch of the section, of each block, of the services and of Qlik Cloud: which blocks they leave.
    #[test]
    fn blocks_by_their_switches() {
        let paths = |section: bool, aborted: bool, services: bool, cloud: bool| {
            let block = json!({ "enable": true });
            let butler = json!({
                "chatNotification": {
                    "enable": section, "failed": block, "aborted": { "enable": aborted },
                    "serviceStopped": {}, "serviceStarted": { "rateLimit": 5 },
                },
                "serviceMonitor": { "enable": true, "alertDestination": { "chat": { "enable": services } } },
                "qlikSenseCloud": { "enable": cloud, "event": { "mqtt": { "tenant": { "alert": { "chatNotification": {
                    "reloadAppFailure": block,
                } } } } } },
            });
            let mut import = import(&butler, &[]);
            let blocks = import.blocks("chat", &[("failed", &["a.b"]), ("aborted", &["a.c"])]);
            let limits: Vec<String> =
                blocks.into_iter().map(|block| format!("{} {}", block.per, block.rate_limit)).collect();
            (limits, told(import).into_iter().map(|(key, _)| key).collect::<Vec<_>>())
        };
        let cloud = "qlikSenseCloud.event.mqtt.tenant.alert.chatNotification.reloadAppFailure";
        let of_cloud = format!("app {cloud}.rateLimit");
        let (failed, stopped) =
            ("task chatNotification.failed.rateLimit", "service chatNotification.serviceStopped.rateLimit");
        let (blocks, told) = paths(true, true, true, true);
        assert_eq!(blocks, [failed, "task chatNotification.aborted.rateLimit", stopped, stopped, &of_cloud]);
        assert_eq!(told, ["chatNotification.serviceStarted.rateLimit"]);
        let (blocks, told) = paths(true, false, false, false);
        let [aborted, stopped, started] =
            ["aborted", "serviceStopped", "serviceStarted"].map(|name| format!("chatNotification.{name}"));
        assert_eq!((blocks, told), (vec![failed.to_owned()], vec![aborted, stopped, started, cloud.to_owned()]));
        assert_eq!(paths(false, true, true, true), (vec![of_cloud], vec!["chatNotification".to_owned()]));
    }
}
