//! The calls of load scripts that were written for Butler 16, as its own library made them: values in quotes whatever they are,
//! spaces here and there, no body where none is needed.

use e2e::qlik::Site;
use e2e::qlik_script::Request;
use serde_json::{Value, json};

pub struct Call {
    /// On the wire.
    pub method: &'static str,
    /// The method that is meant.
    pub meant: &'static str,
    pub target: String,
    /// None: the one that is stored in the connection goes out.
    pub body: Option<String>,
    pub status: u16,
    /// What the answer must have.
    pub answer: Value,
}

impl Call {
    pub fn request(&self, address: &str) -> Request {
        let mut headers = Vec::new();
        if self.meant != self.method {
            headers.push(("X-HTTP-Method-Override".to_owned(), self.meant.to_owned()));
        }
        Request { url: format!("{address}{}", self.target), headers, body: self.body.clone() }
    }
}

fn call(meant: &'static str, target: &str, body: Option<&str>, status: u16, answer: Value) -> Call {
    let method = if meant == "GET" { "GET" } else { "POST" };
    Call { method, meant, target: target.to_owned(), body: body.map(str::to_owned), status, answer }
}

pub fn calls() -> Vec<Call> {
    let (task, app) = (Site::SAMPLE_RELOAD_TASK, Site::SAMPLE_APP);
    let start = |id: &str| format!("/v4/reloadtask/{id}/start");
    let reload = json!({ "taskId": task, "taskName": "Reload order analysis" });
    let by_id = json!({ "tasksId": { "started": [reload], "invalid": [], "denied": [] } });
    let none = json!({ "tasksId": { "started": [], "invalid": [], "denied": [] },
                       "tasksTag": [], "tasksTagDenied": [], "tasksCP": [], "tasksCPDenied": [] });
    let items = format!(
        r#"[{{"type": "starttaskid", "payload": {{"taskId": "{task}"}}}}, {{"type": "starttaskcustomproperty", "payload":
            {{"customPropertyName": "taskGroup", "customPropertyValue": "sales"}}}}]"#
    );
    let both = json!({ "tasksId": { "started": [reload] }, "tasksCP": [reload] });
    let app_path = format!("/v4/app/{app}/reload");
    let app_body = format!(
        r#"{{"partialReload":"true", "reloadMode":1, "startQSEoWTaskOnSuccess":["{task}"], "startQSEoWTaskOnFailure":[]}}"#
    );
    vec![
        call("GET", "/v4/butlerping", None, 200, json!({ "response": "Butler reporting for duty" })),
        call("PUT", &start(task), Some("[]"), 200, by_id.clone()),
        // The same as POST, and in the letters of the server.
        call("POST", &start(task), Some("[]"), 200, by_id.clone()),
        call("put", &start(&task.to_uppercase()), Some("[]"), 200, by_id),
        call("PUT", &start("-"), Some(&items), 200, both),
        // What `StartTask(Null(), …)` may come to.
        call("PUT", &start(""), Some("[]"), 200, none.clone()),
        call("PUT", &start(""), Some("{}"), 200, none.clone()),
        call("PUT", &start("-"), Some(""), 200, none),
        call(
            "PUT",
            &format!("{}?allTaskIdsMustExist=true", start("abc")),
            Some("[]"),
            200,
            json!({ "tasksId": { "started": [], "invalid": [{ "taskId": "abc" }] } }),
        ),
        call("PUT", &app_path, Some(&app_body), 201, json!({ "appId": app })),
        call("PUT", &app_path, Some(r#"{"partialReload":"false", "reloadMode":"2"}"#), 201, json!({ "appId": app })),
        call(
            "GET",
            "/v4/senselistapps",
            None,
            200,
            json!([{ "id": app, "name": "Order analysis" }, { "id": "*" }, { "id": "*" }]),
        ),
        call(
            "PUT",
            "/v4/slackpostmessage",
            Some(r##"{"channel":"#etl", "from_user":"Load script", "msg":"*Done*", "emoji":":ghost:"}"##),
            201,
            json!({ "channel": "#etl", "from_user": "Load script", "msg": "*Done*", "emoji": ":ghost:" }),
        ),
        call(
            "PUT",
            "/v4/slackpostmessage",
            Some(r##"{"channel":"#etl", "from_user":"Load script", "msg":12, "emoji":""}"##),
            201,
            json!({ "msg": "12" }),
        ),
        call(
            "PUT",
            "/v4/mqttpublishmessage",
            Some(r#"{"topic":"stage/2", "message":"started"}"#),
            201,
            json!({ "topic": "stage/2", "message": "started" }),
        ),
        // What is wrong stays wrong.
        call(
            "PUT",
            &start("-"),
            Some(r#"[{"type":"starttasks","payload":{}}]"#),
            400,
            json!({ "code": "FST_ERR_VALIDATION", "message": "body/0/type must be equal to one of the allowed values" }),
        ),
        call("POST", &app_path, Some(&app_body), 404, json!({ "statusCode": 404, "error": "Not Found" })),
    ]
}

/// Keys and values.
pub fn keys() -> Vec<Call> {
    let pair = |key: &str, value: &str, ttl: u32| json!({ "namespace": "ns1", "key": key, "value": value, "ttl": ttl });
    let found = json!({ "namespace": "ns1", "key": "k", "value": "v" });
    let item = r#"[{"type":"keyvaluestore","payload":{"namespace":"p","key":"a","value":"1","ttl":""}},
        {"type":"keyvaluestore","payload":{"namespace":"p","key":"b","value":"2","ttl":"60000"}}]"#;
    let message = |text: &str| json!({ "statusCode": 400, "error": "Bad Request", "message": text });
    vec![
        call(
            "POST",
            "/v4/keyvalues/ns1",
            Some(r#"{"key": "k", "value": "v", "ttl": "60000"}"#),
            201,
            pair("k", "v", 60000),
        ),
        call("POST", "/v4/keyvalues/ns1", Some(r#"{"key": "n", "value": 5}"#), 201, pair("n", "5", 0)),
        // The body of the connection is a pair.
        call("POST", "/v4/keyvalues/ns1", None, 201, pair("abc", "123", 5000)),
        call("GET", "/v4/keyvalues/ns1?key=k", None, 200, found.clone()),
        call("GET", "/v4/keyvalues/ns1/keyexists?key=k", None, 200, json!({ "keyExists": true, "keyValue": found })),
        call("GET", "/v4/keyvalues/ns1/keyexists?key=x", None, 200, json!({ "keyExists": false, "keyValue": {} })),
        call("PUT", "/v4/reloadtask/-/start", Some(item), 200, json!({ "tasksId": { "started": [] } })),
        call("GET", "/v4/keyvalues/p?key=a", None, 200, json!({ "value": "1" })),
        call("GET", "/v4/keyvaluesnamespaces", None, 200, json!(["ns1", "p"])),
        call("GET", "/v4/keylist/p", None, 200, json!({ "namespace": "p", "keys": [{ "key": "a" }, { "key": "b" }] })),
        // With the body of the connection, which means nothing here.
        call("DELETE", "/v4/keyvalues/ns1/k", None, 204, Value::Null),
        call("DELETE", "/v4/keyvalues/ns1/k", None, 400, message("Key 'k' not found in namespace: ns1")),
        call("DELETE", "/v4/keyvalues/ns1", None, 204, Value::Null),
        call("DELETE", "/v4/keyvalues/p", Some(""), 204, Value::Null),
        call("GET", "/v4/keyvalues/p?key=a", None, 400, message("Namespace not found: p")),
    ]
}

/// Files below a folder, in which `in/a #1.txt` is.
pub fn files(folder: &str) -> Vec<Call> {
    let copy = |overwrite: &str| {
        format!(
            r#"{{"fromFile":"{folder}/in/a #1.txt", "toFile":"{folder}/out/b.txt", "overwrite":"{overwrite}", "preserveTimestamp":"false"}}"#
        )
    };
    let moved = format!(r#"{{"fromFile":"{folder}/out/b.txt", "toFile":"{folder}/out/c.txt", "overwrite":"true"}}"#);
    let deleted = format!(r#"{{"deleteFile":"{folder}/out/c.txt"}}"#);
    let created = format!(r#"{{"directory":"{folder}/out/d"}}"#);
    vec![
        call("PUT", "/v4/filecopy", Some(&copy("true")), 201, json!({ "overwrite": true, "preserveTimestamp": false })),
        call("PUT", "/v4/filecopy", Some(&copy("yes")), 400, json!({ "message": "body/overwrite must be boolean" })),
        call(
            "PUT",
            "/v4/filemove",
            Some(&moved),
            201,
            json!({ "toFile": format!("{folder}/out/c.txt"), "overwrite": true }),
        ),
        call("DELETE", "/v4/filedelete", Some(&deleted), 204, Value::Null),
        call(
            "DELETE",
            "/v4/filedelete",
            Some(&deleted),
            400,
            json!({ "message": "Delete failed, file does not exist" }),
        ),
        call("POST", "/v4/createdir", Some(&created), 201, json!({ "directory": format!("{folder}/out/d") })),
        call("POST", "/v4/createdirqvd", Some(r#"{"directory":"2031/q1"}"#), 201, json!({ "directory": "2031/q1" })),
        call(
            "POST",
            "/v4/createdirqvd",
            Some(r#"{"directory":"../x"}"#),
            403,
            json!({ "message": "Directory must be within the QVD folder" }),
        ),
    ]
}
