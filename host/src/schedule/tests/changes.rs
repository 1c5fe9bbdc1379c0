//! Changes of schedules, and what a start makes of what is stored.

use super::*;
use crate::schedule::file;
use crate::store::ScheduleRow;

#[tokio::test]
async fn schedules_are_changed_all_or_none() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    let two = || vec![schedule(&json!({ "id": "t" })), schedule(&json!({}))];
    let error = lab.scheduler.add(two(), false).await.unwrap_err();
    assert_eq!(error.to_string(), "there is a schedule with this id already: s");
    assert_eq!(lab.scheduler.all().len(), 1);
    lab.scheduler.add(two(), true).await.unwrap();
    let many = (0..MAX_SCHEDULES).map(|n| schedule(&json!({ "id": n })));
    assert!(matches!(lab.scheduler.add(many.collect(), false).await, Err(ChangeError::TooMany)));
    let switched = lab.scheduler.switch(None, false, true).await.unwrap();
    assert!(switched.len() == 2 && switched.iter().all(|one| !one.enabled && one.next_runs(5).is_empty()));
    assert!(matches!(lab.scheduler.switch(Some("x"), true, true).await, Err(ChangeError::Unknown(_))));
    lab.scheduler.remove("s").await.unwrap();
    assert!(matches!(lab.scheduler.remove("s").await, Err(ChangeError::Unknown(_))));
    let again = Scheduler::open(lab.store.clone(), None, Arc::default()).await.unwrap();
    assert_eq!(again.all(), lab.scheduler.all());
    assert_eq!(again.all().iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["t"]);
}

#[tokio::test]
async fn what_a_change_leaves_as_planned_goes_on_and_all_else_begins_now() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    lab.scheduler.entries_mut(|entries| entries[0].since = 5);
    lab.scheduler.add(vec![schedule(&json!({ "name": "other" }))], true).await.unwrap();
    assert_eq!(lab.scheduler.entries()[0].since, 5);
    lab.scheduler.add(vec![schedule(&json!({ "cron": "0 7 * * *" }))], true).await.unwrap();
    assert!(lab.scheduler.entries()[0].since > now_ms() - HOUR);
}

#[tokio::test]
async fn what_was_stopped_has_missed_nothing_and_what_a_start_decides_is_kept() {
    let lab = lab(vec![schedule(&json!({ "startupState": "started", "missed": "once" }))]).await;
    lab.scheduler.entries_mut(|entries| entries[0].since = now_ms() - 100 * HOUR);
    lab.scheduler.switch(Some("s"), false, false).await.unwrap();
    let since = async |enabled: bool, since: i64| {
        let mut row = lab.store.schedules().await.unwrap().remove(0);
        assert!(row.record.contains(&format!("\"enabled\":{enabled}")), "{}", row.record);
        row.since = since;
        lab.store.change_schedules(vec![row], Vec::new()).await.unwrap();
    };
    let long_ago = now_ms() - 100 * HOUR;
    since(false, long_ago).await;
    let begun = now_ms();
    let again = Scheduler::open(lab.store.clone(), None, Arc::default()).await.unwrap();
    assert!(again.get("s").unwrap().enabled && again.entries()[0].since >= begun);
    let (stop, stopping) = watch::channel(false);
    let work = tokio::spawn(again.clone().run(stopping));
    while lab.store.schedules().await.unwrap()[0].since < begun {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send_replace(true);
    work.await.unwrap();
    // It ran, and Butler was away.
    since(true, long_ago).await;
    let again = Scheduler::open(lab.store.clone(), None, Arc::default()).await.unwrap();
    assert_eq!(again.entries()[0].since, long_ago);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_neither_hidden_nor_overwritten() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    let mut record = json!(lab.scheduler.get("s").unwrap().own());
    record["id"] = "mars".into();
    record["timeZone"] = "Mars/Base".into();
    let row = ScheduleRow { id: "mars".to_owned(), since: 0, record: record.to_string() };
    lab.store.change_schedules(vec![row], Vec::new()).await.unwrap();
    let again = Scheduler::open(lab.store.clone(), None, Arc::default()).await.unwrap();
    let unread = again.unread();
    assert!(unread.len() == 1 && unread[0].error.contains("no time zone `Mars/Base`"), "{unread:?}");
    assert_eq!((again.all().len(), &unread[0].record), (1, record.as_object().unwrap()));
    let written = file::write(&again.all(), &unread, Form::Own);
    assert!(
        written.contains("timeZone: Mars/Base") && !file::write(&again.all(), &unread, Form::Butler16).contains("mars"),
        "{written}"
    );
    let new = || vec![schedule(&json!({ "id": "mars" }))];
    assert!(matches!(again.add(new(), false).await, Err(ChangeError::Exist(ids)) if ids == ["mars"]));
    assert!(matches!(again.switch(Some("mars"), true, true).await, Err(ChangeError::Unread { .. })));
    assert!(matches!(again.run_now("mars", "me").await, Err(ChangeError::Unread { .. })));
    // What was under way is told.
    let claim = Claim { schedule: "mars".to_owned(), planned: 1, at: 1, missed: false };
    lab.store.claim_runs(vec![claim]).await.unwrap();
    let mut starts = JoinSet::new();
    again.recover(&mut starts, &lab.stop.subscribe()).await;
    let events = lab.store.accepted_events(0, 100).await.unwrap();
    let event = &events[0].event;
    assert_eq!(
        (event.kind.as_str(), event.data.task.as_ref().unwrap().id.as_str()),
        (kind::TASK_START_FAILED, Site::SAMPLE_RELOAD_TASK)
    );
    // It can be deleted, or replaced.
    again.replace("mars", |former| former.cloned().unwrap_or_else(|| new().remove(0))).await.unwrap();
    assert!(again.unread().is_empty() && again.get("mars").is_some());
    lab.store
        .change_schedules(vec![ScheduleRow { id: "broken".to_owned(), since: 0, record: "{".to_owned() }], Vec::new())
        .await
        .unwrap();
    let again = Scheduler::open(lab.store.clone(), None, Arc::default()).await.unwrap();
    assert_eq!(again.unread()[0].id, "broken");
    again.remove("broken").await.unwrap();
    assert!(again.unread().is_empty() && lab.store.schedules().await.unwrap().len() == 2);
}

#[tokio::test]
async fn nobody_waits_without_end_for_a_store_that_cannot_be_written() {
    let one = lab(vec![schedule(&json!({}))]).await;
    let two = lab(vec![schedule(&json!({}))]).await;
    let (mut one_locked, mut two_locked) = (one.sql().await, two.sql().await);
    for locked in [&mut one_locked, &mut two_locked] {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(locked).await.unwrap();
    }
    let all = async {
        tokio::join!(
            one.scheduler.switch(Some("s"), false, true),
            one.scheduler.remove("s"),
            two.scheduler.run_now("s", "me"),
        )
    };
    let all = tokio::time::timeout(Duration::from_secs(30), all).await;
    assert!(matches!(all, Ok((Err(ChangeError::Late), Err(ChangeError::Busy), Err(ChangeError::Busy)))), "{all:?}");
    for locked in [&mut one_locked, &mut two_locked] {
        sqlx::raw_sql("ROLLBACK").execute(locked).await.unwrap();
    }
    // As was said: the first change is made, the second not, and nothing is started that nobody waits for.
    while one.scheduler.get("s").unwrap().enabled
        || two.scheduler.last_runs(None).await.unwrap().is_empty()
        || two.last().await.0 == RunState::Claimed
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((two.last().await.0, two.simulator.site().starts().len()), (RunState::Missed, 0));
    assert!(one.store.schedules().await.unwrap()[0].record.contains("\"enabled\":false"));
}

#[tokio::test]
async fn a_schedule_is_not_deleted_while_somebody_runs_it() {
    let lab = lab(vec![schedule(&json!({}))]).await;
    // Somebody deletes it.
    let changing = lab.scheduler.changing().await.unwrap();
    let mut runs = Box::pin(lab.scheduler.run_now("s", "me"));
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut runs).await.is_err(), "it did not wait");
    lab.store.change_schedules(Vec::new(), vec!["s".to_owned()]).await.unwrap();
    lab.scheduler.entries_mut(Vec::clear);
    drop(changing);
    assert!(matches!(runs.await, Err(ChangeError::Unknown(_))));
    assert!(lab.store.last_runs(None).await.unwrap().is_empty());
}
