//! launchd of macOS: a property list, and `launchctl`. Not tested on a real macOS.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::{Install, Manager};
use crate::daemon::Failure;

/// Daemons of the administrator.
const DAEMONS: &str = "/Library/LaunchDaemons";
/// What a stop takes beyond its limit, before the process is killed.
const STOP_MORE: Duration = Duration::from_secs(15);
/// What launchd gives where no time is set.
const EXIT: Duration = Duration::from_secs(20);
/// One that was killed is gone within this time.
const KILLED: Duration = Duration::from_secs(10);
/// The exit code of `launchctl bootout` while the process has not ended yet (EINPROGRESS).
const IN_PROGRESS: i32 = 36;
/// Whether it has ended is looked at so often.
const LOOK: Duration = Duration::from_millis(100);
/// In every property list that is ours.
const MARK: &str = "<!-- Written by `butler service install`, which writes it anew. -->";

/// Writes a property list and loads it, which starts the service; answers with what comes next.
pub fn install(install: &Install) -> anyhow::Result<String> {
    let name = &install.name;
    let Some(account) = &install.account else {
        bail!(
            "name the account that the service is to run as: `--user ACCOUNT`; it reads config, certificates and secrets, and writes the store"
        )
    };
    let file = file(name);
    if file.exists() && existing(name).is_err() {
        bail!("{} is a service of somebody else: choose another name by `--name`, or remove it first", file.display());
    }
    let stop = install.setup.loaded.config.shutdown_timeout.duration() + STOP_MORE;
    let text = plist(name, &install.executable, &install.config, account, stop)?;
    // Of an earlier install.
    unload(name)?;
    std::fs::write(&file, text).with_context(|| format!("{} cannot be written; run this with sudo", file.display()))?;
    launchctl(&["bootstrap", "system", &file.to_string_lossy()])?;
    Ok(format!(
        "The service {name} is installed as {} and started as {account}. Its log is {}.\n\nNext:\n    butler service status --name {name}\n",
        file.display(),
        log(name)
    ))
}

/// Stops and removes the service.
pub fn uninstall(name: &str) -> anyhow::Result<String> {
    let file = existing(name)?;
    unload(name)?;
    std::fs::remove_file(&file).with_context(|| format!("{} cannot be removed", file.display()))?;
    Ok(format!("The service {name} is stopped and removed. Config, store and log are where they were."))
}

/// Starts the service.
pub fn start(name: &str) -> anyhow::Result<String> {
    let file = existing(name)?;
    if !is_loaded(name) {
        launchctl(&["bootstrap", "system", &file.to_string_lossy()])?;
    }
    launchctl(&["kickstart", &target(name)])?;
    Ok(format!("The service {name} is started."))
}

/// Stops the service until the next start of the machine; while it is loaded, launchd starts it again.
pub fn stop(name: &str) -> anyhow::Result<String> {
    existing(name)?;
    unload(name)?;
    Ok(format!("The service {name} is stopped."))
}

/// How the service is; an error when it does not run.
pub fn status(name: &str) -> anyhow::Result<String> {
    existing(name)?;
    let text = launchctl(&["print", &target(name)]).with_context(|| format!("the service {name} does not run"))?;
    let of = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = "));
    match of("pid") {
        Some(pid) => Ok(format!("The service {name} runs as process {pid}.")),
        None => bail!("the service {name} does not run; its log is {}", log(name)),
    }
}

/// Runs the daemon as the service of this name. launchd stops it by SIGTERM, and is told nothing.
pub fn run(
    _name: &str,
    _config: &Path,
    daemon: impl FnOnce(&dyn Manager) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    daemon(&super::Unmanaged)
}

fn file(name: &str) -> PathBuf {
    Path::new(DAEMONS).join(format!("{name}.plist"))
}

fn target(name: &str) -> String {
    format!("system/{name}")
}

fn log(name: &str) -> String {
    format!("/Library/Logs/{name}.log")
}

/// The file of the service, if it is ours.
fn existing(name: &str) -> anyhow::Result<PathBuf> {
    let file = file(name);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("there is no service {name}; `butler service install` makes one"))?;
    if !text.contains(MARK) {
        bail!("{} is a service of somebody else, and stays as it is", file.display());
    }
    Ok(file)
}

fn is_loaded(name: &str) -> bool {
    launchctl(&["print", &target(name)]).is_ok()
}

/// Stops the service, waits until it has ended, and has launchd forget it until its file is read again. One that is stopped is
/// forgotten already.
fn unload(name: &str) -> anyhow::Result<()> {
    if !is_loaded(name) {
        return Ok(());
    }
    let until = Instant::now() + std::fs::read_to_string(file(name)).map_or(EXIT, |plist| exit_time(&plist)) + KILLED;
    let arguments = ["bootout", &target(name)];
    let output = called(&arguments)?;
    // A process that takes its time to end is no failure.
    if !output.status.success() && output.status.code() != Some(IN_PROGRESS) {
        return Err(failed(&arguments, &output));
    }
    while is_loaded(name) {
        if Instant::now() > until {
            bail!("the service {name} does not end; its log is {}", log(name));
        }
        sleep(LOOK);
    }
    Ok(())
}

/// How long launchd waits for the end of what a property list of ours starts, before it kills it.
fn exit_time(plist: &str) -> Duration {
    let seconds = plist.split_once("<key>ExitTimeOut</key>").and_then(|(_, after)| {
        let (seconds, _) = after.trim_start().strip_prefix("<integer>")?.split_once('<')?;
        seconds.parse().ok()
    });
    seconds.map_or(EXIT, Duration::from_secs)
}

fn called(arguments: &[&str]) -> anyhow::Result<Output> {
    let output = Command::new("launchctl").args(arguments).stdin(Stdio::null()).output();
    output.context("`launchctl` cannot be run")
}

fn failed(arguments: &[&str], output: &Output) -> anyhow::Error {
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow!("`launchctl {}` failed: {}", arguments.join(" "), told.trim())
}

fn launchctl(arguments: &[&str]) -> anyhow::Result<String> {
    let output = called(arguments)?;
    if !output.status.success() {
        return Err(failed(arguments, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The property list (`launchd.plist(5)`); `stop` is what a stop may take.
fn plist(name: &str, executable: &Path, config: &Path, account: &str, stop: Duration) -> anyhow::Result<String> {
    let [executable, config] = [executable, config]
        .map(|path| path.to_str().with_context(|| format!("a property list cannot name {}", path.display())));
    let mut arguments = String::new();
    for argument in [executable?, "service", "run", "--name", name, "--config", config?] {
        let _ = write!(arguments, "\n    <string>{}</string>", escaped(argument));
    }
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
{MARK}
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{name}</string>
  <key>ProgramArguments</key>
  <array>{arguments}
  </array>
  <key>UserName</key>
  <string>{account}</string>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>ExitTimeOut</key>
  <integer>{stop}</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>StandardErrorPath</key>
  <string>{log}</string>
</dict>
</plist>
"#,
        name = escaped(name),
        stop = stop.as_secs(),
        account = escaped(account),
        log = escaped(&log(name)),
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_xml_with_all_arguments() {
        let stop = Duration::from_secs(75);
        let [executable, config] = ["/opt/a & b/butler", "/etc/<x>/b.yaml"].map(Path::new);
        let text = plist("butler", executable, config, "sense", stop).unwrap();
        assert!(text.contains("<key>ExitTimeOut</key>\n  <integer>75</integer>"), "{text}");
        assert_eq!((exit_time(&text), exit_time("<plist/>")), (stop, EXIT));
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
        let strings: Vec<_> =
            document.descendants().filter(|node| node.has_tag_name("string")).filter_map(|n| n.text()).collect();
        let expected = [
            "butler",
            "/opt/a & b/butler",
            "service",
            "run",
            "--name",
            "butler",
            "--config",
            "/etc/<x>/b.yaml",
            "sense",
            "/Library/Logs/butler.log",
        ];
        assert_eq!(strings, expected);
    }
}
