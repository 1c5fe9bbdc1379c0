//! What the engine refuses, as a client of WebSocket sees it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use qlik_simulator::{EngineFault, Options, QlikSimulator, ReloadPlan, ReloadState, Site};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const APP: &str = Site::SAMPLE_APP;
const USER: &str = "UserDirectory=Internal; UserId=sa_repository";

struct Client {
    web: WebSocketStream<TlsStream<TcpStream>>,
    next: u64,
}

async fn connect_with(
    simulator: &QlikSimulator,
    tls: ClientConfig,
    path: &str,
    user: Option<&str>,
) -> Result<Client, Error> {
    let stream = TcpStream::connect(simulator.engine_addr()).await.unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect("localhost".try_into().unwrap(), stream).await?;
    let mut request = format!("wss://{}{path}", simulator.engine_addr()).into_client_request().unwrap();
    if let Some(user) = user {
        request.headers_mut().insert("x-qlik-user", user.parse().unwrap());
    }
    let (web, _) = client_async(request, stream).await?;
    Ok(Client { web, next: 0 })
}

async fn connect(simulator: &QlikSimulator) -> Client {
    let tls = simulator.certificates().client_config().unwrap();
    connect_with(simulator, tls, "/app/engineData", Some(USER)).await.unwrap()
}

impl Client {
    /// The next message that is an answer.
    async fn answer(&mut self) -> Value {
        loop {
            let Some(Ok(Message::Text(text))) = self.web.next().await else { panic!("the session has ended") };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message.get("method").is_none() {
                return message;
            }
        }
    }

    async fn text(&mut self, text: &str) -> Value {
        self.web.send(Message::text(text)).await.unwrap();
        self.answer().await
    }

    async fn send(&mut self, handle: i64, method: &str, params: &Value) {
        self.next += 1;
        let call = json!({ "jsonrpc": "2.0", "id": self.next, "handle": handle, "method": method, "params": params });
        self.web.send(Message::text(call.to_string())).await.unwrap();
    }

    async fn call(&mut self, handle: i64, method: &str, params: Value) -> Value {
        self.send(handle, method, &params).await;
        let answer = self.answer().await;
        assert_eq!(answer["id"], self.next);
        answer
    }

    /// The number of the error of a call.
    async fn refusal(&mut self, handle: i64, method: &str, params: Value) -> i64 {
        let answer = self.call(handle, method, params).await;
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    }

    async fn open(&mut self, without_data: bool) {
        let answer = self.call(-1, "OpenDoc", json!([APP, "", "", "", without_data])).await;
        assert_eq!(answer["result"]["qReturn"]["qHandle"], 1, "{answer}");
    }
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn who_is_not_let_in() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let certificates = simulator.certificates();
    let anonymous = certificates.anonymous_client_config().unwrap();
    assert!(connect_with(&simulator, anonymous, "/", Some(USER)).await.is_err());
    for (path, user, status) in [
        ("/", None, 403),
        ("/", Some(""), 403),
        ("/", Some("sa_repository"), 403),
        ("/", Some("UserDirectory=Internal"), 403),
        ("/elsewhere", Some(USER), 404),
        ("/app/", Some(USER), 404),
    ] {
        let tls = certificates.client_config().unwrap();
        let Err(Error::Http(answer)) = connect_with(&simulator, tls, path, user).await else {
            panic!("{path} {user:?}")
        };
        assert_eq!(answer.status().as_u16(), status, "{path} {user:?}");
    }
    assert_eq!(simulator.engine().ended_sessions().len(), 0);
    for path in ["/", "/app/engineData", "/app/0b7c"] {
        let tls = certificates.client_config().unwrap();
        assert!(connect_with(&simulator, tls, path, Some(USER)).await.is_ok());
    }
}

#[tokio::test]
async fn messages_that_are_no_calls() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let mut client = connect(&simulator).await;
    for (text, code) in [
        ("no JSON", -32_700),
        ("{\"jsonrpc\":\"2.0\"", -32_700),
        ("[]", -32_600),
        (r#"{"jsonrpc":"2.0","handle":-1,"method":"GetDocList","params":[]}"#, -32_600),
        (r#"{"id":1,"handle":-1,"method":"GetDocList","params":[]}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetDocList","params":[]}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"handle":-1,"params":[]}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"handle":-1,"method":"GetDocList"}"#, -32_602),
    ] {
        assert_eq!(client.text(text).await["error"]["code"], code, "{text}");
    }
}

#[tokio::test]
async fn handles_methods_and_parameters_are_checked() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let mut client = connect(&simulator).await;
    assert_eq!(client.refusal(1, "GetScript", json!([])).await, -32_600, "there is no document yet");
    assert_eq!(client.refusal(0, "GetDocList", json!([])).await, -32_600);
    assert_eq!(client.refusal(-1, "GetScript", json!([])).await, -32_601, "a method of another class");
    assert_eq!(client.refusal(-1, "getdoclist", json!([])).await, -32_601);
    for params in [json!([]), json!([1]), json!([APP, "", "", "", "true"]), json!([APP, "", "", "", true, 1])] {
        assert_eq!(client.refusal(-1, "OpenDoc", params).await, -32_602);
    }
    client.open(true).await;
    assert_eq!(client.refusal(1, "GetLayout", json!([])).await, -32_601);
    assert_eq!(client.refusal(1, "GetObject", json!([])).await, -32_602);
    let list =
        json!({ "qAppObjectListDef": { "qType": "sheet" }, "qInfo": { "qId": "SheetList", "qType": "SheetList" } });
    for wrong in ["text".into(), json!({}), json!({ "qInfo": { "qId": "x", "qType": "x" } })] {
        assert_eq!(client.refusal(1, "CreateSessionObject", json!([wrong])).await, -32_602);
    }
    let made = client.call(1, "CreateSessionObject", json!([list])).await;
    assert_eq!(made["result"]["qReturn"]["qHandle"], 2);
    assert_eq!(client.refusal(1, "CreateSessionObject", json!([list])).await, 3, "the id is taken");
    let gone = client.call(1, "GetObject", json!(["sheet-99"])).await;
    assert_eq!(gone["result"]["qReturn"]["qHandle"], Value::Null);
    assert_eq!(client.refusal(1, "GetConnection", json!(["connection-99"])).await, 2);
}

#[tokio::test]
async fn apps_that_cannot_be_opened() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let mut client = connect(&simulator).await;
    assert_eq!(client.refusal(-1, "OpenDoc", json!(["missing"])).await, 1003);
    client.open(true).await;
    assert_eq!(client.refusal(-1, "OpenDoc", json!([APP, "", "", "", true])).await, 1002, "one app a session");
    let mut other = connect(&simulator).await;
    assert_eq!(other.refusal(-1, "OpenDoc", json!([APP, "", "", "", false])).await, 1009);
    other.open(true).await;
    let mut third = connect(&simulator).await;
    simulator.engine().lock_app(APP);
    assert_eq!(third.refusal(-1, "OpenDoc", json!([APP, "", "", "", true])).await, 1009);
    simulator.engine().unlock_app(APP);
    simulator.engine().deny_app(APP);
    assert_eq!(third.refusal(-1, "OpenDoc", json!([APP])).await, 5);
}

#[tokio::test]
async fn reloads_run_beside_other_calls_and_end_with_their_session() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let engine = simulator.engine();
    engine.set_reload(APP, ReloadPlan::default().taking(Duration::from_millis(300)));
    let mut client = connect(&simulator).await;
    client.open(false).await;
    assert_eq!(client.refusal(1, "DoReload", json!([7, false])).await, -32_602);
    client.send(1, "DoReload", &json!([2, true])).await;
    let request = client.next;
    for asked in [0, request] {
        let progress = client.call(-1, "GetProgress", json!([asked])).await;
        assert_eq!(progress["result"]["qProgressData"]["qStarted"], true);
        assert_eq!(progress["result"]["qProgressData"]["qFinished"], false);
    }
    assert_eq!(client.call(-1, "GetProgress", json!([999])).await["result"]["qProgressData"]["qStarted"], false);
    let mut other = connect(&simulator).await;
    other.open(false).await;
    assert_eq!(other.refusal(1, "DoReload", json!([0, false])).await, 15);
    let answer = client.answer().await;
    assert_eq!((&answer["id"], &answer["result"]["qReturn"]), (&json!(request), &json!(true)));
    assert_eq!(engine.reloads()[0].state, ReloadState::Succeeded);
    client.call(1, "DoSave", json!([])).await;
    assert_eq!(engine.reloads()[0].state, ReloadState::Saved);

    engine.set_reload(APP, ReloadPlan::default().taking(Duration::from_mins(10)));
    other.send(1, "DoReload", &json!([0, false])).await;
    eventually(|| engine.reloads().len() == 2).await;
    drop(other);
    eventually(|| engine.reloads()[1].state == ReloadState::Aborted).await;

    let mut without = connect(&simulator).await;
    client.web.close(None).await.unwrap();
    eventually(|| engine.open_sessions() == 1).await;
    without.open(true).await;
    assert_eq!(without.refusal(1, "DoReload", json!([0, false])).await, 5, "there is nothing to reload without data");
}

#[tokio::test]
async fn a_session_too_many_is_told_and_closed() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    simulator.engine().set_session_limit(1);
    let mut first = connect(&simulator).await;
    first.open(true).await;
    let mut second = connect(&simulator).await;
    let Some(Ok(Message::Text(text))) = second.web.next().await else { panic!("a notification") };
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["method"], "OnMaxParallelSessionsExceeded");
    assert!(matches!(second.web.next().await, Some(Ok(Message::Close(_)))));
    drop(first);
    eventually(|| simulator.engine().open_sessions() == 0).await;
    connect(&simulator).await.open(true).await;
}

#[tokio::test]
async fn faults_are_used_up_and_cleared() {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let mut client = connect(&simulator).await;
    simulator.engine().add_fault(EngineFault::refuse(10, "Internal error").on("GetDocList").first(1));
    assert_eq!(client.refusal(-1, "GetDocList", json!([])).await, 10);
    assert_eq!(client.call(-1, "GetDocList", json!([])).await["result"]["qDocList"].as_array().unwrap().len(), 3);
    simulator.engine().add_fault(EngineFault::silent());
    simulator.engine().clear_faults();
    client.call(-1, "EngineVersion", json!([])).await;
}
