//! Over crashes and reloads.

use std::time::Duration;

use e2e::{Butler, Sink, wait_for};
use serde_json::{Value, json};

use crate::hosts::Hosts;
use crate::{config, events, line, state, told, wait_told};

/// The process is killed at any moment while services stop and start.
#[tokio::test]
async fn nothing_is_lost_or_doubled_however_often_butler_is_killed() {
    const SERVICES: u32 = 12;
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    let name = |number: u32| format!("S{number}");
    let running: serde_json::Map<String, Value> = (0..SERVICES).map(|number| (name(number), json!({}))).collect();
    hosts.put("srv1", &json!({ "services": running }));
    let watched = json!([{ "host": "srv1", "services": (0..SERVICES).map(name).collect::<Vec<_>>() }]);
    let mut butler = Butler::start_with(&config(&sink, &watched, "      states: false\n"), &hosts.environment()).await;
    hosts.looks("srv1", 2).await;
    // Each service is switched in one round of three, at its own pace; what was told is not waited for.
    let mut stopped = [false; SERVICES as usize];
    for round in 0u32..12 {
        hosts.change("srv1", |facts| {
            for number in (0..SERVICES).filter(|number| (number + round) % 3 == 0) {
                let down = &mut stopped[usize::try_from(number).unwrap()];
                *down = !*down;
                facts["services"][name(number)]["state"] = if *down { 1.into() } else { 4.into() };
            }
        });
        // Every other time right after a look has begun, else at any moment.
        if round % 2 == 0 {
            hosts.looks("srv1", 1).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(round * 37 % 150))).await;
        butler = butler.kill_and_start().await;
    }
    hosts.looks("srv1", 2).await;
    for (number, down) in (0..).zip(stopped) {
        // What is told last is how it is; stops and starts come in turns.
        let name = name(number);
        wait_for(&format!("the truth of {name}, told: {:?}\n{}", told(&sink), butler.log()), || async {
            let of: Vec<Value> =
                events(&sink).into_iter().filter(|event| event["data"]["service"]["name"] == name.as_str()).collect();
            let last = of.iter().max_by_key(|event| seq(event)).map(line);
            let expected = if down { format!("stopped srv1/{name}") } else { format!("started srv1/{name}") };
            (last == Some(expected) || (!down && of.is_empty())).then_some(())
        })
        .await;
    }
    let mut emitted = 0;
    for kind in ["service.stopped", "service.started"] {
        let (_, answer) = butler.get(&format!("/v5/events?kind={kind}&limit=100")).await;
        emitted += answer["events"].as_array().unwrap().len();
    }
    for number in 0..SERVICES {
        let name = name(number);
        let mut of: Vec<Value> =
            events(&sink).into_iter().filter(|event| event["data"]["service"]["name"] == name.as_str()).collect();
        of.sort_by_key(seq);
        let kinds: Vec<&str> = of.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        let turns = kinds.iter().enumerate().all(|(at, kind)| *kind == ["service.stopped", "service.started"][at % 2]);
        assert!(turns, "{name}: {kinds:?}");
    }
    assert_eq!(emitted, events(&sink).len(), "each has arrived");
}

/// Ids are given in order.
fn seq(event: &Value) -> u64 {
    let id = event["id"].as_str().unwrap();
    id.rsplit('-').next().unwrap().parse().unwrap_or_else(|error| panic!("{id}: {error}"))
}

#[tokio::test]
async fn what_happened_while_butler_was_away_is_told_once() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    hosts.put("srv1", &json!({ "services": { "A": {}, "B": { "state": 1 }, "C": {} } }));
    let watched = json!([{ "host": "srv1", "services": ["A", "B", "C"] }]);
    let butler = Butler::start_with(&config(&sink, &watched, ""), &hosts.environment()).await;
    wait_told(&sink, &butler, "stopped srv1/B").await;
    let killed = butler.kill();
    hosts.state("srv1", "A", 1);
    let butler = killed.start().await;
    wait_told(&sink, &butler, "stopped srv1/A").await;
    hosts.looks("srv1", 2).await;
    assert_eq!(told(&sink), ["stopped srv1/B", "stopped srv1/A"]);
    let killed = butler.kill();
    hosts.state("srv1", "B", 4);
    let butler = killed.start().await;
    wait_told(&sink, &butler, "started srv1/B").await;
    let (status, _) = butler.stop().await;
    assert!(status.success());
    assert_eq!(told(&sink).len(), 3);
}

#[tokio::test]
async fn the_config_is_reloaded_while_a_look_is_under_way() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    hosts.put("srv1", &json!({ "services": { "A": { "state": 1 }, "B": { "state": 1 } } }));
    hosts.put("srv2", &json!({ "services": { "C": {} } }));
    let watched = |friendly: &str| json!([{ "host": "srv1", "services": [{ "name": "A", "friendlyName": friendly }, "B"] }, { "host": "srv2", "services": ["C"] }]);
    let more = "      timeouts: { call: 1m, round: 2m }\n";
    let butler = Butler::start_with(&config(&sink, &watched("one"), more), &hosts.environment()).await;
    wait_told(&sink, &butler, "stopped srv1/A").await;
    butler.wait_metric(&state("srv2", "C"), 4.0).await;
    hosts.change("srv1", |facts| facts["hang"] = true.into());
    hosts.looks("srv1", 1).await;
    let hanging = children(butler.pid());
    assert!(!hanging.is_empty(), "a program hangs");
    hosts.change("srv1", |facts| {
        facts["hang"] = false.into();
        facts["services"]["A"]["state"] = 4.into();
    });
    butler.rewrite(&config(&sink, &watched("two"), more));
    let (status, answer) = butler.post("/v5/reload", &json!(null)).await;
    assert_eq!(status, 200, "{answer}");
    let started = wait_told(&sink, &butler, "started srv1/A").await;
    assert_eq!(started["data"]["service"]["friendlyName"], "two");
    wait_for("the end of the program that hung", || async {
        let left = children(butler.pid());
        hanging.iter().all(|pid| !left.contains(pid)).then_some(())
    })
    .await;
    hosts.looks("srv1", 2).await;
    let mut all = told(&sink);
    all.sort();
    assert_eq!(all, ["started srv1/A", "stopped srv1/A", "stopped srv1/B"], "B was told before");
}

/// Process ids of the programs that a process runs.
fn children(of: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}
