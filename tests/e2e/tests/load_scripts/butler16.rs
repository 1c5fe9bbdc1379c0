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
