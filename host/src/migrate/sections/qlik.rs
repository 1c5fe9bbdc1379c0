//! `cert`, `configQRS`, `configEngine`, `startTaskFilter`: the section `qlik`.

use serde_json::{Map, Value, json};

use super::Sections;
use crate::qlik::is_guid;

/// The user that the sample config of Butler 16 has.
const USUAL_USER: &str = r"INTERNAL\sa_repository";
/// Ports that need not be written.
const PORTS: [(&str, &str, u16); 2] = [("configQRS.port", "repository", 4242), ("configEngine.port", "engine", 4747)];

impl Sections<'_> {
    pub(super) fn qlik(&mut self) {
        let engine_host = self.old.text("configEngine.host");
        let Some(host) = self.old.text("configQRS.host").or_else(|| engine_host.clone()) else {
            for section in ["cert", "configQRS", "configEngine", "startTaskFilter"] {
                self.old.dropped(section, "without `configQRS.host` there is no connection to Qlik Sense");
            }
            let text = "names no server: without a section `qlik` events keep the facts of their log line, and no task can be started";
            self.old.todo("configQRS.host", text);
            return;
        };
        let mut qlik = Map::new();
        if let Some(engine) = engine_host.filter(|engine| *engine != host) {
            let text = format!(
                "the engine was asked on `{engine}`; now it is asked where the repository service is, on `{host}`"
            );
            self.old.differs("configEngine.host", &text);
        }
        qlik.insert("host".to_owned(), host.into());
        qlik.insert("user".to_owned(), self.user().into());
        qlik.insert("certificates".to_owned(), self.certificates());
        if !self.verified() {
            qlik.insert("verify".to_owned(), "none".into());
        }
        let mut ports = Map::new();
        for (path, name, usual) in PORTS {
            if let Some(port) = self.port(path).filter(|port| *port != usual) {
                ports.insert(name.to_owned(), port.into());
            }
        }
        if !ports.is_empty() {
            qlik.insert("ports".to_owned(), Value::Object(ports));
        }
        for path in ["configQRS.useSSL", "configEngine.useSSL"] {
            if self.old.has(path) && !self.old.flag(path) {
                self.old.todo(path, "Butler always uses TLS here: let Qlik Sense listen with it");
            }
        }
        self.old.no_effect("configQRS.authentication", "any text did: it has always been certificates");
        self.old.dropped("configEngine.engineVersion", "the version of the engine that is there is used");
        if let Some(filter) = self.start_task_filter() {
            qlik.insert("startTaskFilter".to_owned(), filter);
        }
        self.put("qlik", qlik);
    }

    /// The user that Butler acts as.
    fn user(&mut self) -> String {
        let (repository, engine) = (self.header("configQRS"), self.header("configEngine"));
        if let (Some((_, repository)), Some((path, engine))) = (&repository, &engine)
            && repository != engine
        {
            let text = format!("the engine was asked as `{engine}`; one user is used for both now, `{repository}`");
            self.old.differs(path, &text);
        }
        if let Some((_, user)) = repository.or(engine) {
            return user;
        }
        let text = format!("names no user: `{USUAL_USER}` is written as `qlik.user`, check it");
        self.old.todo("configQRS.headers.static", &text);
        USUAL_USER.to_owned()
    }

    /// The user in the headers of a section, and the path where it stands.
    fn header(&mut self, section: &str) -> Option<(String, String)> {
        let list = format!("{section}.headers.static");
        let mut found = None;
        for item in 0..self.old.len(&list) {
            let (name, value) = (format!("{list}[{item}].name"), format!("{list}[{item}].value"));
            let header = self.old.text(&name).unwrap_or_default();
            let text = self.old.text(&value);
            if !header.eq_ignore_ascii_case("X-Qlik-User") {
                self.old.dropped(&format!("{list}[{item}]"), "only the user is sent, no other header");
                continue;
            }
            let user = text.as_deref().and_then(user_of_header);
            match user {
                Some(user) if found.is_none() => found = Some((value, user)),
                Some(_) => self.old.dropped(&value, "a second user: the first one counts"),
                None => self.old.todo(&value, "should be `UserDirectory=…;UserId=…`, and is left out"),
            }
        }
        found
    }

    fn certificates(&mut self) -> Value {
        let mut certificates = Map::new();
        for (path, name, usual) in [
            ("cert.clientCert", "client", "certs/client.pem"),
            ("cert.clientCertKey", "key", "certs/client_key.pem"),
            ("cert.clientCertCA", "ca", "certs/root.pem"),
        ] {
            let file = self.old.path(path).unwrap_or_else(|| {
                let text =
                    format!("names no file: put the one that the QMC exports into `{usual}` beside the new config");
                self.old.todo(path, &text);
                usual.to_owned()
            });
            certificates.insert(name.to_owned(), file.into());
        }
        Value::Object(certificates)
    }

    /// Whether Qlik Sense's certificates were checked.
    fn verified(&mut self) -> bool {
        let (repository, engine) = ("configQRS.rejectUnauthorized", "configEngine.rejectUnauthorized");
        let checks = self.old.flag(repository);
        let engine_checks = self.old.flag(engine);
        if self.old.has(engine) && checks != engine_checks {
            let text = "the repository service's `rejectUnauthorized` counts for both now, as `qlik.verify`";
            self.old.differs(engine, text);
        }
        if !checks {
            let text = "as before no certificate of Qlik Sense is checked (`qlik.verify: none`), so that anyone on the way can read \
                        the traffic. Better: `chain`, or `full` if the certificate has the name in `qlik.host`; `butler check` \
                        says if it works";
            self.old.todo(repository, text);
        }
        checks
    }

    fn start_task_filter(&mut self) -> Option<Value> {
        if !self.is_on("startTaskFilter") {
            return None;
        }
        let list = "startTaskFilter.allowTask.taskId";
        let mut ids = Vec::new();
        for item in 0..self.old.len(list) {
            let path = format!("{list}[{item}]");
            match self.old.text(&path) {
                Some(id) if is_guid(&id) => ids.push(id),
                Some(id) => self.old.todo(&path, &format!("`{id}` is no id of a task, and is left out")),
                None => {}
            }
        }
        let list = "startTaskFilter.allowTask.tag";
        let tags = (0..self.old.len(list)).filter_map(|item| self.old.text(&format!("{list}[{item}]")));
        let tags: Vec<String> = tags.collect();
        let properties = self.old.pairs("startTaskFilter.allowTask.customProperty").into_iter();
        let properties: Vec<Value> = properties
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        if ids.is_empty() && tags.is_empty() && properties.is_empty() {
            self.old.todo(
                "startTaskFilter.enable",
                "the filter is on and has nothing in it: no task can be started through Butler",
            );
        }
        let mut filter = Map::new();
        for (name, list) in [("taskIds", json!(ids)), ("tags", json!(tags)), ("customProperties", json!(properties))] {
            if list != json!([]) {
                filter.insert(name.to_owned(), list);
            }
        }
        Some(Value::Object(filter))
    }
}

/// `UserDirectory=A;UserId=b` as `A\b`.
fn user_of_header(value: &str) -> Option<String> {
    let part = |name: &str| {
        let parts = value.split(';').filter_map(|part| part.split_once('='));
        let found =
            parts.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next();
        found.filter(|value| !value.is_empty())
    };
    Some(format!("{}\\{}", part("UserDirectory").filter(|it| !it.contains('\\'))?, part("UserId")?))
}
