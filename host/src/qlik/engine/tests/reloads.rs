//! Reloads.

use std::time::Duration;

use qlik_simulator::{EngineFault, ReloadPlan, ReloadState as Simulated};
use serde_json::json;

use super::*;
use crate::qlik::engine::{ReloadRow, ReloadState};

impl Lab {
    /// Waits for the end of the newest reload.
    async fn ended(&self, engine: &Engine) -> ReloadRow {
        eventually(|| engine.reloads().first().is_some_and(|row| row.ended_ms.is_some())).await;
        self.close_codes().await;
        engine.reloads().remove(0)
    }
}

#[tokio::test]
async fn a_reload_that_succeeds_is_saved_and_starts_the_tasks_for_it() {
    let lab = lab().await;
    lab.simulated().set_reload(APP, ReloadPlan::default().taking(Duration::from_millis(300)));
    let engine = lab.engine();
    engine.reload(ReloadOrder { mode: 2, partial: true, ..order(APP) }).await.unwrap();
    let row = engine.reloads().remove(0);
    assert_eq!((row.app.as_str(), row.mode, row.partial, row.caller.as_str()), (APP, 2, true, "tester"));
    assert!(row.ended_ms.is_none(), "the answer comes before the end: {row:?}");
    eventually(|| engine.reloads()[0].progress.is_some()).await;
    let row = lab.ended(&engine).await;
    assert_eq!((row.state, row.error), (ReloadState::Succeeded, None));
    assert_eq!(row.progress.as_deref(), Some("Orders << orders.qvd 12 lines fetched"));
    assert_eq!(lab.started(), [(vec!["s2".to_owned(), "s1".to_owned()], "tester".to_owned())]);
    let reloads = lab.simulated().reloads();
    assert_eq!(reloads.len(), 1);
    assert_eq!((reloads[0].mode, reloads[0].partial, reloads[0].state), (2, true, Simulated::Saved));
    let methods: Vec<String> = lab.simulated().calls().into_iter().map(|call| call.method).collect();
    assert_eq!(methods[..3], ["EngineVersion", "OpenDoc", "DoReload"]);
    assert_eq!(methods.last().map(String::as_str), Some("DoSave"));
    let opened = lab.simulated().calls().remove(1);
    assert_eq!((opened.path, opened.params), (format!("/app/{APP}"), json!([APP, "", "", "", false])));
    assert_eq!(lab.close_codes().await, [Some(1000)]);
}

#[tokio::test]
async fn a_script_that_fails_is_not_saved_and_starts_the_other_tasks() {
    let lab = lab().await;
    lab.simulated().set_reload(APP, ReloadPlan::failing());
    let engine = lab.engine();
    engine.reload(order(APP)).await.unwrap();
    let row = lab.ended(&engine).await;
    assert_eq!(row.state, ReloadState::Failed);
    let error = row.error.unwrap();
    assert!(error.contains("Field 'Amuont' not found, in `LOAD Amuont FROM orders`"), "{error}");
    eventually(|| !lab.started().is_empty()).await;
    assert_eq!(lab.started(), [(vec!["f1".to_owned()], "tester".to_owned())]);
    assert_eq!(lab.simulated().calls_of("DoSave"), 0);
    assert_eq!(lab.simulated().reloads()[0].state, Simulated::Failed);
    assert_eq!(lab.close_codes().await, [Some(1000)]);
}

#[tokio::test]
async fn errors_and_broken_sessions_are_failures_and_the_session_is_closed() {
    let faults = [
        (EngineFault::refuse(11, "Corrupt data").on("DoReload"), "Corrupt data", true),
        (EngineFault::odd().on("DoReload"), "odd", true),
        (EngineFault::broken().on("DoReload"), "restart", false),
        (EngineFault::close(1011).on("GetProgress"), "1011", false),
        (EngineFault::refuse(1005, "App save failed").on("DoSave"), "App save failed", true),
        (EngineFault::broken().on("DoSave"), "restart", false),
        (EngineFault::silent().on("DoSave"), "DoSave", true),
    ];
    for (fault, word, closed) in faults {
        let lab = lab().await;
        lab.simulated().set_reload(APP, ReloadPlan::default().taking(Duration::from_millis(100)));
        lab.simulated().add_fault(fault);
        let engine = lab.engine_with(EngineLimits { open: Duration::from_millis(500), ..limits() });
        engine.reload(order(APP)).await.unwrap();
        let row = lab.ended(&engine).await;
        assert_eq!(row.state, ReloadState::Failed, "{word}");
        assert!(row.error.as_ref().is_some_and(|error| error.contains(word)), "{word}: {row:?}");
        eventually(|| !lab.started().is_empty()).await;
        assert_eq!(lab.started(), [(vec!["f1".to_owned()], "tester".to_owned())], "{word}");
        assert_eq!(lab.close_codes().await[0] == Some(1000), closed, "{word}");
    }
}

#[tokio::test]
async fn progress_that_is_not_told_does_no_harm() {
    let lab = lab().await;
    lab.simulated().set_reload(APP, ReloadPlan::default().taking(Duration::from_millis(200)));
    lab.simulated().add_fault(EngineFault::refuse(-32_601, "Method not found").on("GetProgress"));
    let engine = lab.engine();
    engine.reload(order(APP)).await.unwrap();
    let row = lab.ended(&engine).await;
    assert_eq!((row.state, row.progress), (ReloadState::Succeeded, None));
    assert!(lab.simulated().calls_of("GetProgress") > 1);
}

#[tokio::test]
async fn what_fails_before_the_app_is_open_is_the_answer_and_starts_nothing() {
    let lab = lab().await;
    let engine = lab.engine();
    let error = engine.reload(order("7a0b4cbb-0000-4000-8000-000000000000")).await.unwrap_err();
    assert_eq!(code(&error), Some(1003), "{error}");
    lab.simulated().lock_app(APP);
    assert_eq!(code(&engine.reload(order(APP)).await.unwrap_err()), Some(1009));
    lab.simulator.stop_engine().await;
    assert!(matches!(engine.reload(order(APP)).await.unwrap_err(), EngineError::Unreachable { .. }));
    let rows = engine.reloads();
    assert!(rows.len() == 3 && rows.iter().all(|row| row.state == ReloadState::Failed && row.error.is_some()));
    assert!(lab.started().is_empty());
    assert_eq!(lab.simulated().reloads().len(), 0);
}

#[tokio::test]
async fn a_second_reload_of_an_app_fails_and_the_first_goes_on() {
    let lab = lab().await;
    lab.simulated().set_reload(APP, ReloadPlan::default().taking(Duration::from_millis(500)));
    let engine = lab.engine();
    engine.reload(order(APP)).await.unwrap();
    eventually(|| lab.simulated().reloads().len() == 1).await;
    engine.reload(order(APP)).await.unwrap();
    // Opened without its data it would be in another mode.
    assert_eq!(code(&engine.dump(APP).await.unwrap_err()), Some(1009));
    lab.close_codes().await;
    eventually(|| lab.started().len() == 2).await;
    let states: Vec<ReloadState> = engine.reloads().iter().map(|row| row.state).collect();
    assert_eq!(states, [ReloadState::Succeeded, ReloadState::Failed]);
    assert_eq!(lab.simulated().reloads()[0].state, Simulated::Saved);
}

#[tokio::test]
async fn a_caller_who_goes_away_stops_nothing() {
    let lab = lab().await;
    lab.simulated().add_fault(EngineFault::delay(Duration::from_millis(200)).on("OpenDoc"));
    let engine = lab.engine();
    let gone = tokio::spawn({
        let engine = engine.clone();
        async move { engine.reload(order(APP)).await }
    });
    eventually(|| lab.simulated().calls_of("OpenDoc") == 1).await;
    gone.abort();
    assert_eq!(lab.ended(&engine).await.state, ReloadState::Succeeded);
    assert_eq!(lab.simulated().reloads()[0].state, Simulated::Saved);
}

#[tokio::test]
async fn more_reloads_than_places_wait_and_not_for_ever() {
    let lab = lab().await;
    lab.simulated().set_reload(APP, ReloadPlan::default().taking(Duration::from_millis(500)));
    let engine = lab.engine_with(EngineLimits { reloads: 1, place: Duration::from_millis(100), ..limits() });
    engine.reload(order(APP)).await.unwrap();
    let error = engine.reload(order(OTHER_APP)).await.unwrap_err();
    assert!(error.is_busy() && error.to_string().contains("all 1 places for reloads"), "{error}");
    let engine = lab.engine_with(EngineLimits { reloads: 1, ..limits() });
    for app in [OTHER_APP, OTHER_APP, OTHER_APP] {
        engine.reload(order(app)).await.unwrap();
    }
    eventually(|| engine.reloads().iter().all(|row| row.state == ReloadState::Succeeded)).await;
    // Lists and dumps have places of their own.
    engine.apps().await.unwrap();
}

#[tokio::test]
async fn a_stop_gives_reloads_up_and_starts_nothing() {
    let lab = lab().await;
    lab.simulated().set_reload(APP, ReloadPlan::default().taking(Duration::from_mins(10)));
    let engine = lab.engine();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(engine.clone().run(stopping));
    engine.reload(order(APP)).await.unwrap();
    eventually(|| lab.simulated().reloads().len() == 1).await;
    stop.send_replace(true);
    running.await.unwrap();
    let row = engine.reloads().remove(0);
    assert!(row.error.as_ref().is_some_and(|error| error.contains("given up")), "{row:?}");
    assert_eq!(lab.simulated().reloads()[0].state, Simulated::Aborted);
    assert_eq!(lab.close_codes().await, [Some(1000)]);
    assert!(lab.started().is_empty());
}

#[tokio::test]
async fn the_last_hundred_are_remembered() {
    let lab = lab().await;
    lab.simulator.stop_engine().await;
    let engine = lab.engine();
    for n in 0..103 {
        engine.reload(order(&format!("app-{n}"))).await.unwrap_err();
    }
    let rows = engine.reloads();
    assert_eq!((rows.len(), rows[0].app.as_str(), rows[99].app.as_str()), (100, "app-102", "app-3"));
}
