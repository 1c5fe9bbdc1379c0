//! The settings, and the approved directories that they name.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::path::{Fault, Flavour, Location};

/// Settings of file operations: in which directories they are approved. Directories are absolute, or relative to the config file.
/// What is absent approves nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Files and directories may be copied from at or below `from` to at or below `to` of the same pair.
    #[serde(default)]
    copy: Vec<PairSetting>,
    /// The same for moving.
    #[serde(default, rename = "move")]
    moving: Vec<PairSetting>,
    /// What is below these may be deleted.
    #[serde(default)]
    delete: Vec<String>,
    /// Directories may be created at or below these.
    #[serde(default)]
    create_dir: Vec<String>,
    /// Where directories for QVD files are created.
    #[serde(default)]
    #[schemars(length(min = 1))]
    qvd_dir: Option<String>,
}

/// Two directories that belong together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PairSetting {
    /// Where the source must be.
    #[schemars(length(min = 1))]
    from: String,
    /// Where the target must be.
    #[schemars(length(min = 1))]
    to: String,
}

/// An approved pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) from: Location,
    pub(crate) to: Location,
}

/// All that is approved.
#[derive(Debug)]
pub(crate) struct Approved {
    pub(crate) copy: Vec<Pair>,
    pub(crate) moving: Vec<Pair>,
    pub(crate) delete: Vec<Location>,
    pub(crate) create: Vec<Location>,
    pub(crate) qvd: Option<Location>,
}

/// Something in an approved directory: the names that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) directory: Location,
    pub(crate) steps: Vec<String>,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, flavour: Flavour, config_dir: &str) -> Result<Approved, String> {
        let config_dir = std::path::absolute(config_dir)
            .map_err(|error| format!("the folder of the config file cannot be told: {error}"))?
            .to_string_lossy()
            .into_owned();
        let one = |name: &str, text: &str| directory(flavour, &config_dir, name, text);
        let list = |name: &str, texts: Vec<String>| -> Result<Vec<Location>, String> {
            texts.iter().enumerate().map(|(n, text)| one(&format!("{name}[{n}]"), text)).collect()
        };
        let pairs = |name: &str, pairs: Vec<PairSetting>| -> Result<Vec<Pair>, String> {
            let pair = |(n, pair): (usize, &PairSetting)| {
                let from = one(&format!("{name}[{n}].from"), &pair.from)?;
                Ok(Pair { from, to: one(&format!("{name}[{n}].to"), &pair.to)? })
            };
            pairs.iter().enumerate().map(pair).collect()
        };
        Ok(Approved {
            copy: pairs("copy", self.copy)?,
            moving: pairs("move", self.moving)?,
            delete: list("delete", self.delete)?,
            create: list("createDir", self.create_dir)?,
            qvd: self.qvd_dir.map(|text| one("qvdDir", &text)).transpose()?,
        })
    }
}

fn directory(flavour: Flavour, config_dir: &str, name: &str, text: &str) -> Result<Location, String> {
    let fault = |why: &str| Err(format!("`{name}` is `{text}`: {why}"));
    if text.is_empty() {
        return fault("name a directory");
    }
    let read = match Location::parse(flavour, text) {
        // A drive without its slash, or a slash without its drive, is meant to be absolute.
        Err(Fault::Relative) if !text.contains(':') && !text.starts_with(['/', '\\']) => {
            Location::parse(flavour, &format!("{}/{text}", plain(flavour, config_dir)))
        }
        read => read,
    };
    match read {
        Ok(location) => Ok(location),
        Err(Fault::Unc) => {
            fault("paths of the network (UNC) are for Windows: mount the share, and name the folder where it is")
        }
        Err(Fault::Relative) => fault("write the whole path, or one that is relative to the config file"),
        Err(other) => fault(&format!("a directory cannot be called so: it {other}")),
    }
}

/// Windows has a second form for paths, `\\?\C:\…`.
fn plain(flavour: Flavour, path: &str) -> String {
    match path.strip_prefix(r"\\?\") {
        Some(rest) if flavour == Flavour::Windows => match rest.strip_prefix(r"UNC\") {
            Some(share) => format!(r"\\{share}"),
            None => rest.to_owned(),
        },
        _ => path.to_owned(),
    }
}

/// The pair that approves a source and a target, with the ways to them. Of several the one that reaches highest: links may
/// lead anywhere below it.
pub(crate) fn find_pair(pairs: &[Pair], from: &Location, to: &Location) -> Option<(Spot, Spot)> {
    let fitting = pairs.iter().filter_map(|pair| Some((spot(&pair.from, from)?, spot(&pair.to, to)?)));
    fitting.min_by_key(|(from, to)| from.directory.depth() + to.directory.depth())
}

/// The same for a single path.
pub(crate) fn find(directories: &[Location], path: &Location) -> Option<Spot> {
    directories.iter().filter_map(|directory| spot(directory, path)).min_by_key(|spot| spot.directory.depth())
}

/// The directory at or below which something is.
pub(crate) fn find_or_itself(directories: &[Location], path: &Location) -> Option<Spot> {
    let fitting = directories.iter().filter_map(|directory| {
        let steps = directory.below(path)?.to_vec();
        Some(Spot { directory: directory.clone(), steps })
    });
    fitting.min_by_key(|spot| spot.directory.depth())
}

/// The directory itself is nothing that may be copied, moved or deleted.
fn spot(directory: &Location, path: &Location) -> Option<Spot> {
    let steps = directory.below(path).filter(|steps| !steps.is_empty())?.to_vec();
    Some(Spot { directory: directory.clone(), steps })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(flavour: Flavour, settings: Value) -> Result<Approved, String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check(flavour, "/etc/butler")
    }

    fn unix(settings: Value) -> Result<Approved, String> {
        check(Flavour::Unix, settings)
    }

    fn at(text: &str) -> Location {
        Location::parse(Flavour::Unix, text).unwrap()
    }

    #[test]
    fn directories_are_absolute_or_beside_the_config() {
        let approved = unix(json!({
            "copy": [{ "from": "/in/../data/", "to": "out" }],
            "move": [{ "from": "./in", "to": "../out" }],
            "delete": ["/"],
            "createDir": ["/a//b"],
            "qvdDir": "./qvd",
        }))
        .unwrap();
        assert_eq!(approved.copy, [Pair { from: at("/data"), to: at("/etc/butler/out") }]);
        assert_eq!(approved.moving, [Pair { from: at("/etc/butler/in"), to: at("/etc/out") }]);
        assert_eq!((approved.delete, approved.create), (vec![at("/")], vec![at("/a/b")]));
        assert_eq!(approved.qvd, Some(at("/etc/butler/qvd")));
        let nothing = unix(json!({})).unwrap();
        assert!(nothing.copy.is_empty() && nothing.delete.is_empty() && nothing.create.is_empty());

        let approved = check(Flavour::Windows, json!({ "delete": [r"E:\Data", r"\\nas\share\x"] })).unwrap();
        assert_eq!(approved.delete.iter().map(ToString::to_string).collect::<Vec<_>>(), ["E:/Data", "//nas/share/x"]);
        assert_eq!(plain(Flavour::Windows, r"\\?\C:\x"), r"C:\x");
        assert_eq!(plain(Flavour::Windows, r"\\?\UNC\nas\x"), r"\\nas\x");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (settings, part) in [
            (json!({ "copy": [{ "from": "", "to": "/out" }] }), "`copy[0].from` is ``: name a directory"),
            (json!({ "copy": [{ "from": "/in" }] }), "missing field `to`"),
            (
                json!({ "move": [{ "from": "/in", "to": r"\\nas\share" }] }),
                "`move[0].to` is `\\\\nas\\share`: paths of the",
            ),
            (json!({ "delete": ["/a", "C:/x"] }), "`delete[1]` is `C:/x`: write the whole path"),
            (json!({ "createDir": ["/a\0"] }), "it holds a NUL"),
            (json!({ "qvdDir": "x".repeat(300) }), "`qvdDir` is `xxx"),
            (json!({ "createDirectory": ["/a"] }), "unknown field"),
        ] {
            let error = unix(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        for (text, part) in [("C:x", "write the whole path"), (r"\x", "write the whole path"), (r"C:\NUL\x", "`NUL`")] {
            let error = check(Flavour::Windows, json!({ "delete": [text] })).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn pairs_are_not_combined_and_the_directory_itself_is_out_of_reach() {
        let approved = unix(json!({
            "copy": [{ "from": "/a", "to": "/x" }, { "from": "/b", "to": "/y" }, { "from": "/a/deep", "to": "/x/deep" }],
            "delete": ["/out/sub", "/out"],
        }))
        .unwrap();
        let find = |from, to| find_pair(&approved.copy, &at(from), &at(to));
        let (from, to) = find("/a/deep/f", "/x/deep/g").unwrap();
        assert_eq!((from.directory, to.steps), (at("/a"), vec!["deep".to_owned(), "g".to_owned()]));
        for (from, to) in [("/a/f", "/y/f"), ("/b/f", "/x/f"), ("/a", "/x/f"), ("/a/f", "/x"), ("/ab/f", "/x/f")] {
            assert_eq!(find(from, to), None, "{from} {to}");
        }
        let delete = |path| super::find(&approved.delete, &at(path)).map(|spot| spot.steps.join("/"));
        assert_eq!(delete("/out/sub").as_deref(), Some("sub"));
        assert_eq!(delete("/out/sub/f").as_deref(), Some("sub/f"));
        assert_eq!(delete("/out"), None);
        assert_eq!(find_or_itself(&approved.delete, &at("/out")).map(|spot| spot.steps), Some(vec![]));
    }
}
