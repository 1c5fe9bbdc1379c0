//! Asking the repository service (QRS), with errors that say what to do.

use butler_plugin_api::{Host, QlikReply};
use serde_json::Value;

use crate::part::Trouble;

/// Longest part of an answer that is quoted, in characters.
const QUOTED: usize = 200;

/// `GET /qrs/<path>`: the JSON of a successful answer.
pub(crate) async fn get(host: &Host, path: &str, query: &[(&str, &str)]) -> Result<Value, Trouble> {
    let reply = host.qlik().get(path, query).await?;
    if (200..300).contains(&reply.status) { Ok(reply.body) } else { Err(Trouble::Failed(refusal(path, &reply))) }
}

/// `GET /qrs/<path>`: the object that is the answer.
pub(crate) async fn object(host: &Host, path: &str) -> Result<Value, Trouble> {
    let body = get(host, path, &[]).await?;
    if body.is_object() {
        return Ok(body);
    }
    Err(Trouble::Failed(format!(
        "the answer of Qlik Sense to `{path}` should be an object but begins with \"{}\" (is `ports.repository` that of QRS, \
         without a proxy in between?)",
        excerpt(&body)
    )))
}

/// Why an answer is of no use, and what to do.
pub(crate) fn refusal(path: &str, reply: &QlikReply) -> String {
    let remedy = match reply.status {
        401 | 403 if path.starts_with("user/") => {
            "in the QMC give the user of `qlik.user` a role or security rule with Read on `User_*`, or use one that has it, \
             such as INTERNAL\\sa_repository"
        }
        401 | 403 => {
            "in the QMC give the user of `qlik.user` a role or security rule with Read on `License*`, or use one that has it, \
             such as INTERNAL\\sa_repository"
        }
        404 => "there is no such call in this release, or no licence yet: see License management in the QMC",
        429 | 503 => "it is overloaded or starting; Butler asks again",
        500.. => "see the repository's log on the Sense server; Butler asks again",
        _ => "`qlik.host` and `ports.repository` must lead to QRS itself",
    };
    let said = match excerpt(&reply.body) {
        text if text.is_empty() => text,
        text => format!(": {text}"),
    };
    format!("Qlik Sense answers {} to `{path}`{said} ({remedy})", reply.status)
}

/// The beginning of a body, in one line.
fn excerpt(body: &Value) -> String {
    let text =
        body.as_str().map_or_else(|| if body.is_null() { String::new() } else { body.to_string() }, str::to_owned);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(QUOTED).collect()
}
