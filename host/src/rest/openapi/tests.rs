use butler_plugin_api::Endpoint;

use super::super::endpoints::Mount;
use super::super::own;
use super::super::switches::Switches;
use super::*;

fn mount(plugin: &str, endpoint: Endpoint) -> Mount {
    Mount::fake(plugin, endpoint, |_| unreachable!("not called"))
}

fn with(mounts: Vec<Mount>) -> Value {
    document(&Table::with(mounts, Switches::default()).unwrap(), "1.2.3")
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let each = paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    });
    each.collect()
}

/// All references within a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(entries) => {
            found.extend(entries.get("$ref").and_then(Value::as_str));
            entries.values().for_each(|entry| references(entry, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_endpoint_of_the_host_is_described_wholly() {
    let document = with(Vec::new());
    let mut expected: Vec<String> = own::endpoints()
        .iter()
        .map(|declared| format!("{} {}", declared.endpoint.method, declared.endpoint.path))
        .collect();
    expected.sort();
    let operations = operations(&document);
    let mut found: Vec<&str> = operations.iter().map(|(name, _)| name.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    let mut ids = BTreeSet::new();
    for (name, operation) in &operations {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{name} declares no success");
        let parameters = operation["parameters"]
            .as_array()
            .map_or(0, |all| all.iter().filter(|parameter| parameter["in"] == "path").count());
        assert_eq!(parameters, name.matches('{').count(), "{name}");
    }
    let mut targets = Vec::new();
    references(&document, &mut targets);
    assert!(targets.len() > 100, "{}", targets.len());
    for target in targets {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
}

#[test]
fn an_operation() {
    let endpoint = Endpoint::new("PUT", "/v5/chat/rooms/{room}", Scope::Messages, "Posts in a room")
        .named("chatPost")
        .query(json!({ "type": "object", "required": ["as"], "properties": {
            "as": { "type": "string", "description": "Who" }, "loud": { "$ref": "#/$defs/Loud" } },
            "$defs": { "Loud": { "type": "boolean" } } }))
        .body(json!({ "type": ["object", "null"] }))
        .answer(201, "Posted", json!({ "$ref": "#/$defs/Post", "$defs": { "Post": { "type": "object" } } }))
        .answer(204, "Nothing to post", Value::Null)
        .answer(502, "The chat does not answer", Value::Null)
        .answer(200, "As text", json!({ "type": "string", "contentMediaType": "text/plain" }));
    let read = Endpoint::new("GET", "/v5/chat/rooms/{name}", Scope::Messages, "Reads");
    let document = with(vec![mount("chat", endpoint), mount("chat", read)]);
    let path = &document["paths"]["/v5/chat/rooms/{room}"];
    assert_eq!(path["get"]["parameters"][0]["name"], "room");
    assert!(document["paths"].get("/v5/chat/rooms/{name}").is_none());
    let error = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
    let common = |status: &str| json!({ "$ref": format!("#/components/responses/{status}") });
    let expected = json!({
        "operationId": "putV5ChatRoomsByRoom",
        "tags": ["chat"],
        "summary": "Posts in a room",
        "description": "Needs the scope `messages`. Its name in `rest.disabledEndpoints` is `chatPost`.",
        "parameters": [
            { "name": "room", "in": "path", "required": true, "schema": { "type": "string" } },
            { "name": "as", "in": "query", "required": true, "schema": { "type": "string" }, "description": "Who" },
            { "name": "loud", "in": "query", "required": false, "schema": { "$ref": "#/components/schemas/chat.Loud" } },
        ],
        "requestBody": { "required": false,
            "content": { "application/json": { "schema": { "type": ["object", "null"] } } } },
        "security": [{ "bearer": ["messages"] }],
        "responses": {
            "200": { "description": "As text", "content": {
                "text/plain": { "schema": { "type": "string", "contentMediaType": "text/plain" } } } },
            "201": { "description": "Posted", "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/chat.Post" } } } },
            "204": { "description": "Nothing to post" },
            "502": { "description": "The chat does not answer", "content": error },
            "400": common("400"), "401": common("401"), "403": common("403"), "408": common("408"),
            "413": common("413"), "415": common("415"), "429": common("429"), "5XX": common("5XX"),
        },
    });
    assert_eq!(path["put"], expected, "{:#}", path["put"]);
}

#[test]
fn ids_of_operations_are_unique() {
    let mut taken = BTreeSet::new();
    let mut id = |method: &str, path: &str| operation_id(&Endpoint::new(method, path, Scope::Read, ""), &mut taken);
    assert_eq!(id("GET", "/v5/script-logs/{id}"), "getV5ScriptLogsById");
    assert_eq!(id("GET", "/v5/scriptLogs/{id}"), "getV5ScriptLogsById2");
    assert_eq!(id("GET", "/documentation"), "getDocumentation");
    assert_eq!(id("GET", "/documentation/"), "getDocumentation2");
}

#[test]
fn what_is_switched_off_is_not_described() {
    let switches = Switches::new(&["POST /v5/reload".to_owned(), "butlerping".to_owned()]);
    let document = document(&Table::with(Vec::new(), switches).unwrap(), "1");
    assert!(document["paths"].get("/v5/reload").is_none() && document["paths"].get("/v4/butlerping").is_none());
    assert!(document["paths"].get("/metrics").is_some());
}

#[test]
fn a_body_that_is_no_json_is_described_with_its_media_type() {
    let operation = &with(Vec::new())["paths"]["/v5/schedules/import"]["post"];
    let schema = json!({ "contentMediaType": "application/yaml" });
    assert_eq!(
        operation["requestBody"],
        json!({ "required": true, "content": { "application/yaml": { "schema": schema } } })
    );
}
