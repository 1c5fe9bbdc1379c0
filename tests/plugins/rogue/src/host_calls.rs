//! Too much of what the host offers.

use std::time::Duration;

use butler_plugin_api::testing::block_on;
use butler_plugin_api::{Delivery, DeliveryError, Host, ServiceError, StorageChange};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Twenty thousand records, and two of 3 MB.
pub fn flood_log() {
    let endless = "endless".repeat(3 << 17);
    tracing::warn!(field = endless, "a record with an endless field");
    tracing::warn!("{endless}");
    for n in 0..20_000 {
        tracing::warn!(n, "the rogue floods the log");
    }
}

/// Tells the secret in every text but the error of a start.
pub async fn tell(host: &Host, secret: &str, delivery: &Delivery) -> Result<(), DeliveryError> {
    tracing::error!(secret, "the rogue knows {secret}");
    log::error!(target: secret, "the rogue knows {secret}");
    host.metrics().count("told_total", &[("secret", secret)], 1);
    host.emit("rogue.told", json!({ "told": secret, secret: [secret], "message": secret })).await?;
    host.emit_once(secret, "rogue.keyed", json!({})).await?;
    match delivery.attempt {
        1 => Err(DeliveryError::retry(format!("the rogue knows {secret}")).with_progress(json!({ "told": secret }))),
        2 => panic!("the rogue knows {secret}"),
        _ if delivery.progress != Some(json!({ "told": secret })) => {
            Err(DeliveryError::reject("the progress has changed on its way"))
        }
        _ => Err(DeliveryError::reject(format!("the rogue knows {secret}"))),
    }
}

/// Many events at once, again and again.
pub async fn emit_for_ever(host: Host) {
    let mut n = 0_u64;
    loop {
        let emitted = join_all((0..100).map(|k| host.emit("rogue.noise", json!({ "n": n + k })))).await;
        if emitted.contains(&Err(ServiceError::Stopped)) {
            return;
        }
        n += 100;
    }
}

/// From a thread of its own, also after the stop, when it says what it got.
pub fn call_for_ever(host: &Host) {
    let mut stopped = false;
    for n in 0_u64.. {
        let results = block_on(async {
            let storage = host.storage().set("n", &json!(n), None).await;
            let emitted = host.emit_once("once", "rogue.called", json!({})).await.map(drop);
            let missing = host.invoke("no-such-service", &json!({})).await.map(drop);
            [storage, emitted, missing]
        });
        host.metrics().count("calls_total", &[], 1);
        let http = block_on(host.http().get("http://127.0.0.1:9/").send()).err();
        host.spawn(async {});
        block_on(host.sleep(Duration::from_millis(5)));
        if !stopped && results[0] == Err(ServiceError::Stopped) {
            stopped = true;
            let errors: Vec<String> = results.iter().filter_map(|one| Some(one.as_ref().err()?.to_string())).collect();
            tracing::warn!("after the stop: {errors:?} and {http:?}");
        }
    }
}

/// What the host says to a key, a value, a total and a number that are too large.
pub async fn exceed_quotas(host: &Host) -> Value {
    let storage = host.storage();
    let said = |result: Result<(), ServiceError>| match result {
        Err(ServiceError::Quota(text)) => text,
        other => format!("{other:?}"),
    };
    let key = said(storage.set(&"k".repeat(600), &json!(1), None).await);
    let value = said(storage.set("k", &json!("v".repeat(2 << 20)), None).await);
    let large = json!("v".repeat(1_000_000));
    let mut total = String::new();
    for n in 0..100 {
        let result = storage.set(&format!("large-{n}"), &large, None).await;
        if result.is_err() {
            total = said(result);
            break;
        }
    }
    for n in 0..100 {
        if storage.delete(&format!("large-{n}")).await != Ok(true) {
            break;
        }
    }
    let one = json!(1);
    for n in 0..99 {
        let set = |m| StorageChange::Set { key: format!("many-{n}-{m}"), value: one.clone(), ttl: None };
        let many = storage.apply(&(0..1_000).map(set).collect::<Vec<_>>()).await;
        if many.is_err() {
            return json!({ "number": said(many) });
        }
    }
    let names: Vec<String> = (0..2_000).map(|n| format!("small-{n}")).collect();
    let small = join_all(names.iter().map(|name| storage.set(name, &one, None))).await;
    let stored = 99_000 + small.iter().filter(|result| result.is_ok()).count();
    let number = small.into_iter().find(Result::is_err).map(said);
    // It has what it may have, and no more harm was done: room that is freed can be used.
    let freed = storage.delete(&names[0]).await.is_ok() && storage.set("again", &json!(1), None).await.is_ok();
    let data = host.emit("rogue.large", json!({ "text": "v".repeat(2 << 20) })).await.map(drop);
    json!({ "key": key, "value": value, "total": total, "number": number, "stored": stored, "freed": freed,
            "data": said(data) })
}
