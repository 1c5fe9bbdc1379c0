//! Lists of what has ended.

use std::time::{Duration, SystemTime};

use qlik_simulator::{Run, Status};

use super::super::{Ended, QlikError};
use super::*;

#[tokio::test]
async fn what_ended_in_a_window_is_listed_and_too_much_is_an_error() {
    let lab = lab(Options::default()).await;
    let lookups = lab.lookups();
    let now = lookups.server_time().await.unwrap().expect("the server tells its time");
    assert!((now - Timestamp::now().as_millisecond()).abs() < 60_000);
    let site = lab.simulator.site();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_600_000);
    for (n, status) in
        [(0, Status::FinishedFail), (1, Status::Aborted), (2, Status::Started), (3, Status::FinishedSuccess)]
    {
        let run = Run::new(status).ending_at(end + Duration::from_secs(n));
        site.run_task(Site::SAMPLE_RELOAD_TASK, &format!("aaaaaaaa-4d1e-4b0f-8f52-3a9f0d8a6c0{n}"), run).unwrap();
    }
    let from = 1_772_600_000_000;
    let outcomes = |ended: Vec<Ended>| ended.into_iter().map(|one| one.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(lookups.ended(from, from + 10_000).await.unwrap()), ["failed", "aborted", "succeeded"]);
    assert_eq!(
        outcomes(lookups.ended(from + 1, from + 3_000).await.unwrap()),
        ["aborted"],
        "from inclusive, to exclusive"
    );
    let listed = lookups.ended(from, from + 1).await.unwrap().remove(0);
    assert_eq!(listed.execution_id.as_deref(), Some("aaaaaaaa-4d1e-4b0f-8f52-3a9f0d8a6c00"));
    assert_eq!(lookups.attempts(&listed).await.unwrap(), std::slice::from_ref(&listed));
    assert_eq!(outcomes(lookups.ended_of(&[listed.result_id.clone(), "'".to_owned()]).await.unwrap()), ["failed"]);

    for n in 0..300 {
        let run = Run::new(Status::FinishedFail).ending_at(end + Duration::from_millis(n * 10));
        site.run_task(Site::SAMPLE_RELOAD_TASK, &format!("bbbbbbbb-4d1e-4b0f-8f52-3a9f0d8a{n:04}"), run).unwrap();
    }
    let error = lookups.ended(from, from + 10_000).await.unwrap_err();
    assert!(matches!(error, QlikError::TooLarge { .. }), "{error}");
    assert_eq!(lookups.ended(from, from + 500).await.unwrap().len(), 51);
}
