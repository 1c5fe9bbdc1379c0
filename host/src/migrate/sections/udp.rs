//! `udpServerConfig`: the section `udp`.

use serde_json::{Map, Value, json};

use super::{Listen, Sections};
use crate::config::is_sender;

const LARGEST: u64 = 65_507;
const USUAL_PORT: u16 = 9998;

impl Sections<'_> {
    pub(super) fn udp(&mut self) {
        if !self.is_on("udpServerConfig") {
            self.hear_of_nothing();
            return;
        }
        let mut udp = Map::new();
        let host = "udpServerConfig.serverHost";
        let listen = Listen::new(&self.old.text(host).unwrap_or_else(|| "0.0.0.0".to_owned()));
        if let Some(name) = &listen.name {
            let text =
                format!("`{name}` is a name, and Butler listens on addresses: on all of this machine (0.0.0.0) now");
            self.old.differs(host, &text);
        } else if !listen.is_here() {
            let text = format!(
                "{} is no address of this machine: if Butler is to run here, write one that is, or 0.0.0.0 for all",
                listen.address
            );
            self.old.todo(host, &text);
        }
        let port = self.port("udpServerConfig.portTaskFailure").unwrap_or(USUAL_PORT);
        udp.insert("listen".to_owned(), listen.with(port).into());
        if let Some(senders) = self.senders() {
            udp.insert("allowFrom".to_owned(), json!(senders));
        }
        match self.old.number("udpServerConfig.maxMessageSize") {
            Some(0) => self.old.todo("udpServerConfig.maxMessageSize", "0 would let nothing in, and is left out"),
            Some(size) if size < LARGEST => {
                udp.insert("maxSize".to_owned(), format!("{size}B").into());
            }
            _ => {}
        }
        if self.old.flag("udpServerConfig.rateLimit.enable") {
            match self.old.number("udpServerConfig.rateLimit.maxMessagesPerMinute") {
                Some(most) if (1..=u64::from(u32::MAX)).contains(&most) => {
                    udp.insert("maxPerMinute".to_owned(), most.into());
                }
                _ => self.old.todo("udpServerConfig.rateLimit", "has no sound limit, and is left out"),
            }
        } else {
            self.old.off("udpServerConfig.rateLimit");
        }
        self.old.dropped("udpServerConfig.messageQueue", "what was heard is on disk at once, however much it is");
        let duplicates = "udpServerConfig.deduplication";
        if self.old.has(&format!("{duplicates}.enable")) && !self.old.flag(&format!("{duplicates}.enable")) {
            self.old.differs(duplicates, "what comes twice is told once, always");
        } else {
            self.old.dropped(duplicates, "what comes twice is told once, always, and not only for some minutes");
        }
        self.put("udp", udp);
    }

    /// Without UDP Butler 16 heard of no task that ended; this one would ask Qlik Sense.
    fn hear_of_nothing(&mut self) {
        let switch = "udpServerConfig.enable";
        if !self.old.has("udpServerConfig") {
            return;
        }
        if let Some(qlik) = self.config.get_mut("qlik").and_then(Value::as_object_mut) {
            qlik.insert("reconcile".to_owned(), json!({ "enabled": false }));
            let text = "off, so Butler 16 told nobody of tasks that ended; so that it stays so, Qlik Sense is not asked for them either \
                        (`qlik.reconcile.enabled: false`)";
            self.old.differs(switch, text);
        }
    }

    /// Who may send, where that is limited.
    fn senders(&mut self) -> Option<Vec<String>> {
        let (switch, list) = ("udpServerConfig.enableSourceValidation", "udpServerConfig.allowedSources");
        if !self.old.flag(switch) {
            let text = "`enableSourceValidation` is off, so everybody may send. Better: put the addresses of the Sense nodes into \
                        `udp.allowFrom`";
            self.old.todo(switch, text);
            self.old.dropped(list, "`enableSourceValidation` is off");
            return None;
        }
        let mut senders = Vec::new();
        for item in 0..self.old.len(list) {
            let path = format!("{list}[{item}]");
            match self.old.text(&path) {
                Some(sender) if is_sender(&sender) => senders.push(sender),
                Some(_) => self.old.todo(&path, "is neither an address nor the name of a host, and is left out"),
                None => {}
            }
        }
        if senders.is_empty() {
            self.old.todo(
                list,
                "is empty, and so switched itself off: everybody may send. Put the Sense nodes into `udp.allowFrom`",
            );
            return None;
        }
        Some(senders)
    }
}
