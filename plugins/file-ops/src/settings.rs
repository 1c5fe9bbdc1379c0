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
    /// Files and directories may be moved from at or below `from` to at or below `to` of the same pair.
    #[serde(default, rename = "move")]
    moving: Vec<PairSetting>,
    /// What is below these may be deleted.
    #[serde(default)]
    delete: Vec<String>,
    /// Directories may be created at or below these.
    #[serde(default)]
    create_dir: Vec<String>,
    /// Where `POST /v4/createdirqvd` creates directories.
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

/// An approved directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) location: Location,
    /// The outermost approved directory that it is in, or itself.
    pub(crate) outermost: Location,
}

impl From<Location> for Directory {
    fn from(location: Location) -> Self {
        Self { outermost: location.clone(), location }
    }
}

/// An approved pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) from: Directory,
    pub(crate) to: Directory,
}

/// All that is approved.
#[derive(Debug)]
pub(crate) struct Approved {
    pub(crate) copy: Vec<Pair>,
    pub(crate) moving: Vec<Pair>,
    pub(crate) delete: Vec<Directory>,
    pub(crate) create: Vec<Directory>,
    pub(crate) qvd: Option<Directory>,
}

impl Approved {
    /// Finds for each directory the outermost one. Those where directories are created only do not count: no link comes
    /// there by that.
    fn nest(mut self) -> Self {
        let pairs = self.copy.iter().chain(&self.moving).flat_map(|pair| [&pair.from, &pair.to]);
        let around: Vec<Location> = pairs.chain(&self.delete).map(|directory| directory.location.clone()).collect();
        let pairs = self.copy.iter_mut().chain(&mut self.moving).flat_map(|pair| [&mut pair.from, &mut pair.to]);
        for directory in pairs.chain(&mut self.delete).chain(&mut self.create).chain(&mut self.qvd) {
            let fitting = around.iter().filter(|around| around.below(&directory.location).is_some());
            if let Some(outermost) = fitting.min_by_key(|around| around.depth()) {
                directory.outermost = outermost.clone();
            }
        }
        self
    }
}

/// Something in an approved directory: the names that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) directory: Directory,
    pub(crate) steps: Vec<String>,
}

impl Spot {
    /// The whole path.
    pub(crate) fn location(&self) -> Location {
        self.directory.location.join(&self.steps)
    }
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(self, flavour: Flavour, config_dir: &str) -> Result<Approved, String> {
        let config_dir = std::path::absolute(config_dir)
            .map_err(|error| format!("the folder of the config file cannot be told: {error}"))?
            .to_string_lossy()
            .into_owned();
        let one = |name: &str, text: &str| directory(flavour, &config_dir, name, text).map(Directory::from);
        let list = |name: &str, texts: Vec<String>| -> Result<Vec<Directory>, String> {
            texts.iter().enumerate().map(|(n, text)| one(&format!("{name}[{n}]"), text)).collect()
        };
        let pairs = |name: &str, pairs: Vec<PairSetting>| -> Result<Vec<Pair>, String> {
            let pair = |(n, pair): (usize, &PairSetting)| {
                let from = one(&format!("{name}[{n}].from"), &pair.from)?;
                Ok(Pair { from, to: one(&format!("{name}[{n}].to"), &pair.to)? })
            };
            pairs.iter().enumerate().map(pair).collect()
        };
        let approved = Approved {
            copy: pairs("copy", self.copy)?,
            moving: pairs("move", self.moving)?,
            delete: list("delete", self.delete)?,
            create: list("createDir", self.create_dir)?,
            qvd: self.qvd_dir.map(|text| one("qvdDir", &text)).transpose()?,
        };
        Ok(approved.nest())
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
    fitting.min_by_key(|(from, to)| from.directory.location.depth() + to.directory.location.depth())
}

/// The same for a single path.
pub(crate) fn find(directories: &[Directory], path: &Location) -> Option<Spot> {
    directories.iter().filter_map(|directory| spot(directory, path)).min_by_key(|spot| spot.directory.location.depth())
}

/// The directory at or below which something is.
pub(crate) fn find_or_itself(directories: &[Directory], path: &Location) -> Option<Spot> {
    let fitting = directories.iter().filter_map(|directory| {
        let steps = directory.location.below(path)?.to_vec();
        Some(Spot { directory: directory.clone(), steps })
    });
    fitting.min_by_key(|spot| spot.directory.location.depth())
}

/// The directory itself is nothing that may be copied, moved or deleted.
fn spot(directory: &Directory, path: &Location) -> Option<Spot> {
    let steps = directory.location.below(path).filter(|steps| !steps.is_empty())?.to_vec();
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

    fn alone(text: &str) -> Directory {
        at(text).into()
    }

    #[test]
    fn directories_are_absolute_or_beside_the_config() {
        let approved = unix(json!({
            "copy": [{ "from": "/in/../data/", "to": "out" }],
            "move": [{ "from": "./in", "to": "../out" }],
            "delete": ["/c"],
            "createDir": ["/a//b"],
            "qvdDir": "./qvd",
        }))
        .unwrap();
        assert_eq!(approved.copy, [Pair { from: alone("/data"), to: alone("/etc/butler/out") }]);
        assert_eq!(approved.moving, [Pair { from: alone("/etc/butler/in"), to: alone("/etc/out") }]);
        assert_eq!((approved.delete, approved.create), (vec![alone("/c")], vec![alone("/a/b")]));
        assert_eq!(approved.qvd, Some(alone("/etc/butler/qvd")));
        let nothing = unix(json!({})).unwrap();
        assert!(nothing.copy.is_empty() && nothing.delete.is_empty() && nothing.create.is_empty());

        let approved = check(Flavour::Windows, json!({ "delete": [r"E:\Data", r"\\nas\share\x"] })).unwrap();
        assert_eq!(
            approved.delete.iter().map(|one| one.location.to_string()).collect::<Vec<_>>(),
            ["E:/Data", "//nas/share/x"]
        );
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
    fn of_directories_in_each_other_the_outermost_one_is_known() {
        let approved = unix(json!({
            "copy": [{ "from": "/a/b/c", "to": "/x" }],
            "move": [{ "from": "/y", "to": "/a/b" }],
            "delete": ["/a", "/a/b/d", "/ab"],
            "createDir": ["/", "/a/e"],
            "qvdDir": "/x/q",
        }))
        .unwrap();
        let outermost = |directory: &Directory| directory.outermost.to_string();
        assert_eq!(outermost(&approved.copy[0].from), "/a");
        assert_eq!(outermost(&approved.moving[0].to), "/a");
        assert_eq!(approved.delete.iter().map(outermost).collect::<Vec<_>>(), ["/a", "/a", "/ab"]);
        assert_eq!(approved.create.iter().map(outermost).collect::<Vec<_>>(), ["/", "/a"]);
        assert_eq!(
            (outermost(&approved.copy[0].to), approved.qvd.as_ref().map(outermost)),
            ("/x".into(), Some("/x".into()))
        );
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
        assert_eq!((from.directory.location, to.steps), (at("/a"), vec!["deep".to_owned(), "g".to_owned()]));
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
