//! What a run keeps in the instance's storage, so that its end in the middle loses and repeats nothing.
//!
//! | key | value |
//! | --- | --- |
//! | `release/run` | the run that is under way |
//! | `release/item/<id>` | an access licence that the run was about to release, and what became of it |
//! | `release/report` | what is to be told of a run that is over |
//! | `release/done` | the planned time of the last run that was told |
//!
//! A licence is noted before its release is asked for. A report takes the place of its run in one step: whatever happens
//! between that and the event, the same event is emitted under the same key.

use std::collections::BTreeMap;

use butler_plugin_api::{Host, ServiceError, StorageChange, kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{Access, AccessType};

const RUN: &str = "release/run";
const ITEMS: &str = "release/item/";
const REPORT: &str = "release/report";
const DONE: &str = "release/done";
/// Items that are read at once.
const ITEMS_AT_ONCE: u32 = 1_000;

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "a dry run is what people call it")]
pub(super) struct Run {
    /// The time that it was planned for.
    pub(super) planned: String,
    pub(super) dry_run: bool,
    /// Nothing more is released in it: why.
    pub(super) ended: Option<String>,
}

/// An access licence whose release was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    /// The how manieth it is.
    pub(super) number: u32,
    #[serde(rename = "type")]
    pub(super) access_type: AccessType,
    /// `DIRECTORY\id`
    pub(super) user: String,
    /// ISO 8601; absent: never.
    pub(super) last_used: Option<String>,
    /// Full days since then.
    pub(super) days: Option<i64>,
    pub(super) outcome: Outcome,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    /// Not known: it was about to be asked for, or there was no answer.
    Open,
    Released,
    /// Why.
    Failed(String),
}

impl Item {
    pub(super) fn new(number: u32, access: &Access, days: Option<i64>, outcome: Outcome) -> Self {
        let last_used = access.last_used.text();
        Self { number, access_type: access.access_type, user: access.name(), last_used, days, outcome }
    }
}

/// What is to be told of a run that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The time that the run was planned for.
    pub(super) planned: String,
    /// Data of the event.
    pub(super) data: Value,
}

/// Items by the identifiers of their licences.
pub(super) type Items = BTreeMap<String, Item>;

/// The part of the storage.
pub(super) struct Journal<'a> {
    host: &'a Host,
    /// Written with the next change: the outcome of the licence before.
    unwritten: Vec<StorageChange>,
}

impl<'a> Journal<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host, unwritten: Vec::new() }
    }

    /// Whether the run of this time was told.
    pub(super) async fn is_done(&self, planned: &str) -> Result<bool, ServiceError> {
        Ok(self.host.storage().get(DONE).await? == Some(json!(planned)))
    }

    pub(super) async fn report(&self) -> Result<Option<Report>, ServiceError> {
        self.read(REPORT).await
    }

    /// The run that is under way, with its items.
    pub(super) async fn run(&self) -> Result<Option<(Run, Items)>, ServiceError> {
        let Some(run) = self.read(RUN).await? else { return Ok(None) };
        let mut items = Items::new();
        let mut after = None;
        loop {
            let page = self.host.storage().entries(ITEMS, after.as_deref(), ITEMS_AT_ONCE).await?;
            for entry in &page.entries {
                let id = entry.key.trim_start_matches(ITEMS).to_owned();
                items.insert(id, read(&entry.key, entry.value.clone())?);
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more || after.is_none() {
                return Ok(Some((run, items)));
            }
        }
    }

    /// Begins a run, or notes that nothing more is released in it.
    pub(super) async fn set_run(&mut self, run: &Run) -> Result<(), ServiceError> {
        self.write(vec![set(RUN, run)]).await
    }

    /// Is on disk when this answers, with all that [`Journal::settle`] was told before.
    pub(super) async fn begin(&mut self, id: &str, item: &Item) -> Result<(), ServiceError> {
        self.write(vec![set(&format!("{ITEMS}{id}"), item)]).await
    }

    /// What became of an item. Written with what comes next: until then it is found out again if need be.
    pub(super) fn settle(&mut self, id: &str, item: &Item) {
        self.unwritten.push(set(&format!("{ITEMS}{id}"), item));
    }

    /// Writes what [`Journal::settle`] was told.
    pub(super) async fn flush(&mut self) -> Result<(), ServiceError> {
        if self.unwritten.is_empty() { Ok(()) } else { self.write(Vec::new()).await }
    }

    /// Puts the report in the place of the run, and tells it.
    pub(super) async fn tell(&mut self, report: &Report) -> Result<(), ServiceError> {
        self.unwritten.clear();
        self.write(vec![
            set(REPORT, report),
            StorageChange::Delete { key: RUN.to_owned() },
            StorageChange::DeletePrefix { prefix: ITEMS.to_owned() },
        ])
        .await?;
        self.emit(report).await
    }

    /// Tells a report that was left; once, however often this is done.
    pub(super) async fn emit(&mut self, report: &Report) -> Result<(), ServiceError> {
        let key = format!("release/{}", report.planned);
        self.host.emit_once(&key, kind::ACCESS_LICENSE_RELEASED, report.data.clone()).await?;
        self.write(vec![set(DONE, &report.planned), StorageChange::Delete { key: REPORT.to_owned() }]).await
    }

    /// Ends a run of which there is nothing to tell.
    pub(super) async fn close(&mut self, planned: &str) -> Result<(), ServiceError> {
        self.unwritten.clear();
        self.write(vec![
            set(DONE, &planned),
            StorageChange::Delete { key: RUN.to_owned() },
            StorageChange::DeletePrefix { prefix: ITEMS.to_owned() },
        ])
        .await
    }

    async fn write(&mut self, mut changes: Vec<StorageChange>) -> Result<(), ServiceError> {
        // Kept until they are on disk.
        let mut all = self.unwritten.clone();
        all.append(&mut changes);
        self.host.storage().apply(&all).await?;
        self.unwritten.clear();
        Ok(())
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ServiceError> {
        self.host.storage().get(key).await?.map(|value| read(key, value)).transpose()
    }
}

fn set(key: &str, value: &impl Serialize) -> StorageChange {
    StorageChange::Set { key: key.to_owned(), value: json!(value), ttl: None }
}

fn read<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, ServiceError> {
    serde_json::from_value(value).map_err(|error| {
        ServiceError::Failed(format!(
            "what is stored as `{key}` was not written by this version ({error}): let the version that wrote it end its run, \
             or give the instance another `name`, which begins anew"
        ))
    })
}
