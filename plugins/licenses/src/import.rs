//! The section `qlikSenseLicense` of Butler 16. Where states and alerts go, the destinations read there.

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Map, Value, json};

use crate::release::WRITES;
use crate::settings::{HIGHEST_THRESHOLD, ServerLicense, Settings};

const SERVER: &str = "qlikSenseLicense.serverLicenseMonitor";
const ACCESS: &str = "qlikSenseLicense.licenseMonitor";
const RELEASE: &str = "qlikSenseLicense.licenseRelease";

/// Makes the settings of a section that is switched on; none if nothing is left to do.
type Translate = fn(&mut Import) -> Option<Value>;

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    let mut settings = Map::new();
    let sections: [(&str, &str, Translate); 3] = [
        (SERVER, "serverLicense", |import| Some(server(import))),
        (ACCESS, "accessLicenses", |import| Some(at(import, ACCESS).into())),
        (RELEASE, "unusedLicenses", release),
    ];
    for (section, setting, translate) in sections {
        if !import.flag(&format!("{section}.enable")) {
            import.off(section);
        } else if let Some(value) = translate(&mut import) {
            settings.insert(setting.to_owned(), value);
        }
    }
    if !settings.is_empty() {
        let check = |settings: Settings| settings.check();
        import.checked("qlikSenseLicense", json!({ "settings": settings }), check);
    }
    Ok(import.finish())
}

fn server(import: &mut Import) -> Value {
    let mut server = at(import, SERVER);
    let path = format!("{SERVER}.alert.thresholdDays");
    if let Some(first) = import.number(&path) {
        let first = u16::try_from(first).unwrap_or(u16::MAX).min(HIGHEST_THRESHOLD);
        // Butler 16 alerted at every look from then on: the usual days behind the first stand for that.
        let usual = ServerLicense::default().threshold_days.into_iter().filter(|days| *days < first);
        let days: Vec<u16> = std::iter::once(first).filter(|days| *days > 0).chain(usual).collect();
        import.differs(
            &path,
            "an alert comes once on each of the days in `thresholdDays`, not at every look; for that name \
             `server-license.status` with a `where` in `on:` of the destination",
        );
        server.insert("thresholdDays".to_owned(), days.into());
    }
    server.into()
}

/// A section with nothing but its time.
fn at(import: &mut Import, section: &str) -> Map<String, Value> {
    let when = import.when(&format!("{section}.frequency"));
    when.map(|when| ("when".to_owned(), when)).into_iter().collect()
}

fn release(import: &mut Import) -> Option<Value> {
    let mut release = at(import, RELEASE);
    let types = ["professional", "analyzer"].map(|name| (name, of_type(import, name)));
    if types.iter().all(|(_, of_type)| of_type["enabled"] == false) {
        import.dropped(RELEASE, "neither `licenseType.professional` nor `licenseType.analyzer` is on");
        return None;
    }
    release.extend(types.map(|(name, of_type)| (name.to_owned(), of_type)));
    let (rules, is_whole) = never_release(import);
    release.insert("neverRelease".to_owned(), rules);
    let dry_run = format!("{RELEASE}.dryRun");
    if import.value(&dry_run) == Some(json!(false)) {
        if is_whole {
            release.insert("release".to_owned(), true.into());
            import.todo(
                &dry_run,
                &format!(
                    "releasing licences has to be allowed: `writes: [\"{}\", \"{}\"]` under `qlik:`",
                    WRITES[0], WRITES[1]
                ),
            );
        } else {
            import.todo(
                &dry_run,
                "it is a dry run for now, since not all of `neverRelease` could be read: see the other remarks, then set \
                 `release: true`",
            );
        }
    } else if !import.flag(&dry_run) {
        import.todo(RELEASE, "it is a dry run, since `dryRun` does not say `false`: for releases set `release: true`");
    }
    import.differs(
        &format!("{RELEASE}.enable"),
        "days are full ones, one run releases at most `maxPerRun` licences (50), and what was never used stays unless \
         `neverUsed: release` is set",
    );
    Some(release.into())
}

fn of_type(import: &mut Import, name: &str) -> Value {
    let section = format!("{RELEASE}.licenseType.{name}");
    if !import.flag(&format!("{section}.enable")) {
        import.off(&section);
        return json!({ "enabled": false });
    }
    let path = format!("{section}.releaseThresholdDays");
    let Some(days) = import.number(&path) else {
        import.todo(&path, "it is 30 days now: set `unusedDays`");
        return json!({ "enabled": true });
    };
    let possible = days.clamp(1, HIGHEST_THRESHOLD.into());
    if possible != days {
        import.differs(&path, &format!("it is {possible} now: 1 to {HIGHEST_THRESHOLD} are possible"));
    }
    json!({ "enabled": true, "unusedDays": possible })
}

/// Whose licences stay, and whether all of it could be read: who is left out of it would lose the licence.
fn never_release(import: &mut Import) -> (Value, bool) {
    let never = format!("{RELEASE}.neverRelease");
    let mut rules = Map::new();
    let mut unread = 0;
    for (list, setting) in [
        ("user", "users"),
        ("tag", "tags"),
        ("customProperty", "customProperties"),
        ("userDirectory", "userDirectories"),
    ] {
        let path = format!("{never}.{list}");
        // Butler 16 did not start without one of the lists, though it may be empty: a misspelt one would protect nobody.
        if !import.is_written(&path) {
            unread += 1;
            import.todo(&path, "it is not there: who is meant to be in it is protected by nothing");
        }
        let count = import.len(&path);
        unread += usize::from(count == 0 && import.has(&path) && import.value(&path) != Some(json!([])));
        let items: Vec<Value> = (0..count).filter_map(|item| entry(import, list, &format!("{path}[{item}]"))).collect();
        unread += count - items.len();
        if !items.is_empty() {
            rules.insert(setting.to_owned(), items.into());
        }
    }
    for flag in ["inactive", "blocked", "removedExternally"] {
        let path = format!("{never}.{flag}");
        match import.text(&path).map(|text| text.to_lowercase()) {
            Some(text) if ["yes", "no", "ignore"].contains(&text.as_str()) => {
                rules.insert(flag.to_owned(), text.into());
            }
            // Butler 16 did not start without them: who knows what else is missing.
            _ => {
                unread += 1;
                import.todo(&path, "it is none of `yes`, `no` and `ignore`");
            }
        }
    }
    (rules.into(), unread == 0)
}

fn entry(import: &mut Import, list: &str, item: &str) -> Option<Value> {
    let read = match list {
        "user" => {
            let (directory, id) = (import.text(&format!("{item}.userDir")), import.text(&format!("{item}.userId")));
            directory.zip(id).map(|(directory, id)| json!({ "directory": directory, "userId": id }))
        }
        "customProperty" => {
            let (name, value) = (import.text(&format!("{item}.name")), import.text(&format!("{item}.value")));
            name.zip(value).map(|(name, value)| json!({ "name": name, "value": value }))
        }
        _ => import.text(item).map(Value::from),
    };
    if read.is_none() {
        import.todo(item, "it protects nobody: write all of it");
    }
    read
}

#[cfg(test)]
mod tests;
