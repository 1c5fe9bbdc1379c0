//! Reloads of apps (8.5): each is a task of the daemon's own, so that it goes on when whoever asked for it is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Engine;
use super::connect::app_path;
use super::error::EngineError;
use super::message::GLOBAL;
use super::progress::Progress;
use super::session::Session;
use crate::store::now_ms;

/// Starts tasks, in this order, on behalf of whoever asked for the reload (for logs and the filter of tasks).
pub type FollowUp = Arc<dyn Fn(Vec<String>, String) -> BoxFuture<'static, ()> + Send + Sync>;

/// So many that have ended are remembered.
const REMEMBERED: usize = 100;
/// More that run or wait than this would only pile up.
const MOST: usize = 200;
const NONE: [(); 0] = [];

/// What is to be reloaded, and what then.
#[derive(Debug, Clone, Default)]
pub struct ReloadOrder {
    /// Id of the app.
    pub app: String,
    /// What happens at an error of the script, in the engine's words: 0 the default, 1 end with the error, 2 ignore errors.
    pub mode: u8,
    /// Only the parts of the script that are marked for it.
    pub partial: bool,
    /// Ids of tasks to start when it has succeeded and the app is saved.
    pub on_success: Vec<String>,
    /// Ids of tasks to start when it has failed.
    pub on_failure: Vec<String>,
    /// Who asks.
    pub caller: String,
}

/// Where a reload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "each is its name")]
pub enum ReloadState {
    /// It waits for a place, or for the app to be open.
    Opening,
    Reloading,
    Saving,
    Succeeded,
    Failed,
}

/// A reload, under way or ended.
#[derive(Debug, Clone)]
pub struct ReloadRow {
    /// Id of the app.
    pub app: String,
    /// As ordered.
    pub mode: u8,
    /// As ordered.
    pub partial: bool,
    /// Who asked.
    pub caller: String,
    /// Where it is.
    pub state: ReloadState,
    /// When it was ordered, milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// The last thing that the script was heard of doing.
    pub progress: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The answer to `DoReload`.
#[derive(Deserialize)]
struct Returned {
    #[serde(rename = "qReturn")]
    success: bool,
}

/// What is known of reloads.
#[derive(Debug, Default)]
pub(super) struct Reloads(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    next: u64,
    under_way: BTreeMap<u64, ReloadRow>,
    ended: VecDeque<ReloadRow>,
}

impl Reloads {
    /// Those under way and those that have ended, the newest first.
    pub(super) fn all(&self) -> Vec<ReloadRow> {
        let rows = self.lock();
        rows.under_way.values().rev().chain(rows.ended.iter().rev()).cloned().collect()
    }

    /// Notes a new one; absent when there are too many.
    fn begin(&self, order: &ReloadOrder) -> Option<u64> {
        let mut rows = self.lock();
        if rows.under_way.len() >= MOST {
            return None;
        }
        rows.next += 1;
        let id = rows.next;
        let row = ReloadRow {
            app: order.app.clone(),
            mode: order.mode,
            partial: order.partial,
            caller: order.caller.clone(),
            state: ReloadState::Opening,
            started_ms: now_ms(),
            ended_ms: None,
            progress: None,
            error: None,
        };
        rows.under_way.insert(id, row);
        Some(id)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut ReloadRow)) {
        self.lock().under_way.get_mut(&id).map(change);
    }

    fn is_saving(&self, id: u64) -> bool {
        self.lock().under_way.get(&id).is_some_and(|row| row.state == ReloadState::Saving)
    }

    /// Notes the end of one; the row as it is then.
    fn end(&self, id: u64, error: Option<String>) {
        let mut rows = self.lock();
        let Some(mut row) = rows.under_way.remove(&id) else { return };
        row.state = if error.is_none() { ReloadState::Succeeded } else { ReloadState::Failed };
        row.ended_ms = Some(now_ms());
        row.error = error;
        if rows.ended.len() == REMEMBERED {
            rows.ended.pop_front();
        }
        rows.ended.push_back(row);
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Reloads an app. Answers when the app is open, long before the reload has ended; an error is one before that.
    pub async fn reload(self: &Arc<Self>, order: ReloadOrder) -> Result<(), EngineError> {
        if self.is_stopping() {
            return Err(EngineError::Stopping);
        }
        let busy = EngineError::Busy { what: "reloads that wait", places: MOST };
        let id = self.reloads.begin(&order).ok_or(busy)?;
        let (opened, open) = oneshot::channel();
        self.spawn(self.clone().run_reload(id, order, opened));
        // Without an answer: a panic, which was logged, or the end of the runtime.
        open.await.unwrap_or(Err(EngineError::Stopping))
    }

    async fn run_reload(
        self: Arc<Self>,
        id: u64,
        order: ReloadOrder,
        opened: oneshot::Sender<Result<(), EngineError>>,
    ) {
        let began = std::time::Instant::now();
        let ReloadOrder { app, mode, partial, caller, .. } = &order;
        tracing::info!(app, reloadMode = mode, partial, caller, "an app is to be reloaded");
        let session = tokio::select! {
            biased;
            () = self.stopped() => Err(EngineError::Stopping),
            opening = self.open_for_reload(app) => opening,
        };
        let (session, doc) = match session {
            Ok(open) => open,
            Err(error) => {
                let text = self.hide(&error.to_string());
                tracing::warn!(app, caller, "the app is not reloaded: {text}");
                self.reloads.end(id, Some(text));
                // Who asked may be gone.
                let _ = opened.send(Err(error));
                return;
            }
        };
        let _ = opened.send(Ok(()));
        self.reloads.change(id, |row| row.state = ReloadState::Reloading);
        let outcome = tokio::select! {
            biased;
            () = self.stopped() => Err(EngineError::Stopping),
            outcome = self.reload_open(id, &session, doc, &order) => outcome,
        };
        session.close().await;
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tasks = match outcome {
            Ok(()) => {
                tracing::info!(app, caller, duration_ms, "the app is reloaded and saved");
                self.reloads.end(id, None);
                order.on_success
            }
            Err(EngineError::Stopping) => {
                let saving = self.reloads.is_saving(id);
                let left = if saving { "it may have been saved" } else { "the app is as before" };
                let text = format!("given up, since Butler is stopping; {left}");
                tracing::warn!(app, caller, duration_ms, "the reload of the app is {text}, and no tasks are started");
                self.reloads.end(id, Some(text));
                return;
            }
            Err(error) => {
                let text = self.hide(&error.to_string());
                tracing::warn!(app, caller, duration_ms, "the reload of the app failed: {text}");
                self.reloads.end(id, Some(text));
                order.on_failure
            }
        };
        if !tasks.is_empty() {
            (self.follow_up)(tasks, order.caller).await;
        }
    }

    async fn open_for_reload(&self, app: &str) -> Result<(Session, i64), EngineError> {
        let place = self.reload_places.take(self.limits.place).await?;
        let session = Session::open(&self.address, &app_path(app), self.limits, None, place).await?;
        session.call(GLOBAL, "EngineVersion", &NONE).await?;
        let doc = session.open_doc(app, false).await?;
        Ok((session, doc))
    }

    async fn reload_open(&self, id: u64, session: &Session, doc: i64, order: &ReloadOrder) -> Result<(), EngineError> {
        let reloading = session.begin(doc, "DoReload", &(order.mode, order.partial)).await?;
        let request = reloading.id;
        let mut progress = Progress::default();
        let watching = async {
            loop {
                tokio::time::sleep(self.limits.progress).await;
                self.ask_progress(id, session, request, &mut progress).await;
            }
        };
        // As long as the engine gives a sign of life, however long it takes.
        let reply = tokio::select! {
            reply = reloading.answered() => reply?,
            () = watching => return Err(EngineError::Stopping),
        };
        if !reply.read::<Returned>()?.success {
            self.ask_progress(id, session, request, &mut progress).await;
            return Err(EngineError::Script(
                progress.error.unwrap_or_else(|| "the engine does not say why".to_owned()),
            ));
        }
        self.reloads.change(id, |row| row.state = ReloadState::Saving);
        // All of its data are written, as they were read at the beginning.
        session.call_within(self.limits.open, doc, "DoSave", &NONE).await?;
        Ok(())
    }

    /// A question without an answer does no harm: whether the engine lives is seen elsewhere.
    async fn ask_progress(&self, id: u64, session: &Session, request: u64, progress: &mut Progress) {
        let answer = session.call(GLOBAL, "GetProgress", &(request,)).await.and_then(|reply| reply.read());
        match answer {
            Ok(answer) => {
                progress.hear(answer);
                let text = progress.text.as_deref().map(|text| self.hide(text));
                self.reloads.change(id, |row| row.progress = text);
            }
            Err(error) => tracing::debug!(%error, "how far a reload is cannot be told"),
        }
    }
}
