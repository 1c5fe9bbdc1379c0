//! Stands in for `sc.exe` of Windows: prints what Windows prints, in English, German or Swedish and in the code page of its
//! console, and hangs or fails as it is told.
//!
//! The folder is in the variable `FAKE_SC`. A host is a file `<host>.json` there, this machine `local.json`; a host without a
//! file is not reachable. Each call is a line of the file `calls`.
//!
//! ```json
//! { "language": "de", "hang": false, "error": 5,
//!   "services": { "Spooler": { "display": "Druckwarteschlange", "state": 4, "exit": 0, "start": 2, "delayed": true,
//!                              "path": "C:\\Windows\\spoolsv.exe", "dependencies": ["RPCSS"] } } }
//! ```

use std::io::Write as _;
use std::path::Path;
use std::process::exit;

use serde_json::{Map, Value};

/// Words around numbers: success, failure, and what errors mean.
struct Language {
    name: &'static str,
    success: &'static str,
    failed: &'static str,
    errors: [(i64, &'static str); 3],
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "en",
        success: "SUCCESS",
        failed: "FAILED",
        errors: [
            (5, "Access is denied."),
            (1060, "The specified service does not exist as an installed service."),
            (1722, "The RPC server is unavailable."),
        ],
    },
    Language {
        name: "de",
        success: "ERFOLG",
        failed: "FEHLER",
        errors: [
            (5, "Zugriff verweigert"),
            (1060, "Der angegebene Dienst ist kein installierter Dienst."),
            (1722, "Der RPC-Server ist nicht verfügbar."),
        ],
    },
    Language {
        name: "sv",
        success: "LYCKADES",
        failed: "MISSLYCKADES",
        errors: [
            (5, "Åtkomst nekad."),
            (1060, "Den angivna tjänsten finns inte som en installerad tjänst."),
            (1722, "RPC-servern är inte tillgänglig."),
        ],
    },
];

/// Letters beyond ASCII in code page 850.
const CP850: [(char, u8); 10] = [
    ('ü', 0x81),
    ('ä', 0x84),
    ('å', 0x86),
    ('Ä', 0x8e),
    ('Å', 0x8f),
    ('ö', 0x94),
    ('Ö', 0x99),
    ('Ü', 0x9a),
    ('ß', 0xe1),
    ('é', 0x82),
];

const STATES: [&str; 8] =
    ["", "STOPPED", "START_PENDING", "STOP_PENDING", "RUNNING", "CONTINUE_PENDING", "PAUSE_PENDING", "PAUSED"];
const STARTS: [&str; 5] = ["BOOT_START", "SYSTEM_START", "AUTO_START", "DEMAND_START", "DISABLED"];

fn main() {
    let folder = std::env::var("FAKE_SC").expect("the variable FAKE_SC names the folder of the hosts");
    let folder = Path::new(&folder);
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let calls = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("calls"));
    let line = format!("{}\n", arguments.join(" "));
    calls.expect("the folder can be written").write_all(line.as_bytes()).expect("the folder can be written");
    let host = match arguments.first().and_then(|first| first.strip_prefix(r"\\")) {
        Some(host) => {
            let host = host.to_owned();
            arguments.remove(0);
            host
        }
        None => "local".to_owned(),
    };
    let file = std::fs::read(folder.join(format!("{host}.json")));
    let known: Value = file.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    // As long as the test runs: whoever was killed ends no program.
    while known["hang"] == true && folder.is_dir() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let language = known["language"].as_str().unwrap_or("en");
    let language = LANGUAGES.iter().find(|known| known.name == language).expect("the language is en, de or sv");
    if known.is_null() {
        fail(language, "OpenSCManager", 1722);
    }
    if let Some(error) = known["error"].as_i64() {
        fail(language, "OpenSCManager", error);
    }
    let nothing = Map::new();
    let services = known["services"].as_object().unwrap_or(&nothing);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["query", "type=", "service", "state=", "all", "bufsize=", _] => {
            let drivers = |service: &&Value| service["start"].as_i64().unwrap_or(2) >= 2;
            let listed = services.iter().filter(|(_, service)| drivers(service));
            print(&listed.map(|(name, service)| status(name, service, true)).collect::<String>());
        }
        ["query", name] => match find(services, name) {
            Some((name, service)) => print(&status(name, service, false)),
            None => fail(language, "EnumQueryServicesStatus:OpenService", 1060),
        },
        ["qc", name, _] => match find(services, name) {
            Some((name, service)) => print(&configuration(language, name, service)),
            None => fail(language, "OpenService", 1060),
        },
        _ => {
            print("DESCRIPTION:\n        SC is a command line program used for communicating with the\n");
            exit(1639);
        }
    }
}

/// Names are the same in either case.
fn find<'a>(services: &'a Map<String, Value>, name: &str) -> Option<(&'a String, &'a Value)> {
    services.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

fn status(name: &str, service: &Value, listed: bool) -> String {
    let state = usize::try_from(service["state"].as_u64().unwrap_or(4)).unwrap_or(4);
    let exit = service["exit"].as_i64().unwrap_or(0);
    let mut text = format!("\nSERVICE_NAME: {name}{}\n", if listed { "" } else { " " });
    if listed {
        text.extend([format!("DISPLAY_NAME: {}\n", service["display"].as_str().unwrap_or(name))]);
    }
    text += "        TYPE               : 10  WIN32_OWN_PROCESS  \n";
    text.extend([format!("        STATE              : {state}  {} \n", STATES[state])]);
    if state != 1 {
        text += "                                (STOPPABLE, NOT_PAUSABLE, ACCEPTS_SHUTDOWN)\n";
    }
    text.extend([format!("        WIN32_EXIT_CODE    : {exit}  (0x{exit:x})\n")]);
    text + "        SERVICE_EXIT_CODE  : 0  (0x0)\n        CHECKPOINT         : 0x0\n        WAIT_HINT          : 0x0\n"
}

fn configuration(language: &Language, name: &str, service: &Value) -> String {
    let start = usize::try_from(service["start"].as_u64().unwrap_or(2)).unwrap_or(2);
    let delayed = if service["delayed"] == true { "  (DELAYED)" } else { "" };
    let path = service["path"].as_str().unwrap_or(r"C:\acme.exe");
    let mut text = format!(
        "[SC] QueryServiceConfig {}\n\nSERVICE_NAME: {name}\n        TYPE               : 10  WIN32_OWN_PROCESS \n        \
         START_TYPE         : {start}   {}{delayed}\n        ERROR_CONTROL      : 1   NORMAL\n        \
         BINARY_PATH_NAME   : {path}\n        LOAD_ORDER_GROUP   : \n        TAG                : 0\n        \
         DISPLAY_NAME       : {}\n",
        language.success,
        STARTS[start],
        service["display"].as_str().unwrap_or(name)
    );
    let dependencies: Vec<&str> =
        service["dependencies"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    text.extend([format!("        DEPENDENCIES       : {}\n", dependencies.first().unwrap_or(&""))]);
    for name in dependencies.iter().skip(1) {
        text.extend([format!("                           : {name}\n")]);
    }
    text + "        SERVICE_START_NAME : LocalSystem\n"
}

/// Ends with the number of the error, as Windows does; elsewhere with as much of it as an exit code holds.
fn fail(language: &Language, call: &str, error: i64) -> ! {
    let text = language.errors.iter().find(|(number, _)| *number == error).map_or("", |(_, text)| text);
    print(&format!("[SC] {call} {} {error}:\n\n{text}\n\n", language.failed));
    exit(i32::try_from(error).unwrap_or(1));
}

fn print(text: &str) {
    let byte = |c: char| CP850.iter().find(|(letter, _)| *letter == c).map_or(b'?', |(_, byte)| *byte);
    let bytes: Vec<u8> = text
        .replace('\n', "\r\n")
        .chars()
        .map(|c| if c.is_ascii() { u8::try_from(c).unwrap_or(b'?') } else { byte(c) })
        .collect();
    std::io::stdout().write_all(&bytes).expect("standard output can be written");
}
