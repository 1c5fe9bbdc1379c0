//! Paths as callers and the config write them: where they begin, and the names that follow.
//!
//! Nothing here asks the disk. The rules of a platform are chosen by a value, so those of Windows are tested everywhere.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

/// Longest name: bytes on Unix, UTF-16 units on Windows.
const MAX_NAME: usize = 255;
/// Longest path, likewise. What the system takes is a little more.
const MAX_PATH_UNIX: usize = 4_000;
const MAX_PATH_WINDOWS: usize = 32_000;

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Unix,
    Windows,
}

impl Flavour {
    /// That of the platform that this was built for.
    pub(crate) const HERE: Self = if cfg!(windows) { Self::Windows } else { Self::Unix };
}

/// Where an absolute path begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    /// `/`
    Slash,
    /// `E:/`
    Drive(char),
    /// `//server/share/`
    Share(String, String),
}

/// An absolute path without `.`, `..` and doubled slashes; written with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    flavour: Flavour,
    root: Root,
    steps: Vec<String>,
}

/// Why a text is no path that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// A path of the network on a platform that has none such.
    #[error("is a path of the network (UNC), which only Windows has")]
    Unc,
    #[error("must be an absolute path")]
    Relative,
    #[error("leads out of its folder")]
    Outside,
    #[error("holds a NUL")]
    Nul,
    #[error("is a path of devices, which no file has")]
    Device,
    #[error("is too long, or a name in it is: a name has at most {MAX_NAME} characters")]
    TooLong,
    #[error("has the name `{0}`, which Windows does not take for a file")]
    Name(String),
}

impl Location {
    /// Reads an absolute path. `..` goes up by the text, before anything is looked for on disk, and stops at the root.
    pub(crate) fn parse(flavour: Flavour, text: &str) -> Result<Self, Fault> {
        let (root, rest) = split_root(flavour, text)?;
        let mut steps = Vec::new();
        for step in rest.split(is_separator) {
            match step {
                "" | "." => {}
                ".." => drop(steps.pop()),
                name => steps.push(name.to_owned()),
            }
        }
        check_names(flavour, &steps)?;
        Ok(Self { flavour, root, steps })
    }

    /// The same path, one of these names deeper each.
    pub(crate) fn join(&self, steps: &[String]) -> Self {
        let mut joined = self.clone();
        joined.steps.extend_from_slice(steps);
        joined
    }

    /// The names that lead from `self`, a folder, to `path`: none if that is the folder itself. `None`: it is not at or below
    /// it.
    pub(crate) fn below<'a>(&self, path: &'a Self) -> Option<&'a [String]> {
        let same = |a: &str, b: &str| is_same_name(self.flavour, a, b);
        let same_root = match (&self.root, &path.root) {
            (Root::Slash, Root::Slash) => true,
            (Root::Drive(a), Root::Drive(b)) => a.eq_ignore_ascii_case(b),
            (Root::Share(host, share), Root::Share(other_host, other_share)) => {
                same(host, other_host) && same(share, other_share)
            }
            _ => false,
        };
        let (start, rest) = path.steps.split_at_checked(self.steps.len())?;
        (same_root && self.steps.iter().zip(start).all(|(a, b)| same(a, b))).then_some(rest)
    }

    /// How many names it has.
    pub(crate) fn depth(&self) -> usize {
        self.steps.len()
    }

    /// For the system.
    pub(crate) fn to_path(&self) -> PathBuf {
        PathBuf::from(match self.flavour {
            Flavour::Unix => self.to_string(),
            Flavour::Windows => self.to_string().replace('/', "\\"),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Slash => write!(f, "/")?,
            Root::Drive(letter) => write!(f, "{letter}:/")?,
            Root::Share(host, share) => write!(f, "//{host}/{share}/")?,
        }
        f.write_str(&self.steps.join("/"))
    }
}

/// Reads a path below a folder. One that begins like an absolute path is below the folder all the same.
pub(crate) fn relative(flavour: Flavour, text: &str) -> Result<Vec<String>, Fault> {
    if text.contains('\0') {
        return Err(Fault::Nul);
    }
    let mut steps = Vec::new();
    for step in text.split(is_separator) {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop().ok_or(Fault::Outside)?),
            name => steps.push(name.to_owned()),
        }
    }
    check_names(flavour, &steps)?;
    Ok(steps)
}

/// Whether it is a path of the network: `//server/share`, with any slashes and backslashes.
pub(crate) fn is_unc(text: &str) -> bool {
    let rest = text.trim_start_matches(is_separator);
    if text.len() - rest.len() < 2 {
        return false;
    }
    let mut parts = rest.splitn(3, is_separator);
    let [host, share] = [parts.next(), parts.next()].map(Option::unwrap_or_default);
    !host.is_empty() && !share.is_empty()
}

fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\')
}

fn split_root(flavour: Flavour, text: &str) -> Result<(Root, &str), Fault> {
    if text.contains('\0') {
        return Err(Fault::Nul);
    }
    let rest = text.trim_start_matches(is_separator);
    let leading = text.len() - rest.len();
    if flavour == Flavour::Unix {
        return match leading {
            0 => Err(Fault::Relative),
            _ if is_unc(text) => Err(Fault::Unc),
            _ => Ok((Root::Slash, rest)),
        };
    }
    if leading == 0 {
        let mut characters = text.chars();
        return match [characters.next(), characters.next(), characters.next()] {
            // Without the slash it would be relative to the current folder of the drive.
            [Some(letter), Some(':'), Some('/' | '\\')] if letter.is_ascii_alphabetic() => {
                Ok((Root::Drive(letter), &text[2..]))
            }
            _ => Err(Fault::Relative),
        };
    }
    // `\\?\`, `\\.\` and `\??\`: past the rules of Windows for names.
    if matches!(rest.split(is_separator).next(), Some("?" | "." | "??")) {
        return Err(Fault::Device);
    }
    if leading < 2 {
        return Err(Fault::Relative);
    }
    let mut parts = rest.splitn(3, is_separator);
    let (Some(host), Some(share)) = (parts.next(), parts.next().filter(|share| !share.is_empty())) else {
        return Err(Fault::Relative);
    };
    let names = [host.to_owned(), share.to_owned()];
    check_names(flavour, &names)?;
    let [host, share] = names;
    Ok((Root::Share(host, share), parts.next().unwrap_or_default()))
}

fn check_names(flavour: Flavour, steps: &[String]) -> Result<(), Fault> {
    let length = |name: &str| match flavour {
        Flavour::Unix => name.len(),
        Flavour::Windows => name.encode_utf16().count(),
    };
    let most = if flavour == Flavour::Unix { MAX_PATH_UNIX } else { MAX_PATH_WINDOWS };
    if steps.iter().any(|step| length(step) > MAX_NAME)
        || steps.iter().map(|step| length(step) + 1).sum::<usize>() > most
    {
        return Err(Fault::TooLong);
    }
    match steps.iter().find(|step| flavour == Flavour::Windows && !is_windows_name(step)) {
        Some(step) => Err(Fault::Name(step.clone())),
        None => Ok(()),
    }
}

/// Whether Windows makes an ordinary file of exactly this name. `:` would lead to a stream of another file, blanks and dots at
/// the end are dropped, and some names are devices in every folder.
fn is_windows_name(name: &str) -> bool {
    let refused = |c: char| c < ' ' || "<>:\"/\\|?*".contains(c);
    !name.contains(refused) && !name.ends_with(['.', ' ']) && !is_device(name)
}

fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end().to_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$") {
        return true;
    }
    let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let mut digits = number.unwrap_or_default().chars();
    // The raised digits count as digits there.
    matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³')) && digits.next().is_none()
}

/// Windows does not tell upper from lower case.
fn is_same_name(flavour: Flavour, a: &str, b: &str) -> bool {
    let fold = |name: &str| name.chars().map(upper).collect::<String>();
    a == b || (flavour == Flavour::Windows && fold(a) == fold(b))
}

/// As the file systems of Windows do it: one character stays one.
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}
