//! The section `scriptLog` of Butler 16.

use std::path::Path;

use butler_plugin_api::import::Import;
use butler_plugin_api::{OperationError, kind};
use serde_json::{Value, json};

use crate::settings::Settings;

/// Sections, each with the kind of event that it is about, and the name of an instance of its own.
const SECTIONS: [(&str, &str, &str); 2] = [
    ("scriptLog.storeOnDisk.clientManaged.reloadTaskFailure", kind::RELOAD_TASK_FAILED, "script-log-archive"),
    ("scriptLog.storeOnDisk.qsCloud.appReloadFailure", kind::CLOUD_APP_RELOAD_FAILED, "script-log-archive-cloud"),
];

/// An instance to be.
struct Archive {
    section: &'static str,
    name: &'static str,
    kinds: Vec<&'static str>,
    folder: String,
}

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    let mut archives: Vec<Archive> = Vec::new();
    for (section, kind, name) in SECTIONS {
        if !import.flag(&format!("{section}.enable")) {
            import.off(section);
            continue;
        }
        let Some(folder) = import.path(&format!("{section}.logDirectory")) else {
            import.todo(section, "there is no archive without a folder, `logDirectory`");
            continue;
        };
        let longest = "of logs longer than `scriptLog.maxSize` of the config, 4MB, the middle is left out";
        import.differs(&format!("{section}.enable"), longest);
        // A folder belongs to one instance.
        match archives.iter_mut().find(|archive| Path::new(&archive.folder) == Path::new(&folder)) {
            Some(archive) => archive.kinds.push(kind),
            None => archives.push(Archive { section, name, kinds: vec![kind], folder }),
        }
    }
    for Archive { section, name, kinds, folder } in archives {
        let entry = json!({ "name": name, "on": [{ "events": kinds }], "settings": { "folder": folder } });
        import.checked(section, entry, |settings: Settings| settings.check("/").map(drop));
    }
    Ok(import.finish())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::ScriptLogArchive;

    fn complete(client_managed: &str, cloud: &str) -> Value {
        json!({ "scriptLog": { "storeOnDisk": {
            "clientManaged": { "reloadTaskFailure": { "enable": true, "logDirectory": client_managed } },
            "qsCloud": { "appReloadFailure": { "enable": true, "logDirectory": cloud } },
        } } })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<ScriptLogArchive>(&complete("/no/such/qseow", "/no/such/qscloud"));
        insta::assert_snapshot!("complete", format!("{answer:#}"));
    }

    #[test]
    fn one_folder_is_one_instance_that_starts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let answer = import_of::<ScriptLogArchive>(&complete(path, &format!("{path}/")));
        let kinds = &answer["instances"][0]["on"][0]["events"];
        assert_eq!(kinds, &json!(["reload-task.failed", "cloud-app-reload.failed"]));
        let settings = filled_settings(&answer);
        assert_eq!(settings, [json!({ "folder": path })]);
        for settings in settings {
            block_on(FakeHost::new("archive").start::<ScriptLogArchive>(settings)).unwrap();
        }
    }

    #[test]
    fn what_is_off_or_has_no_folder_makes_no_instance() {
        let mut old = complete("/a", "/b");
        old["scriptLog"]["storeOnDisk"]["clientManaged"]["reloadTaskFailure"]["enable"] = false.into();
        let names = |old: &Value| {
            let answer = import_of::<ScriptLogArchive>(old);
            answer["instances"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&old), ["script-log-archive-cloud"]);
        old["scriptLog"]["storeOnDisk"]["qsCloud"]["appReloadFailure"]["logDirectory"] = " ".into();
        assert!(names(&old).is_empty());
        assert_eq!(import_of::<ScriptLogArchive>(&json!({}))["remarks"], json!([]));
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = complete("/no/such/a", "/no/such/b");
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<ScriptLogArchive>(&old);
        }
    }
}
