//! What the user of the config may read in Qlik Sense.
//!
//! QRS refuses hardly anything: who may not read an object is answered as if it were not there. So it is counted. That there
//! are none and that none may be read look the same from here, and it is said so.

use super::super::findings::Findings;
use super::super::progress::waiting;
use crate::config::PluginEntry;
use crate::daemon::Setup;
use crate::qlik::{QlikError, Repository};

const LINK: &str = "rights";

const TASKS: &str = "task";
const RESULTS: &str = "executionresult";

/// Paths of QRS, what they list, and whether every site has some in use.
const OBJECTS: [(&str, &str, bool); 6] = [
    (TASKS, "tasks", true),
    ("app", "apps", true),
    ("user", "users", true),
    (RESULTS, "execution results", false),
    ("custompropertydefinition", "custom properties", false),
    ("tag", "tags", false),
];

const REMEDY: &str = "in the QMC, give `qlik.user` the role RootAdmin or AuditAdmin, or a security rule that lets it read them; or \
                      use INTERNAL\\sa_repository";

/// Counts what may be read.
pub(in super::super) async fn check(setup: &Setup, repository: &Repository, findings: &mut Findings) {
    let user = setup.loaded.config.qlik.as_ref().map(|qlik| qlik.user.as_str()).unwrap_or_default();
    let (mut seen, mut none, mut refused) = (Vec::new(), Vec::new(), false);
    let (mut tasks, mut blind) = (0, false);
    for (path, what, usual) in OBJECTS {
        match waiting(&format!("the count of {what}"), count(repository, path)).await {
            Ok(0) if usual => none.push(what),
            Ok(0) if path == RESULTS && tasks > 0 => blind = true,
            Ok(number) => {
                if path == TASKS {
                    tasks = number;
                }
                seen.push(format!("{number} {what}"));
            }
            Err(error) => {
                refused = true;
                findings.failed(LINK, &format!("{what} cannot be read: {error}"), "");
            }
        }
    }
    let usual = OBJECTS.iter().filter(|(.., usual)| *usual).count();
    if none.len() == usual {
        let detail = format!(
            "{user} sees no {}: Qlik Sense shows only what a user may read, so this one may read nothing",
            none.join(", no ")
        );
        findings.failed(LINK, &detail, REMEDY);
    } else if !none.is_empty() {
        let detail = format!(
            "{user} sees no {}: there are none, or it may not read them, which looks the same from here",
            none.join(", no ")
        );
        findings.note(LINK, &detail, &format!("if the QMC shows some: {REMEDY}"));
    }
    if blind {
        let detail = format!(
            "{user} sees {}, but no execution results: no task has run yet, or it may not read them, which looks the same from \
             here; without them Butler sees neither how tasks ended nor their script logs",
            seen.join(", ")
        );
        findings.note(LINK, &detail, &format!("if the QMC shows some: {REMEDY}"));
    }
    if none.is_empty() && !refused && !blind {
        let detail = format!("{user} sees {}; whether that is all of them, the QMC shows", seen.join(", "));
        findings.ok(LINK, &detail);
    }
    written(setup, repository, findings).await;
}

async fn count(repository: &Repository, path: &str) -> Result<i64, QlikError> {
    let answer = repository.get_json(&format!("{path}/count"), &[]).await?;
    Ok(answer["value"].as_i64().or(answer.as_i64()).unwrap_or_default())
}

/// What plugins write to, by their manifests and `qlik.writes`, must be readable at least.
async fn written(setup: &Setup, repository: &Repository, findings: &mut Findings) {
    let config = &setup.loaded.config;
    let Some(writes) = config.qlik.as_ref().map(|qlik| &qlik.writes).filter(|writes| !writes.is_empty()) else {
        return;
    };
    let manifests =
        config.plugins.iter().filter_map(|entry: &PluginEntry| Some((entry, setup.libraries.get(&entry.plugin)?)));
    for (entry, opened) in manifests {
        let link = format!("rights {}", entry.instance());
        for path in &opened.library.manifest().qlik_writes {
            let Some(list) = list(path).filter(|list| allowed(writes, list)) else { continue };
            match waiting("Qlik Sense", repository.get_json(&format!("{list}/count"), &[])).await {
                Ok(_) => {
                    let detail = format!("`{list}` may be read; whether it may be changed shows when it is");
                    findings.ok(&link, &detail);
                }
                Err(error) => findings.failed(&link, &format!("`{list}` cannot be read: {error}"), ""),
            }
        }
    }
}

/// The list whose objects a path names: `license/x` of `license/x/*`. Absent for patterns that name no list.
fn list(path: &str) -> Option<&str> {
    path.strip_suffix("/*").filter(|list| !list.is_empty() && !list.contains('*'))
}

/// Whether the config lets somebody write to the objects of a list.
fn allowed(writes: &[String], list: &str) -> bool {
    let object = format!("{list}/00000000").to_ascii_lowercase();
    writes.iter().any(|pattern| butler_plugin_api::kind::matches(&pattern.to_ascii_lowercase(), &object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_those_of_paths_of_objects() {
        assert_eq!(list("license/professionalaccesstype/*"), Some("license/professionalaccesstype"));
        assert_eq!((list("license/*type/*"), list("*"), list("/*"), list("tag")), (None, None, None, None));
        let writes = ["License/*".to_owned()];
        assert!(allowed(&writes, "license/analyzeraccesstype") && !allowed(&writes, "tag"));
    }
}
