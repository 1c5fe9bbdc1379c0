//! Look-ups in a simulated tenant over real TLS.

use std::time::Instant;

use butler_plugin_api::{CloudReload, Owner};
use qlik_simulator::{CloudCall, CloudFault, CloudSimulator, FailedReload};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::qlik::Enriched;
use butler_plugin_api::{App, Data};

const PATIENCE: Duration = Duration::from_secs(20);

struct Lab {
    tenant: CloudSimulator,
    cloud: Arc<Cloud>,
    folder: TempDir,
}

async fn lab() -> Lab {
    let tenant = CloudSimulator::start("acme-id").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), tenant.root_pem()).unwrap();
    let cloud = Cloud::new(&config(&tenant, &folder, CloudSimulator::TOKEN)).unwrap();
    Lab { tenant, cloud, folder }
}

fn config(tenant: &CloudSimulator, folder: &TempDir, token: &str) -> Config {
    serde_json::from_value(json!({
        "version": 1,
        "tls": { "lab": { "ca": folder.path().join("ca.pem") } },
        "qlikCloud": { "tenants": [{ "id": tenant.id(), "url": tenant.url(), "token": token, "tls": "lab" }] },
    }))
    .unwrap()
}

fn heard(reload: &FailedReload) -> Data {
    let owner = Owner { id: reload.owner_id.clone(), ..Owner::default() };
    let app = App { id: reload.app_id.clone(), name: "Heard".to_owned(), owner: Some(owner), ..App::default() };
    let cloud = CloudReload {
        tenant_id: Some("acme-id".to_owned()),
        reload_id: Some(reload.reload_id.clone()),
        ..CloudReload::default()
    };
    Data {
        app: Some(Box::new(app)),
        user: Some(reload.user_id.clone()),
        cloud: Some(Box::new(cloud)),
        ..Data::default()
    }
}

impl Lab {
    async fn enrich(&self, data: &Data) -> Enriched {
        self.cloud.enrich(data, "cloud-app-reload.failed", true, PATIENCE).await
    }

    /// All requests so far.
    fn requests(&self) -> usize {
        self.tenant.seen().len()
    }
}

#[tokio::test]
async fn all_facts_take_six_calls_also_for_many_events_at_once() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    let data = heard(&reload);
    let out = lab.enrich(&data).await;
    assert!(out.missing.is_empty() && out.transient.is_none() && !out.not_yet, "{out:?}");
    let facts = serde_json::to_value(&out.data).unwrap();
    assert_eq!(facts["app"]["tags"], json!(["finance", "Butler - Send Teams alert"]));
    assert_eq!((&facts["app"]["fileSizeBytes"], &facts["app"]["name"]), (&json!(1_234_567), &json!("Orders")));
    let owner = &facts["app"]["owner"];
    assert_eq!((&owner["name"], &owner["emails"]), (&json!("Ann Berg"), &json!(["ann.berg@example.com"])));
    assert_eq!((&owner["userId"], &owner["id"]), (&json!(reload.owner_id), &json!(reload.owner_id)));
    let execution = &facts["execution"];
    assert_eq!((&execution["statusText"], &execution["durationMs"]), (&json!("FAILED"), &json!(5_250)));
    let cloud = &facts["cloud"];
    assert_eq!((&cloud["userName"], &cloud["reloadTrigger"]), (&json!("Bo Lund"), &json!("chronos")));
    assert_eq!(cloud["appThumbnail"], json!(format!("{}/thumbnails/orders.png", lab.tenant.url())));
    let log = out.script_log.unwrap();
    assert_eq!((log.rows, log.text.lines().count()), (5, 4));
    assert!(!log.text.contains('\r') && log.text.starts_with("20250309T140501"));

    futures_util::future::join_all((0..50).map(|_| lab.enrich(&data))).await;
    assert_eq!(lab.requests(), 6, "what was found is kept");
    let other = heard(&lab.tenant.fail_reload("Sales"));
    futures_util::future::join_all((0..50).map(|_| lab.enrich(&other))).await;
    assert_eq!(lab.requests(), 12, "who asks at the same time shares the call");
}

#[tokio::test]
async fn each_call_goes_with_the_token_and_nothing_odd_in_its_path() {
    let lab = lab().await;
    let mut data = heard(&lab.tenant.fail_reload("Orders"));
    data.app.as_mut().unwrap().id = "../users/me".to_owned();
    data.user = Some("..".to_owned());
    data.cloud.as_mut().unwrap().reload_id = Some("a/../../users/me?x=ä#".to_owned());
    let out = lab.enrich(&data).await;
    assert_eq!(out.missing, ["execution", "app", "tags", "user", "scriptLog"]);
    let targets: Vec<String> = lab.tenant.seen().into_iter().map(|(_, request)| request.target).collect();
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert!(targets.contains(&"/api/v1/reloads/a%2F..%2F..%2Fusers%2Fme%3Fx=%C3%A4%23".to_owned()), "{targets:?}");
    for (_, request) in lab.tenant.seen() {
        assert_eq!(request.header("authorization"), Some("Bearer token-of-the-simulated-tenant"));
    }
}

#[tokio::test]
async fn a_reload_told_of_by_the_service_leads_to_its_app_owner_and_user() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    let mut data = heard(&reload);
    (data.app, data.user) = (None, None);
    let out = lab.enrich(&data).await;
    assert!(out.missing.is_empty(), "{out:?}");
    let facts = serde_json::to_value(&out.data).unwrap();
    assert_eq!((&facts["app"]["name"], &facts["app"]["owner"]["name"]), (&json!("Orders"), &json!("Ann Berg")));
    assert_eq!((&facts["user"], &facts["cloud"]["userName"]), (&json!(reload.user_id), &json!("Bo Lund")));
    assert_eq!(facts["cloud"]["appUrl"], json!(format!("{}/sense/app/{}", lab.tenant.url(), reload.app_id)));
}

#[tokio::test]
async fn what_one_call_does_not_give_is_missing_alone() {
    for (call, missing, transient) in [
        (CloudCall::Reload, vec!["execution"], true),
        (CloudCall::App, vec!["app"], true),
        (CloudCall::Items, vec!["tags"], true),
        (CloudCall::User, vec!["owner", "user"], true),
        (CloudCall::ScriptLog, vec!["scriptLog"], true),
    ] {
        for fault in [
            CloudFault::status(500),
            CloudFault::nonsense(),
            CloudFault::cut(20),
            CloudFault::redirect("https://elsewhere.test/"),
        ] {
            let lab = lab().await;
            let data = heard(&lab.tenant.fail_reload("Orders"));
            lab.tenant.add_fault(fault.clone().on(call));
            let out = lab.enrich(&data).await;
            assert_eq!((&out.missing, out.transient.is_some()), (&missing, transient), "{call:?} {fault:?}: {out:?}");
            assert_eq!(out.data.app.as_ref().unwrap().name, if call == CloudCall::App { "Heard" } else { "Orders" });
        }
    }
}

#[tokio::test]
async fn what_the_tenant_does_not_have_or_not_give_is_not_waited_for() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    lab.tenant.remove("apps", &reload.app_id);
    lab.tenant.remove("items", &reload.app_id);
    lab.tenant.add_fault(CloudFault::status(403).on(CloudCall::User));
    let out = lab.enrich(&heard(&reload)).await;
    assert_eq!(
        (out.missing.as_slice(), out.transient, out.not_yet),
        (&["app", "tags", "owner", "user"][..], None, false)
    );
    assert_eq!(out.data.app.unwrap().owner.unwrap().id, reload.owner_id);
    let state = lab.cloud.states().next().unwrap();
    assert_eq!((state.refusals, state.refused, state.gate.reachable), (2, None, true));

    // What is written late is asked for again, and then there.
    let late = lab.tenant.fail_reload("Orders");
    lab.tenant.change("reloads", &late.reload_id, |reload| reload["status"] = json!("RELOADING"));
    lab.tenant.clear_faults();
    assert!(lab.enrich(&heard(&late)).await.not_yet);
    lab.tenant.change("reloads", &late.reload_id, |reload| reload["status"] = json!("FAILED"));
    let out = lab.enrich(&heard(&late)).await;
    assert!(!out.not_yet && out.missing.is_empty(), "{out:?}");
    lab.tenant.remove("logs", &late.reload_id);
    let later = lab.tenant.fail_reload("Orders");
    lab.tenant.remove("logs", &later.reload_id);
    let out = lab.enrich(&heard(&later)).await;
    assert_eq!((out.missing.as_slice(), out.not_yet), (&["scriptLog"][..], true));
}

#[tokio::test]
async fn a_tenant_that_has_had_enough_is_left_alone_as_long_as_it_says() {
    let limited = CloudFault::status(429).first(1);
    for fault in [limited.clone().retry_after("1"), limited.retry_at(Duration::from_secs(2))] {
        let lab = lab().await;
        let data = heard(&lab.tenant.fail_reload("Orders"));
        lab.tenant.add_fault(fault.clone());
        let begun = Instant::now();
        let out = lab.enrich(&data).await;
        assert!(matches!(out.transient, Some(QlikError::Cloud(CloudError::Limited { .. }))), "{fault:?}: {out:?}");
        let asked = lab.requests();
        let paused = loop {
            let out = lab.enrich(&data).await;
            if out.missing.is_empty() {
                break begun.elapsed();
            }
            // Those that were under way when the answer came are no new ones.
            assert!(lab.requests() <= asked, "asked in the pause: {}", lab.requests());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(paused >= Duration::from_secs(1), "{fault:?}: {paused:?}");
        assert!(lab.cloud.states().next().unwrap().gate.reachable);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_with_a_remedy_and_not_shown_again_and_again() {
    let lab = lab().await;
    let data = heard(&lab.tenant.fail_reload("Orders"));
    lab.tenant.set_token("another");
    let out = lab.enrich(&data).await;
    let error = out.transient.expect("it may pass").to_string();
    assert!(error.contains("it has expired") && !error.contains(CloudSimulator::TOKEN), "{error}");
    let asked = lab.requests();
    for _ in 0..20 {
        lab.enrich(&data).await;
    }
    assert_eq!(lab.requests(), asked, "it is left alone for some seconds");
    let state = lab.cloud.states().next().unwrap();
    assert!(state.refused.is_some_and(|text| text.contains("make a new one")) && state.refusals >= 1);
    let error = lab.cloud.probe("acme-id").await.unwrap_err().to_string();
    assert!(error.contains("refuses Butler's token"), "{error}");
    lab.tenant.set_token(CloudSimulator::TOKEN);
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert!(lab.enrich(&data).await.missing.is_empty());
    assert_eq!(lab.cloud.states().next().unwrap().refused, None);
}

#[tokio::test]
async fn a_tenant_that_is_away_costs_one_try_and_then_none_for_a_while() {
    let lab = lab().await;
    let data = heard(&lab.tenant.fail_reload("Orders"));
    lab.tenant.stop().await;
    let out = lab.enrich(&data).await;
    assert_eq!(out.missing, ["execution", "app", "tags", "owner", "user", "scriptLog"]);
    assert!(out.transient.is_some() && !lab.cloud.states().next().unwrap().gate.reachable);
    let error = lab.enrich(&data).await.transient.unwrap();
    assert!(matches!(error, QlikError::Gated { .. }) && error.to_string().contains("acme-id"), "{error}");
    lab.tenant.restart().await.unwrap();
    let until = Instant::now() + PATIENCE;
    while !lab.enrich(&data).await.missing.is_empty() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(lab.cloud.states().next().unwrap().gate.reachable);
}

#[tokio::test]
async fn what_never_ends_or_never_comes_does_not_hold_up_the_rest() {
    let lab = lab().await;
    let data = heard(&lab.tenant.fail_reload("Orders"));
    lab.tenant.add_fault(CloudFault::endless().on(CloudCall::Items));
    lab.tenant.add_fault(CloudFault::hang().on(CloudCall::ScriptLog));
    let begun = Instant::now();
    let out = lab.cloud.enrich(&data, "cloud-app-reload.failed", true, Duration::from_secs(2)).await;
    assert_eq!(out.missing, ["tags", "scriptLog"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn long_logs_lose_their_middle() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    let text = "a line of a long log\r\n".repeat(400_000);
    lab.tenant.set_log(&reload.reload_id, &text);
    let log = lab.enrich(&heard(&reload)).await.script_log.unwrap();
    assert!(log.truncated && log.text.len() < 5 << 20, "{}", log.text.len());
    assert_eq!((log.rows, log.characters), (400_001, text.len() as u64));
}

#[tokio::test]
async fn ids_that_differ_in_case_are_two() {
    let lab = lab().await;
    let (one, other) = (lab.tenant.fail_reload("Orders"), lab.tenant.fail_reload("Orders"));
    lab.tenant.change("users", &one.user_id, |user| user["name"] = json!("lower"));
    let mut data = heard(&one);
    assert_eq!(lab.enrich(&data).await.data.cloud.unwrap().user_name.as_deref(), Some("lower"));
    // No user of the tenant has it, though what is kept would.
    data.user = Some(one.user_id.to_uppercase());
    let out = lab.enrich(&data).await;
    assert_eq!(out.missing == ["user"], one.user_id != one.user_id.to_uppercase(), "{out:?}");
    assert_eq!(exact("aB"), "6142");
    drop(other);
}

#[tokio::test]
async fn a_probe_sees_a_wrong_id_a_wrong_token_and_a_foreign_authority() {
    let lab = lab().await;
    assert_eq!(lab.cloud.probe("acme-id").await.unwrap(), "Butler");
    let mut config = config(&lab.tenant, &lab.folder, CloudSimulator::TOKEN);
    config.qlik_cloud.as_mut().unwrap().tenants[0].id = "acme.eu.qlikcloud.com".to_owned();
    let error = Cloud::new(&config).unwrap().probe("acme.eu.qlikcloud.com").await.unwrap_err().to_string();
    assert!(error.contains("its `id` is acme-id"), "{error}");
    config.qlik_cloud.as_mut().unwrap().tenants[0].tls = None;
    let error = Cloud::new(&config).unwrap().probe("acme.eu.qlikcloud.com").await.unwrap_err().to_string();
    assert!(error.contains("gives no answer") && error.contains("UnknownIssuer"), "{error}");
    config.tls.get_mut("lab").unwrap().ca = Some("/nowhere/ca.pem".into());
    config.qlik_cloud.as_mut().unwrap().tenants[0].tls = Some("lab".to_owned());
    let error = Cloud::new(&config).unwrap_err().to_string();
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
}
