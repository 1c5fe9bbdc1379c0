//! Many services on many hosts.

use std::time::{Duration, Instant};

use e2e::{Butler, Sink, wait_for};
use serde_json::{Value, json};

use crate::hosts::Hosts;
use crate::{METRICS, config, events, told};

const HOSTS: u32 = 20;
const HANGING: u32 = 3;
const SERVICES: u32 = 10;
const ROUND: Duration = Duration::from_secs(10);

/// With the limits and time-outs that nobody has to set.
#[tokio::test]
async fn two_hundred_services_of_which_thirty_hang_are_looked_at_within_ten_seconds() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    let services = |state: u32| -> Value {
        let services = (0..SERVICES).map(|number| (format!("S{number}"), json!({ "state": state })));
        Value::Object(services.collect())
    };
    let name = |number: u32| format!("srv{number}");
    for number in 0..HOSTS {
        // In the middle, so that they are not the last by chance.
        let hangs = (8..8 + HANGING).contains(&number);
        hosts.put(&name(number), &json!({ "hang": hangs, "services": services(4) }));
    }
    let names: Vec<String> = (0..SERVICES).map(|number| format!("S{number}")).collect();
    let watched: Vec<Value> = (0..HOSTS).map(|number| json!({ "host": name(number), "services": names })).collect();
    let begun = Instant::now();
    let butler = Butler::start_with(&config(&sink, &json!(watched), ""), &hosts.environment()).await;
    let unknown = (HANGING * SERVICES) as usize;
    wait_for("those that hang", || async { (told(&sink).len() >= unknown).then_some(()) }).await;
    let took = format!("{METRICS}_round_seconds{{instance=\"windows-services\"}}");
    let end_of_a_look = || async { butler.metric(&took).await.filter(|seconds| *seconds > 0.0) };
    let first = wait_for("the end of a look", end_of_a_look).await;
    assert!(first < ROUND.as_secs_f64(), "the first look took {first} s");
    assert!(begun.elapsed() < 2 * ROUND, "{:?}", begun.elapsed());
    assert!(told(&sink).iter().all(|line| line.starts_with("unknown ")), "{:?}", told(&sink));

    // All others stop: while three hang, each is told, by the end of the next whole look.
    let sound: Vec<u32> = (0..HOSTS).filter(|number| !(8..8 + HANGING).contains(number)).collect();
    let begun = Instant::now();
    for number in &sound {
        hosts.put(&name(*number), &json!({ "services": services(1) }));
    }
    let wanted = unknown + sound.len() * SERVICES as usize;
    wait_for("all that stopped", || async { (events(&sink).len() >= wanted).then_some(()) }).await;
    // A look that was under way may have been beyond them: then it is the next one.
    assert!(begun.elapsed() < 2 * ROUND, "{:?}", begun.elapsed());
    let second = butler.metric(&took).await.unwrap();
    assert!(second < ROUND.as_secs_f64(), "a look took {second} s");
    assert_eq!(events(&sink).len(), wanted);
    let stopped = told(&sink).iter().filter(|line| line.starts_with("stopped ")).count();
    assert_eq!(stopped, sound.len() * SERVICES as usize);
    // Never two looks at once: none of those that hang is asked before the time of the last question is over.
    let looks = hosts.calls(r"\\srv8 query type=");
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(looks <= 3 + seconds / 5 + 2, "{looks} looks");
}

/// Those that hang do so for longer than the test waits.
#[tokio::test]
async fn what_stops_is_told_while_other_hosts_hang() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    let name = |number: u32| format!("srv{number}");
    for number in 0..HOSTS {
        let hangs = (8..8 + HANGING).contains(&number);
        hosts.put(&name(number), &json!({ "hang": hangs, "services": { "A": { "state": 1 } } }));
    }
    let watched: Vec<Value> = (0..HOSTS).map(|number| json!({ "host": name(number), "services": ["A"] })).collect();
    let more = "      timeouts: { call: 1m, round: 2m }\n";
    let begun = Instant::now();
    let butler = Butler::start_with(&config(&sink, &json!(watched), more), &hosts.environment()).await;
    let wanted = (HOSTS - HANGING) as usize;
    wait_for(&format!("all that are stopped, told: {:?}", told(&sink)), || async {
        (told(&sink).len() >= wanted).then_some(())
    })
    .await;
    assert!(begun.elapsed() < 2 * ROUND, "{:?}", begun.elapsed());
    assert!(told(&sink).iter().all(|line| line.starts_with("stopped ")), "{:?}", told(&sink));
    let took = butler.metric(&format!("{METRICS}_round_seconds{{instance=\"windows-services\"}}")).await;
    assert_eq!(took, Some(0.0), "the look goes on");
}
