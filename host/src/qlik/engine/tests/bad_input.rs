//! An engine that does not do what it should.

use std::time::Duration;

use qlik_simulator::{AppContents, EngineFault};

use super::*;

/// A time that is over soon.
const SHORT: Duration = Duration::from_millis(150);

async fn error_of(lab: &Lab, limits: EngineLimits, fault: EngineFault) -> EngineError {
    lab.simulated().clear_faults();
    lab.simulated().add_fault(fault);
    let error = lab.engine_with(limits).dump(APP).await.unwrap_err();
    lab.simulated().clear_faults();
    error
}

#[tokio::test]
async fn an_engine_that_never_answers_is_given_up_in_time() {
    let lab = lab().await;
    let short = EngineLimits { call: SHORT, ..limits() };
    let error = error_of(&lab, short, EngineFault::silent().on("GetLayout")).await;
    assert_eq!(error, EngineError::Late { method: "GetLayout", limit: SHORT });
    let error = error_of(&lab, short, EngineFault::silent().on("OpenDoc")).await;
    assert_eq!(error, EngineError::Late { method: "OpenDoc", limit: SHORT });
    let error = error_of(&lab, short, EngineFault::half_frame().on("GetScript")).await;
    assert_eq!(error, EngineError::Late { method: "GetScript", limit: SHORT });
    assert!(lab.close_codes().await.iter().all(|code| *code == Some(1000)));

    let short = EngineLimits { connect: SHORT, ..limits() };
    let error = error_of(&lab, short, EngineFault::no_handshake()).await.to_string();
    assert!(error.contains("no session within"), "{error}");
}

#[tokio::test]
async fn an_engine_that_gives_no_sign_of_life_is_dead() {
    let lab = lab().await;
    let limits = EngineLimits { ping: Duration::from_millis(20), silence: SHORT, close: SHORT, ..limits() };
    let error = error_of(&lab, limits, EngineFault::deaf().on("GetScript")).await.to_string();
    assert!(error.contains("nothing came from it"), "{error}");
    // Pongs are signs of life.
    lab.simulated().add_fault(EngineFault::delay(SHORT * 4).on("GetScript"));
    lab.engine_with(limits).dump(OTHER_APP).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_breaks_off_is_told_as_that() {
    let lab = lab().await;
    for fault in [EngineFault::broken(), EngineFault::close(1001), EngineFault::close(1011)] {
        let error = error_of(&lab, limits(), fault.on("GetObject")).await;
        assert!(matches!(&error, EngineError::Unreachable { reason, .. } if reason.contains("restart")), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let lab = lab().await;
    let error = error_of(&lab, limits(), EngineFault::huge(50 << 20).on("GetScript")).await;
    assert_eq!(
        error.to_string(),
        "a message of the engine is larger than 16 MB, which Butler does not take into memory"
    );
    lab.close_codes().await;
    // Many messages of a proper size.
    lab.simulated().set_usual_contents(AppContents { sheets: 50, padding: 100_000, ..AppContents::default() });
    let error = lab.engine_with(EngineLimits { dump: 4 << 20, ..limits() }).dump(APP).await.unwrap_err();
    assert!(matches!(error, EngineError::TooLarge { limit: 4_194_304, .. }), "{error}");
    assert!(lab.engine().dump(APP).await.unwrap().json.len() > 5_000_000);
    assert_eq!(lab.close_codes().await.last(), Some(&Some(1000)));
}

#[tokio::test]
async fn answers_of_another_form_are_errors_that_name_the_call() {
    let lab = lab().await;
    let error = error_of(&lab, limits(), EngineFault::not_json().on("GetObject")).await.to_string();
    assert!(error.contains("no JSON"), "{error}");
    for method in
        ["OpenDoc", "GetScript", "CreateSessionObject", "GetLayout", "GetObject", "GetProperties", "GetConnections"]
    {
        let error = error_of(&lab, limits(), EngineFault::odd().on(method)).await;
        assert!(matches!(error, EngineError::Odd { method: of, .. } if of == method), "{method}: {error}");
    }
    let error = error_of(&lab, limits(), EngineFault::null_handle().on("GetMeasure").first(1)).await;
    assert_eq!(error, EngineError::Gone { method: "GetMeasure", id: "measure-0".to_owned() });
    assert!(lab.close_codes().await.iter().all(|code| *code == Some(1000)), "{:?}", lab.close_codes().await);
}

#[tokio::test]
async fn apps_that_are_missing_locked_or_denied_say_so() {
    let lab = lab().await;
    let engine = lab.engine();
    let error = engine.dump("7a0b4cbb-0000-4000-8000-000000000000").await.unwrap_err();
    assert_eq!(code(&error), Some(1003), "{error}");
    assert!(error.to_string().contains("there is no such app"), "{error}");
    lab.simulated().lock_app(APP);
    let error = engine.dump(APP).await.unwrap_err();
    assert_eq!(code(&error), Some(1009), "{error}");
    lab.simulated().deny_app(OTHER_APP);
    let error = engine.dump(OTHER_APP).await.unwrap_err();
    assert_eq!(code(&error), Some(5), "{error}");
    assert!(engine.apps().await.unwrap().iter().all(|app| app.id != OTHER_APP));
    assert!(lab.close_codes().await.iter().all(|code| *code == Some(1000)));
}

#[tokio::test]
async fn any_failing_call_but_that_for_lineage_fails_the_dump() {
    let lab = lab().await;
    for method in ["GetAppProperties", "GetLayout", "GetFullPropertyTree", "GetVariableById", "GetConnection"] {
        let error = error_of(&lab, limits(), EngineFault::refuse(9003, "Resource not found").on(method)).await;
        assert_eq!(code(&error), Some(9003), "{method}: {error}");
    }
    lab.simulated().add_fault(EngineFault::refuse(9003, "Resource not found").on("GetLineage"));
    assert_eq!(json(&lab.engine().dump(APP).await.unwrap()).get("lineage"), None);
}
