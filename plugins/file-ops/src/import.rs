//! The approved directories of Butler 16.

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Map, Value, json};

use crate::path::Flavour;
use crate::settings::Settings;

const CREATE: &str = "restServerEndpointsEnable.createDir";

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    let mut settings = Map::new();
    for (endpoint, section, setting) in [
        ("fileCopy", "fileCopyApprovedDirectories", "copy"),
        ("fileMove", "fileMoveApprovedDirectories", "move"),
        ("fileDelete", "fileDeleteApprovedDirectories", "delete"),
    ] {
        if is_served(&mut import, endpoint, section) {
            let directories =
                if setting == "delete" { list(&mut import, section) } else { pairs(&mut import, section, setting) };
            settings.insert(setting.to_owned(), directories);
        }
    }
    if is_served(&mut import, "createDirQVD", "configDirectories")
        && let Some(directory) = import.path("configDirectories.qvdPath")
        && is_sound(&mut import, "configDirectories.qvdPath", "qvdDir", &json!(directory))
    {
        settings.insert("qvdDir".to_owned(), directory.into());
    }
    let (is_on, is_served) = (import.flag("restServerConfig.enable"), import.flag(CREATE));
    let creates = is_on && is_served;
    if creates {
        import.todo(CREATE, "Butler 16 created directories anywhere: name under `createDir` where that is needed");
    }
    if creates || !settings.is_empty() {
        let path = if creates { CREATE } else { "restServerEndpointsEnable" };
        import.checked(path, json!({ "settings": settings }), check);
    }
    Ok(import.finish())
}

/// Whether the endpoint is on that a section is for.
fn is_served(import: &mut Import, endpoint: &str, section: &str) -> bool {
    let switch = format!("restServerEndpointsEnable.{endpoint}");
    let (is_on, is_served) = (import.flag("restServerConfig.enable"), import.flag(&switch));
    if !(is_on && is_served) {
        import.dropped(section, &format!("`restServerConfig.enable` or `{switch}` is off"));
    }
    is_on && is_served
}

fn check(settings: Settings) -> Result<(), String> {
    settings.check(Flavour::HERE, "/").map(drop)
}

/// Whether the plugin would take one directory, or pair of them; if not, that is told.
fn is_sound(import: &mut Import, path: &str, setting: &str, value: &Value) -> bool {
    let settings = serde_json::from_value(json!({ setting: value })).map_err(|error| error.to_string());
    let fault = settings.and_then(check).err();
    if let Some(why) = &fault {
        import.todo(path, &format!("it is left out: {why}"));
    }
    fault.is_none()
}

fn list(import: &mut Import, section: &str) -> Value {
    let mut directories = Vec::new();
    for item in 0..import.len(section) {
        let item = format!("{section}[{item}]");
        if let Some(directory) = import.path(&item)
            && is_sound(import, &item, "delete", &json!([directory]))
        {
            directories.push(directory);
        }
    }
    directories.into()
}

fn pairs(import: &mut Import, section: &str, setting: &str) -> Value {
    let mut pairs = Vec::new();
    for item in 0..import.len(section) {
        let item = format!("{section}[{item}]");
        match (import.path(&format!("{item}.fromDirectory")), import.path(&format!("{item}.toDirectory"))) {
            (Some(from), Some(to)) => {
                let pair = json!({ "from": from, "to": to });
                if is_sound(import, &item, setting, &json!([pair])) {
                    pairs.push(pair);
                }
            }
            _ => import.todo(&item, "a pair needs `fromDirectory` and `toDirectory`, and is left out"),
        }
    }
    pairs.into()
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::FileOps;

    fn complete() -> Value {
        json!({
            "fileCopyApprovedDirectories": [
                { "fromDirectory": "/no/such/staging", "toDirectory": "/no/such/data" },
                { "fromDirectory": "/no/such/data", "toDirectory": "/no/such/archive" },
            ],
            "fileMoveApprovedDirectories": [{ "fromDirectory": "/no/such/staging", "toDirectory": "/no/such/data" }],
            "fileDeleteApprovedDirectories": ["/no/such/temp", "/no/such/old"],
            "configDirectories": { "qvdPath": "/no/such/qvd" },
            "restServerConfig": { "enable": true },
            "restServerEndpointsEnable": {
                "fileCopy": true, "fileMove": true, "fileDelete": true, "createDir": true, "createDirQVD": true,
            },
        })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<FileOps>(&complete());
        insta::assert_snapshot!("complete", format!("{answer:#}"));
        for settings in filled_settings(&answer) {
            block_on(FakeHost::new("file-ops").start::<FileOps>(settings)).unwrap();
        }
    }

    #[test]
    fn only_what_is_served_is_approved() {
        for (endpoint, setting) in
            [("fileCopy", "copy"), ("fileMove", "move"), ("fileDelete", "delete"), ("createDirQVD", "qvdDir")]
        {
            let mut old = complete();
            old["restServerEndpointsEnable"][endpoint] = false.into();
            let answer = import_of::<FileOps>(&old);
            let settings = answer["instances"][0]["settings"].as_object().unwrap();
            assert!(settings.len() == 3 && !settings.contains_key(setting), "{endpoint}: {settings:?}");
        }
        let mut old = complete();
        old["restServerConfig"]["enable"] = false.into();
        assert_eq!(import_of::<FileOps>(&old)["instances"], json!([]));
        old["restServerConfig"]["enable"] = true.into();
        old["restServerEndpointsEnable"] = json!({ "createDir": false });
        assert_eq!(import_of::<FileOps>(&old)["instances"], json!([]));
        old["restServerEndpointsEnable"] = json!({ "createDir": true });
        assert_eq!(import_of::<FileOps>(&old)["instances"], json!([{ "settings": {} }]));
        assert_eq!(import_of::<FileOps>(&json!({}))["remarks"], json!([]));
    }

    #[test]
    fn half_a_pair_is_told_and_approves_nothing() {
        let mut old = complete();
        old["fileCopyApprovedDirectories"][0]["toDirectory"] = json!(null);
        let answer = import_of::<FileOps>(&old);
        let copy = json!([{ "from": "/no/such/data", "to": "/no/such/archive" }]);
        assert_eq!(answer["instances"][0]["settings"]["copy"], copy);
        assert!(answer["remarks"].to_string().contains(r#""key":"fileCopyApprovedDirectories[0]""#));
    }

    #[cfg(unix)]
    #[test]
    fn directories_of_another_system_keep_the_others_out_of_nothing() {
        let mut old = complete();
        old["fileDeleteApprovedDirectories"][0] = r"\\nas\temp".into();
        old["fileMoveApprovedDirectories"][0]["toDirectory"] = r"C:\data".into();
        old["configDirectories"]["qvdPath"] = r"C:\qvd".into();
        let answer = import_of::<FileOps>(&old);
        let settings = &answer["instances"][0]["settings"];
        assert_eq!(
            (&settings["delete"], &settings["move"], settings.get("qvdDir")),
            (&json!(["/no/such/old"]), &json!([]), None),
            "{settings:#}"
        );
        let remarks = answer["remarks"].as_array().unwrap().iter();
        let left_out = remarks.filter(|it| it["text"].as_str().unwrap().starts_with("it is left out: "));
        let keys: Vec<&str> = left_out.map(|it| it["key"].as_str().unwrap()).collect();
        let expected =
            ["fileMoveApprovedDirectories[0]", "fileDeleteApprovedDirectories[0]", "configDirectories.qvdPath"];
        assert_eq!(keys, expected);
        block_on(FakeHost::new("file-ops").start::<FileOps>(filled_settings(&answer).remove(0))).unwrap();
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = complete();
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<FileOps>(&old);
        }
    }
}
