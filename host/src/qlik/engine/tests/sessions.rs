//! How sessions begin and end.

use std::time::{Duration, SystemTime};

use qlik_simulator::{AppContents, Certificates, Ends, EngineFault};

use super::*;

#[tokio::test]
async fn certificates_of_another_site_are_refused_by_either_side_and_told_apart() {
    let lab = lab().await;
    let other = Certificates::generate().unwrap();
    let file = |name: &str| lab.folder.path().join(name);
    std::fs::write(file("root.pem"), other.root_pem()).unwrap();
    let error = lab.engine().apps().await.unwrap_err().to_string();
    assert!(error.contains("its certificate is not from the authority in `certificates.ca`"), "{error}");

    std::fs::write(file("root.pem"), lab.simulator.certificates().root_pem()).unwrap();
    std::fs::write(file("client.pem"), other.client_pem()).unwrap();
    std::fs::write(file("client_key.pem"), other.client_key_pem()).unwrap();
    let error = lab.engine().apps().await.unwrap_err().to_string();
    assert!(error.contains("it refuses our client certificate"), "{error}");
    assert_eq!(lab.simulated().ended_sessions().len(), 0);
}

#[tokio::test]
async fn an_old_certificate_needs_verify_chain() {
    let mut lab = lab_with(Options::default().without_subject_alt_name()).await;
    let error = lab.engine().apps().await.unwrap_err().to_string();
    assert!(error.contains("`verify: chain`"), "{error}");
    lab.config.verify = config::Verify::Chain;
    lab.engine().apps().await.unwrap();
}

#[tokio::test]
async fn renewed_certificates_are_used_at_the_first_refusal() {
    let yesterday = SystemTime::now() - Duration::from_hours(24);
    let expired = Certificates::ending(Ends { client: Some(yesterday), ..Ends::default() }).unwrap();
    let lab = lab_with(Options::default().certificates(expired.clone())).await;
    let engine = lab.engine();
    let error = engine.apps().await.unwrap_err().to_string();
    assert!(error.contains("it refuses our client certificate"), "{error}");
    expired.renew_client(None).unwrap().write_to(lab.folder.path()).unwrap();
    // The files are not looked at more often than this.
    tokio::time::sleep(Duration::from_millis(550)).await;
    engine.apps().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_away_or_another_server_is_named() {
    let lab = lab().await;
    let engine = lab.engine();
    lab.simulator.stop_engine().await;
    let error = engine.apps().await.unwrap_err().to_string();
    assert!(error.contains(&lab.simulator.engine_addr().to_string()) && error.contains("`ports.engine`"), "{error}");
    lab.simulator.restart_engine().await.unwrap();
    engine.apps().await.unwrap();

    let mut other = lab.config.clone();
    other.ports.engine = lab.simulator.addr().port();
    let repository = Arc::new(Repository::new(&other).unwrap());
    let nobody: FollowUp = Arc::new(|_, _| Box::pin(std::future::ready(())));
    let engine = Engine::new(&other, repository, Arc::default(), nobody);
    let error = engine.apps().await.unwrap_err().to_string();
    assert!(error.contains("`ports.engine`"), "{error}");
    for (status, word) in
        [(403, "`qlik.user`"), (302, "not to the proxy"), (503, "overloaded"), (404, "`ports.engine`")]
    {
        lab.simulated().add_fault(EngineFault::status(status).first(1));
        let error = lab.engine().apps().await.unwrap_err().to_string();
        assert!(error.contains(&status.to_string()) && error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn notifications_that_end_a_session_are_its_error() {
    let lab = lab().await;
    let cases = [
        ("OnNoEngineAvailable", serde_json::json!({}), "no engine has room"),
        ("OnSessionTimedOut", serde_json::json!({ "message": "bye" }), "bye"),
        ("OnLicenseAccessDenied", serde_json::json!({}), "licence"),
        ("OnAuthenticationInformation", serde_json::json!({ "mustAuthenticate": true }), "not to the proxy"),
        ("OnConnected", serde_json::json!({ "qSessionState": "SESSION_ERROR_NO_LICENSE" }), "SESSION_ERROR_NO_LICENSE"),
    ];
    for (method, params, word) in cases {
        lab.simulated().add_fault(EngineFault::notify(method, params).first(1));
        let error = lab.engine().dump(APP).await.unwrap_err();
        assert!(matches!(&error, EngineError::Ended { reason, .. } if reason.contains(word)), "{method}: {error}");
    }
}

#[tokio::test]
async fn a_session_too_many_of_the_user_says_so() {
    let lab = lab().await;
    lab.simulated().set_session_limit(1);
    lab.simulated().add_fault(EngineFault::delay(Duration::from_millis(200)).on("GetDocList"));
    let engine = lab.engine();
    let (first, second) = tokio::join!(engine.apps(), async {
        eventually(|| lab.simulated().open_sessions() == 1).await;
        engine.apps().await
    });
    first.unwrap();
    let error = second.unwrap_err().to_string();
    assert!(error.contains("OnMaxParallelSessionsExceeded") && error.contains("`qlik.user` has too many"), "{error}");
    lab.close_codes().await;
    engine.apps().await.unwrap();
}

#[tokio::test]
async fn a_session_is_closed_also_when_its_caller_is_gone_and_its_place_is_free_then() {
    let lab = lab().await;
    lab.simulated().set_usual_contents(AppContents { sheets: 100, ..AppContents::default() });
    lab.simulated().add_fault(EngineFault::silent().on("GetFullPropertyTree"));
    let engine = lab.engine_with(EngineLimits { sessions: 1, ..limits() });
    let gone = tokio::spawn({
        let engine = engine.clone();
        async move { engine.dump(APP).await }
    });
    eventually(|| lab.simulated().calls_of("GetFullPropertyTree") > 0).await;
    gone.abort();
    assert_eq!(lab.close_codes().await, [Some(1000)]);
    engine.apps().await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_what_is_under_way_and_closes_its_sessions() {
    let lab = lab().await;
    lab.simulated().add_fault(EngineFault::silent().on("GetScript"));
    let engine = lab.engine();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(engine.clone().run(stopping));
    let (dump, ()) = tokio::join!(engine.dump(APP), async {
        eventually(|| lab.simulated().calls_of("GetScript") > 0).await;
        stop.send_replace(true);
    });
    assert_eq!(dump.unwrap_err(), EngineError::Stopping);
    running.await.unwrap();
    assert_eq!(lab.simulated().open_sessions(), 0);
    assert_eq!(lab.close_codes().await, [Some(1000)]);
    assert_eq!(engine.reload(order(APP)).await.unwrap_err(), EngineError::Stopping);
}
