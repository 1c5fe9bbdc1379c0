//! Mail.

use std::process::Command;
use std::sync::Arc;

use e2e::qlik::Site;
use e2e::{Butler, MailServer, Sense, butler_exe, failure};
use serde_json::json;
use tempfile::TempDir;

use super::{SECRET, closed, is_clean, logged, says, write};

#[tokio::test]
async fn an_owner_without_an_address_is_named() {
    let sense = Sense::start().await;
    let email = format!(
        "plugins:\n  - use: email\n    settings: {{ smtp: {{ host: 127.0.0.1, port: {}, tls: none }}, from: b@acme.test, owner: {{}} }}\n",
        closed()
    );
    let butler = sense.butler(&email).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER))]);
    let said = logged(&butler, "has no mail address in the user directory").await;
    says(&said, &["email", "the app's owner, Bo Lind, has no mail address"]);
}

/// Nobody else is kept from a mail by it, which `email` tries.
#[tokio::test]
async fn a_task_that_names_no_recipient_is_told() {
    let sense = Sense::start().await;
    let email = format!(
        "plugins:\n  - use: email\n    settings: {{ smtp: {{ host: 127.0.0.1, port: {}, tls: none }}, from: b@acme.test, \
         recipientsFromProperty: Butler_Mail }}\n",
        closed()
    );
    let butler = sense.butler(&email).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let said = logged(&butler, "nobody is to get a mail about this event").await;
    says(&said, &["email", "Butler_Mail"]);
}

/// The name of Microsoft's server is known here as this machine's: in a view of the files of its own, the file of names is another.
#[tokio::test]
async fn microsoft_refuses_a_password() {
    let server =
        MailServer::with(json!({ "tls": "none", "auth": ["PLAIN"], "user": "qlik", "password": "another" })).await;
    let folder = Arc::new(TempDir::new().unwrap());
    let names = folder.path().join("hosts");
    std::fs::write(&names, "127.0.0.1 localhost smtp.office365.com\n").unwrap();
    let config = format!(
        "plugins:\n  - use: email\n    settings:\n      smtp: {{ host: smtp.office365.com, port: {}, tls: none, auth: {{ user: qlik, \
         password: \"${{env:WORD}}\", allowPlainText: true }} }}\n      from: b@acme.test\n      recipients: [ann@acme.test]\n",
        server.port()
    );
    let path = write(folder.path(), &config);
    let mut command = Command::new("unshare");
    let script = format!(
        "mount --bind '{}' /etc/hosts && exec '{}' check -c '{}'",
        names.display(),
        butler_exe().display(),
        path.display()
    );
    command.args(["--mount", "sh", "-c", &script]).env("WORD", SECRET);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("unshare of util-linux is installed, as it is on every Debian");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    says(&text, &["smtp.office365.com", "refuses the login", "535", "SMTP AUTH", "`smtp.auth.oauth` is what lasts"]);
    is_clean(&text);
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_password_is_not_told_when_it_is_refused() {
    let server =
        MailServer::with(json!({ "tls": "none", "auth": ["PLAIN"], "user": "qlik", "password": "another" })).await;
    let config = format!(
        "plugins:\n  - use: email\n    settings:\n      smtp: {{ host: 127.0.0.1, port: {}, tls: none, auth: {{ user: qlik, \
         password: \"${{env:WORD}}\", allowPlainText: true }} }}\n      from: b@acme.test\n      recipients: [ann@acme.test]\n",
        server.port()
    );
    let butler = Butler::start_with(&config, &[("WORD", SECRET)]).await;
    butler.send(&[failure(&e2e::fields())]);
    let said = logged(&butler, "refuses the login").await;
    says(&said, &[&format!("127.0.0.1:{}", server.port()), "535"]);
    is_clean(&butler.log());
}
