//! The description of the REST API in OpenAPI 3.1, made from the table of routes: from what the host's own endpoints and
//! those of plugins declare. <https://spec.openapis.org/oas/v3.1.1.html>
//!
//! What every endpoint may answer (a request that does not fit, a missing token) is added here, so that declarations name
//! only what is their own.

mod components;

use std::collections::{BTreeMap, BTreeSet};

use butler_plugin_api::{Endpoint, Scope};
use serde_json::{Map, Value, json};

use self::components::Components;
use super::answer::error_schema;
use super::auth::scope_name;
use super::routes::{Route, Segment, Table, same_place};

/// The document. `version`: of Butler.
pub(super) fn document(table: &Table, version: &str) -> Value {
    let mut components = Components::default();
    components.add("Error", error_schema());
    let mut ids = BTreeSet::new();
    let mut tags = BTreeMap::new();
    let mut paths: Vec<Path> = Vec::new();
    for route in table.routes() {
        // Two paths that differ only in names of parameters are one, with the names of the first.
        let place = paths.iter().position(|path| same_place(path.segments, &route.segments));
        let place = place.unwrap_or_else(|| {
            let names = route.segments.iter().filter_map(Segment::parameter).collect();
            paths.push(Path { segments: &route.segments, text: &route.endpoint.path, names, operations: Map::new() });
            paths.len() - 1
        });
        let path = &mut paths[place];
        let (tag, about) = tag(route);
        tags.insert(tag.clone(), about);
        let mut operation = operation(route, &path.names, &mut components);
        operation["operationId"] = operation_id(&route.endpoint, &mut ids).into();
        operation["tags"] = json!([tag]);
        path.operations.insert(route.endpoint.method.to_ascii_lowercase(), operation);
    }
    let paths: Map<String, Value> =
        paths.into_iter().map(|path| (path.text.to_owned(), Value::Object(path.operations))).collect();
    let tags: Vec<Value> =
        tags.into_iter().map(|(name, about)| json!({ "name": name, "description": about })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Butler",
            "version": version,
            "description": "The endpoints that this Butler serves: its own and those of the plugins of its config.\n\n\
                Clients that can only send GET and POST name another method in the header `X-HTTP-Method-Override` of a \
                POST. Numbers and booleans may be sent as texts.",
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components.into_schemas(),
            "responses": responses(),
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of `rest.tokens`, made by `butler token new`. Each operation names the scope that \
                    the token must have. Networks under `rest.grants` need none, and if the config has no tokens, callers \
                    on the same machine need none.",
            } },
        },
    })
}

struct Path<'a> {
    segments: &'a [Segment],
    text: &'a str,
    /// Of its parameters.
    names: Vec<&'a str>,
    operations: Map<String, Value>,
}

/// What it belongs to: a plugin, or what one must be allowed to do; and a line about that.
fn tag(route: &Route) -> (String, String) {
    match (route.plugin(), route.scope) {
        (Some(plugin), _) => (plugin.to_owned(), format!("The plugin `{plugin}`")),
        (None, Some(scope)) => (scope_name(scope), format!("Butler itself, scope `{}`", scope_name(scope))),
        (None, None) => ("open".to_owned(), "Butler itself, for everybody".to_owned()),
    }
}

/// `getV5EventsById`: stays the same as long as method and path do.
fn operation_id(endpoint: &Endpoint, taken: &mut BTreeSet<String>) -> String {
    let mut id = endpoint.method.to_ascii_lowercase();
    for segment in endpoint.path.split('/').filter(|segment| !segment.is_empty()) {
        let (by, words) = match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => ("By", name),
            None => ("", segment),
        };
        id.push_str(by);
        for word in words.split(|c: char| !c.is_ascii_alphanumeric()) {
            let mut letters = word.chars();
            id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            id.push_str(letters.as_str());
        }
    }
    let mut unique = id.clone();
    let mut n = 1;
    while !taken.insert(unique.clone()) {
        n += 1;
        unique = format!("{id}{n}");
    }
    unique
}

fn operation(route: &Route, path_names: &[&str], components: &mut Components) -> Value {
    let endpoint = &route.endpoint;
    let owner = route.plugin().map(|plugin| format!("{plugin}.")).unwrap_or_default();
    let whole = |part: &str| {
        let path = endpoint.path.trim_matches('/').replace(['{', '}', '~'], "").replace('/', ".");
        format!("{owner}{}.{path}.{part}", endpoint.method)
    };
    let in_path = |name: &&str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let mut parameters: Vec<Value> = path_names.iter().map(in_path).collect();
    let query = components.place(&owner, &whole("query"), &endpoint.query);
    parameters.extend(in_query(&query));

    let mut operation = json!({
        "summary": endpoint.summary,
        "description": described(route.scope, endpoint),
        "responses": answers(route, &owner, &whole, components),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(shape) = &route.body {
        let schema = components.place(&owner, &whole("body"), &endpoint.body);
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": !shape.accepts_null(), "content": content });
    }
    if let Some(media_type) = route.raw {
        let content = json!({ media_type: { "schema": { "contentMediaType": media_type } } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if let Some(scope) = route.scope {
        operation["security"] = json!([{ "bearer": [scope_name(scope)] }]);
    }
    operation
}

fn described(scope: Option<Scope>, endpoint: &Endpoint) -> String {
    let who = match scope {
        Some(scope) => format!("Needs the scope `{}`.", scope_name(scope)),
        None => "For everybody.".to_owned(),
    };
    match endpoint.name.as_str() {
        "" => who,
        name => format!("{who} Its name in `rest.disabledEndpoints` is `{name}`."),
    }
}

/// The parameters of a query's schema.
fn in_query(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let required = required.contains(&name.as_str());
            let mut parameter = json!({ "name": name, "in": "query", "required": required, "schema": schema });
            if let Some(description) = description {
                parameter["description"] = description;
            }
            parameter
        })
        .collect()
}

/// What is declared, and what may be answered before or instead of it.
fn answers(route: &Route, owner: &str, whole: &impl Fn(&str) -> String, components: &mut Components) -> Value {
    let endpoint = &route.endpoint;
    let mut answers = Map::new();
    for answer in &endpoint.answers {
        let failed = answer.status >= 400 && answer.body.is_null();
        let schema = if failed {
            json!({ "$ref": "#/components/schemas/Error" })
        } else {
            components.place(owner, &whole(&answer.status.to_string()), &answer.body)
        };
        let mut described = json!({ "description": answer.description });
        if !schema.is_null() {
            let media_type = schema["contentMediaType"].as_str().unwrap_or("application/json");
            described["content"] = json!({ media_type: { "schema": schema } });
        }
        answers.insert(answer.status.to_string(), described);
    }
    let takes_body = !matches!(endpoint.method.as_str(), "GET");
    let parameters = route.segments.iter().any(|segment| segment.parameter().is_some());
    let common = [
        ("400", takes_body || parameters || route.query.is_some()),
        ("401", route.scope.is_some()),
        ("403", true),
        ("408", takes_body),
        ("413", takes_body),
        ("415", route.body.is_some()),
        ("429", true),
        ("5XX", true),
    ];
    for (status, _) in common.into_iter().filter(|(_, may)| *may) {
        let reference = json!({ "$ref": format!("#/components/responses/{status}") });
        answers.entry(status).or_insert(reference);
    }
    Value::Object(answers)
}

/// The answers that endpoints have in common.
fn responses() -> Value {
    let texts = [
        ("400", "The request is not as it should be; the message says where"),
        ("401", "A token is needed, or the one that was sent is not known"),
        ("403", "The token lacks the scope, or the host or origin of the request is not allowed"),
        ("408", "The body did not come in time"),
        ("413", "The body is larger than 1 MiB"),
        ("415", "The content type is neither JSON nor text"),
        ("429", "Too many requests; `Retry-After` says when to go on"),
        ("5XX", "Butler, or what it has to ask, cannot do it now; the message says why"),
    ];
    let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
    let response =
        |(status, text): (&str, &str)| (status.to_owned(), json!({ "description": text, "content": content }));
    Value::Object(texts.into_iter().map(response).collect())
}

#[cfg(test)]
mod tests;
