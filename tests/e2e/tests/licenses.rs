//! The plugin `licenses` against the simulated Qlik Sense: over days by a clock that is set, over crashes, and into destinations.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::qlik::{AccessTypes, AccessUse, Endpoint, Fault, License};
use e2e::{Butler, Influx, Mosquitto, Sense, Sink, WallClock, command, wait_for};
use jiff::{Timestamp, ToSpan, tz::Offset};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

/// An instance with these settings, and a webhook that gets all that it emits.
fn config(sink: &Sink, settings: &Value) -> String {
    format!(
        "plugins:\n  - use: licenses\n    settings: {settings}\n  - use: webhook\n    on: [{{ events: [\"*-license.*\"] }}]\n    \
         settings: {{ url: \"{}\", format: event }}\n",
        sink.url("/")
    )
}

/// The events so far, with their data. A delivery that a crash cut off comes again: that is the same event.
fn events(sink: &Sink) -> Vec<(String, Value)> {
    let mut seen = BTreeSet::new();
    let all = sink.received().into_iter().map(|request| request.json());
    all.filter(|event| seen.insert(event["id"].to_string()))
        .map(|event| (event["kind"].as_str().unwrap_or_default().to_owned(), event["data"].clone()))
        .collect()
}

/// A clock that shows noon of today, UTC, and later days: so that no test sees midnight by itself.
struct Days {
    clock: WallClock,
    to_noon: i64,
    today: jiff::civil::Date,
}

impl Days {
    fn new() -> Self {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let today = Offset::UTC.to_datetime(Timestamp::from_second(now).unwrap()).date();
        let days = Self { clock: WallClock::right(), to_noon: DAY / 2 - now % DAY, today };
        days.set(0);
        days
    }

    /// It is noon of the day so many days from today.
    fn set(&self, day: i64) {
        self.clock.set(self.to_noon + day * DAY);
    }

    fn date(&self, day: i64) -> String {
        (self.today + day.days()).to_string()
    }
}

/// Waits until a look has told that so many days are left, and all alerts so far are these: last part of the kind, days left.
async fn told(sink: &Sink, butler: &Butler, days: Option<i64>, alerts: &[(&str, i64)]) {
    wait_for(&format!("a look at {days:?} days; log:\n{}", butler.log()), || async {
        let looked = |(kind, data): &(String, Value)| {
            kind == "server-license.status" && data["serverLicense"]["daysUntilExpiry"].as_i64() == days
        };
        events(sink).iter().any(looked).then_some(())
    })
    .await;
    let so_far = || -> Vec<(String, i64)> {
        let alerts = events(sink).into_iter().filter(|(kind, _)| kind != "server-license.status");
        let days = |data: &Value| data["serverLicense"]["daysUntilExpiry"].as_i64().unwrap_or(i64::MIN);
        alerts.map(|(kind, data)| (kind.trim_start_matches("server-license.").to_owned(), days(&data))).collect()
    };
    let expected: Vec<(String, i64)> = alerts.iter().map(|(kind, days)| ((*kind).to_owned(), *days)).collect();
    wait_for(&format!("the alerts {expected:?}, not {:?}", so_far()), || async {
        (so_far() == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn thresholds_are_told_once_over_days_restarts_and_crashes() {
    let (sense, sink, days) = (Sense::start().await, Sink::start().await, Days::new());
    sense.site().set_license(License::valid_to(&days.date(61)));
    let config = config(&sink, &json!({ "serverLicense": {} }));
    let mut alerts = Vec::new();
    let butler = sense.butler_under(&days.clock.environment(), &config).await;
    told(&sink, &butler, Some(61), &alerts).await;
    days.set(1);
    alerts.push(("expiring", 60));
    told(&sink, &butler, Some(60), &alerts).await;
    // Down while 30 and 14 pass.
    let killed = butler.kill();
    days.set(47);
    let butler = killed.start().await;
    alerts.push(("expiring", 14));
    told(&sink, &butler, Some(14), &alerts).await;
    let butler = butler.kill_and_start().await;
    butler.stop().await;
    days.set(48);
    let butler = sense.butler_under(&days.clock.environment(), &config).await;
    told(&sink, &butler, Some(13), &alerts).await;
    days.set(54);
    alerts.push(("expiring", 7));
    told(&sink, &butler, Some(7), &alerts).await;
    // No day is known for once.
    sense.site().set_license(License::default().key_details(Value::Null));
    days.set(55);
    told(&sink, &butler, None, &alerts).await;
    sense.site().set_license(License::valid_to(&days.date(61)));
    days.set(56);
    told(&sink, &butler, Some(5), &alerts).await;
    sense.site().set_license(License::valid_to(&days.date(61)).expired("The licence has ended"));
    days.set(62);
    alerts.push(("expired", -1));
    told(&sink, &butler, Some(-1), &alerts).await;
    let (_, expired) = events(&sink).into_iter().find(|(kind, _)| kind == "server-license.expired").unwrap();
    let section = json!({ "expired": true, "expiryDate": days.date(61), "daysUntilExpiry": -1 });
    assert_eq!(expired["serverLicense"], section);
    assert!(
        expired["message"].as_str().unwrap().contains("expired (The licence has ended): enter a new one"),
        "{expired}"
    );
    let butler = butler.kill_and_start().await;
    days.set(63);
    told(&sink, &butler, Some(-2), &alerts).await;
    sense.site().set_license(License::valid_to(&days.date(400)));
    days.set(64);
    told(&sink, &butler, Some(336), &alerts).await;
    wait_for("the renewal to be logged", || async { butler.log().contains("it has been renewed").then_some(()) }).await;
    butler.wait_metric("butler_plugin_licenses_server_license_days_left{instance=\"licenses\"}", 336.0).await;
    days.set(399);
    alerts.push(("expiring", 1));
    told(&sink, &butler, Some(1), &alerts).await;
    butler.stop().await;
    days.set(400);
    let butler = sense.butler_under(&days.clock.environment(), &config).await;
    told(&sink, &butler, Some(0), &alerts).await;
    // What the look before would have told comes before this one.
    sense.site().set_license(License::valid_to(&days.date(800)));
    days.set(401);
    told(&sink, &butler, Some(399), &alerts).await;
}

/// What the instance says of itself, once it has this in it.
async fn wait_health(butler: &Butler, part: &str) {
    wait_for(&format!("the health with `{part}`; log:\n{}", butler.log()), || async {
        butler.get("/v5/plugins").await.1.to_string().contains(part).then_some(())
    })
    .await;
}

/// Waits until the log has this, and so many more looks have come to the simulator; how often the log has it then.
async fn logged(butler: &Butler, sense: &Sense, part: &str, looks: u64) -> usize {
    wait_for(&format!("`{part}` in the log:\n{}", butler.log()), || async {
        butler.log().contains(part).then_some(())
    })
    .await;
    let before = sense.counts().requests_to(Endpoint::License);
    wait_for("further looks", || async {
        (sense.counts().requests_to(Endpoint::License) >= before + looks).then_some(())
    })
    .await;
    butler.log().matches(part).count()
}

#[tokio::test]
async fn a_licence_without_a_day_and_a_qlik_sense_that_refuses_are_told_once_and_nothing_is_lost() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.site().set_license(License::default().key_details("Product: Qlik Sense\r\nValid To: soon\r\n"));
    let settings = json!({ "serverLicense": { "when": { "every": "1s" } } });
    let butler = sense.butler(&config(&sink, &settings)).await;
    assert_eq!(logged(&butler, &sense, "which is no date like", 3).await, 1, "{}", butler.log());
    sense.faults().add(Fault::status(403).on(Endpoint::License));
    assert_eq!(logged(&butler, &sense, "answers 403 to `license`", 3).await, 1, "{}", butler.log());
    assert!(butler.log().contains("Read on `License*`"), "{}", butler.log());
    wait_health(&butler, "answers 403").await;
    // Away, and meanwhile the licence nears its end.
    sense.stop().await;
    wait_for("the silence to be logged", || async { butler.log().contains("gives no answer").then_some(()) }).await;
    assert!(events(&sink).iter().all(|(kind, _)| kind == "server-license.status"));
    sense.faults().clear();
    sense.site().set_license(License::valid_to("2020-01-01"));
    sense.restart().await.unwrap();
    let expired = sink.wait_where("the alert", |request| request.json()["kind"] == "server-license.expired").await;
    assert_eq!(expired.json()["data"]["serverLicense"]["expiryDate"], "2020-01-01");
    wait_for("it to be well", || async { butler.log().contains("server licence: all is well again").then_some(()) })
        .await;
    let unknown = events(&sink).into_iter().find(|(kind, _)| kind == "server-license.status").unwrap().1;
    assert_eq!(unknown["serverLicense"], json!({ "expired": false }));
}

#[tokio::test]
async fn few_access_licences_are_told_once_until_there_are_more_again() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let site = sense.site();
    let analyzers = |allocated: i64| AccessTypes {
        analyzer: Some(AccessUse { quarantined: 3, ..AccessUse::of(90, allocated) }),
        without: vec!["loginAccess".to_owned(), "userAccess".to_owned()],
        ..AccessTypes::default()
    };
    site.set_access_types(analyzers(80));
    let settings =
        json!({ "accessLicenses": { "when": { "every": "1s" }, "low": { "analyzer": 5, "professional": 2 } } });
    let butler = sense.butler(&config(&sink, &settings)).await;
    let left = "butler_plugin_licenses_access_licenses_left{instance=\"licenses\",type=\"analyzer\"}";
    let low = || events(&sink).into_iter().filter(|(kind, _)| kind == "access-license.low").collect::<Vec<_>>();
    butler.wait_metric(left, 7.0).await;
    sink.wait(1).await;
    let (kind, usage) = events(&sink).remove(0);
    assert_eq!((kind.as_str(), usage["accessLicenses"].as_object().unwrap().len()), ("access-license.usage", 2));
    site.set_access_types(analyzers(85));
    butler.wait_metric(left, 2.0).await;
    let alert = sink.wait_where("the alert", |request| request.json()["kind"] == "access-license.low").await.json();
    assert_eq!(alert["data"]["message"], "2 of 90 analyzer licences are left (3 in quarantine)");
    let section = json!({ "analyzer": { "allocated": 85, "available": 2, "excess": 0, "quarantined": 3, "total": 90, "used": 85 } });
    assert_eq!(alert["data"]["accessLicenses"], section);
    let mut butler = butler.kill_and_start().await;
    for allocated in [84, 86] {
        site.set_access_types(analyzers(allocated));
        butler.wait_metric(left, f64::from(i32::try_from(87 - allocated).unwrap())).await;
        butler = butler.kill_and_start().await;
    }
    assert_eq!(low().len(), 1);
    site.set_access_types(analyzers(80));
    butler.wait_metric(left, 7.0).await;
    wait_for("it to be logged", || async { butler.log().contains("that is enough again").then_some(()) }).await;
    site.set_access_types(analyzers(87));
    wait_for("the next alert", || async { (low().len() == 2).then_some(()) }).await;
    assert_eq!(low()[1].1["message"], "0 of 90 analyzer licences are left (3 in quarantine)");
}

#[tokio::test]
async fn a_look_that_a_crash_cut_off_is_made_up_for_at_the_start() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::hang().on(Endpoint::License));
    let butler = sense.butler(&config(&sink, &json!({ "serverLicense": {} }))).await;
    wait_for("the look", || async { (sense.counts().requests_to(Endpoint::License) > 0).then_some(()) }).await;
    let killed = butler.kill();
    sense.faults().clear();
    // The next planned time is a day away.
    let _butler = killed.start().await;
    sink.wait(1).await;
}

#[tokio::test]
async fn destinations_get_what_butler_16_sent() {
    let (sense, broker, sink, influx, days) =
        (Sense::start().await, Mosquitto::start().await, Sink::start().await, Influx::start(3).await, Days::new());
    let subscriber = broker.subscribe("qliksense/#").await;
    sense.site().set_license(License::valid_to(&days.date(61)));
    let config = format!(
        "plugins:\n  - use: licenses\n    settings: {{ serverLicense: {{}}, accessLicenses: {{ low: {{ professional: 28 }} }} }}\n  \
         - use: mqtt\n    on: [{{ events: [\"server-license.*\"] }}]\n    settings: {{ url: \"{}\" }}\n  \
         - use: webhook\n    name: usual\n    settings: {{ url: \"{}\" }}\n  \
         - use: webhook\n    name: periodic\n    on: [{{ events: [server-license.status] }}]\n    \
         settings: {{ url: \"{}\", method: GET }}\n  \
         - use: webhook\n    name: every-look\n    on: [{{ events: [server-license.status], where: {{ serverLicense.daysUntilExpiry: \"<= 60\" }} }}]\n    \
         settings: {{ url: \"{}\" }}\n  \
         - use: influxdb\n    on: [{{ events: [\"server-license.status\", \"access-license.usage\"] }}]\n    \
         settings: {{ url: \"{}\", version: 3, database: butler, token: {} }}\n",
        broker.url(),
        sink.url("/usual"),
        sink.url("/periodic?key=1"),
        sink.url("/every-look"),
        influx.url(),
        Influx::TOKEN
    );
    influx.create("butler");
    let butler = sense.butler_under(&days.clock.environment(), &config).await;
    let status = |expired: bool, days_left: i64| {
        format!(r#"{{"licenseExpired":{expired},"expiryDateStr":"{}","daysUntilExpiry":{days_left}}}"#, days.date(61))
    };
    let payload = |text: String| move |message: &e2e::MqttMessage| message.payload == text;
    let day = days.date(61);
    assert_eq!(subscriber.wait("qliksense/qliksense_server_license").await.payload, status(false, 61));
    let query = |request: &e2e::Received| request.target.starts_with("/periodic?");
    let target = sink.wait_where("the status", query).await.target;
    let fields = format!("event=server+license+status&licenseExpired=false&expiryDateStr={day}&daysUntilExpiry=61");
    assert!(target.contains(&fields) && target.contains("key=1"), "{target}");
    days.set(16);
    subscriber.wait_that("the status", payload(status(false, 45))).await;
    let text = format!("Qlik Sense server license is about to expire in 45 days, on {day}");
    let soon = subscriber.wait_that("the alert", payload(text)).await;
    assert_eq!(soon.topic, "qliksense/qliksense_server_license_expire");
    let alert = |event: &'static str| {
        move |request: &e2e::Received| request.target == "/usual" && request.json()["event"] == event
    };
    let soon = sink.wait_where("the alert", alert("server license about to expire alert")).await.json();
    assert_eq!(
        (&soon["licenseExpired"], &soon["expiryDateStr"], &soon["daysUntilExpiry"]),
        (&json!(false), &json!(day), &json!(45))
    );
    // What Butler 16 did: told at every look.
    let every_look = || sink.received().into_iter().filter(|request| request.target == "/every-look").count();
    wait_for("a look", || async { (every_look() > 0).then_some(()) }).await;
    let before = every_look();
    days.set(17);
    wait_for("another look", || async { (every_look() > before).then_some(()) }).await;
    // That of this day: a later one would find the licence that follows.
    subscriber.wait_that("the status", payload(status(false, 44))).await;
    sense.site().set_license(License::valid_to(&day).expired(""));
    days.set(63);
    subscriber.wait_that("the status", payload(status(true, -2))).await;
    let over = subscriber.wait_that("the alert", payload(format!("Qlik Sense server license expired on {day}"))).await;
    assert_eq!(over.topic, "qliksense/qliksense_server_license_expire");
    let over = sink.wait_where("the alert", alert("server license has expired alert")).await.json();
    assert_eq!((&over["licenseExpired"], &over["daysUntilExpiry"]), (&json!(true), &json!(-2)));
    let expire = subscriber.messages().iter().filter(|message| message.topic.ends_with("_expire")).count();
    assert_eq!(expire, 2, "none at 61 days, each once: {:?}", subscriber.messages());
    let lines = wait_for(&format!("the points; log:\n{}", butler.log()), || async {
        let lines = influx.lines();
        lines.iter().any(|line| line.contains("license_expired=true")).then_some(lines)
    })
    .await;
    let server = format!("qlik_sense_server_license days_until_expiry=61,expiry_date=\"{day}\",license_expired=false ");
    assert!(lines.iter().any(|line| line.starts_with(&server)), "{lines:?}");
    let mut types: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("qlik_sense_license,license_type=")?.split(' ').next())
        .collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types, ["analyzer", "professional"]);
    butler.stop().await;
}

#[tokio::test]
async fn check_says_how_the_licences_are_and_what_is_missing() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.site().set_license(License::valid_to("2099-12-31"));
    let config = "version: 1\nstore: { path: butler.db }\n".to_owned()
        + &sense.section("")
        + &config(&sink, &json!({ "serverLicense": {}, "accessLicenses": {} }));
    let file = sense.folder().join("butler.yaml");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let output = command(&["check", "-c", &file]).await;
    assert!(output.stdout.contains("the server licence is valid to 2099-12-31, "), "{output:?}");
    assert!(
        output.stdout.contains("28 of 40 professional licences are left, 30 of 90 analyzer licences are left"),
        "{output:?}"
    );
    assert!(sink.received().iter().all(|request| request.method != "POST"), "nobody is told");
    sense.faults().add(Fault::status(403).on(Endpoint::AccessTypeOverview));
    let output = command(&["check", "-c", &file]).await;
    assert!(output.stdout.contains("answers 403 to `license/accesstypeoverview`"), "{output:?}");
    assert_ne!(output.code, 0);
}
