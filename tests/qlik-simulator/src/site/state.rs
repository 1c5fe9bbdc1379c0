//! The state behind a [`Site`](super::Site).

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    AccessTypes, Accesses, App, CustomPropertyDefinition, ExecutionIds, ExecutionResult, License, Node, Scheduler,
    ScriptLogs, Stream, Tag, Task, User, script_log::Downloads, table::Table,
};

#[derive(Default)]
pub(crate) struct State {
    pub(crate) tasks: Table<Task>,
    pub(crate) apps: Table<App>,
    pub(crate) streams: Table<Stream>,
    pub(crate) users: Table<User>,
    pub(crate) accesses: Accesses,
    pub(crate) tags: Table<Tag>,
    pub(crate) custom_properties: Table<CustomPropertyDefinition>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) schedulers: Vec<Scheduler>,
    pub(crate) results: Table<ExecutionResult>,
    pub(crate) license: License,
    pub(crate) access_types: AccessTypes,
    /// Script logs by file reference.
    pub(crate) logs: HashMap<String, Arc<str>>,
    pub(crate) downloads: Downloads,
    /// Tasks that clients asked to start.
    pub(crate) starts: Vec<String>,
    /// No scheduler is free for a task.
    pub(crate) no_scheduler: bool,
    pub(crate) script_logs: ScriptLogs,
    pub(crate) download_delay: Duration,
    pub(crate) execution_ids: ExecutionIds,
    /// Those who want to know of results that have changed.
    pub(crate) listeners: Vec<UnboundedSender<Value>>,
}

impl State {
    pub(crate) fn tag_named(&self, name: &str) -> Option<&Tag> {
        self.tags.iter().find(|tag| tag.name == name)
    }

    pub(crate) fn custom_property_named(&self, name: &str) -> Option<&CustomPropertyDefinition> {
        self.custom_properties.iter().find(|definition| definition.name == name)
    }

    pub(crate) fn last_result(&self, task_id: &str) -> Option<&ExecutionResult> {
        self.results.get(self.tasks.get(task_id)?.last_result.as_ref()?)
    }

    /// Makes sure that tags and custom properties exist before an object of this type refers to them.
    pub(crate) fn define(&mut self, tags: &[String], custom_properties: &[(String, String)], object_type: &str) {
        for name in tags {
            if self.tag_named(name).is_none() {
                self.tags.insert(Tag::new(name));
            }
        }
        for (name, value) in custom_properties {
            if self.custom_property_named(name).is_none() {
                self.custom_properties.insert(CustomPropertyDefinition::new(name, []).object_types([]));
            }
            for definition in self.custom_properties.iter_mut().filter(|definition| definition.name == *name) {
                push_new(&mut definition.choice_values, value);
                push_new(&mut definition.object_types, object_type);
            }
        }
    }
}

fn push_new(list: &mut Vec<String>, text: &str) {
    if !list.iter().any(|other| other == text) {
        list.push(text.to_owned());
    }
}
