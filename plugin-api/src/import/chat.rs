//! What the blocks of Teams and Slack have in common.

use serde_json::{Map, Value};

use super::{Block, Import};

impl Import {
    /// The settings of a block of a chat: `webhookUrl`, `messageType`, the template of that type, lines of the script log.
    /// `None`, and remarked, if there is no address to post to.
    pub fn chat(&mut self, block: &Block) -> Option<Map<String, Value>> {
        let mut settings = Map::new();
        let Some(url) = self.secret_address(&block.key("webhookURL")) else {
            self.todo(&block.path, "it has no address to post to, and is left out");
            return None;
        };
        settings.insert("webhookUrl".to_owned(), url.into());
        let (basic, formatted) = (block.key("basicMsgTemplate"), block.key("templateFile"));
        if self.is_basic(&block.key("messageType")) {
            settings.insert("messageType".to_owned(), "basic".into());
            settings.extend(self.text(&basic).map(|text| ("basicTemplate".to_owned(), text.into())));
            self.no_effect(&formatted, "it is for `messageType: formatted`");
        } else {
            self.no_effect(&basic, "it is for `messageType: basic`");
            if let Some(file) = self.text(&formatted) {
                // The sample config names a file that was never shipped.
                let shipped = file.replace("-workflow.handlebars", ".handlebars");
                let template = self.template(&formatted, &[file, shipped]);
                settings.extend(template.map(|file| ("templateFile".to_owned(), file.into())));
            }
        }
        let without_log = self.flag(&block.key("basicContentOnly"));
        if without_log {
            let why = "the script log is left out of these messages alone; Butler 16 left it out of those of other \
                       destinations as well";
            self.differs(&block.key("basicContentOnly"), why);
        }
        for name in ["headScriptLogLines", "tailScriptLogLines"] {
            let key = block.key(name);
            let lines = if without_log {
                self.no_effect(&key, "`basicContentOnly` leaves the script log out");
                Some(0)
            } else {
                self.log_lines(&key)
            };
            settings.extend(lines.map(|lines| (name.to_owned(), lines.into())));
        }
        self.tag_without_effect(&block.key("alertEnableByTag"));
        Some(settings)
    }

    fn is_basic(&mut self, path: &str) -> bool {
        let choice = self.choice(path, &["basic", "formatted"]);
        if choice.is_some_and(|word| self.at(path).is_some_and(|value| value != word)) {
            self.differs(path, "Butler 16 refused to send with this spelling; now it counts");
        }
        choice == Some("basic")
    }

    /// Of Qlik Cloud.
    fn tag_without_effect(&mut self, path: &str) {
        if !self.has(path) {
            self.used(path);
        } else if self.flag(&format!("{path}.enable")) {
            let why = "Butler 16 looked at the tag for mails alone: messages go out for all apps, as before. For those with \
                       the tag alone, say `where: { app.tags: TAG }` beside `events`";
            self.no_effect(path, why);
        } else {
            self.off(path);
        }
    }
}
