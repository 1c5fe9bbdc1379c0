//! Qlik Sense.

use e2e::qlik::{Endpoint, Fault, Site};
use e2e::{Sense, failure, http};
use tempfile::TempDir;

use super::{check, closed, line, logged, says};

#[tokio::test]
async fn the_repository_in_trouble() {
    let sense = Sense::start().await;
    let config = sense.section("");
    let server = sense.addr().to_string();
    for (fault, parts) in [
        (Fault::status(401), &["answers 401 to `", "check that `qlik.user` exists", "certificate is of this site"][..]),
        (Fault::status(403), &["answers 403 to `", "`qlik.user` exists and may read this"]),
        (Fault::status(500), &["answers 500 to `", "the repository's log on the Sense server"]),
        (Fault::status(503), &["answers 503 to `", "overloaded or starting"]),
        (Fault::redirect("https://proxy.test/"), &["answers 302 to `", "`ports.repository`", "not to the proxy"]),
        (Fault::nonsense(), &["is not JSON but begins with", "`ports.repository`"]),
        (
            Fault::cut(10),
            &[
                &server,
                "gives no answer: the connection broke",
                "TLS close_notify (did the repository service restart?)",
            ],
        ),
        (Fault::reset(), &[&server, "gives no answer: the connection broke", "did the repository service restart?"]),
    ] {
        sense.faults().clear();
        sense.faults().add(fault);
        let output = check(sense.folder(), &config).await;
        assert_eq!(output.code, 1, "{output:?}");
        says(line(&output, "qlik"), parts);
    }
    sense.faults().clear();
    sense.stop().await;
    let output = check(sense.folder(), &config).await;
    let remedy = ["check `qlik.host`, `ports.repository`, the firewall, and that the repository service runs"];
    says(line(&output, "qlik"), &[&server, "gives no answer", "refused", remedy[0]]);

    let unknown = config.replace("host: 127.0.0.1", "host: no-such-host.invalid");
    let output = check(sense.folder(), &unknown).await;
    says(line(&output, "qlik"), &["no-such-host.invalid", "its name cannot be resolved", "check `qlik.host`"]);
}

/// As long as one waits for an answer: half a minute.
#[tokio::test]
async fn a_repository_that_hangs() {
    let sense = Sense::start().await;
    sense.faults().add(Fault::hang().first(1));
    let output = check(sense.folder(), &sense.section("")).await;
    assert_eq!(output.code, 1, "{output:?}");
    let server = sense.addr().to_string();
    let remedy = "no answer in time (is the server overloaded, or does a firewall drop packets?)";
    says(line(&output, "qlik"), &[&server, "gives no answer", remedy]);
}

#[tokio::test]
async fn a_look_up_that_fails_is_in_the_log_with_its_reason() {
    let sense = Sense::start().await;
    sense.faults().add(Fault::status(403));
    let butler = sense.butler("enrich: { giveUpAfter: 1s }\nplugins:\n  - use: console\n").await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let line = logged(&butler, "goes on without the facts").await;
    says(&line, &["answers 403 to `", "check that `qlik.user` exists and may read this", "missing"]);
}

#[tokio::test]
async fn an_engine_that_is_away() {
    let sense = Sense::start().await;
    sense.stop_engine().await;
    let output = check(sense.folder(), &sense.section("")).await;
    let address = sense.engine_addr().to_string();
    says(
        line(&output, "engine"),
        &[&address, "gives no answer", "check `qlik.host`, `ports.engine`", "engine service runs"],
    );
    let butler = sense.butler("").await;
    let (status, answer) = butler.get("/v4/apps/list").await;
    assert!(status >= 500, "{status} {answer}");
    says(&answer.to_string(), &[&address, "`ports.engine`", "that the engine service runs"]);
}

#[tokio::test]
async fn a_task_that_is_not_started_says_why() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let start = async |task: &str| {
        let url = format!("{}/v4/reloadtask/{task}/start", butler.rest());
        http().put(url).bearer_auth(butler.token()).send().await.unwrap();
    };
    start(Site::SAMPLE_DISABLED_TASK).await;
    says(
        &logged(&butler, "since it is disabled").await,
        &["was not started", Site::SAMPLE_DISABLED_TASK, "enable it in the QMC"],
    );
    sense.site().set_scheduler(false);
    start(Site::SAMPLE_RELOAD_TASK).await;
    let line = logged(&butler, "no scheduler was free").await;
    // Qlik Sense has one answer for both.
    says(
        &line,
        &[
            "was not started",
            Site::SAMPLE_RELOAD_TASK,
            "or its app is not available",
            "the scheduler's log on the Sense server says more",
        ],
    );
    start("5d2f9a10-7c3b-4e6a-9d41-ffffffffffff").await;
    let line = logged(&butler, "-ffffffffffff").await;
    says(&line, &["were not started", "Qlik Sense has no task with this id"]);
}

#[tokio::test]
async fn a_script_log_that_cannot_be_had() {
    let sense = Sense::start().await;
    for call in [Endpoint::ScriptLog, Endpoint::ScriptLogFile] {
        sense.faults().add(Fault::status(500).on(call));
    }
    let teams =
        format!("plugins:\n  - use: teams\n    settings: {{ webhookUrl: \"http://127.0.0.1:{}/\" }}\n", closed());
    let butler = sense.butler(&format!("enrich: {{ giveUpAfter: 1s }}\n{teams}")).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let line = logged(&butler, "answers 500 to `").await;
    says(&line, &["scriptLog", "the repository's log on the Sense server"]);
}

#[tokio::test]
async fn a_dictionary_that_cannot_be_read() {
    let sense = Sense::start().await;
    sense.faults().add(Fault::status(403).on(Endpoint::Enums));
    let butler = sense.butler("").await;
    let fields = sense.failed(Site::SAMPLE_RELOAD_TASK);
    sense.faults().add(Fault::altered(change_status).on(Endpoint::ExecutionResultFull));
    butler.send(&[failure(&fields)]);
    let line = logged(&butler, "stays without its name").await;
    says(&line, &["answers 403 to `about/api/enums`", "`qlik.user`"]);
}

/// A status that Butler does not know.
fn change_status(answer: &mut serde_json::Value) {
    match answer {
        serde_json::Value::Array(items) => items.iter_mut().for_each(change_status),
        serde_json::Value::Object(entries) => {
            if let Some(status) = entries.get_mut("status").filter(|status| status.is_number()) {
                *status = 99.into();
            }
            entries.values_mut().for_each(change_status);
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_version_has_a_port_of_its_own() {
    let sense = Sense::start().await;
    let config = sense.section("");
    let port = sense.system_info_addr().port();
    let shut = closed();
    let config = config.replace(&format!("systemInfo: {port}"), &format!("systemInfo: {shut}"));
    let output = check(sense.folder(), &format!("{config}plugins:\n  - use: server-version\n")).await;
    assert!(line(&output, "qlik").starts_with("ok"), "{output:?}");
    let said = line(&output, "instance server-version");
    says(
        said,
        &[
            "version of Qlik Sense cannot be read",
            &format!("127.0.0.1:{shut}"),
            "`ports.systemInfo`",
            "the service dispatcher runs",
        ],
    );
}

#[tokio::test]
async fn certificates_that_are_not_there() {
    let sense = Sense::start().await;
    let folder = TempDir::new().unwrap();
    let output = check(folder.path(), &sense.section("")).await;
    let said = line(&output, "qlik certificates");
    says(
        said,
        &[
            "the certificate file",
            "certificates/client.pem",
            "cannot be read",
            "is the path right, and may Butler read",
        ],
    );
}
