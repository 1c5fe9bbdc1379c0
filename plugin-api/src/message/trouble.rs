//! What is wrong with the template of an instance.

use std::sync::{Mutex, PoisonError};

use crate::plugin::Health;

/// What is wrong with the template of an instance: in the log when it changes, and in its health for as long as it is so.
#[derive(Debug)]
pub struct Trouble {
    /// What goes out instead.
    plain: &'static str,
    now: Mutex<Option<String>>,
}

impl Trouble {
    /// `plain` is what goes out instead: `plain mails`.
    pub fn new(plain: &'static str) -> Self {
        Self { plain, now: Mutex::default() }
    }

    /// Remembers what was wrong with the last message; none: nothing.
    pub fn note(&self, trouble: Option<String>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == trouble {
            return;
        }
        if let Some(text) = &trouble {
            tracing::warn!("alerts go out as {}: {text}", self.plain);
        } else {
            tracing::info!("the template works again");
        }
        *now = trouble;
    }

    /// Good, or degraded with what is wrong.
    pub fn health(&self) -> Health {
        match &*self.now.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(text) => Health::Degraded(format!("alerts go out as {}: {text}", self.plain)),
            None => Health::Good,
        }
    }
}
