//! A plugin for the end-to-end tests: uses every service of the host, and misbehaves on request.

use std::time::Duration;

use butler_plugin_api::{
    Delivery, DeliveryError, Endpoint, Health, Host, Manifest, OperationError, Plugin, Request, Response, Scope,
    StartError, When, kind,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Settings of the probe.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// What goes wrong.
    fault: Fault,
    /// Where deliveries are reported to, by HTTP.
    url: Option<String>,
    /// A text that must not leave the process.
    secret: Option<String>,
    /// When it emits `node.silent`.
    when: Option<When>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Fault {
    #[default]
    None,
    /// Refuses its settings.
    Config,
    /// Is not available when it starts for the first time.
    Unavailable,
    /// Waits in its start until `url` answers.
    WaitInStart,
    /// Panics in `start`.
    PanicInStart,
    /// Panics in every delivery.
    Panic,
    /// Panics when a future is dropped.
    PanicInDrop,
    /// Never ends a delivery.
    Hang,
    /// Blocks its thread in a delivery.
    Block,
    /// Refuses every delivery.
    Reject,
    /// Tells the secret in its error.
    TellSecret,
}

struct Probe {
    settings: Settings,
    host: Host,
}

/// The payload of the items that it takes out of requests to start tasks.
fn item_schema() -> Value {
    let properties = json!({ "key": { "type": "string" }, "ttl": { "type": "integer" } });
    json!({ "type": "object", "required": ["key"], "properties": properties })
}

/// A value that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the bomb went off");
    }
}

impl Plugin for Probe {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("probe", "Uses everything that the plugin API offers")
            .default_events(&["reload-task.*", "delivery.dead"])
            .operation("check")
            .operation("render")
            .emits(kind::ALL)
            .qlik_writes(&["tag", "tag/*", "stream/*", "task/*"])
            .start_task_item("probeitem", item_schema())
            .endpoint(Endpoint::new("POST", "/v5/probe/{topic}", Scope::Messages, "Echoes a request"))
            .endpoint(Endpoint::new("POST", "/v5/probe/emit", Scope::Messages, "Emits an event: {kind, data}"))
            .endpoint(Endpoint::new("GET", "/v5/probe/panic", Scope::Read, "Panics"))
            .endpoint(Endpoint::new("GET", "/v5/probe/hang", Scope::Read, "Never answers").deadline(1))
            .endpoint(Endpoint::new("POST", "/v5/probe/qlik/{call}", Scope::Admin, "Calls the service qlik"));
        manifest.deadline_seconds = 2;
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        tracing::info!(fault = ?settings.fault, "the probe starts");
        match settings.fault {
            Fault::Config => return Err(StartError::Config("the probe was told to refuse its settings".to_owned())),
            Fault::WaitInStart => {
                let url = settings.url.clone().unwrap_or_default();
                let answer = host.http().get(&url).send().await;
                answer.map_err(|error| StartError::Unavailable(error.to_string()))?;
            }
            Fault::PanicInStart => panic!("the probe was told to panic"),
            Fault::Unavailable => {
                let seen =
                    host.storage().get("seen").await.map_err(|error| StartError::Unavailable(error.to_string()))?;
                let store = host.storage().set("seen", &json!(true), None).await;
                store.map_err(|error| StartError::Unavailable(error.to_string()))?;
                if seen.is_none() {
                    return Err(StartError::Unavailable("not yet".to_owned()));
                }
            }
            _ => {}
        }
        if let Some(when) = &settings.when {
            host.schedule().check(when).await.map_err(|error| StartError::Config(error.to_string()))?;
        }
        Ok(Self { settings, host })
    }

    async fn run(&self) {
        let Some(when) = &self.settings.when else { return };
        while let Ok(tick) = self.host.schedule().next("tick", when).await {
            let data = json!({ "node": "probe", "message": tick.planned });
            if let Err(error) = self.host.emit("node.silent", data).await {
                tracing::error!(%error, "a tick cannot be told");
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        match self.settings.fault {
            Fault::Panic => panic!("the probe was told to panic"),
            Fault::PanicInDrop => {
                let _bomb = Bomb;
                self.host.sleep(Duration::from_millis(1)).await;
            }
            Fault::Hang => std::future::pending().await,
            Fault::Block => loop {
                std::thread::park();
            },
            Fault::Reject => return Err(DeliveryError::reject("the probe was told to reject")),
            Fault::TellSecret => {
                let secret = self.settings.secret.clone().unwrap_or_default();
                tracing::error!(%secret, "the secret is {secret}");
                return Err(DeliveryError::reject(format!("the secret is {secret}")));
            }
            _ => self.report(delivery).await?,
        }
        Ok(())
    }

    async fn call(&self, request: Request) -> Response {
        assert!(request.route != "/v5/probe/panic", "the probe was told to panic");
        if request.route == "/v5/probe/hang" {
            std::future::pending::<()>().await;
        }
        if request.route == "/v5/probe/qlik/{call}" {
            return self.qlik(&request).await;
        }
        let body = request.json().unwrap_or(Value::Null);
        if request.route == "/v5/probe/emit" {
            let emitted = self.host.emit(body["kind"].as_str().unwrap_or_default(), body["data"].clone()).await;
            return match emitted {
                Ok(emitted) => Response::json(201, &json!(emitted)),
                Err(error) => Response::error(400, &error.to_string()),
            };
        }
        Response::json(
            201,
            &json!({ "topic": request.params.get("topic"), "query": request.query, "body": body, "caller": request.caller }),
        )
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => Ok(json!("the probe is content")),
            "render" => Ok(input["event"]["kind"].clone()),
            "startTaskItem" if input["payload"]["key"] == "refused" => {
                Err(OperationError::Failed("the probe does not take this key".to_owned()))
            }
            "startTaskItem" => {
                let kept = self.host.storage().set("item", &input, None).await;
                kept.map(|()| Value::Null).map_err(|error| OperationError::Failed(error.to_string()))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    async fn health(&self) -> Health {
        Health::Good
    }
}

impl Probe {
    /// Calls an operation of the service `qlik` as the body says.
    async fn qlik(&self, request: &Request) -> Response {
        let body = request.json().unwrap_or(Value::Null);
        let (path, text) = (body["path"].as_str().unwrap_or_default(), body["text"].as_str().unwrap_or_default());
        let qlik = self.host.qlik();
        let answer = match request.params.get("call").map(String::as_str) {
            Some("post") => qlik.post(path, &body["body"]).await.map(|reply| json!(reply)),
            Some("put") => qlik.put(path, &body["body"]).await.map(|reply| json!(reply)),
            Some("delete") => qlik.delete(path).await.map(|reply| json!(reply)),
            Some("systemInfo") => qlik.system_info().await.map(|info| json!(info)),
            Some("cloudEvent") => qlik.cloud_event(text).await.map(|handed| json!(handed)),
            Some("startTasks") => match serde_json::from_value(body) {
                Ok(tasks) => qlik.start_tasks(&tasks).await.map(|started| json!(started)),
                Err(error) => return Response::error(400, &error.to_string()),
            },
            Some("item") => self.host.storage().get("item").await.map(|item| json!(item)),
            _ => return Response::error(404, "no such call"),
        };
        match answer {
            Ok(answer) => Response::json(200, &answer),
            Err(error) => Response::json(500, &json!({ "error": format!("{error:?}") })),
        }
    }

    /// Goes once through all services: progress, storage, time, background work, metrics, emit, Qlik, HTTP.
    async fn report(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let Some(url) = &self.settings.url else { return Ok(()) };
        let event = &delivery.event;
        if delivery.attempt == 1 {
            return Err(DeliveryError::retry("the first attempt is for progress").with_progress(json!({ "step": 1 })));
        }
        let storage = self.host.storage();
        let count = storage.get("count").await?.and_then(|value| value.as_u64()).unwrap_or_default() + 1;
        storage.set("count", &json!(count), Some(Duration::from_hours(1))).await?;
        self.host.sleep(Duration::from_millis(5)).await;
        self.host.metrics().count("reports_total", &[("kind", &event.kind)], 1);
        // Neither is kept, and neither is a reason to fail.
        self.host.metrics().count("Not a name", &[], 1);
        self.host.metrics().gauge("reports_total", &[], 1.0);
        let emitted = self.host.emit("node.silent", json!({ "node": "probe", "message": event.id })).await?;
        let denied = self.host.emit("probe.told", json!({})).await.err().map(|error| error.to_string());
        let task = event.data.task.as_ref().map(|task| task.id.clone()).unwrap_or_default();
        let qlik = self.host.qlik().get("task/full", &[("filter", &format!("id eq {task}"))]).await;
        let qlik = qlik.map(|reply| reply.body[0]["name"].clone()).unwrap_or_default();
        let host = self.host.clone();
        let background = format!("{url}/background");
        self.host.spawn(async move {
            let sent = host.http().post(background).json(&json!({})).send().await;
            tracing::info!(sent = sent.is_ok(), "the background task ends");
        });
        let report =
            json!({ "delivery": delivery, "count": count, "emitted": emitted, "denied": denied, "qlik": qlik });
        self.host.http().post(url.as_str()).json(&report).send().await?.error_for_status()?;
        Ok(())
    }
}

butler_plugin_api::export!(Probe);
