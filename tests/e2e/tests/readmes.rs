//! The READMEs: an example that works and the settings as the schema has them, for every plugin; links that lead somewhere.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use butler::config::Document;
use butler_plugin_api::kind;
use e2e::{Butler, command, run, run_with};
use serde_json::{Value, json};

const BEGIN: &str = "<!-- settings: from the schema, by `butler plugins settings` -->\n";
const END: &str = "<!-- end of settings -->\n";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Name and README of every plugin.
fn readmes() -> Vec<(String, PathBuf)> {
    let folders = std::fs::read_dir(workspace().join("plugins")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.join("Cargo.toml").exists());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut readmes: Vec<_> = folders.map(|path| (name(&path), path.join("README.md"))).collect();
    readmes.sort();
    assert!(readmes.len() >= 21, "{readmes:?}");
    readmes
}

/// With the variable `BUTLER_UPDATE_READMES` the tables are written anew.
#[test]
fn settings_are_those_of_the_schema() {
    let update = std::env::var_os("BUTLER_UPDATE_READMES").is_some();
    let mut stale = Vec::new();
    for (name, path) in readmes() {
        let output = run(&["plugins", "settings", &name]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let place = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
        let Some((before, (table, after))) = place else { panic!("{} has no\n{BEGIN}{END}", path.display()) };
        let fresh = format!("\n{}\n", output.stdout);
        if table != fresh {
            stale.push(name);
            if update {
                std::fs::write(&path, format!("{before}{BEGIN}{fresh}{END}{after}")).unwrap();
            }
        }
    }
    assert!(stale.is_empty() || update, "run this test with BUTLER_UPDATE_READMES=1, and commit: {stale:?}");
}

#[test]
fn examples_fit_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let mut examples = Vec::new();
    let operating = ("config".to_owned(), workspace().join("config/README.md"));
    for (name, path) in readmes().into_iter().chain([operating]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let whole: Vec<&str> = blocks.filter(|block| block.starts_with("plugins:\n")).collect();
        let is_of = |block: &&str| name == "config" || block.contains(&format!("use: {name}\n"));
        assert!(whole.iter().any(is_of), "{} has no example that begins with `plugins:`", path.display());
        for (number, example) in whole.iter().enumerate() {
            let file = folder.path().join(format!("{name}-{number}.yaml"));
            std::fs::write(&file, format!("version: 1\n{example}")).unwrap();
            examples.push(file);
        }
    }
    let schema = workspace().join("schemas/butler.schema.json");
    let output = Command::new("check-jsonschema").arg("--schemafile").arg(schema).args(&examples).output();
    let output = output.expect("check-jsonschema is installed (tests/requirements.txt)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The blocks of YAML of a document, each parsed.
fn blocks(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let parsed = |block: &str| Document::parse(path, block.as_bytes()).map(|it| it.raw().clone());
    blocks.map(|block| parsed(block).unwrap_or_else(|error| panic!("{block}\n{error}"))).collect()
}

/// A part of an entry, of its settings or of the config, put into the example that the document begins with.
fn completed(whole: &Value, plugin: &str, part: &Value) -> Value {
    let mut example = whole.clone();
    let entry = example["plugins"].as_array().unwrap().iter().position(|entry| entry["use"] == plugin).unwrap();
    let entry = format!("/plugins/{entry}");
    for (key, value) in part.as_object().unwrap() {
        let place = match &**key {
            "qlik" => String::new(),
            "on" | "settings" => entry.clone(),
            _ => format!("{entry}/settings"),
        };
        example.pointer_mut(&place).unwrap()[key] = value.clone();
    }
    example
}

/// What a start says to an example. The host takes it up to the certificates of Qlik Sense, which are not there: nothing is sent.
fn refused(example: &Value) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut config = example.clone();
    config["version"] = json!(1);
    config["store"] = json!({ "path": "butler.db" });
    config["rest"] = json!({ "listen": "127.0.0.1:0" });
    let certificates = json!({ "client": "client.pem", "key": "client_key.pem", "ca": "root.pem" });
    for (key, value) in [("host", json!("127.0.0.1")), ("user", json!("LAB\\ann")), ("certificates", certificates)] {
        config["qlik"][key] = value;
    }
    let text = config.to_string();
    let named = |kind: &str| -> Vec<String> {
        let begin = format!("${{{kind}:");
        text.split(&begin).skip(1).map(|rest| rest.split_once('}').unwrap().0.to_owned()).collect()
    };
    for file in named("file") {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "any-secret-text").unwrap();
    }
    let value = |name: &str| if name.ends_with("_URL") { "http://127.0.0.1:1/hook" } else { "any-secret-text" };
    let variables = named("env");
    let environment: Vec<(&str, &str)> = variables.iter().map(|name| (&**name, value(name))).collect();
    let path = folder.path().join("butler.yaml");
    std::fs::write(&path, &text).unwrap();
    let output = run_with(&["run", "-c", path.to_str().unwrap()], &environment);
    let is_taken = output.code == 1 && output.stderr.contains("client.pem cannot be read");
    (!is_taken || output.stderr.contains("warning")).then(|| format!("{text}\n{}", output.stderr))
}

/// Kinds of events in an example that no event has. The host takes any, for those of further plugins.
fn unknown_kinds(example: &Value) -> Vec<&str> {
    let entries = example["plugins"].as_array().into_iter().flatten();
    let rules = entries.filter_map(|entry| entry["on"].as_array()).flatten();
    let kinds = rules.filter_map(|rule| rule["events"].as_array()).flatten().filter_map(Value::as_str);
    let is_known = |pattern: &str| match pattern.split_once('*') {
        Some((begin, end)) => kind::ALL.iter().any(|kind| kind.starts_with(begin) && kind.ends_with(end)),
        None => kind::ALL.contains(&pattern),
    };
    kinds.filter(|pattern| !is_known(pattern)).collect()
}

#[test]
fn the_host_takes_the_examples_and_the_parts() {
    let mut wrong = Vec::new();
    let (mut whole, mut parts) = (0, 0);
    for (plugin, path) in readmes() {
        let blocks = blocks(&path);
        let first = blocks.iter().find(|block| block.get("plugins").is_some()).unwrap();
        for block in &blocks {
            let example = if block.get("plugins").is_some() {
                whole += 1;
                block.clone()
            } else {
                parts += 1;
                completed(first, &plugin, block)
            };
            wrong.extend(unknown_kinds(&example).into_iter().map(|kind| format!("{plugin}: no event is a `{kind}`")));
            wrong.extend(refused(&example).map(|said| format!("{plugin}: {said}")));
        }
    }
    let routes = blocks(&workspace().join("config/README.md")).into_iter().find(|block| block.get("plugins").is_some());
    wrong.extend(refused(&routes.unwrap()).map(|said| format!("config: {said}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(whole >= 21 && parts >= 7, "only {whole} examples and {parts} parts were found");
}

#[tokio::test]
async fn the_example_of_schedules_is_imported() {
    let butler = Butler::start("").await;
    let text = std::fs::read_to_string(workspace().join("config/README.md")).unwrap();
    let (_, rest) = text.split_once("```yaml\nschedules:").unwrap();
    let file = butler.config().with_file_name("schedules.yaml");
    std::fs::write(&file, format!("schedules:{}", rest.split_once("```").unwrap().0)).unwrap();
    let config = butler.config().to_str().unwrap().to_owned();
    let output = command(&["schedules", "import", file.to_str().unwrap(), "-c", &config]).await;
    assert_eq!(output.code, 0, "{output:?}");
    let output = command(&["schedules", "list", "-c", &config]).await;
    assert!(output.stdout.contains("morning-1"), "{output:?}");
}

/// Markdown without what stands in blocks of code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence && !line.starts_with("    ")
    });
    lines.map(|line| line.to_owned() + "\n").collect()
}

/// All documents but those of others: copies of the API, and what is built.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && !matches!(name, "target" | "frozen-api") {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
    found
}

/// What a heading is called in links to it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

/// Targets of the links in a line: `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut checked = 0;
    let mut dead = Vec::new();
    for file in documents(&workspace()) {
        let text = prose(&std::fs::read_to_string(&file).unwrap());
        // What packages have at their top is laid out there as here.
        let base = if file.ends_with("PACKAGE.md") { workspace() } else { file.parent().unwrap().to_owned() };
        for link in text.lines().flat_map(links).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { base.join(path) };
            let leads = || {
                if heading.is_empty() {
                    return target.exists();
                }
                let Ok(text) = std::fs::read_to_string(&target) else { return false };
                let text = prose(&text);
                let headings = text.lines().filter(|line| line.starts_with('#'));
                headings.map(|line| anchor(line.trim_start_matches('#'))).any(|it| it == heading)
            };
            checked += 1;
            if !leads() {
                dead.push(format!("{}: {link}", file.strip_prefix(workspace()).unwrap().display()));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
    assert!(checked >= 50, "only {checked} links were found");
}
