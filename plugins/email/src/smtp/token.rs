//! Tokens for XOAUTH2, by client credentials (RFC 6749, 4.4).

use std::time::{Duration, Instant};

use butler_plugin_api::Host;
use serde_json::Value;
use tokio::sync::Mutex;
use url::form_urlencoded;

use super::Limits;
use crate::settings::Oauth;

/// A token is not used for the last part of its life: a tenth of it, at most this.
const RESERVE: Duration = Duration::from_mins(5);
/// Life of a token whose answer does not say.
const LIFE: u64 = 3600;

/// The tokens of an instance: one at a time.
pub(super) struct Tokens {
    oauth: Oauth,
    host: Host,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    until: Instant,
}

impl Tokens {
    pub(super) fn new(oauth: Oauth, host: Host) -> Self {
        Self { oauth, host, token: Mutex::new(None) }
    }

    /// The token that is there, or a new one. The error is for people.
    pub(super) async fn get(&self, new: bool, limits: &Limits) -> Result<String, String> {
        // Held while one is fetched: those who come meanwhile get the same.
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| !new && token.until > Instant::now()) {
            return Ok(token.text.clone());
        }
        *kept = None;
        let token = self.fetch(limits).await?;
        Ok(kept.insert(token).text.clone())
    }

    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("client_id", &self.oauth.client_id);
        form.append_pair("client_secret", &self.oauth.client_secret);
        if let Some(scope) = &self.oauth.scope {
            form.append_pair("scope", scope);
        }
        form.finish()
    }

    async fn fetch(&self, limits: &Limits) -> Result<Token, String> {
        let url = self.oauth.token_url.as_str();
        let place = self.oauth.token_url.host_str().unwrap_or(url);
        let left = limits.until.saturating_duration_since(Instant::now());
        let request = self.host.http().post(url).header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("accept", "application/json").body(self.form()).timeout(limits.step.min(left));
        let asked = Instant::now();
        let reply = request.send().await.map_err(|error| format!("no token from {place}: {error}"))?;
        let answer: Value = reply.json().unwrap_or_default();
        match answer["access_token"].as_str().filter(|_| reply.status() == 200) {
            Some(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => {
                let life = Duration::from_secs(answer["expires_in"].as_u64().unwrap_or(LIFE));
                let used = life.saturating_sub(RESERVE.min(life / 10));
                Ok(Token { text: text.to_owned(), until: asked.checked_add(used).unwrap_or(asked) })
            }
            _ => {
                let why =
                    ["error", "error_description"].map(|name| answer[name].as_str().unwrap_or_default()).join(" ");
                let why: String = why.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
                Err(format!("no token from {place}: it answered {} {why}; see `smtp.auth.oauth`", reply.status()))
            }
        }
    }
}
