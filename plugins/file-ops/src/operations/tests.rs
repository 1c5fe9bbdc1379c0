mod races;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::path::Flavour;

/// Two approved directories and one that is not, in one folder.
struct Site(TempDir);

const PART: &str = ".butler-file-ops-1-2-3.part";
const KEEP: Options = Options { overwrite: false, preserve_timestamp: false };
const REPLACE: Options = Options { overwrite: true, preserve_timestamp: false };

impl Site {
    fn new() -> Self {
        let site = Self(TempDir::new().unwrap());
        for folder in ["in", "out", "secret"] {
            fs::create_dir(site.path(folder)).unwrap();
        }
        site.write("secret/key", "secret");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    fn at(&self, name: &str) -> Location {
        Location::parse(Flavour::Unix, self.path(name).to_str().unwrap()).unwrap()
    }

    fn pairs(&self) -> Vec<Pair> {
        let [input, output] = ["in", "out"].map(|name| Directory::from(self.at(name)));
        vec![Pair { from: input.clone(), to: output }, Pair { from: input.clone(), to: input }]
    }

    fn duplicate(&self, from: &str, to: &str, options: Options) -> Result<Done, Trouble> {
        let operation = copy(&self.pairs(), &self.at(from), &self.at(to), options).expect("it is approved");
        self.perform(&operation)
    }

    fn relocate(&self, from: &str, to: &str, overwrite: bool) -> Result<Done, Trouble> {
        let operation = moving(&self.pairs(), &self.at(from), &self.at(to), overwrite).expect("it is approved");
        self.perform(&operation)
    }

    fn delete(&self, name: &str) -> Result<Done, Trouble> {
        self.perform(&deletion(&[self.at("out").into()], &self.at(name)).expect("it is approved"))
    }

    fn create(&self, name: &str) -> Result<Done, Trouble> {
        self.perform(&creation(&[self.at("out").into()], &self.at(name)).expect("it is approved"))
    }

    /// Nothing unfinished may be left, and what is outside must be as it was.
    fn perform(&self, operation: &Operation) -> Result<Done, Trouble> {
        let done = operation.perform(PART, &Progress::default());
        let left: Vec<_> = walk(self.0.path()).into_iter().filter(|path| path.contains(".butler-")).collect();
        assert!(left.is_empty(), "{operation:?} leaves {left:?}");
        assert_eq!(walk(&self.path("secret")), ["key"], "{operation:?}");
        assert_eq!(self.read("secret/key").as_deref(), Some("secret"), "{operation:?}");
        done
    }
}

/// Paths of all that is below a folder.
fn walk(folder: &Path) -> Vec<String> {
    fn go(folder: &Path, start: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{start}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                go(&entry.path(), &format!("{name}/"), found);
            }
            found.push(name);
        }
    }
    let mut found = Vec::new();
    go(folder, "", &mut found);
    found.sort();
    found
}

fn refused(done: Result<Done, Trouble>, part: &str) {
    match done {
        Err(Trouble::Refused(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?} instead of {part}"),
    }
}

fn failed(done: Result<Done, Trouble>, part: &str) {
    match done {
        Err(Trouble::Failed(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?} instead of {part}"),
    }
}

#[test]
fn a_file_is_copied_whole_with_its_rights_and_on_request_its_times() {
    let site = Site::new();
    site.write("in/a.txt", "text");
    let source = fs::File::options().write(true).open(site.path("in/a.txt")).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let back_then = fs::FileTimes::new().set_modified(long_ago).set_accessed(long_ago);
    source.set_times(back_then).unwrap();
    fs::set_permissions(site.path("in/a.txt"), fs::Permissions::from_mode(0o4640)).unwrap();
    assert_eq!(site.duplicate("in/a.txt", "out/sub/b/a.txt", KEEP), Ok(Done::Done));
    let found = fs::metadata(site.path("out/sub/b/a.txt")).unwrap();
    assert_eq!((site.read("out/sub/b/a.txt").as_deref(), found.mode() & 0o7777), (Some("text"), 0o640));
    assert!(found.modified().unwrap() > long_ago);
    let options = Options { overwrite: true, preserve_timestamp: true };
    // It has been read.
    source.set_times(back_then).unwrap();
    assert_eq!(site.duplicate("in/a.txt", "out/sub/b/a.txt", options), Ok(Done::Done));
    let found = fs::metadata(site.path("out/sub/b/a.txt")).unwrap();
    assert_eq!(found.modified().unwrap(), long_ago);
    assert_eq!(found.atime(), 1_000_000_000);
}

#[test]
fn a_copy_replaces_only_on_request_and_never_writes_into_what_is_there() {
    let site = Site::new();
    site.write("in/a", "new");
    site.write("out/a", "old");
    fs::hard_link(site.path("out/a"), site.path("out/other name")).unwrap();
    assert_eq!(site.duplicate("in/a", "out/a", KEEP), Ok(Done::Unchanged));
    assert_eq!(site.read("out/a").as_deref(), Some("old"));
    assert_eq!(site.duplicate("in/a", "out/a", REPLACE), Ok(Done::Done));
    assert_eq!(site.read("out/a").as_deref(), Some("new"));
    assert_eq!(site.read("out/other name").as_deref(), Some("old"), "the file itself was replaced");
    // A link is replaced and not written through.
    symlink(site.path("secret/key"), site.path("out/link")).unwrap();
    assert_eq!(site.duplicate("in/a", "out/link", KEEP), Ok(Done::Unchanged));
    assert_eq!(site.duplicate("in/a", "out/link", REPLACE), Ok(Done::Done));
    assert!(fs::symlink_metadata(site.path("out/link")).unwrap().is_file());
}

#[test]
fn what_cannot_be_is_said() {
    let site = Site::new();
    site.write("in/a", "a");
    site.write("in/tree/x", "x");
    fs::create_dir(site.path("out/folder")).unwrap();
    site.write("out/file", "f");
    assert_eq!(site.duplicate("in/none", "out/a", KEEP), Err(Trouble::Missing));
    assert_eq!(site.duplicate("in/a/below", "out/a", KEEP), Err(Trouble::Missing));
    assert_eq!(site.relocate("in/none", "out/a", false), Err(Trouble::Missing));
    assert_eq!(site.relocate("in/none/x", "out/a", false), Err(Trouble::Missing));
    assert_eq!(site.delete("out/none"), Err(Trouble::Missing));
    assert_eq!(site.delete("out/none/x"), Err(Trouble::Missing));
    assert_eq!(site.delete("out/file/x"), Err(Trouble::Missing));
    for overwrite in [false, true] {
        let options = Options { overwrite, ..KEEP };
        failed(site.duplicate("in/a", "in/a", options), "are the same");
        failed(site.duplicate("in/tree", "in/tree", options), "are the same");
        failed(site.duplicate("in/a", "out/folder", options), "toFile is a directory");
        failed(site.duplicate("in/tree", "out/file", options), "toFile is a file");
        failed(site.duplicate("in/tree", "in/tree/deep/copy", options), "into itself");
        failed(site.duplicate("in/a", "out/file/x", options), "a file is where a directory must be");
        failed(site.relocate("in/a", "in/a", overwrite), "are the same");
        failed(site.relocate("in/a", "out/folder", overwrite), "toFile is a directory");
        failed(site.relocate("in/tree", "out/file", overwrite), "toFile is a file");
        failed(site.relocate("in/tree", "in/tree/deep", overwrite), "into itself");
    }
    failed(site.create("out/file/x"), "a file is where a directory must be");
    failed(site.create("out/file"), "a file is where a directory must be");
    assert_eq!(walk(&site.path("in")), ["a", "tree", "tree/x"]);
    let gone = TempDir::new().unwrap().path().join("share");
    let gone = Location::parse(Flavour::Unix, gone.to_str().unwrap()).unwrap();
    failed(
        site.perform(&deletion(&[gone.clone().into()], &gone.join(&["x".to_owned()])).unwrap()),
        "it is not there: make it",
    );
}

#[test]
fn moves_replace_only_on_request() {
    let site = Site::new();
    for (name, text) in [("in/a", "a"), ("in/b", "b"), ("out/a", "old"), ("in/tree/x/y", "y"), ("out/tree/old", "old")]
    {
        site.write(name, text);
    }
    failed(site.relocate("in/a", "out/a", false), "toFile exists");
    assert_eq!((site.read("in/a").as_deref(), site.read("out/a").as_deref()), (Some("a"), Some("old")));
    assert_eq!(site.relocate("in/a", "out/a", true), Ok(Done::Done));
    assert_eq!((site.read("in/a"), site.read("out/a").as_deref()), (None, Some("a")));
    assert_eq!(site.relocate("in/b", "out/new/b", false), Ok(Done::Done));
    assert_eq!(site.read("out/new/b").as_deref(), Some("b"));
    failed(site.relocate("in/tree", "out/tree", false), "toFile exists");
    assert_eq!(site.relocate("in/tree", "out/tree", true), Ok(Done::Done));
    assert_eq!(walk(&site.path("out/tree")), ["x", "x/y"], "a directory is replaced, not mixed");
    assert_eq!(walk(&site.path("in")), Vec::<String>::new());
}

#[test]
fn trees_are_copied_whole_and_into_what_is_there() {
    let site = Site::new();
    for (name, text) in [("in/t/a", "a"), ("in/t/s/b", "b"), ("out/t2/a", "old"), ("out/t2/own", "own")] {
        site.write(name, text);
    }
    fs::set_permissions(site.path("in/t/s"), fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(site.duplicate("in/t", "out/t", KEEP), Ok(Done::Done));
    assert_eq!(walk(&site.path("out/t")), ["a", "s", "s/b"]);
    assert_eq!(fs::metadata(site.path("out/t/s")).unwrap().mode() & 0o777, 0o750);
    assert_eq!(site.duplicate("in/t", "out/t2", KEEP), Ok(Done::Unchanged));
    assert_eq!(walk(&site.path("out/t2")), ["a", "own"]);
    assert_eq!(site.duplicate("in/t", "out/t2", REPLACE), Ok(Done::Done));
    assert_eq!(walk(&site.path("out/t2")), ["a", "own", "s", "s/b"]);
    assert_eq!(site.read("out/t2/a").as_deref(), Some("a"));
    // Again, with folders on both sides; and one where a file is.
    site.write("in/t/s/c", "c");
    assert_eq!(site.duplicate("in/t", "out/t2", REPLACE), Ok(Done::Done));
    assert_eq!(site.read("out/t2/s/c").as_deref(), Some("c"));
    fs::remove_dir_all(site.path("out/t2/s")).unwrap();
    site.write("out/t2/s", "a file");
    failed(site.duplicate("in/t", "out/t2", REPLACE), "a file on one side");
    assert_eq!(site.read("out/t2/s").as_deref(), Some("a file"));
    assert_eq!(site.delete("out/t2"), Ok(Done::Done));
    assert!(!site.path("out/t2").exists());

    let mut deep = site.path("in/deep");
    for _ in 0..150 {
        deep.push("d");
    }
    fs::create_dir_all(deep).unwrap();
    failed(site.duplicate("in/deep", "out/deep", KEEP), "inside of each other");
}

#[test]
fn a_tree_that_reaches_itself_by_a_link_ends() {
    let site = Site::new();
    site.write("in/t/a", "a");
    symlink("t", site.path("in/way")).unwrap();
    for _ in 0..2 {
        assert_eq!(site.duplicate("in/t", "in/way/copy", REPLACE), Ok(Done::Done));
    }
    assert_eq!(site.read("in/t/copy/a").as_deref(), Some("a"));
}

#[test]
fn links_lead_nowhere_else() {
    let site = Site::new();
    site.write("in/real/a", "a");
    symlink("real/a", site.path("in/good")).unwrap();
    symlink("real", site.path("in/folder")).unwrap();
    symlink("../secret", site.path("in/up")).unwrap();
    symlink(site.path("secret"), site.path("in/absolute")).unwrap();
    symlink(site.path("secret/key"), site.path("in/key")).unwrap();
    symlink(site.path("secret"), site.path("out/way")).unwrap();
    symlink("../secret", site.path("out/up")).unwrap();
    // Inside of the directory they are followed.
    assert_eq!(site.duplicate("in/good", "out/good", KEEP), Ok(Done::Done));
    assert_eq!(site.duplicate("in/folder/a", "out/a", KEEP), Ok(Done::Done));
    assert_eq!(site.duplicate("in/folder", "out/folder", KEEP), Ok(Done::Done));
    assert!(fs::symlink_metadata(site.path("out/folder")).unwrap().is_dir());
    for name in ["in/up/key", "in/absolute/key", "in/key", "in/up", "in/absolute", "in/up/none"] {
        assert_eq!(site.duplicate(name, "out/x", REPLACE), Err(Trouble::LeadsOut), "{name}");
    }
    for name in ["in/up/key", "in/absolute/key"] {
        assert_eq!(site.relocate(name, "out/x", true), Err(Trouble::LeadsOut), "{name}");
    }
    for name in ["in/key", "in/up", "in/good"] {
        refused(site.relocate(name, "out/x", true), "fromFile is a link");
    }
    for name in ["out/way/x", "out/up/x", "out/up/deep/x"] {
        assert_eq!(site.duplicate("in/real/a", name, REPLACE), Err(Trouble::LeadsOut), "{name}");
        assert_eq!(site.relocate("in/real/a", name, true), Err(Trouble::LeadsOut), "{name}");
        assert_eq!(site.create(name), Err(Trouble::LeadsOut), "{name}");
    }
    for name in ["out/way/key", "out/up/key"] {
        assert_eq!(site.delete(name), Err(Trouble::LeadsOut), "{name}");
    }
    assert_eq!(site.create("out/way"), Err(Trouble::LeadsOut));
    // What is deleted is the link.
    assert_eq!(site.delete("out/way"), Ok(Done::Done));
    symlink(site.path("secret"), site.path("out/folder/way")).unwrap();
    assert_eq!(site.delete("out/folder"), Ok(Done::Done));

    // A tree with a link in it is not copied.
    symlink("a", site.path("in/real/inner")).unwrap();
    refused(site.duplicate("in/real", "out/real", KEEP), "`inner` in fromFile is a link");
    assert!(!site.path("out/real").exists());
    assert_eq!(site.relocate("in/real", "out/real", false), Ok(Done::Done), "moved as it is");
}

/// What callers move to the outer one may hold links.
#[test]
fn no_link_leads_to_a_directory_that_is_approved_within_another_one() {
    let site = Site::new();
    site.write("out/real/x", "x");
    symlink(site.path("secret"), site.path("out/sub")).unwrap();
    symlink("real", site.path("out/inner")).unwrap();
    let at = |name: &str| Directory { location: site.at(name), outermost: site.at("out") };
    for name in ["out/sub", "out/inner", "out/inner/deep"] {
        let operation = deletion(&[at(name)], &site.at(&format!("{name}/key"))).unwrap();
        failed(site.perform(&operation), "is a link, and");
        let pair = Pair { from: at(name), to: site.at("in").into() };
        let operation = copy(&[pair], &site.at(&format!("{name}/key")), &site.at("in/got"), REPLACE).unwrap();
        failed(site.perform(&operation), "name what the link leads to");
    }
    assert!(!site.path("in/got").exists());
    assert_eq!(site.perform(&deletion(&[at("out/real")], &site.at("out/real/x")).unwrap()), Ok(Done::Done));
}

#[test]
fn files_with_other_names_and_special_files_are_left_alone() {
    let site = Site::new();
    fs::hard_link(site.path("secret/key"), site.path("in/key")).unwrap();
    fs::hard_link(site.path("secret/key"), site.path("out/key")).unwrap();
    site.write("in/t/a", "a");
    refused(site.duplicate("in/key", "out/x", KEEP), "hard links");
    refused(site.relocate("in/key", "out/x", true), "hard links");
    fs::rename(site.path("in/key"), site.path("in/t/key")).unwrap();
    refused(site.duplicate("in/t", "out/x", KEEP), "`key` in fromFile is a file with several names");
    // As a target it is replaced, and its name can go.
    assert_eq!(site.duplicate("in/t/a", "out/key", REPLACE), Ok(Done::Done));
    assert_eq!(site.delete("out/key"), Ok(Done::Done));
    assert!(!site.path("out/x").exists());

    let made = std::process::Command::new("mkfifo").arg(site.path("in/pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(site.path("in/socket")).unwrap();
    for name in ["in/pipe", "in/socket"] {
        refused(site.duplicate(name, "out/x", KEEP), "neither a file nor a directory");
        refused(site.relocate(name, "out/x", false), "neither a file nor a directory");
    }
    fs::rename(site.path("in/pipe"), site.path("in/t/pipe")).unwrap();
    fs::remove_file(site.path("in/t/key")).unwrap();
    refused(site.duplicate("in/t", "out/x", KEEP), "`pipe` in fromFile is neither");
    assert!(fs::metadata(site.path("in/t/pipe")).unwrap().file_type().is_fifo());
    let device = deletion(
        &[Location::parse(Flavour::Unix, "/").unwrap().into()],
        &Location::parse(Flavour::Unix, "/dev/zero").unwrap(),
    );
    let Some(Operation::Delete(from)) = device else { panic!("it is below /") };
    let to = match copy(&site.pairs(), &site.at("in/t/a"), &site.at("out/x"), KEEP) {
        Some(Operation::Copy { to, .. }) => to,
        other => panic!("{other:?}"),
    };
    refused(site.perform(&Operation::Copy { from, to, options: KEEP }), "neither a file nor a directory");
}

#[test]
fn directories_are_created_with_those_around_them() {
    let site = Site::new();
    assert_eq!(site.create("out/a/b/c"), Ok(Done::Done));
    assert_eq!(site.create("out/a/b/c"), Ok(Done::Done));
    assert_eq!(site.create("out"), Ok(Done::Done));
    assert!(site.path("out/a/b/c").is_dir());
    symlink("a", site.path("out/way")).unwrap();
    assert_eq!(site.create("out/way/x"), Ok(Done::Done));
    assert!(site.path("out/a/x").is_dir());
}
