//! Time zones: that of the system, as Windows names it, and those of the config by the names of IANA.

use e2e::{Sink, failure, fields};
use serde_json::json;

use super::{folder, stops, wine};

#[tokio::test]
async fn times_are_in_the_zone_of_the_system_or_of_the_config() {
    let (wine, folder, sink) = (wine(), folder(), Sink::start().await);
    let hook = |name: &str, more: &str| {
        format!(
            "  - use: webhook\n    name: {name}\n    settings:\n      url: {}\n{more}      template: '{{\"at\": \"{{{{date \
             \"2026-07-01T12:00:00Z\" \"%H:%M\"}}}}\"}}'\n",
            sink.url(&format!("/{name}"))
        )
    };
    let config = format!("plugins:\n{}{}", hook("system", ""), hook("tokyo", "      timeZone: Asia/Tokyo\n"));
    // What Wine takes the zone of Windows from.
    let butler = wine.butler_with(&folder, &config, &[("TZ", "Europe/Oslo")]).await;
    butler.send(&[failure(&fields())]);
    let at = |name: &'static str| sink.wait_where(name, move |request| request.target == format!("/{name}"));
    assert_eq!(at("tokyo").await.json(), json!({ "at": "21:00" }));
    assert_eq!(at("system").await.json(), json!({ "at": "14:00" }));
    stops(butler).await;
}
