//! What `check` asks and says.

use butler_plugin_api::testing::{FakeHost, block_on};
use butler_plugin_api::{HttpError, Plugin};
use serde_json::{Value, json};

use super::{settings, v2, v3};
use crate::Influxdb;

fn check(fake: &FakeHost, settings: Value) -> Result<String, String> {
    block_on(async {
        let plugin: Influxdb = fake.start(settings).await.unwrap();
        let line = plugin.invoke("check", Value::Null).await;
        line.map(|line| line.as_str().unwrap().to_owned()).map_err(|error| error.to_string())
    })
}

fn answering(status: u16, text: &str) -> FakeHost {
    FakeHost::new("influx").answer(status, text)
}

#[test]
fn version_1_is_asked_for_its_databases_and_for_a_write_without_points() {
    let there = json!({ "results": [{ "series": [{ "values": [["butler"]] }] }] }).to_string();
    let fake = answering(200, &there).answer(204, "");
    assert!(check(&fake, settings(json!({}))).unwrap().contains("may be written to"));
    assert!(fake.requests()[1].body.is_empty());
    let fake = answering(200, &there).answer(403, "{\"error\":\"bob is not authorized to write\"}");
    assert!(check(&fake, settings(json!({}))).unwrap_err().contains("bob is not authorized"));
    let empty = || answering(200, "{\"results\":[{}]}");
    assert!(check(&empty(), settings(json!({}))).unwrap().contains("will be created"));
    assert!(check(&empty(), settings(json!({ "create": false }))).unwrap_err().contains("`create: true`"));
    let fake = answering(401, "{\"error\":\"authorization failed\"}");
    assert!(check(&fake, settings(json!({}))).unwrap_err().contains("authorization failed"));
    let fake = FakeHost::new("influx").fail(HttpError::Connection("refused".to_owned()));
    assert_eq!(check(&fake, settings(json!({}))).unwrap_err(), "http://influx.test:8086: refused");
}

#[test]
fn version_2_is_asked_for_a_write_without_points_which_a_token_for_writing_may() {
    let needs_points = "{\"code\":\"invalid\",\"message\":\"writing requires points\"}";
    for fake in [answering(400, needs_points), answering(204, "")] {
        let line = check(&fake, v2(json!({}))).unwrap();
        assert!(line.contains("bucket `butler` of `lab` is there and may be written to"), "{line}");
        let [request] = fake.requests().try_into().unwrap();
        assert!(request.url.contains("/api/v2/write?") && request.method == "POST" && request.body.is_empty());
    }
    let missing = || answering(404, "{\"code\":\"not found\",\"message\":\"bucket \\\"butler\\\" not found\"}");
    assert!(check(&missing(), v2(json!({}))).unwrap_err().contains("has no bucket `butler`"));
    assert!(check(&missing(), v2(json!({ "create": true }))).unwrap().contains("will be created"));
    for (status, text, part) in [
        (401, "{\"message\":\"unauthorized access\"}", "unauthorized access"),
        (403, "{\"code\":\"forbidden\",\"message\":\"insufficient permissions for write\"}", "insufficient"),
        (400, "{\"code\":\"invalid\",\"message\":\"org or orgID is missing\"}", "org or orgID"),
        (400, "Client sent an HTTP request to an HTTPS server.\n", "no InfluxDB"),
        (200, "<html>Please sign in</html>", "no InfluxDB"),
        (503, "", "503"),
    ] {
        let error = check(&answering(status, text), v2(json!({ "create": true }))).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn version_3_is_asked_for_its_databases_which_not_all_may_see() {
    let fake = answering(200, "[{\"iox::database\":\"butler\"}]");
    assert!(check(&fake, v3(json!({}))).unwrap().contains("database `butler` is there"));
    let json = "{\"error\":\"not found\"}";
    let named = FakeHost::new("influx").answer_with(404, &[("x-influxdb-version", "3.2.1")], "");
    for fake in [answering(403, ""), answering(405, ""), answering(404, json), named] {
        assert!(check(&fake, v3(json!({}))).unwrap().contains("does not tell"));
    }
    for (status, text) in [(401, ""), (404, ""), (404, "<html>Not Found</html>"), (404, "404 page not found\n")] {
        let error = check(&answering(status, text), v3(json!({}))).unwrap_err();
        assert!(error.contains(&status.to_string()), "{error}");
    }
}
