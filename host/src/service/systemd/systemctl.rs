//! `systemctl`: what systemd is asked and told.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Has systemd do something; what `systemctl` prints.
pub(super) fn call(arguments: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new("systemctl").args(arguments).stdin(Stdio::null()).output().context(
            "`systemctl` cannot be run; on a system without systemd have its service manager run `butler run`",
        )?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let told = told.trim();
        let told = if told.is_empty() { "it says nothing of why" } else { told };
        bail!("`systemctl {}` failed: {told}", arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Properties of a service. Of one that there is not, systemd has them too.
pub(super) fn properties(name: &str, names: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    let text = call(&["show", &format!("--property={}", names.join(",")), &unit(name)])?;
    Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

/// The name of a service's unit.
pub(super) fn unit(name: &str) -> String {
    format!("{name}.service")
}
