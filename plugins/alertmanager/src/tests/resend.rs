//! Open alerts are sent again, and nothing else is.

use super::*;

/// Lets the pause pass, and waits for so many requests in all.
fn pass(fake: &FakeHost, count: usize) {
    fake.wait_until("it to sleep", |fake| fake.sleeping() > 0);
    fake.advance(Duration::from_secs(61));
    fake.wait_until("alerts to be sent", |fake| fake.requests().len() >= count);
    fake.wait_until("it to sleep", |fake| fake.sleeping() > 0);
}

#[test]
fn open_alerts_are_sent_again_until_they_are_resolved() {
    let fake = fake().manual_time();
    let pass = |count: usize| {
        fake.wait_until("it to sleep", |fake| fake.sleeping() > 0);
        fake.advance(Duration::from_secs(61));
        fake.wait_until("alerts to be sent", |fake| fake.requests().len() >= count);
    };
    let settings = json!({ "urls": ["http://am1.test:9093"], "resendEvery": "60s" });
    let site = block_on(fake.run::<Alertmanager>(settings)).unwrap();
    block_on(async {
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("service.stopped")).await.unwrap();
    });
    pass(3);
    block_on(site.deliver(&sample_delivery("reload-task.succeeded"))).unwrap();
    pass(5);
    fake.wait_until("it to sleep", |fake| fake.sleeping() > 0);
    let posted = posted(&fake);
    assert_eq!(names(&posted[2].1), ["QlikServiceStopped", "QlikReloadTaskFailed"]);
    assert!(posted[2].1.iter().all(is_firing));
    assert_eq!((hours(&posted[2].1[1]), posted.len()), (hours(&posted[0].1[0]), 5), "its end stays");
    assert_eq!(names(&posted[4].1), ["QlikServiceStopped"], "what is resolved is not sent again");
}

#[test]
fn what_is_resolved_while_it_is_sent_again_is_resolved_once_more() {
    let fake = fake().manual_time();
    let settings = json!({ "urls": ["http://am1.test:9093"], "resendEvery": "60s" });
    let site = block_on(fake.run::<Alertmanager>(settings)).unwrap();
    block_on(site.deliver(&sample_delivery("reload-task.failed"))).unwrap();
    // A resolution is under way: whether its alert is open is not known yet.
    let underway = site.resolving.begin();
    fake.wait_until("it to sleep", |fake| fake.sleeping() > 0);
    fake.advance(Duration::from_secs(61));
    fake.wait_until("alerts to be sent", |fake| fake.requests().len() == 2);
    fake.wait_until("it to wait", |fake| fake.sleeping() > 0);
    assert_eq!(fake.slept().last(), Some(&Duration::from_millis(200)));
    block_on(site.incidents.close("task/11111111-2222-4333-8444-555555555555"));
    drop(underway);
    fake.advance(Duration::from_secs(1));
    fake.wait_until("the resolution", |fake| fake.requests().len() == 3);
    let firing: Vec<bool> = posted(&fake).iter().map(|(_, alerts)| is_firing(&alerts[0])).collect();
    assert_eq!(firing, [true, true, false]);
}

/// One Alertmanager has the resolution, the other is away: it must not fire at the first again.
#[test]
fn what_only_some_know_to_be_resolved_is_not_sent_again_until_it_fails_again() {
    let away = || HttpError::Connection("refused".to_owned());
    let fake = fake().manual_time().answer(200, "").answer(200, "").answer(200, "").answer(200, "");
    let fake = fake.answer(200, "").fail(away());
    let settings = json!({ "urls": ["http://am1.test", "http://am2.test"], "resendEvery": "60s" });
    let site = block_on(fake.run::<Alertmanager>(settings)).unwrap();
    block_on(async {
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("service.stopped")).await.unwrap();
        let error = site.deliver(&sample_delivery("reload-task.succeeded")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }), "{error}");
    });
    pass(&fake, 8);
    let again = &posted(&fake)[6..];
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|(_, alerts)| names(alerts) == ["QlikServiceStopped"]), "{again:#?}");
    // The resolution has been given up; then the task is aborted, and fails again.
    block_on(site.deliver(&sample_delivery("reload-task.aborted"))).unwrap();
    pass(&fake, 12);
    assert_eq!(names(&posted(&fake)[10].1), ["QlikServiceStopped", "QlikReloadTaskAborted"]);
    block_on(site.deliver(&sample_delivery("reload-task.failed"))).unwrap();
    pass(&fake, 16);
    assert_eq!(posted(&fake)[14].1.len(), 3);
    // Whatever was resolved without everybody knowing is resolved with the next success.
    block_on(site.deliver(&sample_delivery("reload-task.succeeded"))).unwrap();
    assert_eq!(names(&posted(&fake)[16].1), ["QlikReloadTaskAborted", "QlikReloadTaskFailed"]);
    assert!(fake.stored(KEY).is_none());
}

#[test]
fn what_is_resolved_for_one_of_two_while_it_is_sent_again_is_resolved_once_more() {
    let fake = fake().manual_time();
    let settings = json!({ "urls": ["http://am1.test:9093"], "resendEvery": "60s" });
    let site = block_on(fake.run::<Alertmanager>(settings)).unwrap();
    block_on(site.deliver(&sample_delivery("reload-task.failed"))).unwrap();
    let underway = site.resolving.begin();
    fake.wait_until("it to sleep", |fake| fake.sleeping() > 0);
    fake.advance(Duration::from_secs(61));
    fake.wait_until("alerts to be sent", |fake| fake.requests().len() == 2);
    fake.wait_until("it to wait", |fake| fake.sleeping() > 0);
    let _away = fake.clone().fail(HttpError::Connection("refused".to_owned()));
    block_on(site.deliver(&sample_delivery("reload-task.succeeded"))).unwrap_err();
    drop(underway);
    fake.advance(Duration::from_secs(1));
    fake.wait_until("the resolution", |fake| fake.requests().len() == 4);
    assert!(!is_firing(&posted(&fake)[3].1[0]) && fake.stored(KEY).is_some());
}

#[test]
fn one_that_is_refused_keeps_no_others_from_being_sent_again() {
    let fake = fake().manual_time().answer(200, "").answer(200, "");
    let settings = json!({ "urls": ["http://am1.test:9093"], "resendEvery": "60s" });
    let site = block_on(fake.run::<Alertmanager>(settings)).unwrap();
    block_on(async {
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        site.deliver(&sample_delivery("service.stopped")).await.unwrap();
    });
    let _refusing = fake.clone().answer(400, "bad").answer(200, "").answer(400, "bad");
    pass(&fake, 5);
    let again: Vec<usize> = posted(&fake)[2..].iter().map(|(_, alerts)| alerts.len()).collect();
    assert_eq!(again, [2, 1, 1]);
    fake.wait_until("the refused one to be forgotten", |fake| fake.stored(KEY).is_none());
    assert!(fake.stored(SERVICE).is_some());
    assert!(fake.records().iter().any(|record| record.message.contains("is refused when it is sent again")));
    pass(&fake, 6);
    assert_eq!(names(&posted(&fake)[5].1), ["QlikServiceStopped"]);
}

#[test]
fn what_is_refused_is_not_open() {
    let fake = fake().answer(400, "bad").answer(200, "").answer(400, "bad");
    block_on(async {
        let site = start(&fake, json!({})).await;
        let error = site.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Reject { .. }) && fake.stored(KEY).is_none(), "{error}");
        site.deliver(&sample_delivery("reload-task.aborted")).await.unwrap();
        let open = fake.stored(KEY);
        site.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert_eq!(fake.stored(KEY), open, "the other alert of the task still is");
        // Of two Alertmanagers one has it.
        let fake = fake.clone().answer(200, "").answer(400, "bad");
        let site = start(&fake, json!({ "urls": ["http://am1.test", "http://am2.test"] })).await;
        site.deliver(&sample_delivery("service.stopped")).await.unwrap_err();
    });
    assert!(fake.stored(SERVICE).is_some());
}
