//! What a session has: handles, an app, perhaps a reload.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::objects::Object;
use super::reload::{EngineReload, ReloadState, Running};
use super::{EndedSession, Engine, OpenSession};

/// The state of one session.
pub(super) struct Handles {
    /// Its number.
    pub(super) session: u64,
    /// Those from 1 on, in order.
    objects: Vec<Object>,
    /// The app that is open.
    pub(super) app: Option<String>,
    pub(super) without_data: bool,
    /// Ids of session objects.
    pub(super) ids: BTreeSet<String>,
    pub(super) reload: Option<Running>,
}

impl Handles {
    pub(super) fn new(session: u64) -> Self {
        let (objects, ids) = (Vec::new(), BTreeSet::new());
        Self { session, objects, app: None, without_data: false, ids, reload: None }
    }

    pub(super) fn get(&self, handle: i64) -> Option<&Object> {
        if handle == -1 {
            return Some(&Object::Global);
        }
        self.objects.get(usize::try_from(handle.checked_sub(1)?).ok()?)
    }

    pub(super) fn add(&mut self, object: Object) -> i64 {
        self.objects.push(object);
        i64::try_from(self.objects.len()).unwrap_or(i64::MAX)
    }

    /// How far the reload with this request is; 0 stands for any.
    pub(super) fn progress(&self, request: u64) -> Value {
        match self.reload.as_ref().filter(|reload| request == 0 || request == reload.request) {
            Some(reload) => reload.progress(),
            None => json!({ "qStarted": false, "qFinished": false, "qMillisecs": 0, "qErrorData": [] }),
        }
    }
}

/// A session that counts as open. Dropped, it has ended, and a reload of its own with it.
pub(super) struct Open {
    engine: Engine,
    pub(super) number: u64,
    reload: Option<usize>,
    /// With which the client closed it.
    pub(super) close_code: Option<u16>,
}

impl Open {
    /// Counts a new session; none when the user has too many.
    pub(super) fn new(engine: &Engine, user: &str, path: &str) -> Option<Self> {
        let mut state = engine.lock();
        let of_user = state.open.values().filter(|session| session.user == user).count();
        if state.session_limit.is_some_and(|limit| of_user >= limit) {
            return None;
        }
        state.next_session += 1;
        let number = state.next_session;
        state.open.insert(number, OpenSession { user: user.to_owned(), path: path.to_owned(), app: None });
        state.most_at_once = state.most_at_once.max(state.open.len());
        Some(Self { engine: engine.clone(), number, reload: None, close_code: None })
    }

    /// Notes that a reload begins: its place in the list of all.
    pub(super) fn reloads(&mut self, app: String, mode: i64, partial: bool) -> usize {
        let mut state = self.engine.lock();
        state.reloads.push(EngineReload { app, mode, partial, state: ReloadState::Running });
        let index = state.reloads.len() - 1;
        self.reload = Some(index);
        index
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.engine.lock();
        if let Some(OpenSession { user, path, .. }) = state.open.remove(&self.number) {
            state.ended.push(EndedSession { path, user, close_code: self.close_code });
        }
        if let Some(reload) = self.reload.and_then(|index| state.reloads.get_mut(index))
            && reload.state == ReloadState::Running
        {
            reload.state = ReloadState::Aborted;
        }
    }
}
