//! The server as callers see it, over loopback.

mod access;
mod cors;
mod documentation;
mod limits;
mod lists;
mod messages;
mod plugins;
mod security;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use butler_plugin_api::abi::{WireRequest, WireResponse};
use butler_plugin_api::{Endpoint, Manifest, Response as PluginResponse, Scope};
use futures_util::FutureExt;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::endpoints::Mount;
use super::server::Limits;
use super::{Context, ContextParts, Server};
use crate::cloud::CloudEvents;
use crate::config::{Config, Rest, Secrets, TlsProfile, Token, Udp};
use crate::current::Current;
use crate::delivery::Queues;
use crate::http::HttpClients;
use crate::ingest::UdpServer;
use crate::observe::TaskStates;
use crate::pipeline::Router;
use crate::plugins::Shared;
use crate::qlik::{self, Cloud};
use crate::schedule::Scheduler;
use crate::store::{NewDelivery, NewEvent, Routed, Settled, Settlement, Store, now_ms};

/// A running server over a store of its own.
struct Site {
    store: Store,
    shared: Arc<Shared>,
    tasks: Arc<TaskStates>,
    queues: Queues,
    address: SocketAddr,
    client: Client,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

struct Options {
    config: Config,
    rest: Rest,
    mounts: Vec<Mount>,
    limits: Limits,
    secrets: Vec<String>,
    udp: bool,
    /// Instances that the config has, by name only.
    instances: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: serde_json::from_value(json!({ "version": 1 })).unwrap(),
            rest: Rest::default(),
            mounts: Vec::new(),
            limits: Limits::default(),
            secrets: Vec::new(),
            udp: false,
            instances: Vec::new(),
        }
    }
}

const ADMIN: &str = "token-of-the-run-file";

impl Site {
    async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("butler.db")).await.unwrap();
        let shared = Arc::new(Shared {
            runtime: tokio::runtime::Handle::current(),
            cloud_events: CloudEvents::new(None, store.clone(), Arc::default()),
            store: store.clone(),
            accepted: Arc::new(Notify::new()),
            http: HttpClients::new(BTreeMap::new()),
            started_ms: now_ms(),
            udp: None,
            roads: Arc::default(),
            qlik: None,
            task_starter: None,
            only_looks: false,
            config: Arc::new(Current::new(serde_json::from_value::<Config>(json!({ "version": 1 })).unwrap())),
            metrics: Arc::default(),
            secrets: Arc::new(Secrets::new(options.secrets)),
        });
        let (tasks, queues) = (Arc::new(TaskStates::default()), Queues::default());
        options.instances.iter().for_each(|instance| drop(queues.add(instance)));
        let udp = options.udp.then(|| {
            let config: Udp = serde_json::from_value(json!({ "listen": "127.0.0.1:0" })).unwrap();
            Arc::new(UdpServer::bind(&config).unwrap().start().unwrap())
        });
        let manifest = Manifest::new("any", "");
        let router = Router::new(options.config.plugins.iter().map(|entry| (entry, &manifest)));
        let context = Context::new(ContextParts {
            store: store.clone(),
            accepted: shared.accepted.clone(),
            router: Arc::new(Current::new(router)),
            instances: Arc::default(),
            udp,
            lookups: None,
            task_starter: None,
            scheduler: Some(Scheduler::open(store.clone(), None, Arc::default()).await.unwrap()),
            cloud: Cloud::new(&options.config).unwrap(),
            cloud_events: CloudEvents::new(options.config.qlik_cloud.as_ref(), store.clone(), Arc::default()),
            engine: None,
            tasks: tasks.clone(),
            roads: Arc::default(),
            call_back: None,
            untold: Arc::default(),
            metrics: shared.metrics.clone(),
            secrets: Arc::new(Current::new(shared.secrets.clone())),
            queues: queues.clone(),
            tls: None,
            reload: Box::new(|| Box::pin(std::future::ready(Err("line 3: no".to_owned())))),
        });
        let rest = Rest { listen: "127.0.0.1:0".parse().unwrap(), ..options.rest };
        let server = Server::bind(&rest).unwrap();
        let address = server.local_addr();
        let server = server.with_mounts(Arc::new(context), ADMIN, options.mounts, options.limits).unwrap();
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(server.run(stopping));
        let client = Client::builder()
            .tls_backend_preconfigured(qlik::profile(&TlsProfile::default()).unwrap())
            .no_proxy()
            .build()
            .unwrap();
        Self { store, shared, tasks, queues, address, client, stop, running, _folder: folder }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Accepts events of a task; answers their ids.
    async fn accept(&self, kinds: &[&str]) -> Vec<i64> {
        let event = |(n, kind): (usize, &&str)| NewEvent {
            kind: (*kind).to_owned(),
            time: 1000,
            received: now_ms(),
            source: "test".to_owned(),
            keys: Vec::new(),
            data: serde_json::from_value(json!({ "task": { "id": format!("t{}", n % 2), "name": "Sales" } })).unwrap(),
        };
        let accepted = self.store.accept(kinds.iter().enumerate().map(event).collect::<Vec<_>>()).await.unwrap();
        accepted.into_iter().map(crate::store::Accepted::seq).collect()
    }

    /// Makes a delivery of an event.
    async fn deliver(&self, seq: i64, instance: &str) -> i64 {
        let row = self.store.event(seq).await.unwrap().unwrap();
        let (instance, order_key, throttle) = (instance.to_owned(), None, None);
        let delivery = NewDelivery { instance, order_key, throttle, unknown: None, lease_ms: None };
        let routed = Routed {
            seq,
            kind: row.event.kind,
            time: 1000,
            task: row.event.data.task.as_ref().map(|task| task.id.clone()),
            data: serde_json::to_string(&row.event.data).unwrap(),
            keys: Vec::new(),
            deliveries: vec![delivery],
            script_log: None,
        };
        self.store.route(vec![routed]).await.unwrap()[0].as_ref().unwrap()[0].id
    }

    async fn bury(&self, instance: &str, error: &str) {
        let settled = self.store.claim(instance, 10, false, 60_000).await.unwrap().into_iter().map(|claimed| Settled {
            id: claimed.id,
            token: claimed.token,
            settlement: Settlement::Dead { error: error.to_owned() },
        });
        self.store.settle(settled.collect()).await.unwrap();
    }
}

/// Status and body.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

async fn text(request: RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// Answers with what the plugin would see.
fn echo(instance: &str, endpoint: Endpoint) -> Mount {
    Mount::fake(instance, endpoint, |request: WireRequest| {
        let seen = json!({
            "method": request.method,
            "url": request.url,
            "headers": request.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            "body": String::from_utf8(request.body).unwrap(),
            "options": serde_json::from_str::<Value>(&request.options).unwrap(),
        });
        std::future::ready(wire(PluginResponse::json(201, &seen))).boxed()
    })
}

fn wire(response: PluginResponse) -> WireResponse {
    WireResponse { status: response.status, headers: response.headers, body: response.body, options: String::new() }
}

fn token(name: &str, secret: &str, scopes: &[Scope]) -> Token {
    let sha256 = Sha256::digest(secret).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    Token { name: name.to_owned(), sha256, scopes: scopes.to_vec(), networks: None }
}
