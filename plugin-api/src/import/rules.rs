//! Rules of instances, from blocks of Butler 16.
//!
//! Butler 16 had a block with all settings for each kind of event. Blocks with the same settings become one instance, so that
//! the new config is short.

use serde_json::{Value, json};

use super::{Block, Import};

impl Import {
    /// Adds the rule of a block: to the instance that has these settings already, else to a new one of the plugin. `check`
    /// says what is wrong with the settings, which have their secrets in them then: what the plugin would refuse is left
    /// out, and remarked.
    pub fn rule(
        &mut self,
        plugin: &str,
        block: &Block,
        throttle: Option<Value>,
        settings: Value,
        check: impl FnOnce(Value) -> Result<(), String>,
    ) {
        let plain = self.plain(&settings);
        if let Err(why) = check(plain.clone()) {
            return self.refused(&block.path, &why);
        }
        let name = format!("{plugin}-{}", block.events.first().map_or_else(String::new, |kind| kind.replace('.', "-")));
        let mut rule = json!({ "events": block.events });
        if let Some(throttle) = throttle {
            rule["throttle"] = throttle;
        }
        let same = self.imported.instances.iter().position(|instance| {
            // The first rule that fits an event decides: a second one for its kind would tell nobody.
            let known = instance["on"].as_array().into_iter().flatten().filter_map(|rule| rule["events"].as_array());
            let is_known = known.flatten().any(|kind| block.events.iter().any(|it| kind == it));
            !is_known && self.plain(&instance["settings"]) == plain
        });
        let Some(same) = same else {
            let name = self.unique(&name, None);
            let mut instance = json!({ "name": name, "on": [rule] });
            instance["settings"] = settings;
            self.instance(instance);
            return;
        };
        let of_both = common(self.imported.instances[same]["name"].as_str().unwrap_or_default(), &name);
        let of_both = self.unique(&of_both, Some(same));
        let instance = &mut self.imported.instances[same];
        instance["name"] = of_both.into();
        let Some(rules) = instance["on"].as_array_mut() else { return };
        let with_this_throttle = rules.iter_mut().find(|known| known["throttle"] == rule["throttle"]);
        match with_this_throttle.and_then(|rule| rule["events"].as_array_mut()) {
            Some(events) => events.extend(block.events.iter().map(|kind| Value::from(*kind))),
            None => rules.push(rule),
        }
    }

    /// Adds a profile for `tls:` of the new config, and tells what it is called: as an equal one that is there already, else
    /// by this name, with a number if need be.
    pub fn tls(&mut self, name: &str, profile: Value) -> String {
        if let Some((known, _)) = self.imported.tls.iter().find(|(_, known)| **known == profile) {
            return known.clone();
        }
        let name = free(name, |name| self.imported.tls.contains_key(name));
        self.imported.tls.insert(name.clone(), profile);
        name
    }

    /// Takes out the secrets and TLS profiles that no instance names: of blocks that were left out, or share an instance.
    pub fn tidy(&mut self) {
        let instances = Value::from(self.imported.instances.clone()).to_string();
        self.imported.secrets.retain(|file, _| instances.contains(&format!("${{file:{file}}}")));
        self.imported.tls.retain(|name, _| instances.contains(&Value::from(name.as_str()).to_string()));
    }

    /// Settings with their secrets, and `${` as it was: what the plugin will see.
    pub(super) fn plain(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let file = text.strip_prefix("${file:").and_then(|text| text.strip_suffix('}'));
                let secret = file.and_then(|file| self.imported.secrets.get(file));
                secret.cloned().unwrap_or_else(|| text.replace("$${", "${")).into()
            }
            Value::Array(items) => items.iter().map(|item| self.plain(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, field)| (name.clone(), self.plain(field)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    /// The name, with a number if another instance than `own` has it.
    fn unique(&self, name: &str, own: Option<usize>) -> String {
        let is_taken = |name: &str| {
            let mut others = self.imported.instances.iter().enumerate().filter(|(index, _)| Some(*index) != own);
            others.any(|(_, instance)| instance["name"] == name)
        };
        free(name, is_taken)
    }
}

/// A name that is not taken: this one, else with a number.
fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number: u32| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

/// What two names begin with, in whole words: `teams-reload-task` of `…-failed` and `…-aborted`.
fn common(one: &str, other: &str) -> String {
    let words = one.split('-').zip(other.split('-'));
    words.take_while(|(one, other)| one == other).map(|(word, _)| word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Imported;

    const SOUND: fn(Value) -> Result<(), String> = |_| Ok(());

    fn blocks() -> [Block; 3] {
        ["reload-task.failed", "reload-task.aborted", "service.stopped"]
            .map(|kind| Block::new("block", &[kind], "task"))
    }

    fn answer(import: Import) -> Imported {
        serde_json::from_value(import.finish()).unwrap()
    }

    fn import() -> Import {
        let old = json!({ "block": {}, "a": "https://x/", "b": "https://x/", "c": "https://y/", "text": "${x}" });
        Import::new(json!({ "butler": old })).unwrap()
    }

    #[test]
    fn equal_settings_share_an_instance_and_a_name() {
        let mut import = import();
        let [failed, aborted, stopped] = blocks();
        for (block, every, path) in
            [(&failed, "5s", "a"), (&aborted, "5s", "b"), (&stopped, "9s", "b"), (&failed, "5s", "b")]
        {
            let settings = json!({ "url": import.secret(path), "text": import.text("text") });
            let throttle = json!({ "per": "task", "every": every });
            import.rule("chat", block, Some(throttle), settings, SOUND);
        }
        let other = json!({ "url": import.secret("c") });
        import.rule("chat", &failed, None, other, SOUND);
        import.tidy();
        let answer = answer(import);
        let settings = |file: &str| json!({ "url": format!("${{file:secrets/{file}}}"), "text": "$${x}" });
        let throttle = |every: &str| json!({ "per": "task", "every": every });
        let expected = json!([
            { "name": "chat", "settings": settings("a"), "on": [
                { "events": ["reload-task.failed", "reload-task.aborted"], "throttle": throttle("5s") },
                { "events": ["service.stopped"], "throttle": throttle("9s") },
            ] },
            // Its kind has a rule in the first instance already.
            { "name": "chat-reload-task-failed", "settings": settings("b"), "on": [
                { "events": ["reload-task.failed"], "throttle": throttle("5s") },
            ] },
            { "name": "chat-reload-task-failed-2", "settings": { "url": "${file:secrets/c}" }, "on": [
                { "events": ["reload-task.failed"] },
            ] },
        ]);
        assert_eq!(json!(answer.instances), expected);
        assert_eq!(answer.secrets.into_keys().collect::<Vec<_>>(), ["secrets/a", "secrets/b", "secrets/c"]);
    }

    #[test]
    fn what_would_be_refused_is_left_out_with_its_secret() {
        let mut import = import();
        let settings = json!({ "url": import.secret("a"), "text": import.text("text") });
        let seen = |settings: Value| {
            assert_eq!(settings, json!({ "url": "https://x/", "text": "${x}" }), "as the plugin will see them");
            Err("`url` is wrong".to_owned())
        };
        import.rule("chat", &blocks()[0], None, settings, seen);
        import.tidy();
        let answer = answer(import);
        assert_eq!((answer.instances.len(), answer.secrets.len(), answer.remarks[0].key.as_str()), (0, 0, "block"));
        assert!(answer.remarks[0].text.ends_with("refused: `url` is wrong"));
    }

    #[test]
    fn profiles_of_tls_are_shared() {
        let mut import = import();
        let (one, other) = (json!({ "ca": "/a" }), json!({ "verify": "none" }));
        assert_eq!([&one, &other, &one].map(|profile| import.tls("chat", profile.clone())), ["chat", "chat-2", "chat"]);
        import.rule("chat", &blocks()[0], None, json!({ "tls": "chat-2" }), SOUND);
        import.tidy();
        // Only the second one is in use, though the plugin is called as the first.
        assert_eq!(answer(import).tls.into_keys().collect::<Vec<_>>(), ["chat-2"]);
    }
}
