//! Unused access licences are released, by the real executable in a simulated Qlik Sense.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use e2e::qlik::{Access, AccessType, Endpoint, Fault, Options, Site, User};
use e2e::{Butler, Sense, Sink, command, peak, resident, wait_for};
use reqwest::Method;
use serde_json::{Value, json};

use AccessType::{Analyzer, Professional};

const WRITES: &str = "writes: [\"license/professionalaccesstype/*\", \"license/analyzeraccesstype/*\"]";

/// An instance with these settings for unused licences, and a webhook that is told of runs.
fn config(sink: &Sink, settings: &Value) -> String {
    format!(
        "plugins:\n  - use: licenses\n    settings: {{ unusedLicenses: {settings} }}\n  - use: webhook\n    \
         on: [{{ events: [access-license.released] }}]\n    settings: {{ url: \"{}\", format: event }}\n",
        sink.url("/")
    )
}

/// The identifier of the licence with a number.
fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Gives a licence that was not used for so many days to a new user.
fn give(site: &Site, access_type: AccessType, number: usize, days: i64, user: User) {
    let user = site.add_user(user);
    site.give_access(access_type, Access::new(user).id(id(number)).days_ago(days)).unwrap();
}

fn named(number: usize) -> User {
    User::new("LAB", format!("user{number}"), format!("User {number}"))
}

/// A site with so many professional licences that were not used for 40 days and more, the first the longest.
fn site(count: usize) -> Site {
    let site = Site::empty();
    for number in 0..count {
        give(&site, Professional, number, 40 + i64::try_from(count - number).unwrap(), named(number));
    }
    site
}

async fn sense(site: Site) -> Sense {
    Sense::with(Options::default().site(site)).await
}

/// The section of the event of a run, with the message.
async fn told(sink: &Sink, butler: &Butler) -> Value {
    // Releases without an answer are looked up for 30 s.
    wait_for(&format!("the lists to be read; log:\n{}", butler.log()), || async {
        (butler.log().contains("is not known yet: they are looked up again") || !sink.received().is_empty())
            .then_some(())
    })
    .await;
    wait_for(&format!("the event of a run; log:\n{}", butler.log()), || async {
        (!sink.received().is_empty()).then_some(())
    })
    .await;
    let mut event = sink.received()[0].json();
    assert_eq!(event["kind"], "access-license.released", "{event}");
    let mut release = event["data"]["licenseRelease"].take();
    release["message"] = event["data"]["message"].take();
    release
}

/// Lets Butler end what it does, and looks whether there was one event for one run.
async fn told_once(sink: &Sink, butler: Butler) {
    butler.stop().await;
    // A delivery that a crash cut off comes again: that is the same event.
    let events: BTreeSet<String> = sink.received().iter().map(|request| request.json()["id"].to_string()).collect();
    assert_eq!(events.len(), 1, "{events:?}");
}

fn released(release: &Value) -> BTreeSet<String> {
    let all = release["released"].as_array().unwrap();
    let ids: BTreeSet<String> = all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), all.len(), "each is told once: {release:#}");
    ids
}

fn reasons(release: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    release["kept"].as_array().unwrap().iter().map(|one| (text(&one["user"]), text(&one["reason"]))).collect()
}

/// Identifiers of the licences that were released, each of which was asked for once.
fn asked(sense: &Sense) -> BTreeSet<String> {
    let releases = sense.site().access_releases();
    let ids: BTreeSet<String> = releases.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids.len(), releases.len(), "nobody twice: {releases:?}");
    assert!(releases.iter().all(|one| one.released), "{releases:?}");
    ids
}

#[tokio::test]
async fn a_dry_run_needs_no_right_and_deletes_nothing() {
    let (sense, sink) = (sense(site(3)).await, Sink::start().await);
    give(sense.site(), Analyzer, 3, 31, named(3));
    give(sense.site(), Analyzer, 4, 29, named(4));
    let butler = sense.butler(&config(&sink, &json!({ "requestsPerSecond": 100 }))).await;
    let release = told(&sink, &butler).await;
    assert_eq!((&release["dryRun"], released(&release)), (&json!(true), (0..4).map(id).collect()));
    assert_eq!(
        release["message"],
        "dry run, nothing was released: 4 unused access licences would be (3 professional, 1 analyzer), 0 were kept"
    );
    assert!(sense.seen_requests().iter().all(|request| request.method == "GET"), "{:?}", sense.seen_requests());
    assert!(asked(&sense).is_empty());
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn rules_and_cap_hold_and_users_stay() {
    let (sense, sink) = (sense(site(2)).await, Sink::start().await);
    let site = sense.site();
    give(site, Professional, 10, 90, named(10).tag("Keep licence"));
    give(site, Professional, 11, 90, named(11).custom_property("Licence", "keep"));
    give(site, Professional, 12, 90, User::new("INTERNAL", "sa_api", "Service"));
    give(site, Professional, 13, 90, User { inactive: true, ..named(13) });
    give(site, Professional, 14, 90, User { blacklisted: true, ..named(14) });
    give(site, Professional, 15, 90, User { removed_externally: true, ..named(15) });
    give(site, Professional, 16, 90, User::new("LAB", "Admin", "Administrator"));
    give(site, Professional, 17, 90, named(17));
    site.quarantine_access(Professional, &id(17));
    give(site, Analyzer, 18, 90, named(18));
    let gone = site.add_user(named(19));
    site.give_access(Analyzer, Access::new(&gone).id(id(19)).days_ago(90)).unwrap();
    site.remove_user(&gone);
    let fresh = site.add_user(named(20));
    site.give_access(Analyzer, Access::new(fresh).id(id(20))).unwrap();
    give(site, Analyzer, 21, 35, named(21));
    let settings = json!({
        "release": true, "maxPerRun": 3, "requestsPerSecond": 100,
        "neverRelease": {
            "users": [{ "directory": "LAB", "userId": "admin" }], "tags": ["Keep licence"],
            "customProperties": [{ "name": "Licence", "value": "keep" }], "userDirectories": ["INTERNAL"],
            "inactive": "Yes", "blocked": "yes", "removedExternally": "yes",
        },
    });
    let butler = sense.butler_with(WRITES, &config(&sink, &settings)).await;
    let release = told(&sink, &butler).await;
    let expected: BTreeSet<String> = [0, 1, 18].into_iter().map(id).collect();
    assert_eq!((released(&release), asked(&sense)), (expected.clone(), expected));
    let wanted: BTreeMap<String, String> = [
        ("LAB\\user10", "tag"),
        ("LAB\\user11", "custom property"),
        ("INTERNAL\\sa_api", "user directory"),
        ("LAB\\user13", "inactive"),
        ("LAB\\user14", "blocked"),
        ("LAB\\user15", "removed externally"),
        ("LAB\\Admin", "user"),
        ("LAB\\user17", "quarantined"),
        ("LAB\\user19", "unreadable"),
        ("LAB\\user20", "never used"),
        ("LAB\\user21", "cap"),
    ]
    .map(|(user, reason)| (user.to_owned(), reason.to_owned()))
    .into();
    assert_eq!(reasons(&release), wanted);
    assert_eq!(release["message"], "3 unused access licences were released (2 professional, 1 analyzer), 11 were kept");
    assert!(site.access(Professional, &id(0)).is_none() && site.access(Analyzer, &id(21)).is_some());
    assert_eq!(
        sense.counts().asked_of(Endpoint::UserById).most,
        1,
        "users are read together, and again before a release"
    );
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn who_comes_back_while_the_run_is_under_way_keeps_the_licence() {
    let (sense, sink) = (sense(site(3)).await, Sink::start().await);
    sense.faults().add(Fault::latency(Duration::from_millis(700)).on(Endpoint::UserFull));
    let settings = json!({ "release": true, "requestsPerSecond": 100 });
    let butler = sense.butler_with(WRITES, &config(&sink, &settings)).await;
    wait_for("the list to be read", || async { (sense.counts().requests_to(Endpoint::UserFull) > 0).then_some(()) })
        .await;
    assert!(sense.site().use_access(Professional, &id(1)));
    let release = told(&sink, &butler).await;
    assert_eq!(asked(&sense), [0, 2].into_iter().map(id).collect());
    assert_eq!(reasons(&release), [("LAB\\user1".to_owned(), "used meanwhile".to_owned())].into());
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn failures_are_told_and_what_arrived_without_an_answer_is_known() {
    let (sense, sink) = (sense(site(5)).await, Sink::start().await);
    let by_id = |fault: Fault, number| fault.on(Endpoint::ProfessionalAccessById).method(Method::DELETE).of(id(number));
    sense.faults().add(by_id(Fault::status(403), 0));
    sense.faults().add(by_id(Fault::status(500), 1));
    sense.faults().add(by_id(Fault::lost_answer(), 2));
    sense.faults().add(by_id(Fault::reset(), 3));
    let settings = json!({ "release": true, "requestsPerSecond": 100 });
    let butler = sense.butler_with(WRITES, &config(&sink, &settings)).await;
    let release = told(&sink, &butler).await;
    assert_eq!(released(&release), asked(&sense));
    assert_eq!(released(&release), [2, 4].into_iter().map(id).collect());
    assert_eq!(release["keptByReason"], json!({ "failed": 3 }), "{release:#}");
    let details = release["kept"].to_string();
    assert!(details.contains("no right to delete professional access") && details.contains("answers 500"), "{details}");
    wait_for("the instance to say so", || async {
        butler.log().contains("a licence could not be released: Qlik Sense answers 403").then_some(())
    })
    .await;
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn without_the_right_in_qlik_sense_a_run_ends_early() {
    let (sense, sink) = (sense(site(8)).await, Sink::start().await);
    sense.site().set_release_allowed(false);
    let settings = json!({ "release": true, "requestsPerSecond": 100 });
    let butler = sense.butler_with(WRITES, &config(&sink, &settings)).await;
    let release = told(&sink, &butler).await;
    assert_eq!(release["keptByReason"], json!({ "failed": 5, "not reached": 3 }));
    assert!(release["message"].as_str().unwrap().contains("the run ended early: 5 releases in a row"), "{release}");
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn without_the_right_in_the_config_it_does_not_start() {
    let (sense, sink) = (sense(site(1)).await, Sink::start().await);
    let path = sense.folder().join("butler.yaml");
    let start = async |writes: &str, settings: Value| {
        let text = format!(
            "version: 1\nstore: {{ path: b.db }}\nrest: {{ listen: \"127.0.0.1:0\" }}\n{}{}",
            sense.section(writes),
            config(&sink, &settings)
        );
        std::fs::write(&path, text).unwrap();
        command(&["check", "-c", path.to_str().unwrap()]).await
    };
    let refused = start("writes: [\"license/analyzeraccesstype/*\"]", json!({ "release": true })).await;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code != 0 && said.contains("under `qlik:`, or take `release` away for a dry run"), "{said}");
    let allowed = start(WRITES, json!({ "release": true })).await;
    assert_eq!(allowed.code, 0, "{}{}", allowed.stdout, allowed.stderr);
    assert!(allowed.stdout.contains("1 professional licences not used for 30 days"), "{}", allowed.stdout);
    let dry = start("", json!({})).await;
    assert_eq!(dry.code, 0, "{}{}", dry.stdout, dry.stderr);
    assert!(asked(&sense).is_empty());
}

#[tokio::test]
async fn ten_thousand_users_cost_few_requests_and_little_memory() {
    const PER_SECOND: usize = 50;
    let site = Site::empty();
    for number in 0..10_000_usize {
        let access_type = if number % 3 == 0 { Professional } else { Analyzer };
        let user = named(number);
        let user = if number % 2 == 0 { user.tag("keep") } else { user };
        // A tenth is in use.
        give(&site, access_type, number, i64::try_from(number % 300).unwrap(), user);
    }
    let (sense, sink) = (sense(site).await, Sink::start().await);
    let settings = json!({ "release": true, "requestsPerSecond": PER_SECOND, "neverRelease": { "tags": ["keep"] } });
    let butler = sense.butler_with(WRITES, &config(&sink, &settings)).await;
    let before = resident(butler.pid());
    let release = told(&sink, &butler).await;

    assert_eq!(released(&release).len(), 50);
    assert_eq!(released(&release), asked(&sense));
    // Of 300 days 270 are due: 9,000, of which each second has the tag.
    let due: u64 = release["keptByReason"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert!((8_950 - 40..=8_950 + 40).contains(&due), "{}", release["keptByReason"]);
    assert_eq!(release["kept"].as_array().unwrap().len(), 1_000);
    assert!(release.to_string().len() < 1 << 20);

    let requests = sense.seen_requests();
    let times: Vec<Instant> = requests.iter().map(|request| request.at).collect();
    // Lists in pages of 500, users 50 at a time, two looks and a release each.
    assert!(times.len() < 2 * (9_000 / 500 * 4) + 9_000 / 50 + 40 + 150, "{} requests", times.len());
    let lists = requests.iter().filter(|request| request.target.contains("accesstype/full")).count();
    assert!(lists >= 18, "{lists} pages");
    let within =
        |start: usize| times[start..].iter().take_while(|at| **at - times[start] < Duration::from_secs(1)).count();
    let most = (0..times.len()).map(within).max().unwrap();
    assert!(most <= PER_SECOND + 5, "{most} requests in a second");
    let grown = peak(butler.pid()).saturating_sub(before) >> 20;
    eprintln!("{} requests, {most} in a second at most, memory grew by {grown} MB", times.len());
    assert!(grown < 30, "memory grew by {grown} MB");
    told_once(&sink, butler).await;
}

/// A number below `limit`, another one each time.
fn random(limit: u64) -> u64 {
    RandomState::new().hash_one(0) % limit
}

#[tokio::test]
async fn killed_again_and_again_a_run_releases_nobody_twice_and_tells_all() {
    let (sense, sink) = (sense(site(120)).await, Sink::start().await);
    // Some kills meet a release that has arrived and is not answered.
    let late = Fault::late_answer(Duration::from_millis(60));
    sense.faults().add(late.on(Endpoint::ProfessionalAccessById).method(Method::DELETE));
    let settings = json!({ "release": true, "maxPerRun": 80, "requestsPerSecond": 100 });
    // Looks at the overview go on whatever becomes of runs.
    let config = config(&sink, &settings)
        .replace("settings: { unused", "settings: { accessLicenses: { when: { every: 1s } }, unused");
    let mut butler = sense.butler_with(WRITES, &config).await;
    for _ in 0..8 {
        let wanted = sense.site().access_releases().len() + 1 + usize::try_from(random(4)).unwrap();
        wait_for("some releases", || async {
            (sense.site().access_releases().len() >= wanted || !sink.received().is_empty()).then_some(())
        })
        .await;
        assert!(sink.received().is_empty(), "the run is still under way");
        tokio::time::sleep(Duration::from_millis(random(90))).await;
        butler = butler.kill_and_start().await;
    }
    let release = told(&sink, &butler).await;
    assert_eq!(released(&release), asked(&sense), "all that was released is told");
    assert_eq!(released(&release).len(), 80, "the cap holds for the whole run");
    assert_eq!(release["keptByReason"], json!({ "cap": 40 }));
    // Killed again after the end: nothing is told or done again.
    let looks = || sense.counts().requests_to(Endpoint::AccessTypeOverview);
    let killed = butler.kill();
    let before = looks();
    let butler = killed.start().await;
    wait_for("the instance to run", || async { (looks() >= before + 2).then_some(()) }).await;
    assert_eq!(asked(&sense).len(), 80);
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn a_release_that_takes_effect_late_is_told() {
    let (sense, sink) = (sense(site(3)).await, Sink::start().await);
    let late = Fault::late_effect(Duration::from_secs(6)).first(1);
    sense.faults().add(late.on(Endpoint::ProfessionalAccessById).method(Method::DELETE).of(id(0)));
    let butler = sense.butler_with(WRITES, &config(&sink, &json!({ "release": true, "requestsPerSecond": 100 }))).await;
    wait_for("the end of the list", || async { (sense.site().access_count(Professional) == 1).then_some(()) }).await;
    assert!(sense.site().access(Professional, &id(0)).is_some(), "not yet");
    let release = told(&sink, &butler).await;
    assert_eq!((released(&release), asked(&sense)), ((0..3).map(id).collect(), (0..3).map(id).collect()));
    assert_eq!(release["keptByReason"], json!({}));
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn a_release_that_takes_effect_while_a_run_that_was_cut_off_goes_on_is_told() {
    let (sense, sink) = (sense(site(3)).await, Sink::start().await);
    let on_release = |fault: Fault| fault.on(Endpoint::ProfessionalAccessById).method(Method::DELETE);
    sense.faults().add(on_release(Fault::hang()));
    let butler = sense.butler_with(WRITES, &config(&sink, &json!({ "release": true, "requestsPerSecond": 100 }))).await;
    let asks = || sense.seen_requests().iter().any(|request| request.method == "DELETE");
    wait_for("a release to be asked for", || async { asks().then_some(()) }).await;
    let killed = butler.kill();
    sense.faults().clear();
    sense.faults().add(Fault::latency(Duration::from_millis(700)).on(Endpoint::ProfessionalAccessCount));
    let before = sense.counts().requests_to(Endpoint::ProfessionalAccessCount);
    let butler = killed.start().await;
    wait_for("the lists to be asked for", || async {
        (sense.counts().requests_to(Endpoint::ProfessionalAccessCount) > before).then_some(())
    })
    .await;
    // Looked up already, and still there then.
    assert!(sense.site().remove_access(Professional, &id(0)));
    let release = told(&sink, &butler).await;
    assert_eq!((released(&release), asked(&sense)), ((0..3).map(id).collect(), (1..3).map(id).collect()));
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn without_the_right_to_read_users_it_is_said_what_is_missing() {
    let (sense, sink) = (sense(site(3)).await, Sink::start().await);
    // What the user may not read is not in lists, and not there.
    sense.faults().add(Fault::altered(|list| *list = json!([])).on(Endpoint::UserFull));
    sense.faults().add(Fault::status(404).on(Endpoint::UserById));
    let butler = sense.butler_with(WRITES, &config(&sink, &json!({ "release": true, "requestsPerSecond": 100 }))).await;
    let release = told(&sink, &butler).await;
    assert_eq!(release["keptByReason"], json!({ "unreadable": 3 }));
    // The same text is the health, which the host asks for each half minute: a test of the plugin looks at that.
    let said = "release of unused licences: 3 licences are kept, since the user of `qlik.user` cannot read their users: in \
                the QMC give it a role or security rule with Read on `User_*`";
    wait_for("the remedy", || async { butler.log().contains(said).then_some(()) }).await;
    told_once(&sink, butler).await;
}

#[tokio::test]
async fn qlik_sense_goes_away_in_the_middle() {
    let (sense, sink) = (sense(site(60)).await, Sink::start().await);
    let settings = json!({ "release": true, "requestsPerSecond": 100 });
    let butler = sense.butler_with(WRITES, &config(&sink, &settings)).await;
    wait_for("some releases", || async { (sense.site().access_releases().len() >= 5).then_some(()) }).await;
    sense.stop().await;
    wait_for(&format!("the end of the run; log:\n{}", butler.log()), || async {
        let log = butler.log();
        (log.contains("what became of a release is not known yet") || !sink.received().is_empty()).then_some(())
    })
    .await;
    sense.restart().await.unwrap();
    // Where an outcome is not known, it is found out by the next run at the latest, here after a restart.
    let butler = if sink.received().is_empty() { butler.kill_and_start().await } else { butler };
    let release = told(&sink, &butler).await;
    assert_eq!(released(&release), asked(&sense));
    assert!(release["message"].as_str().unwrap().contains("the run ended early"), "{release}");
    told_once(&sink, butler).await;
}
