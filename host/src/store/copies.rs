//! Copies of a store from before its updates, beside it: `butler.v4-20260304T050607Z.bak` is `butler.db` as it was in version 4, made
//! at that time. They are kept until somebody removes them.
//!
//! While it is written a copy is called `….bak.new`. When it is whole it is called `….bak.part`, until the update is committed: if that
//! never comes, nothing has changed, and the next start makes another.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;

use super::look::folder_of;

const NEW: &str = "bak.new";
const NEW_JOURNAL: &str = "bak.new-journal";
const PART: &str = "bak.part";

/// A copy that was made for an update which is not done yet.
#[derive(Debug)]
pub(super) struct Copy {
    new: PathBuf,
    part: PathBuf,
    path: PathBuf,
}

impl Copy {
    /// Copies a store of this version, whole and on the disk when it returns.
    pub(super) async fn make(version: i64, connection: &mut SqliteConnection, store: &Path) -> sqlx::Result<Self> {
        let name = format!("v{version}-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
        let [new, part, path] = [NEW, PART, "bak"].map(|end| store.with_extension(format!("{name}.{end}")));
        let copy = Self { new, part, path };
        let made = copy.fill(connection, store).await;
        if made.is_err() {
            copy.discard();
        }
        made.map(|()| copy)
    }

    async fn fill(&self, connection: &mut SqliteConnection, store: &Path) -> sqlx::Result<()> {
        // SQLite takes an empty file for its copy: so the copy never has wider rights than the store.
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.new)?;
        fs::set_permissions(&self.new, fs::metadata(store)?.permissions())?;
        let name = self.new.to_string_lossy().into_owned();
        sqlx::query("VACUUM INTO ?").bind(name).execute(connection).await?;
        // Windows only lets those have it written who may write it.
        File::options().write(true).open(&self.new)?.sync_all()?;
        fs::rename(&self.new, &self.part)?;
        Ok(())
    }

    /// Where it is in the end.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The update is done.
    pub(super) fn keep(&self) {
        finish(&self.part, &self.path);
    }

    /// The update is not done, and will not be.
    pub(super) fn discard(&self) {
        // SQLite leaves its journal when the disk is full.
        for file in [&self.part, &self.new, &self.path.with_extension(NEW_JOURNAL)] {
            remove(file);
        }
    }
}

/// After an update that was interrupted: its copy goes if it is not whole, or if the store still is of that version; if the store is
/// of another, it is a copy.
pub(super) fn tidy(store: &Path, version: i64) {
    for file in leftovers(store, version) {
        remove(&file);
    }
    for (of, part) in list(store, PART) {
        if of < version {
            finish(&part, &part.with_extension(""));
        }
    }
}

/// Bytes of what goes then.
pub(super) fn of_no_use(store: &Path, version: i64) -> u64 {
    leftovers(store, version).filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum()
}

/// What goes then.
fn leftovers(store: &Path, version: i64) -> impl Iterator<Item = PathBuf> {
    let half = [NEW, NEW_JOURNAL].into_iter().flat_map(|end| list(store, end));
    let whole = list(store, PART).into_iter().filter(move |(of, _)| *of == version);
    half.chain(whole).map(|(_, file)| file)
}

/// The newest copy of a newer store that a Butler can open which knows versions up to `known`. It may have the name that it has until
/// the update is committed: the Butler that has made it was killed before it could give it the other.
pub(super) fn newest_up_to(store: &Path, known: i64) -> Option<PathBuf> {
    let copies = ["bak", PART].into_iter().flat_map(|end| list(store, end)).filter(|(of, _)| *of <= known);
    copies.max_by_key(|(_, path)| time_of(path)).map(|(_, path)| path)
}

/// The time in a name; they sort as text.
fn time_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.rsplit_once('-')?.1.to_owned())
}

/// Files beside a store that are called as its copies are, with their versions.
fn list(store: &Path, end: &str) -> Vec<(i64, PathBuf)> {
    let Some(stem) = store.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(folder_of(store)) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let copies = names.filter_map(|name| {
        let rest = name.strip_prefix(stem)?.strip_prefix(".v")?.strip_suffix(end)?.strip_suffix('.')?;
        Some((rest.split_once('-')?.0.parse().ok()?, store.with_file_name(&name)))
    });
    copies.collect()
}

fn finish(part: &Path, path: &Path) {
    if let Err(error) = fs::rename(part, path) {
        tracing::warn!(copy = %part.display(), %error, "the copy of the store keeps this name: it cannot be renamed");
    }
}

fn remove(part: &Path) {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %part.display(), %error, "what is left of a copy of the store cannot be removed; it is of no use");
        }
        _ => {}
    }
}

/// What is said of the copy that an older Butler could go on with.
#[derive(Debug)]
pub struct Hint(pub(super) Option<PathBuf>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(copy) => write!(f, "the copy from before its update, {}", copy.display()),
            None => f.write_str("the copy that was made before its update"),
        }
    }
}
