//! What is stored lasts: over kills, restarts, reloads, full disks and wrong clocks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Butler, Disk, PATIENCE, WallClock, http, take_all_room, wait_for};
use serde_json::json;

use super::{CONFIG, config, get, running, set, start, start_again, try_send};

const SETS: &str = "butler_plugin_key_value_writes_total{instance=\"key-value\",operation=\"set\"}";

/// Writes as fast as it can until nobody answers; the last value that was acknowledged for each of its keys.
async fn write_until_the_end(rest: String, writer: usize) -> Vec<Option<u64>> {
    let mut acknowledged = vec![None; 20];
    for n in 0_u64.. {
        let key = usize::try_from(n % 20).unwrap();
        let body = json!({ "key": format!("{writer}/{key}"), "value": n.to_string() }).to_string();
        match try_send(&rest, "POST", "/v4/keyvalues/crash", Some(body)).await {
            Some(answer) if answer.status == 201 => acknowledged[key] = Some(n),
            Some(answer) => panic!("{answer:?}"),
            None => break,
        }
    }
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut butler = start(CONFIG).await;
    for round in 0..3 {
        let writers: Vec<_> =
            (0..8).map(|writer| tokio::spawn(write_until_the_end(butler.rest().to_owned(), writer))).collect();
        wait_for("some hundred writes", || async { (butler.metric(SETS).await? >= 300.0).then_some(()) }).await;
        let killed = butler.kill();
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.push(writer.await.unwrap());
        }
        butler = killed.start().await;
        running(&butler).await;
        let count = acknowledged.iter().flatten().flatten().count();
        assert!(count >= 100, "{count} keys in round {round}");
        for (writer, keys) in acknowledged.iter().enumerate() {
            for (key, last) in keys.iter().enumerate() {
                let Some(last) = last else { continue };
                let answer = get(&butler, &format!("/v4/keyvalues/crash?key={writer}/{key}")).await;
                let value: u64 = answer.json()["value"].as_str().unwrap_or_default().parse().unwrap();
                // One more may have been on its way.
                assert!(value == *last || value == last + 20, "{writer}/{key}: {value}, acknowledged was {last}");
            }
        }
    }
}

#[tokio::test]
async fn writers_of_one_key_and_deletes_of_its_namespace_leave_memory_and_disk_alike() {
    let butler = start(CONFIG).await;
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let rest = butler.rest().to_owned();
            tokio::spawn(async move {
                for n in 0..60 {
                    let body = json!({ "key": format!("k{}", n % 3), "value": format!("{writer}/{n}") }).to_string();
                    let (method, path, body) = match (n + writer) % 6 {
                        0 => ("DELETE", "/v4/keyvalues/one".to_owned(), None),
                        1 => ("DELETE", format!("/v4/keyvalues/one/k{}", n % 3), None),
                        _ => ("POST", "/v4/keyvalues/one".to_owned(), Some(body)),
                    };
                    let status = try_send(&rest, method, &path, body).await.unwrap().status;
                    assert!(matches!(status, 201 | 204 | 400), "{status}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    set(&butler, "one", json!({ "key": "last", "value": "v" })).await;
    let read = async |butler: &Butler| {
        let list = get(butler, "/v4/keylist/one").await;
        let mut values = Vec::new();
        for key in list.json()["keys"].as_array().unwrap() {
            values.push(get(butler, &format!("/v4/keyvalues/one?key={}", key["key"].as_str().unwrap())).await);
        }
        (list, values)
    };
    let before = read(&butler).await;
    let butler = start_again(butler).await;
    assert_eq!(read(&butler).await, before);
}

async fn ttl(butler: &Butler, key: &str) -> Option<u64> {
    get(butler, &format!("/v5/key-value/t/{key}")).await.json()["ttl"].as_u64()
}

#[tokio::test]
async fn times_to_live_go_on_over_restarts_and_do_not_heed_the_wall_clock() {
    let hour = 3_600_000;
    let clock = WallClock::right();
    let butler = Butler::start_with(CONFIG, &clock.environment()).await;
    running(&butler).await;
    let began = Instant::now();
    for (key, ttl) in [("long", 2 * hour), ("short", 15_000), ("ever", 0)] {
        assert_eq!(set(&butler, "t", json!({ "key": key, "value": "v", "ttl": ttl })).await.status, 201);
    }
    let about = |left: Option<u64>, ttl: u64| {
        let left = left.expect("the key is there");
        let passed = u64::try_from(began.elapsed().as_millis()).unwrap();
        assert!(left <= ttl && left + passed + 2_000 >= ttl, "{left} of {ttl} after {passed} ms");
    };
    for off in [3_600, -3_600] {
        clock.set(off);
        wait_for("the jump to be noticed", || async {
            (butler.log().matches("the wall clock has jumped").count() >= if off > 0 { 1 } else { 2 }).then_some(())
        })
        .await;
        about(ttl(&butler, "long").await, 2 * hour);
        // Another write lets the store forget what it takes for over.
        set(&butler, "t", json!({ "key": "other", "value": "v" })).await;
    }
    let butler = start_again(butler).await;
    about(ttl(&butler, "long").await, 2 * hour);
    assert_eq!(get(&butler, "/v4/keyvalues/t?key=ever").await.status, 200);
    wait_for("the short one to end", || async {
        (get(&butler, "/v4/keyvalues/t?key=short").await.status == 400).then_some(())
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(15));
    about(ttl(&butler, "long").await, 2 * hour);
}

/// Takes all room of a disk, and again whatever becomes free, until it is dropped.
struct Filler(PathBuf, Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Filler {
    fn start(disk: &Disk) -> Self {
        let (file, stop) = (disk.path().join("filler"), Arc::new(AtomicBool::new(false)));
        let (target, stopping) = (file.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                take_all_room(&target);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self(file, stop, Some(thread))
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Release);
        let _ = self.2.take().map(std::thread::JoinHandle::join);
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn on_a_full_disk_writes_are_refused_in_time_and_reads_go_on() {
    let disk = Disk::in_memory(16);
    let butler = Butler::start_in(disk.folder(), CONFIG, &[]).await;
    running(&butler).await;
    assert_eq!(set(&butler, "ns", json!({ "key": "k", "value": "before" })).await.status, 201);
    let reserve = disk.path().join("butler.reserve");
    wait_for("room to be set aside", || async { reserve.exists().then_some(()) }).await;
    std::fs::remove_file(reserve).unwrap();
    let filler = Filler::start(&disk);
    // The log of the store may have room left for some.
    let mut stored = 0;
    let (refused, took) = loop {
        let began = Instant::now();
        let body = json!({ "key": format!("n{stored}"), "value": "v".repeat(10_000) });
        let answer = set(&butler, "full", body).await;
        if answer.status != 201 {
            break (answer, began.elapsed());
        }
        stored += 1;
        assert!(stored < 5_000, "the disk does not fill up");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.message().contains("The disk did not take the write within 10 s"), "{refused:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let began = Instant::now();
    let at_once = set(&butler, "ns", json!({ "key": "k", "value": "during" })).await;
    assert_eq!(at_once.status, 503, "{at_once:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(get(&butler, "/v4/keyvalues/ns?key=k").await.json()["value"], "before");
    assert!(butler.log().contains("the storage has not taken a write for 10 s"), "{}", butler.log());

    drop(filler);
    wait_for("writes to be taken again", || async {
        (set(&butler, "ns", json!({ "key": "k", "value": "after" })).await.status == 201).then_some(())
    })
    .await;
    // What was on its way was made after all, and is where it belongs.
    let list = get(&butler, "/v4/keylist/full").await;
    assert_eq!(list.json()["keys"].as_array().map(Vec::len), Some(stored + 1));
    let butler = start_again(butler).await;
    assert_eq!(get(&butler, "/v4/keylist/full").await, list);
    assert_eq!(get(&butler, "/v4/keyvalues/ns?key=k").await.json()["value"], "after");
}

#[tokio::test]
async fn a_reload_under_load_leaves_memory_and_disk_alike() {
    let butler = start(&config("maxKeysPerNamespace: 900")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6_usize)
        .map(|writer| {
            let (rest, stop) = (butler.rest().to_owned(), stop.clone());
            tokio::spawn(async move {
                for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let namespace = format!("n{}", n % 7);
                    let body = json!({ "key": format!("k{}", n % 5), "value": format!("{writer}/{n}") }).to_string();
                    let (method, path, body) = match (n + writer) % 9 {
                        0 => ("DELETE", format!("/v4/keyvalues/{namespace}"), None),
                        1 => ("DELETE", format!("/v4/keyvalues/{namespace}/k{}", n % 5), None),
                        _ => ("POST", format!("/v4/keyvalues/{namespace}"), Some(body)),
                    };
                    let status = try_send(&rest, method, &path, body).await.unwrap().status;
                    assert!(matches!(status, 201 | 204 | 400 | 503), "{status}");
                }
            })
        })
        .collect();
    for limit in 901..906 {
        butler.rewrite(&config(&format!("maxKeysPerNamespace: {limit}")));
        let answer = http().post(format!("{}/v5/reload", butler.rest())).timeout(PATIENCE).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        running(&butler).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let everything = async |butler: &Butler| {
        let mut all = vec![get(butler, "/v4/keyvaluesnamespaces").await];
        for namespace in 0..7 {
            all.push(get(butler, &format!("/v4/keylist/n{namespace}")).await);
            for key in 0..5 {
                all.push(get(butler, &format!("/v4/keyvalues/n{namespace}?key=k{key}")).await);
            }
        }
        all
    };
    let in_memory = everything(&butler).await;
    let butler = start_again(butler).await;
    assert_eq!(everything(&butler).await, in_memory);
}
