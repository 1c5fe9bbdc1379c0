//! How Butler itself is doing, as InfluxDB, New Relic and an MQTT broker get it from a daemon that really runs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use e2e::{Butler, Influxd, Mosquitto, NewRelic, NewRelicApi, Sense, WallClock, failure, fields, wait_for};
use serde_json::{Value, json};

fn influx(influx: &Influxd, events: &str) -> String {
    let (url, user, password) = (influx.url(), Influxd::USER, Influxd::PASSWORD);
    format!(
        "  - use: influxdb\n    on: [{{ events: [{events}] }}]\n    settings: {{ url: \"{url}\", version: 1, username: {user}, \
         password: {password}, tags: {{ env: prod }} }}\n"
    )
}

async fn wait_said(butler: &Butler, text: &str) {
    wait_for(&format!("the log to say `{text}`:\n{}", butler.log()), || async {
        butler.log().contains(text).then_some(())
    })
    .await;
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Check 15 of New Relic and the point of InfluxDB: with the figures of a real process.
#[tokio::test]
async fn a_report_goes_to_influxdb_new_relic_and_mqtt() {
    let (clock, store, relic, broker) =
        (WallClock::right(), Influxd::start().await, NewRelic::start().await, Mosquitto::start().await);
    let subscriber = broker.subscribe("#").await;
    let sense = Sense::start().await;
    let config = format!(
        "log: {{ level: debug }}\nplugins:\n  - use: uptime\n    settings: {{ when: {{ every: 15m }} }}\n{}  - use: new-relic\n    on: \
         [{{ events: [butler.uptime] }}]\n    settings: {{ {}, metrics: [{{ kinds: [\"*\"], attributes: {{ metricType: \
         butler-uptime }} }}] }}\n  - use: mqtt\n    on: [{{ events: [butler.uptime] }}]\n    settings: {{ url: \"{}\" }}\n",
        influx(&store, "butler.uptime"),
        relic.settings(),
        broker.url()
    );
    let butler = sense.butler_under(&clock.environment(), &config).await;
    wait_said(&butler, "`butler.uptime` counts from now on").await;
    assert!(relic.calls().is_empty(), "nothing at the start");
    clock.set(900);

    let call = relic.wait(NewRelicApi::Metric, 1).await.remove(0);
    let common = &call.body[0]["common"];
    assert_eq!(
        (&common["interval.ms"], &common["attributes"]["metricType"]),
        (&json!(900_000), &json!("butler-uptime"))
    );
    assert_eq!(common["attributes"]["version"], env!("CARGO_PKG_VERSION"));
    let metrics = call.body[0]["metrics"].as_array().unwrap();
    assert!(metrics.iter().all(|metric| metric["type"] == "gauge"), "{metrics:?}");
    let names: Vec<_> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    let butler_16 = [
        "qs_butlerHeapUsed",
        "qs_butlerHeapTotal",
        "qs_butlerExternalMem",
        "qs_butlerProcessMem",
        "qs_butlerUptimeMillisec",
    ];
    let beyond = [
        "qs_butlerCpuMillisec",
        "qs_butlerEventsWaiting",
        "qs_butlerDeliveriesOpen",
        "qs_butlerDeliveriesDead",
        "qs_butlerCpuPercent",
    ];
    assert_eq!(names, [butler_16, beyond].concat());
    let value = |name: &str| number(&metrics.iter().find(|metric| metric["name"] == name).unwrap()["value"]);
    let [used, total, external, process, uptime] = butler_16.map(value);
    assert!(process > 8e6 && used > 1e6 && used < total && external > 1e6 && external < process, "{metrics:?}");
    assert!((900_000.0..1_000_000.0).contains(&uptime), "{metrics:?}");
    let (cpu, percent) = (value("qs_butlerCpuMillisec"), value("qs_butlerCpuPercent"));
    assert!(cpu > 0.0 && cpu < 100_000.0 && percent < 50.0, "{metrics:?}");
    assert_eq!(relic.dropped(), Vec::<String>::new());

    let point = store.wait_points("butler", "butler_memory_usage", 1).await.remove(0);
    assert_eq!((&point["env"], &point["version"]), (&json!("prod"), &json!(env!("CARGO_PKG_VERSION"))));
    for (field, bytes) in
        [("process_memory", process), ("heap_used", used), ("heap_total", total), ("external", external)]
    {
        let megabytes = (bytes / 1_048_576.0 * 100.0).round() / 100.0;
        assert!((number(&point[field]) - megabytes).abs() < 0.001, "{field} of {point}");
    }
    let point = store.wait_points("butler", "butler_uptime", 1).await.remove(0);
    let fields = ["uptime_ms", "cpu_ms", "cpu_percent", "events_waiting", "deliveries_open", "deliveries_dead"];
    let told = fields.map(|field| number(&point[field]));
    assert!((told[0] - uptime).abs() < 1.0 && (told[1] - cpu).abs() < 1.0 && (told[5]).abs() < 0.1, "{point}");

    let message = subscriber.wait_that("butler.uptime", |message| message.payload.contains("\"butler.uptime\"")).await;
    let told = &message.json()["data"];
    assert_eq!(told["message"], "Butler has been running for 15 minutes".to_owned() + &seconds(&told["butler"]));
    assert_eq!((&told["butler"]["intervalMs"], number(&told["butler"]["cpuMs"])), (&json!(900_000), cpu));
    assert!(butler.log().contains("% of a processor; events waiting 0; deliveries open "), "{}", butler.log());

    // The next one is a quarter of an hour later.
    clock.set(1800);
    let call = relic.wait(NewRelicApi::Metric, 2).await.remove(1);
    assert_eq!(call.body[0]["common"]["interval.ms"], 900_000);
    for series in ["process_cpu_seconds_total", "butler_own_memory_bytes", "butler_committed_memory_bytes"] {
        assert!(butler.metric(series).await.is_some_and(|value| value > 0.0), "{series}");
    }
}

/// The seconds beyond whole minutes, as the message has them.
fn seconds(butler: &Value) -> String {
    match butler["uptimeMs"].as_u64().unwrap() / 1000 % 60 {
        0 => String::new(),
        1 => " 1 second".to_owned(),
        many => format!(" {many} seconds"),
    }
}

fn sum(points: &[Value], field: &str) -> f64 {
    points.iter().map(|point| number(&point[field])).sum()
}

#[tokio::test]
async fn what_came_by_udp_is_told_by_what_it_grew_also_over_a_kill() {
    let store = Influxd::start().await;
    let config = format!(
        "udp: {{ listen: \"127.0.0.1:0\", maxPerMinute: 1000 }}\nlog: {{ level: debug }}\nplugins:\n  - use: uptime\n    settings: {{ \
         ingest: {{ when: {{ every: 1s }} }} }}\n{}",
        influx(&store, "butler.ingest")
    );
    let butler = Butler::start(&config).await;
    wait_said(&butler, "`butler.ingest` counts from now on").await;
    let failures = |count: usize| (0..count).map(|_| failure(&fields())).collect::<Vec<_>>();
    let mut messages = failures(5);
    messages.push(messages[0].clone());
    messages.push("/nonsense/".to_owned());
    butler.send(&messages);
    let points = async |received: f64| {
        wait_for(&format!("points that sum up to {received}"), || async {
            let databases = store.ask("", "show databases").await.to_string();
            if !databases.contains("\"butler\"") {
                return None;
            }
            let points = store.points("butler", "butler_udp_queue").await;
            assert!(points.iter().all(|point| number(&point["messages_received"]) >= 0.0), "{points:?}");
            let told = sum(&points, "messages_received");
            assert!(told <= received + 0.1, "{points:?}");
            (told > received - 0.1
                && sum(&points, "messages_processed")
                    + sum(&points, "messages_failed")
                    + sum(&points, "messages_dropped_duplicate")
                    > received - 0.1)
                .then_some(points)
        })
        .await
    };
    let told = points(7.0).await;
    assert_eq!([sum(&told, "messages_processed"), sum(&told, "messages_failed")], [5.0, 1.0], "{told:?}");
    assert_eq!(sum(&told, "messages_dropped_duplicate"), 1.0, "{told:?}");
    let busy: Vec<_> = told.iter().filter(|point| number(&point["messages_processed"]) > 0.0).collect();
    let none = |point: &&Value| {
        ["messages_processed", "messages_dropped_duplicate"].into_iter().all(|figure| number(&point[figure]) == 0.0)
    };
    let idle: Vec<_> = told.iter().filter(none).collect();
    for point in &busy {
        let [average, p95, max] =
            ["avg", "p95", "max"].map(|figure| number(&point[format!("processing_time_{figure}_ms").as_str()]));
        assert!(0.0 < average && average <= max && p95 <= max && max < 60_000.0, "{point}");
        assert!(number(&point["rate_limit_current"]) >= 1.0, "{point}");
    }
    assert!(!busy.is_empty() && idle.iter().all(|point| point["processing_time_max_ms"].is_null()), "{told:?}");
    assert_eq!(number(&told[0]["queue_max_bytes"]), f64::from(16 << 20), "{}", told[0]);
    for series in ["butler_udp_processing_seconds{figure=\"p95\"}", "butler_udp_minute_used"] {
        assert!(butler.metric(series).await.is_some_and(|value| value > 0.0), "{series}");
    }
    assert_eq!(butler.metric("butler_udp_pending").await, Some(0.0));

    // A new process counts from nothing: 3 is not 4 less than 7, and no 10 either.
    let butler = butler.kill_and_start().await;
    butler.send(&failures(3));
    let told = points(10.0).await;
    assert_eq!(sum(&told, "messages_processed"), 8.0, "{told:?}");
}
