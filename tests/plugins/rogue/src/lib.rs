//! A plugin for the end-to-end tests that misbehaves: `fault` says how, `at` says where. It has no endpoints, so that
//! several instances fit into one daemon. `BUTLER_E2E_MANIFEST` in the environment has its `manifest` panic or block.

mod host_calls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use butler_plugin_api::import::Import;
use butler_plugin_api::{Delivery, DeliveryError, Health, Host, Manifest, OperationError, Plugin, StartError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Settings of the rogue.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// What it does.
    fault: Fault,
    /// Where it does it.
    at: Place,
    /// Where deliveries are reported to, by HTTP.
    url: Option<String>,
    /// A text that must not leave the process.
    #[schemars(extend("writeOnly" = true))]
    secret: String,
    /// Kind of an event that each delivery emits, without saying that it does so in a delivery.
    emits: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Fault {
    #[default]
    None,
    /// Panics.
    Panic,
    /// Blocks the thread for ever.
    Block,
    /// Keeps the processor busy for ever.
    Spin,
    /// Waits for ever.
    Hang,
    /// Answers a batch with one result too many.
    Miscount,
    /// Leaks 20 MB in each delivery.
    LeakMemory,
    /// Leaks 20 threads in each delivery.
    LeakThreads,
    /// Tells the secret wherever a text can be told.
    TellSecret,
    /// Writes twenty thousand log records in each delivery, and some without end.
    FloodLog,
    /// Emits events without a pause.
    EmitLoop,
    /// Stores more than it may, once.
    Quotas,
    /// Calls the host from a thread of its own, for ever.
    CallHost,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Place {
    Start,
    #[default]
    Deliver,
    Batch,
    Operation,
    Health,
    /// Its own work.
    Run,
    Stop,
    /// The drop of the instance.
    Drop,
    /// The drop of a future that has not ended.
    Future,
    /// A background task.
    Task,
    /// A thread of the plugin's own.
    Thread,
}

impl Settings {
    /// Commits the fault, if this is the place for it.
    async fn strike(&self, place: Place) {
        self.strike_here(place);
        if self.at == place && self.fault == Fault::Hang {
            std::future::pending::<()>().await;
        }
    }

    /// The same where nothing can wait.
    fn strike_here(&self, place: Place) {
        if self.at != place {
            return;
        }
        match self.fault {
            Fault::Panic => panic!("the rogue was told to panic at {place:?}"),
            Fault::Block => loop {
                std::thread::park();
            },
            Fault::Spin => loop {
                std::hint::spin_loop();
            },
            _ => {}
        }
    }
}

/// Commits the fault when it is dropped.
struct Trap(Settings);

impl Drop for Trap {
    fn drop(&mut self) {
        self.0.strike_here(Place::Future);
    }
}

struct Rogue {
    settings: Settings,
    host: Host,
    /// A fault that is committed once has been committed.
    done: AtomicBool,
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.settings.strike_here(Place::Drop);
    }
}

impl Plugin for Rogue {
    type Settings = Settings;

    fn manifest() -> Manifest {
        match std::env::var("BUTLER_E2E_MANIFEST").as_deref() {
            Ok("panic") => panic!("the rogue was told to panic in its manifest"),
            Ok("block") => loop {
                std::thread::park();
            },
            _ => {}
        }
        let mut manifest = Manifest::new("rogue", "Misbehaves")
            .default_events(&["reload-task.*"])
            .operation("check")
            .operation("import")
            .emits(&["rogue.*"]);
        manifest.deadline_seconds = 2;
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        settings.strike(Place::Start).await;
        if settings.fault == Fault::TellSecret && settings.at == Place::Start {
            return Err(StartError::Unavailable(format!("it is not there: {}", settings.secret)));
        }
        let rogue = Self { settings, host, done: AtomicBool::new(false) };
        rogue.begin();
        Ok(rogue)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        self.settings.strike(Place::Deliver).await;
        if self.settings.at == Place::Future {
            let _trap = Trap(self.settings.clone());
            std::future::pending::<()>().await;
        }
        match self.settings.fault {
            Fault::LeakMemory => {
                // Written to, since memory that is only promised does not count.
                std::mem::forget(vec![1_u8; 20 << 20]);
            }
            Fault::LeakThreads => (0..20).for_each(|_| drop(std::thread::spawn(std::thread::park))),
            Fault::FloodLog => host_calls::flood_log(),
            Fault::TellSecret => host_calls::tell(&self.host, &self.settings.secret, delivery).await?,
            Fault::Quotas if !self.done.swap(true, Ordering::Relaxed) => {
                let (host, url) = (self.host.clone(), self.settings.url.clone().unwrap_or_default());
                // Takes longer than a delivery may.
                drop(self.host.spawn(async move {
                    let report = host_calls::exceed_quotas(&host).await;
                    let sent = host.http().post(url).json(&report).send().await;
                    tracing::info!(sent = sent.is_ok(), "the quotas were tried");
                }));
                return Ok(());
            }
            Fault::Quotas => return Ok(()),
            _ => {}
        }
        if let Some(kind) = &self.settings.emits {
            self.host.emit(kind, json!({ "after": delivery.event.kind })).await?;
        }
        self.send(delivery).await
    }

    async fn deliver_batch(&self, deliveries: &[Delivery]) -> Vec<Result<(), DeliveryError>> {
        self.settings.strike(Place::Batch).await;
        let mut results = Vec::new();
        for delivery in deliveries {
            results.push(self.deliver(delivery).await);
        }
        if self.settings.fault == Fault::Miscount {
            results.push(Ok(()));
        }
        results
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        self.settings.strike(Place::Operation).await;
        let secret = &self.settings.secret;
        match operation {
            "check" if secret.is_empty() => Ok(json!("the rogue is content")),
            "check" => Ok(json!(format!("the rogue knows {secret}"))),
            "render" => Ok(json!({ secret.as_str(): [secret] })),
            _ => Err(OperationError::Unsupported(format!("{operation} {secret}"))),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        let mut import = Import::new(old)?;
        match import.text("rogue.does").as_deref() {
            Some("panic") => panic!("the rogue was told to panic at Import"),
            Some("block") => loop {
                std::thread::park();
            },
            Some("nonsense") => return Ok(json!({ "instances": 7 })),
            Some("outside") => return Ok(json!({ "secrets": { "../outside": "secret" } })),
            Some("other") => return Ok(json!({ "instances": [{ "use": "console" }] })),
            _ => {}
        }
        for item in 0..import.len("rogue.instances") {
            let at = |name: &str| format!("rogue.instances[{item}].{name}");
            let (url, secret) = (import.text(&at("url")), import.secret(&at("secret")).unwrap_or_default());
            let mut entry = json!({ "settings": { "url": url, "secret": secret } });
            if let Some(fault) = import.text(&at("fault")) {
                entry["settings"]["fault"] = json!(fault);
            }
            if let Some(name) = import.text(&at("name")) {
                entry["name"] = json!(name);
            }
            if item == 1 {
                import.differs(&at("url"), "it is odd");
            }
            import.instance(entry);
        }
        let profile = import.text("rogue.ca");
        let mut answer = import.finish();
        if let Some(ca) = profile {
            answer["tls"] = json!({ "rogue": { "ca": ca } });
        }
        Ok(answer)
    }

    async fn run(&self) {
        self.settings.strike(Place::Run).await;
    }

    async fn health(&self) -> Health {
        self.settings.strike(Place::Health).await;
        if self.settings.secret.is_empty() { Health::Good } else { Health::Degraded(self.settings.secret.clone()) }
    }

    async fn stop(&self) {
        self.settings.strike(Place::Stop).await;
    }
}

impl Rogue {
    /// What goes on beside the deliveries.
    fn begin(&self) {
        let settings = self.settings.clone();
        match settings.at {
            Place::Task => drop(self.host.spawn(async move {
                settings.strike(Place::Task).await;
            })),
            Place::Thread => drop(std::thread::spawn(move || settings.strike_here(Place::Thread))),
            _ => {}
        }
        let host = self.host.clone();
        match self.settings.fault {
            Fault::EmitLoop => drop(self.host.spawn(host_calls::emit_for_ever(host))),
            Fault::CallHost => drop(std::thread::spawn(move || host_calls::call_for_ever(&host))),
            _ => {}
        }
    }

    async fn send(&self, report: &impl serde::Serialize) -> Result<(), DeliveryError> {
        if let Some(url) = &self.settings.url {
            let request = self.host.http().post(url.as_str()).timeout(Duration::from_secs(1)).json(report);
            request.send().await?.error_for_status()?;
        }
        Ok(())
    }
}

butler_plugin_api::export!(Rogue);
