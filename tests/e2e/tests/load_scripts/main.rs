//! Load scripts: our library for them, and the calls that scripts for Butler 16 make, as Qlik's REST connector sends them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod butler16;
mod cases;
mod double;
mod strict;

use std::path::Path;

use e2e::qlik::{Site, Task};
use e2e::qlik_script::{ContentType, Interpreter, RestConnector, Stop, Value as Cell};
use e2e::{Butler, Mosquitto, Sense, Slack, run, wait_for};
use serde_json::Value;

use self::cases::Case;
use self::double::Double;

const JSON: ContentType = ContentType::Always("application/json");
/// Nobody knows which of these the connector sends when a script does not say; what it says may not be heeded either.
const CONTENT_TYPES: [ContentType; 4] =
    [ContentType::Script, ContentType::None, JSON, ContentType::Always("text/plain; charset=utf-8")];
/// What a script may leave unset.
const OPTIONAL: [&str; 2] = ["vButlerToken", "vButlerPort"];
const INCLUDE: &str = "$(Must_Include=[lib://Butler/butler_subs.qvs]);\n";

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/sense").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A script that has included the library and knows where Butler is.
fn script(address: &str, content_type: ContentType) -> Interpreter {
    let files = [("lib://Butler/butler_subs.qvs", file("butler_subs.qvs"))];
    let mut interpreter = Interpreter::new(RestConnector::new(content_type), &files, &OPTIONAL);
    let (host, port) = address.rsplit_once(':').unwrap();
    interpreter.run(&format!("Set vButlerHost = '{host}';\nSet vButlerPort = {port};\n{INCLUDE}")).unwrap();
    interpreter
}

/// Runs a script while the test's servers go on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Plays cases one after the other and checks what was sent, what came back, and what the script has of it.
fn play(interpreter: &mut Interpreter, cases: &[Case]) {
    for case in cases {
        let place = format!("{} ({})", case.script, case.target);
        let (calls, before) = (interpreter.connector.calls.len(), names(interpreter));
        if let Err(stop) = interpreter.run(&case.script) {
            panic!("{place}: {stop:?}");
        }
        let [call] = &interpreter.connector.calls[calls..] else { panic!("{place}: a case makes one call") };
        let meant = call.header("x-http-method-override").unwrap_or(call.method);
        assert_eq!((meant, call.target.as_str()), (case.method, case.target.as_str()), "{place}");
        assert_eq!(call.method == "GET", case.body.is_null(), "{place}");
        assert_eq!(serde_json::from_str::<Value>(&call.body).unwrap_or_default(), case.body, "{place}: {}", call.body);
        let answer = serde_json::from_str(&call.answer).unwrap_or_default();
        assert_eq!(call.status, case.answer.0, "{place}: {answer}");
        assert!(holds(&answer, &case.answer.1), "{place}: {answer} should hold {}", case.answer.1);
        let mut expected = before;
        expected.push("vButlerFailed".to_owned());
        for (name, value) in &case.variables {
            let found = interpreter.variable(name).unwrap_or_else(|| panic!("{place}: {name} is not set")).text();
            let value = if *value == "NASTY" { cases::nasty() } else { (*value).to_owned() };
            assert!(value == "*" || found == value, "{place}: {name} is {found:?}");
            expected.push((*name).to_owned());
        }
        if let Some((name, fields, rows)) = &case.table {
            let table = interpreter.table(name).unwrap_or_else(|| panic!("{place}: there is no table {name}"));
            let found: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
            assert_eq!((&table.fields, &found), (&fields.iter().map(ToString::to_string).collect(), rows), "{place}");
            interpreter.run(&format!("Drop Table [{name}];")).unwrap();
        }
        // Nothing else is left.
        expected.sort();
        expected.dedup();
        assert_eq!(names(interpreter), expected, "{place}");
        assert_eq!(interpreter.tables(), [], "{place}");
        assert_eq!(interpreter.variable("vButlerFailed"), Some(&Cell::Number(0.0)), "{place}");
    }
}

fn names(interpreter: &Interpreter) -> Vec<String> {
    interpreter.variables().into_iter().map(str::to_owned).collect()
}

/// Whether a value has all that is expected; `*` is any text.
fn holds(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| found.get(name).is_some_and(|value| holds(value, expected)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(value, expected)| holds(value, expected))
        }
        (Value::String(_), Value::String(any)) if any == "*" => true,
        _ => value == expected,
    }
}

#[tokio::test]
async fn each_sub_sends_what_butler_expects_and_reads_the_answer() {
    let all = || {
        let groups = [
            cases::tasks(),
            cases::apps(),
            cases::messages(),
            cases::keys(),
            cases::files("/data"),
            cases::schedules("5b1c8f8e-1111-4a2b-9c3d-0123456789ab"),
            cases::system(),
        ];
        groups.into_iter().flatten().collect::<Vec<_>>()
    };
    for content_type in CONTENT_TYPES {
        let answers = all().into_iter().map(|case| {
            let (status, body) = case.answer;
            (status, if body.is_null() { String::new() } else { body.to_string() })
        });
        let double = Double::start(answers).await;
        let address = double.address.clone();
        blocking(move || {
            let mut script = script(&address, content_type);
            script.run("Set vButlerToken = 'a-token';").unwrap();
            play(&mut script, &all());
            assert_eq!(script.connector.connections, 1);
        })
        .await;
        let asked = double.asked();
        assert_eq!(asked.len(), all().len());
        for (asked, case) in asked.iter().zip(all()) {
            let method = if case.method == "GET" { "GET" } else { "POST" };
            assert_eq!((asked.method.as_str(), asked.meant.as_str()), (method, case.method), "{}", case.script);
            assert_eq!(asked.target, case.target);
            assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap_or_default(), case.body, "{}", case.script);
            let expected = match content_type {
                _ if method == "GET" => None,
                ContentType::Script => Some("application/json"),
                ContentType::None => None,
                ContentType::Always(media) => Some(media),
            };
            assert_eq!(asked.content_type.as_deref(), expected, "{}", case.script);
            assert_eq!(asked.authorization.as_deref(), Some("Bearer a-token"), "{}", case.script);
        }
    }
}

#[test]
fn the_maps_are_right_for_every_character() {
    let mut script = script("http://127.0.0.1:1", ContentType::Script);
    let all: String = ('\u{1}'..='\u{fffd}').collect();
    let mut mapped = |map: &str| {
        let text = all.replace('\'', "''");
        script.run(&format!("Let vMapped = MapSubString('{map}', '{text}');")).unwrap();
        script.variable("vMapped").unwrap().text()
    };
    let encoded: String = all
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    assert!(mapped("URL_EncodingReferenceMap") == encoded);
    let json = mapped("Butler_JsonMap");
    assert!(serde_json::from_str::<String>(&format!("\"{json}\"")).unwrap() == all);
    // Nothing that Qlik or a character set could take for something else.
    assert!(json.chars().all(|c| matches!(c, ' '..='~') && !"\"$';[]`*/".contains(c)), "{json}");
}

/// What a load script can use, with a daemon.
struct World {
    sense: Sense,
    slack: Slack,
    broker: Mosquitto,
    butler: Butler,
}

impl World {
    async fn start() -> Self {
        let (sense, slack, broker) = (Sense::start().await, Slack::start().await, Mosquitto::start().await);
        let config = format!(
            "plugins:\n  - use: console\n    on: [{{ events: [message.posted] }}]\n  - use: slack\n    on: []\n    settings: \
             {{ token: {}, channel: ops, apiUrl: {} }}\n  - use: mqtt\n    on: []\n    settings: {{ url: \"{}\" }}\n  - use: \
             key-value\n  - use: file-ops\n    settings: {{ copy: [{{ from: in, to: out }}], move: [{{ from: out, to: out }}], \
             delete: [out], createDir: [out], qvdDir: qvd }}\n",
            Slack::TOKEN,
            slack.api(),
            broker.url()
        );
        for folder in ["in", "out", "qvd"] {
            std::fs::create_dir(sense.folder().join(folder)).unwrap();
        }
        std::fs::write(sense.folder().join("in/a #1.txt"), "first").unwrap();
        let butler = sense.butler(&config).await;
        wait_for("the instances to run", || async {
            let (_, answer) = butler.get("/v5/plugins").await;
            let instances = answer["plugins"].as_array()?;
            instances.iter().all(|instance| instance["condition"]["state"] == "running").then_some(())
        })
        .await;
        Self { sense, slack, broker, butler }
    }
}

#[tokio::test]
async fn the_library_works_with_butler_whatever_the_content_type() {
    let world = World::start().await;
    let subscriber = world.broker.subscribe("stage/#").await;
    for (round, content_type) in CONTENT_TYPES.into_iter().enumerate() {
        let address = world.butler.rest().to_owned();
        let folder = world.sense.folder().to_str().unwrap().to_owned();
        blocking(move || {
            let mut script = script(&address, content_type);
            play(&mut script, &cases::tasks());
            play(&mut script, &cases::messages());
            play(&mut script, &cases::keys());
            play(&mut script, &cases::files(&folder));
            // The id is the server's.
            play(&mut script, &cases::schedules("*")[..1]);
            let id = script.variable("vScheduleId").unwrap().text();
            play(&mut script, &cases::schedules(&id)[1..]);
            play(&mut script, &cases::system()[1..]);
            script.run("Call GetEnabledButlerAPIEndpoints('Enabled')").unwrap();
            let enabled = &script.table("Enabled").unwrap().rows;
            assert!(
                ["keyValueStore", "fileCopy", "getSchedule"]
                    .iter()
                    .all(|name| enabled.contains(&vec![Cell::from(*name)]))
            );
            script.run("Call GetApps('Apps')").unwrap();
            let apps = script.table("Apps").unwrap();
            assert_eq!(apps.fields, ["App ID", "App name"]);
            let sample = apps.rows.iter().find(|row| row[0].text() == Site::SAMPLE_APP).unwrap();
            assert_eq!(sample[1].text(), "Order analysis");
            assert_eq!(script.connector.connections, 1, "one connection is kept for all calls");
            for call in script.connector.calls.iter().filter(|call| call.method == "POST") {
                assert!(call.continued, "the body was not asked for: {call:?}");
            }
        })
        .await;
        assert!(world.sense.folder().join("out/new").is_dir() && world.sense.folder().join("qvd/2031/q1").is_dir());
        assert!(!world.sense.folder().join("out/c.txt").exists());
        // The texts have arrived as they were.
        let messages = world.slack.wait(2 * (round + 1)).await;
        let (nasty, plain) = (&messages[2 * round], &messages[2 * round + 1]);
        assert_eq!((nasty.channel.as_str(), plain.channel.as_str()), ("etl", "ops"));
        assert_eq!(nasty.body["blocks"][0]["text"]["text"], cases::nasty());
        let count = round + 1;
        wait_for("the messages on MQTT", || async { (subscriber.messages().len() == count).then_some(()) }).await;
        assert_eq!(subscriber.messages()[round].payload, cases::nasty());
    }
    let starts = world.sense.site().starts();
    assert!(starts.len() >= 9 * CONTENT_TYPES.len(), "{}", starts.len());
}

#[tokio::test]
async fn calls_of_butler_16_scripts_work_unchanged_whatever_the_content_type() {
    let world = World::start().await;
    for content_type in CONTENT_TYPES {
        let address = world.butler.rest().to_owned();
        let folder = world.sense.folder().to_str().unwrap().to_owned();
        blocking(move || {
            let mut connector = RestConnector::new(content_type);
            for call in butler16::calls().into_iter().chain(butler16::keys()).chain(butler16::files(&folder)) {
                let sent = connector.send(call.method, &call.request(&address)).unwrap();
                let answer = serde_json::from_str(&sent.answer).unwrap_or_default();
                assert_eq!(sent.status, call.status, "{content_type:?} {}: {answer}", call.target);
                assert!(holds(&answer, &call.answer), "{content_type:?} {}: {answer}", call.target);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_failed_call_stops_the_reload_or_is_told_to_the_script() {
    let output = run(&["token", "new", "--name", "script", "--scopes", "tasks,messages"]);
    let (_, entry) = output.stdout.split_once("tokens:\n").unwrap();
    let secret = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
    let sense = Sense::start().await;
    let butler = sense.butler(&format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{entry}\nplugins: []\n")).await;
    let address = butler.rest().to_owned();
    blocking(move || {
        let mut script = script(&address, ContentType::Script);
        let Err(Stop::Failed(message)) = script.run("Call PostMessage('x')\nSet vNotReached = 1;") else {
            panic!("without a token there is no message");
        };
        assert!(message.contains("HTTP protocol error 401"), "{message}");
        assert_eq!(script.variable("vNotReached"), None);

        // The run has stopped within the Subs; a reload begins anew.
        let mut script = self::script(&address, ContentType::Script);
        script.run("Set ErrorMode = 0;\nLet vCount = 7;\nCall PostMessage('x', , , , , 'vCount')").unwrap();
        assert_eq!(script.variable("vButlerFailed"), Some(&Cell::Number(1.0)));
        assert_eq!(script.variable("vCount"), None);
        script.run("Call GetApps('Apps')\nCall GetEnabledButlerAPIEndpoints('Enabled')").unwrap();
        assert_eq!(script.tables(), []);
        script.run(&format!("Set vButlerToken = '{secret}';\nCall PostMessage('x', , , , , 'vCount')")).unwrap();
        assert_eq!(script.variable("vButlerFailed"), Some(&Cell::Number(0.0)));
        assert_eq!(script.variable("vCount").map(Cell::text).as_deref(), Some("0"));
        let left: Vec<&str> = script.variables().into_iter().filter(|name| name.starts_with("vButler_")).collect();
        assert_eq!(left, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn the_example_runs() {
    let sense = Sense::start().await;
    sense.site().add_task(Task::reload("After the stock", Site::SAMPLE_APP).tag("after-stock"));
    let butler = sense.butler("plugins: []\n").await;
    let address = butler.rest().to_owned();
    blocking(move || {
        let files = [("lib://Butler/butler_subs.qvs", file("butler_subs.qvs"))];
        let mut interpreter = Interpreter::new(RestConnector::new(ContentType::None), &files, &OPTIONAL);
        let (host, port) = address.rsplit_once(':').unwrap();
        let example = file("example.qvs").replace("http://10.1.2.3", host).replace("8080", port);
        let example = example.replace("5d2f9a10-0000-4000-8000-000000000000", Site::SAMPLE_RELOAD_TASK);
        interpreter.run(&example).unwrap();
        assert!(interpreter.log.iter().any(|line| line.contains("Stock is loaded, 2 rows")), "{:?}", interpreter.log);
        assert_eq!(interpreter.variables(), ["ErrorMode", "vButlerFailed", "vButlerHost", "vButlerPort", "vRows"]);
        let fields: Vec<&str> = interpreter.tables().iter().map(|table| table.name.as_str()).collect();
        assert_eq!(fields, ["Stock"]);
    })
    .await;
    assert_eq!(sense.site().starts().len(), 2);
}
