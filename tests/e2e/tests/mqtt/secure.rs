//! TLS, logins, client certificates, WebSocket.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use e2e::{Butler, Mosquitto, failure, fields};
use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::faults::{EACH, killed_under_load};
use super::{instance, wait_health};

/// An authority, a broker's certificate, and one of a client.
fn certificates(folder: &Path) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    for (name, names) in [("server", vec!["127.0.0.1".to_owned()]), ("client", Vec::new())] {
        let key = KeyPair::generate().unwrap();
        let mut of = CertificateParams::new(names).unwrap();
        of.distinguished_name.push(DnType::CommonName, format!("the {name}"));
        std::fs::write(folder.join(format!("{name}.pem")), of.signed_by(&key, &ca).unwrap().pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    // As root the broker becomes another user, who has to read all this.
    let all = Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status().unwrap();
    assert!(all.success());
}

const TLS: &str = "certfile DIR/server.pem\nkeyfile DIR/server.key\ncafile DIR/ca.pem\n";

/// A folder for a daemon with the files of the broker.
fn beside(broker: &Mosquitto) -> Arc<TempDir> {
    let folder = Arc::new(TempDir::new().unwrap());
    for file in ["ca.pem", "client.pem", "client.key"] {
        std::fs::copy(broker.folder().join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// A failure reaches the broker.
async fn alert(butler: &Butler, broker: &Mosquitto) {
    let subscriber = broker.subscribe("qliksense/#").await;
    let fields = fields();
    butler.send(&[failure(&fields)]);
    // Others of the same store may come too.
    let is_it = |message: &e2e::MqttMessage| message.payload.contains(&fields.execution_id);
    subscriber.wait_that("the failure", is_it).await;
    butler.wait_delivery("delivered", "mqtt").await;
}

/// A broker with TLS that lets in only `butler` with the password `geheim-123`.
async fn guarded() -> Mosquitto {
    let prepare = |folder: &Path| {
        certificates(folder);
        let mut made = Command::new("mosquitto_passwd");
        made.arg("-b").arg("-c").arg(folder.join("users")).args(["butler", "geheim-123"]);
        assert!(made.status().expect("mosquitto_passwd is installed (tests/packages.txt)").success());
        assert!(Command::new("chmod").arg("a+r").arg(folder.join("users")).status().unwrap().success());
    };
    let lines = format!("{TLS}allow_anonymous false\npassword_file DIR/users\nmax_queued_messages 0\n");
    let client = ["--cafile", "DIR/ca.pem", "-u", "butler", "-P", "geheim-123"];
    Mosquitto::with(&lines, prepare, &client).await
}

#[tokio::test]
async fn a_broker_with_tls_and_a_password_that_is_killed_under_load_gets_everything() {
    let mut broker = guarded().await;
    let folder = beside(&broker);
    let more = format!(
        "      version: \"5\"\n      user: butler\n      password: \"${{env:PASSWORD}}\"\n      tls: {{ ca: ca.pem }}\n{EACH}"
    );
    let config = instance("mqtt", &broker.url(), "", &more);
    let butler = Butler::start_in(folder, &config, &[("PASSWORD", "geheim-123")]).await;
    killed_under_load(&mut broker, &butler).await;
}

#[tokio::test]
async fn tls_with_an_own_authority_and_a_password() {
    let broker = guarded().await;
    let folder = beside(&broker);
    for version in ["3.1.1", "5"] {
        let more = format!(
            "      version: \"{version}\"\n      user: butler\n      password: \"${{env:PASSWORD}}\"\n      tls: {{ ca: ca.pem }}\n"
        );
        let config = instance("mqtt", &broker.url(), "", &more);
        let butler = Butler::start_in(folder.clone(), &config, &[("PASSWORD", "geheim-123")]).await;
        alert(&butler, &broker).await;
        butler.stop().await;

        let butler = Butler::start_in(folder.clone(), &config, &[("PASSWORD", "falsch-987")]).await;
        butler.send(&[failure(&fields())]);
        let health = wait_health(&butler, "mqtt", "refuses the login").await;
        assert!(health.contains("`password`") && !health.contains("falsch-987"), "{health}");
        assert!(!butler.log().contains("falsch-987"));
        butler.stop().await;
    }
    // Who is not trusted is told, and what would help.
    let own = instance("mqtt", &broker.url(), "", "      user: butler\n      password: x\n");
    let butler = Butler::start_in(folder.clone(), &own, &[]).await;
    butler.send(&[failure(&fields())]);
    wait_health(&butler, "mqtt", "`tls.ca`").await;
    butler.stop().await;
    let plain = instance("mqtt", &broker.url().replace("mqtts", "mqtt"), "", "");
    let butler = Butler::start_in(folder.clone(), &plain, &[]).await;
    butler.send(&[failure(&fields())]);
    wait_health(&butler, "mqtt", "is it a port for TLS").await;
    butler.stop().await;
    let unchecked = "      user: butler\n      password: geheim-123\n      tls: { verify: none }\n";
    let butler = Butler::start_in(folder, &instance("mqtt", &broker.url(), "", unchecked), &[]).await;
    alert(&butler, &broker).await;
    assert!(butler.log().contains("`tls.verify: none`"));
}

#[tokio::test]
async fn a_client_certificate_is_the_login() {
    let lines = format!("{TLS}require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n");
    let client = ["--cafile", "DIR/ca.pem", "--cert", "DIR/client.pem", "--key", "DIR/client.key"];
    let broker = Mosquitto::with(&lines, certificates, &client).await;
    let folder = beside(&broker);
    let tls = "      version: \"5\"\n      tls: { ca: ca.pem, certificate: client.pem, key: client.key }\n";
    let butler = Butler::start_in(folder.clone(), &instance("mqtt", &broker.url(), "", tls), &[]).await;
    alert(&butler, &broker).await;
    butler.stop().await;
    let without = instance("mqtt", &broker.url(), "", "      tls: { ca: ca.pem }\n");
    let butler = Butler::start_in(folder.clone(), &without, &[]).await;
    butler.send(&[failure(&fields())]);
    wait_health(&butler, "mqtt", "`tls.certificate`").await;
    butler.stop().await;
    // A file that is not there is a fault of the config.
    let missing = Butler::prepare(&folder, &instance("mqtt", &broker.url(), "", "      tls: { ca: nowhere.pem }\n"));
    let output = e2e::command(&["run", "-c", missing.to_str().unwrap()]).await;
    assert!(output.code == 2 && output.stderr.contains("`tls.ca`"), "{output:?}");
}

/// MQTT over WebSocket, in front of a broker that has none.
async fn websocket(broker: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                #[allow(clippy::result_large_err, reason = "so the library has it")]
                let accept = |request: &Request, mut response: Response| {
                    assert_eq!(request.uri().path(), "/mqtt");
                    let protocol = request.headers()["sec-websocket-protocol"].clone();
                    response.headers_mut().insert("sec-websocket-protocol", protocol);
                    Ok(response)
                };
                let (mut to_client, mut from_client) =
                    tokio_tungstenite::accept_hdr_async(stream, accept).await.unwrap().split();
                let broker = tokio::net::TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
                let (mut from_broker, mut to_broker) = broker.into_split();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(bytes @ 1..) = from_broker.read(&mut buffer).await {
                        let message = Message::Binary(buffer[..bytes].to_vec().into());
                        if to_client.send(message).await.is_err() {
                            return;
                        }
                    }
                });
                while let Some(Ok(message)) = from_client.next().await {
                    if to_broker.write_all(&message.into_data()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn websocket_reaches_the_broker() {
    let broker = Mosquitto::start().await;
    let port = websocket(broker.port()).await;
    for version in ["3.1.1", "5"] {
        let more = format!("      version: \"{version}\"\n");
        let butler = Butler::start(&instance("mqtt", &format!("ws://127.0.0.1:{port}/mqtt"), "", &more)).await;
        alert(&butler, &broker).await;
    }
}
