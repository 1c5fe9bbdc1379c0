//! Simulated tenants of Qlik Cloud with a daemon beside them, and what their webhooks do.

use std::fmt::Write as _;
use std::sync::Arc;

use qlik_simulator::{CloudSimulator, Envelope, FailedReload, Teller};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Butler, http};

/// Simulated tenants, with a folder for a daemon that hears of them.
pub struct Tenants {
    folder: Arc<TempDir>,
    tenants: Vec<CloudSimulator>,
}

impl std::ops::Index<usize> for Tenants {
    type Output = CloudSimulator;

    fn index(&self, number: usize) -> &CloudSimulator {
        &self.tenants[number]
    }
}

impl Tenants {
    /// Starts tenants with these ids.
    ///
    /// # Panics
    /// When they cannot be started.
    pub async fn start(ids: &[&str]) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        let mut tenants = Vec::new();
        for id in ids {
            let tenant = CloudSimulator::start(id).await.expect("the simulator starts");
            std::fs::write(folder.path().join(format!("{id}.pem")), tenant.root_pem())
                .expect("the folder can be written");
            tenants.push(tenant);
        }
        Self { folder, tenants }
    }

    /// The sections `qlikCloud:` and `tls:` of a daemon that hears of them; `more` is added to each tenant, as
    /// `, comment: Lab`.
    pub fn section(&self, more: &str) -> String {
        let mut text = "qlikCloud:\n  tenants:\n".to_owned();
        for tenant in &self.tenants {
            let (id, url) = (tenant.id(), tenant.url());
            let _ = writeln!(
                text,
                "    - {{ id: {id}, url: \"{url}\", token: \"${{env:TOKEN}}\", webhookSecret: \"${{env:SECRET}}\", tls: {id}{more} }}"
            );
        }
        text.push_str("tls:\n");
        for tenant in &self.tenants {
            let _ = writeln!(text, "  {0}: {{ ca: {0}.pem }}", tenant.id());
        }
        text
    }

    /// Starts a daemon in the folder with the sections and this config; for a second time too.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler(&self, config: &str) -> Butler {
        self.butler_with("", config).await
    }

    /// The same with something more of each tenant.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler_with(&self, more: &str, config: &str) -> Butler {
        Butler::start_in(self.folder.clone(), &(self.section(more) + config), &Self::environment()).await
    }

    /// The environment of the daemon.
    pub fn environment() -> [(&'static str, &'static str); 2] {
        [("TOKEN", CloudSimulator::TOKEN), ("SECRET", CloudSimulator::SECRET)]
    }

    /// The folder of the daemon; the authority of each tenant is in `<id>.pem`.
    pub fn folder(&self) -> &Arc<TempDir> {
        &self.folder
    }

    /// A reload of the first tenant fails, and its webhook tells of it.
    ///
    /// # Panics
    /// When the event is not taken.
    pub async fn fail(&self, butler: &Butler, app: &str) -> FailedReload {
        let reload = self.tenants[0].fail_reload(app);
        let (status, answer) = webhook(butler, &cloud_failure(&reload)).await;
        assert_eq!(status, 202, "{answer}");
        reload
    }
}

/// The event of a failed reload, as the engine tells it.
pub fn cloud_failure(reload: &FailedReload) -> String {
    reload.message(Envelope::Hybrid, Teller::Engine).to_string()
}

/// A webhook calls: the status and the JSON of the answer.
///
/// # Panics
/// When there is no answer.
pub async fn webhook(butler: &Butler, body: &str) -> (u16, Value) {
    let signature = qlik_simulator::sign(CloudSimulator::SECRET, body.as_bytes());
    call_webhook(butler, body, &[("Qlik-Signature", &signature)]).await
}

/// The same with these headers alone.
///
/// # Panics
/// When there is no answer.
pub async fn call_webhook(butler: &Butler, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = http().post(format!("{}/v5/qlik-cloud/events", butler.rest())).body(body.to_owned());
    for (name, value) in headers.iter().chain(&[("Content-Type", "application/json")]) {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("the daemon answers");
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.expect("the daemon answers whole");
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}
