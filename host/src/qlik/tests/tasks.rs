//! Choosing and starting tasks, and version and product of the server.

use qlik_simulator::{Endpoint, Fault, Options, Site, Task};

use super::lab;
use crate::qlik::{QlikError, Start};

#[tokio::test]
async fn a_start_gives_its_session_or_says_that_there_was_none() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    let start = |id: &'static str| repository.start_task(id);
    assert!(matches!(start(Site::SAMPLE_RELOAD_TASK).await, Ok(Start::Session(id)) if id.len() == 36));
    assert_eq!(start(Site::SAMPLE_DISABLED_TASK).await, Ok(Start::Refused));
    assert_eq!(start("11111111-2222-4333-8444-555555555555").await, Ok(Start::Unknown));
    assert_eq!(start("../tag").await, Ok(Start::Unknown));
    lab.simulator.site().set_scheduler(false);
    assert_eq!(start(Site::SAMPLE_RELOAD_TASK).await, Ok(Start::Refused));
    assert_eq!(lab.simulator.site().starts(), [Site::SAMPLE_RELOAD_TASK]);

    // Not repeated: it may have arrived.
    lab.simulator.faults().add(Fault::reset().on(Endpoint::TaskStartSynchronous).first(1));
    let before = lab.simulator.counts().requests_to(Endpoint::TaskStartSynchronous);
    assert!(matches!(start(Site::SAMPLE_RELOAD_TASK).await, Err(QlikError::Unreachable { .. })));
    assert_eq!(lab.simulator.counts().requests_to(Endpoint::TaskStartSynchronous), before + 1);
}

#[tokio::test]
async fn odd_answers_to_a_start_are_no_success() {
    let lab = lab(Options::default()).await;
    let repository = lab.repository();
    for (body, fits) in [
        ("\"6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a11\"", true),
        ("{}", false),
        ("{ \"value\": \"\" }", false),
        ("{ \"value\": \"yes\" }", false),
        ("null", false),
    ] {
        lab.simulator.faults().add(Fault::page("application/json", body).on(Endpoint::TaskStartSynchronous).first(1));
        let answer = repository.start_task(Site::SAMPLE_RELOAD_TASK).await;
        assert_eq!(matches!(answer, Ok(Start::Session(_))), fits, "{body}: {answer:?}");
        assert_eq!(matches!(answer, Err(QlikError::Odd { .. })), !fits, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn tags_and_properties_choose_tasks_whatever_characters_they_have() {
    let lab = lab(Options::default()).await;
    let site = lab.simulator.site();
    let odd = "night's & day #1 + 100%";
    let one = site.add_task(Task::reload("one", Site::SAMPLE_APP).tag(odd).custom_property(odd, "a'b"));
    // The value is that of another property.
    site.add_task(Task::reload("two", Site::SAMPLE_APP).custom_property(odd, "c").custom_property("other", "a'b"));
    let repository = lab.repository();
    let ids = |tasks: Vec<crate::qlik::TaskFacts>| tasks.into_iter().map(|task| task.task.id).collect::<Vec<_>>();
    assert_eq!(ids(repository.tasks_with_tag(odd).await.unwrap()), [one.as_str()]);
    assert_eq!(ids(repository.tasks_with_property(odd, "a'b").await.unwrap()), [one.as_str()]);
    assert_eq!(ids(repository.tasks_with_tag("none").await.unwrap()), Vec::<String>::new());
    let seen = lab.simulator.seen_requests();
    let tag = repository.tasks_with_tag("night's").await;
    assert!(tag.is_ok() && seen.len() == 3);
    let last = lab.simulator.seen_requests().pop().unwrap();
    assert!(last.target.contains("tags.name%20eq%20%27night%27%27s%27"), "{}", last.target);
}

#[tokio::test]
async fn system_information_comes_from_its_own_port() {
    let lab = lab(Options::default()).await;
    let info = lab.repository().system_info().await.unwrap();
    assert_eq!((&info["version"], &info["releaseLabel"]), (&"14.187.4".into(), &"May 2024".into()));
    assert_eq!(lab.simulator.counts().requests, 0, "QRS is not asked");
    let mut lab = lab;
    lab.config.ports.system_info = closed_port();
    let error = lab.repository().system_info().await.unwrap_err().to_string();
    assert!(error.contains("`ports.systemInfo`"), "{error}");
}

/// A port of loopback that nobody listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
