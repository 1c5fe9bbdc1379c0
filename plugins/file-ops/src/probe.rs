//! Whether the approved directories are there and let Butler work in them.

use std::io::{self, Write as _};

use cap_std::fs::{Dir, OpenOptions};

use crate::place;
use crate::settings::{Approved, Directory};
use crate::trouble::{explain, explain_directory};

/// An approved directory and what is needed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) directory: Directory,
    pub(crate) is_written: bool,
}

/// Every approved directory once.
pub(crate) fn needs(approved: &Approved) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    let mut add =
        |directory: &Directory, is_written: bool| match needs.iter_mut().find(|need| need.directory == *directory) {
            Some(need) => need.is_written |= is_written,
            None => needs.push(Need { directory: directory.clone(), is_written }),
        };
    for pair in &approved.copy {
        add(&pair.from, false);
        add(&pair.to, true);
    }
    for pair in &approved.moving {
        add(&pair.from, true);
        add(&pair.to, true);
    }
    for directory in approved.delete.iter().chain(&approved.create).chain(&approved.qvd) {
        add(directory, true);
    }
    needs
}

/// Looks whether they are there and can be read; what is wrong. Tells before which one it looks at.
pub(crate) fn look(needs: &[Need], looked_at: impl Fn(&Directory)) -> Option<String> {
    let look = |need: &Need| {
        looked_at(&need.directory);
        readable(need).err()
    };
    let faults: Vec<String> = needs.iter().filter_map(look).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// The same, and writes a small file where that is needed. What is fine, or else what is wrong.
pub(crate) fn try_out(needs: &[Need], name: &str) -> Result<String, String> {
    let tried = needs.iter().map(|need| {
        let directory = readable(need)?;
        let written = if need.is_written { write(&directory, name) } else { Ok(()) };
        written.map_err(|error| format!("no file can be made in {}: {}", need.directory.location, explain(&error)))
    });
    let faults: Vec<String> = tried.filter_map(Result::err).collect();
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    Ok(match needs.len() {
        0 => "no directories are approved, so nothing can be done".to_owned(),
        1 => "the approved directory is there and can be used; nothing was changed".to_owned(),
        count => format!("{count} approved directories are there and can be used; nothing was changed"),
    })
}

fn readable(need: &Need) -> Result<Dir, String> {
    let opened = place::open_raw(&need.directory).and_then(|directory| {
        directory.entries()?.next().transpose()?;
        Ok(directory)
    });
    opened.map_err(|error| format!("the approved directory {}: {}", need.directory.location, explain_directory(&error)))
}

fn write(directory: &Dir, name: &str) -> io::Result<()> {
    let made = directory.open_with(name, OpenOptions::new().write(true).create_new(true));
    let written = made.and_then(|mut file| file.write_all(b"check\n"));
    let removed = directory.remove_file(name);
    written.and(removed)
}
