//! Where InfluxDB is, and what it asks for.

use butler_plugin_api::import::Import;
use serde_json::{Map, Value};
use url::Url;

use crate::settings::{LONGEST_TIMEOUT, hours};

/// Sections of the versions.
const OF_VERSIONS: [(u64, &str); 3] = [(1, "influxDb.v1Config"), (2, "influxDb.v2Config"), (3, "influxDb.v3Config")];
/// What version 1 had before there were sections.
const FLAT: [&str; 3] = ["influxDb.auth", "influxDb.dbName", "influxDb.retentionPolicy"];

/// The settings of the connection; none without what a version cannot do without.
pub(super) fn settings(import: &mut Import) -> Option<Map<String, Value>> {
    let (host, port) = (import.text("influxDb.hostIP"), import.number("influxDb.hostPort").unwrap_or(8086));
    let is_given = import.has("influxDb.version");
    let version = import.number("influxDb.version").or((!is_given).then_some(1));
    let has_v1 = import.has("influxDb.v1Config");
    if !has_v1 {
        import.used("influxDb.v1Config");
    }
    for (other, section) in OF_VERSIONS {
        if Some(other) != version {
            import.no_effect(section, "`influxDb.version` is another");
        }
    }
    if has_v1 || version != Some(1) {
        for section in FLAT {
            import.no_effect(section, "it is for version 1, if there is no `v1Config`");
        }
    }
    let mut settings = match version {
        Some(1) => v1(import, if has_v1 { "influxDb.v1Config" } else { "influxDb" }),
        Some(2) => v2(import)?,
        Some(3) => v3(import)?,
        _ => {
            import.todo("influxDb.version", "it must be 1, 2 or 3");
            return None;
        }
    };
    let url = Url::parse(&format!("http://{}:{port}", host?));
    let Ok(url) = url else {
        import.todo("influxDb.hostIP", "it makes no address of a server, with `influxDb.hostPort`");
        return None;
    };
    settings.insert("url".to_owned(), url.as_str().trim_end_matches('/').into());
    settings.insert("version".to_owned(), version.into());
    Some(settings)
}

fn v1(import: &mut Import, section: &str) -> Map<String, Value> {
    let mut settings = Map::new();
    let texts = |settings: &mut Map<String, Value>, name: &str, text: Option<String>| {
        settings.extend(text.map(|text| (name.to_owned(), text.into())));
    };
    texts(&mut settings, "database", import.text(&format!("{section}.dbName")));
    let auth = format!("{section}.auth");
    if import.flag(&format!("{auth}.enable")) {
        texts(&mut settings, "username", import.text(&format!("{auth}.username")));
        texts(&mut settings, "password", import.secret(&format!("{auth}.password")));
    } else {
        import.off(&auth);
    }
    texts(&mut settings, "retentionPolicy", import.text(&format!("{section}.retentionPolicy.name")));
    texts(&mut settings, "retention", retention(import, &format!("{section}.retentionPolicy.duration")));
    settings
}

/// For how long points are kept, if it is one span of time.
fn retention(import: &mut Import, path: &str) -> Option<String> {
    let text = import.text(path)?;
    let lower = text.to_lowercase();
    if lower == "inf" || hours("retention", &lower).is_ok() {
        return Some(lower);
    }
    import.todo(path, &format!("`{text}` is not one number with h, d or w: set `retention`, which is 10d now"));
    None
}

fn v2(import: &mut Import) -> Option<Map<String, Value>> {
    const SECTION: &str = "influxDb.v2Config";
    unused(import, SECTION, &["description", "retentionDuration"]);
    let org = needed(import, &format!("{SECTION}.org"), Import::text);
    let bucket = needed(import, &format!("{SECTION}.bucket"), Import::text);
    let token = needed(import, &format!("{SECTION}.token"), Import::token);
    Some(
        [("org", org?), ("bucket", bucket?), ("token", token?)]
            .map(|(name, it)| (name.to_owned(), it.into()))
            .into_iter()
            .collect(),
    )
}

fn v3(import: &mut Import) -> Option<Map<String, Value>> {
    const SECTION: &str = "influxDb.v3Config";
    unused(import, SECTION, &["description", "retentionDuration", "queryTimeout"]);
    let database = needed(import, &format!("{SECTION}.database"), Import::text);
    let token = needed(import, &format!("{SECTION}.token"), Import::token);
    let path = format!("{SECTION}.writeTimeout");
    let timeout = import.number(&path).filter(|millis| *millis > 0).map(|millis| {
        let longest = u64::try_from(LONGEST_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        if millis > longest {
            import.differs(&path, &format!("it is {longest} ms now, the longest that is possible"));
        }
        format!("{}ms", millis.min(longest))
    });
    let given = [("database", Some(database?)), ("token", Some(token?)), ("timeout", timeout)];
    Some(given.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it?.into()))).collect())
}

/// What the version cannot do without.
fn needed(import: &mut Import, path: &str, read: impl Fn(&mut Import, &str) -> Option<String>) -> Option<String> {
    let value = read(import, path);
    if value.is_none() {
        import.todo(path, "it is needed");
    }
    value
}

fn unused(import: &mut Import, section: &str, names: &[&str]) {
    for name in names {
        import.no_effect(&format!("{section}.{name}"), "Butler 16 did not use it");
    }
}
