//! Items `keyvaluestore` of requests to start tasks: a pair that is stored before the tasks are started.

use butler_plugin_api::OperationError;
use serde_json::{Value, json};

use crate::plan::{Refusal, Write};
use crate::store::Store;
use crate::text::{text, ttl};

/// The type of the items.
pub(crate) const TYPE: &str = "keyvaluestore";

/// The schema of their payload. Scripts send what they have: nothing of it is a reason not to start a task.
pub(crate) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "namespace": { "description": "Name of the namespace." },
            "key": { "description": "Name of the key." },
            "value": { "description": "Value; what is no text is stored as JSON." },
            "ttl": { "description": "Time to live in milliseconds. 0, empty or no number: for ever." },
        },
    })
}

/// Stores the pair of an item. One that is not whole is passed over, as in Butler 16.
pub(crate) async fn store(store: &Store, input: &Value) -> Result<Value, OperationError> {
    let payload = &input["payload"];
    let [namespace, key] = ["namespace", "key"].map(|name| name_of(&payload[name]));
    let value = text(&payload["value"]).filter(|value| !value.is_empty());
    let (Some(namespace), Some(key), Some(value)) = (namespace, key, value) else {
        tracing::warn!(
            caller = input["caller"].as_str().unwrap_or_default(),
            "an item `{TYPE}` of a request to start tasks has no namespace, no key or no value, and is passed over"
        );
        return Ok(Value::Null);
    };
    let failed = |refusal| OperationError::Failed(told(refusal));
    let write = Write::set((&namespace, &key, &value), span_of(&payload["ttl"]), &store.limits).map_err(failed)?;
    store.write(write).await.map_err(failed)?;
    Ok(Value::Null)
}

/// Load scripts send the time as text.
fn span_of(sent: &Value) -> Option<std::time::Duration> {
    match sent {
        Value::String(text) => ttl(&text.trim().parse::<f64>().map(Value::from).unwrap_or_default()).span,
        other => ttl(other).span,
    }
}

/// A name: lists and objects are none.
fn name_of(value: &Value) -> Option<String> {
    text(value).filter(|name| !name.is_empty() && !value.is_array() && !value.is_object())
}

fn told(refusal: Refusal) -> String {
    match refusal {
        Refusal::Missing | Refusal::NoNamespace | Refusal::NoKey => "namespace or key is missing".to_owned(),
        Refusal::Name(why)
        | Refusal::TooLarge(why)
        | Refusal::Full(why)
        | Refusal::Unavailable(why)
        | Refusal::Failed(why) => why,
    }
}
