//! The engine (QIX): JSON-RPC 2.0 over WebSocket, on a port of its own.
//!
//! It has the apps of the site, with made-up contents, and refuses what the real one refuses: no client certificate, no
//! user, wrong handles and parameters, apps that are missing, locked, denied or open in another way, too many sessions.
//! Where the real one's number of an error is not documented, a neighbouring one of Qlik's list is taken.

mod contents;
mod faults;
mod methods;
mod objects;
mod reload;
mod rpc;
mod serve;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::Site;

pub use contents::AppContents;
pub use faults::EngineFault;
pub use reload::{EngineReload, ReloadPlan, ReloadState};

/// Older calls are forgotten beyond this number.
const CALLS: usize = 20_000;

/// The engine of a simulator. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    site: Site,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_session: u64,
    /// Sessions that are open.
    open: BTreeMap<u64, OpenSession>,
    ended: Vec<EndedSession>,
    most_at_once: usize,
    session_limit: Option<usize>,
    usual_contents: AppContents,
    contents: BTreeMap<String, AppContents>,
    locked: BTreeSet<String>,
    denied: BTreeSet<String>,
    plans: BTreeMap<String, ReloadPlan>,
    reloads: Vec<EngineReload>,
    faults: Vec<EngineFault>,
    calls: VecDeque<SeenCall>,
}

struct OpenSession {
    user: String,
    path: String,
    /// App and whether it is open without data.
    app: Option<(String, bool)>,
}

/// A session that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// Path of the request that began it.
    pub path: String,
    /// `DIRECTORY\user` of its header.
    pub user: String,
    /// The code with which the client closed it, if it did.
    pub close_code: Option<u16>,
}

/// A call that arrived, before any check of its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenCall {
    /// Path of its session.
    pub path: String,
    /// Method.
    pub method: String,
    /// Positional parameters.
    pub params: Value,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What it does.
impl Engine {
    pub(crate) fn new(site: Site) -> Self {
        Self(Arc::new(Inner { site, state: Mutex::default() }))
    }

    /// What apps contain for which nothing else was said.
    pub fn set_usual_contents(&self, contents: AppContents) {
        self.lock().usual_contents = contents;
    }

    /// What an app contains.
    pub fn set_contents(&self, app: &str, contents: AppContents) {
        self.lock().contents.insert(app.to_owned(), contents);
    }

    /// How reloads of an app go from now on.
    pub fn set_reload(&self, app: &str, plan: ReloadPlan) {
        self.lock().plans.insert(app.to_owned(), plan);
    }

    /// Somebody else has the app open in another way: it can be neither opened (1009) nor saved (1005).
    pub fn lock_app(&self, app: &str) {
        self.lock().locked.insert(app.to_owned());
    }

    /// The app is free again.
    pub fn unlock_app(&self, app: &str) {
        self.lock().locked.remove(app);
    }

    /// Nobody may open the app (5).
    pub fn deny_app(&self, app: &str) {
        self.lock().denied.insert(app.to_owned());
    }

    /// A user may have so many sessions at a time; any number unless set.
    pub fn set_session_limit(&self, limit: usize) {
        self.lock().session_limit = Some(limit);
    }

    /// Puts a fault in force. Of several that fit a call, the one added first wins.
    pub fn add_fault(&self, fault: EngineFault) {
        self.lock().faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }
}

/// What has happened.
impl Engine {
    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.lock().open.len()
    }

    /// The largest number of sessions that were open at a time.
    pub fn most_sessions(&self) -> usize {
        self.lock().most_at_once
    }

    /// Sessions that have ended, in order.
    pub fn ended_sessions(&self) -> Vec<EndedSession> {
        self.lock().ended.clone()
    }

    /// All reloads, in order.
    pub fn reloads(&self) -> Vec<EngineReload> {
        self.lock().reloads.clone()
    }

    /// The last 20 000 calls, oldest first.
    pub fn calls(&self) -> Vec<SeenCall> {
        self.lock().calls.iter().cloned().collect()
    }

    /// How often a method was called, among those.
    pub fn calls_of(&self, method: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.method == method).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn site(&self) -> &Site {
        &self.0.site
    }
}

impl State {
    fn contents_of(&self, app: &str) -> AppContents {
        self.contents.get(app).unwrap_or(&self.usual_contents).clone()
    }

    fn saw(&mut self, call: SeenCall) {
        if self.calls.len() == CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}
