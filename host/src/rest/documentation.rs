//! `/documentation`: a page that shows the API and lets one try it (Swagger UI, whose files are in the executable), and its
//! description in JSON and YAML.
//!
//! They are for everybody: the page holds nothing of this Butler, a browser has no token before somebody enters one, and the
//! description says only what is served.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, OnceLock};

use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Response};
use butler_plugin_api::{Endpoint, Scope};
use serde_json::{Value, json};
use utoipa_swagger_ui::{Config, serve};

use super::answer::{Answer, Failure, ready};
use super::openapi;
use super::own::{Declared, Own, text};
use super::request::Call;
use super::routes::Table;
use crate::config::yaml_text;

/// Nothing from elsewhere, and no script or style within the page. `data:` are the page's small pictures.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'self'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// Of the user interface: it must not ask a validator elsewhere, and its links to operations would be resolved against the
/// page's `<base>`, where nothing is.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("../json").dom_id("#swagger-ui").validator_url("none").doc_expansion("none");
    Arc::new(config.deep_linking(false).filter(true).use_base_layout())
});

pub(super) fn endpoints() -> Vec<Declared> {
    let endpoint = |path: &str, summary: &str| Endpoint::new("GET", path, Scope::Read, summary);
    let page = |path: &str| {
        let page = endpoint(path, "A page that shows the API").answer(200, "The page", text("text/html"));
        Declared::new(page, Own::DocumentationPage).open()
    };
    let document = json!({ "type": "object" });
    let json = endpoint("/documentation/json", "The API in OpenAPI 3.1").answer(200, "The description", document);
    let yaml = endpoint("/documentation/yaml", "The API in OpenAPI 3.1, as YAML").answer(
        200,
        "The description",
        json!({ "contentMediaType": "application/yaml" }),
    );
    let file = endpoint("/documentation/static/{file}", "Files of the page")
        .answer(200, "The file", text("*/*"))
        .answer(404, "There is no such file", Value::Null);
    vec![
        page("/documentation"),
        page("/documentation/"),
        Declared::new(json, Own::DocumentationJson).open(),
        Declared::new(yaml, Own::DocumentationYaml).open(),
        Declared::new(file, Own::DocumentationFile).open(),
    ]
}

/// The descriptions of a table, made when somebody asks for them.
#[derive(Default)]
pub(super) struct Documents {
    json: OnceLock<Bytes>,
    yaml: OnceLock<Bytes>,
}

/// `GET /documentation/json`
pub(super) fn json(table: &Table) -> Answer {
    ready(Body::from(table.documents.json.get_or_init(|| described(table).to_string().into()).clone()))
}

/// `GET /documentation/yaml`
pub(super) fn yaml(table: &Table) -> Answer {
    let text = table.documents.yaml.get_or_init(|| yaml_text::of(&described(table)).into()).clone();
    with_type(text.into(), HeaderValue::from_static("application/yaml"))
}

fn described(table: &Table) -> Value {
    openapi::document(table, env!("CARGO_PKG_VERSION"))
}

/// `GET /documentation`, with and without a slash at its end.
pub(super) fn page(call: &Call) -> Answer {
    // Relative, so that it also works below another path, behind a proxy.
    let path = call.uri.split('?').next().unwrap_or_default();
    let files = if path.ends_with('/') { "static/" } else { "documentation/static/" };
    let page = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Butler: REST API</title>
<base href="{files}">
<link rel="stylesheet" href="swagger-ui.css">
<link rel="stylesheet" href="index.css">
<link rel="icon" type="image/png" href="favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="swagger-ui-standalone-preset.js"></script>
<script src="swagger-initializer.js"></script>
</body>
</html>
"#
    );
    shown(with_type(page.into(), HeaderValue::from_static("text/html; charset=utf-8")))
}

/// `GET /documentation/static/{file}`
pub(super) fn file(call: &Call) -> Result<Answer, Failure> {
    let missing = || Failure::not_found("there is no such file");
    let name = call.param("file");
    // An empty name would be a page of its own.
    let file = serve(name, CONFIG.clone()).ok().flatten().filter(|_| !name.is_empty()).ok_or_else(missing)?;
    let content_type = HeaderValue::from_str(&file.content_type).map_err(|_| missing())?;
    // Those that are in the executable are not copied for each request.
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut answer = with_type(bytes.into(), content_type);
    let headers = answer.headers_mut();
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    Ok(shown(answer))
}

fn with_type(body: Body, content_type: HeaderValue) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// With the headers of what a browser shows.
fn shown(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[test]
    fn both_forms_say_the_same() {
        let document = described(&Table::own());
        let text = yaml_text::of(&document);
        assert_eq!(yaml::parse(&text).unwrap().unwrap().value, document);
    }
}
