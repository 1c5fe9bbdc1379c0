//! `butler service`: the unit that it writes is taken by systemd's own tools; and it refuses what would not work.
//!
//! Everything happens in a mount namespace, so that the machine's own units are not touched.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use e2e::{Output, target_dir};
use tempfile::TempDir;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/systemctl.py");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/systemd/butler.service");
/// Folders that are the test's own.
const OWN: [&str; 5] = ["/etc", "/srv", "/home", "/var/lib", "/usr/lib"];

/// A machine with systemd, as far as `butler service` sees it.
struct Machine {
    holder: Child,
    _stdin: ChildStdin,
    state: TempDir,
}

impl Machine {
    fn new() -> Self {
        let state = TempDir::new().unwrap();
        let bin = state.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(bin.join("systemctl"), format!("#!/bin/sh\nexec python3 '{FAKE}' \"$@\"\n")).unwrap();
        let mut script =
            String::from("set -e\nchmod 755 \"$0\"/bin/systemctl\nmkdir \"$0\"/own\nmount -t tmpfs tmpfs \"$0\"/own\n");
        for folder in OWN {
            // What is there stays visible: the system itself, and units that ours name.
            write!(
                script,
                "mkdir -p \"$0\"/own{folder}/upper \"$0\"/own{folder}/work\nmount -t overlay overlay -o \
                 lowerdir={folder},upperdir=\"$0\"/own{folder}/upper,workdir=\"$0\"/own{folder}/work {folder}\n"
            )
            .unwrap();
        }
        script += "mkdir -p /srv/butler /usr/lib/butler\nmount --bind \"$1\" /srv/butler\nmount --bind \"$1\" /usr/lib/butler\n\
                   echo ready\nexec cat\n";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(state.path())
            .arg(target_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "this test needs root, and a system with overlays");
        let stdin = holder.stdin.take().unwrap();
        Self { holder, _stdin: stdin, state }
    }

    /// Runs a script of the shell in it; `$@` are its arguments.
    fn sh(&self, script: &str, arguments: &[&str]) -> Output {
        let bin = self.state.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output = Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args(["--", "sh", "-c", script, "sh"])
            .args(arguments)
            .current_dir("/")
            .env("PATH", path)
            .env("FAKE_SYSTEMD", self.state.path())
            .env_remove("BUTLER_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Runs `butler service`.
    fn service(&self, arguments: &[&str]) -> Output {
        self.sh("/srv/butler/butler service \"$@\"", arguments)
    }

    /// The same; it must do it.
    fn does(&self, arguments: &[&str]) -> String {
        let output = self.service(arguments);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    }

    /// The same; it must refuse, and say all of this. The calls that change systemd are none.
    fn refuses(&self, arguments: &[&str], parts: &[&str]) {
        let output = self.service(arguments);
        assert_eq!(output.code, 1, "{output:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "`{part}` is not in {}", output.stderr);
        }
        let changes = ["daemon-reload", "enable"];
        assert!(!changes.iter().any(|change| self.calls().contains(change)), "{}", self.calls());
    }

    /// Puts a file where the machine's systemctl looks.
    fn keeps(&self, name: &str, text: &str) {
        std::fs::write(self.state.path().join(name), text).unwrap();
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.state.path().join("calls")).unwrap_or_default()
    }

    fn read(&self, file: &str) -> String {
        let output = self.sh("cat \"$1\"", &[file]);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    }

    /// Writes a config with the store at this place.
    fn config(&self, file: &str, store: &str, more: &str) {
        let text = format!("version: 1\nstore: {{ path: '{store}' }}\nplugins:\n  - use: console\n{more}");
        let script = "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\" && chmod 644 \"$1\"";
        assert_eq!(self.sh(script, &[file, &text]).code, 0);
    }

    /// What systemd makes of a unit.
    fn verified(&self, unit: &str) {
        let output = self.sh("systemd-analyze verify --man=no \"$1\"", &[unit]);
        assert!(output.code == 0 && !output.stderr.contains("butler"), "{output:?}");
        let output = self.sh("systemd-analyze security --offline=true --threshold=20 --no-pager \"$1\"", &[unit]);
        assert_eq!(output.code, 0, "{output:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

const CONFIG: &str = "/srv/etc/butler.yaml";

#[test]
fn the_unit_of_the_package_is_hardened_and_stays_when_it_is_what_would_be_written() {
    let machine = Machine::new();
    let packaged = "/usr/lib/systemd/system/butler.service";
    assert_eq!(machine.sh("cp \"$1\" \"$2\"", &[SHIPPED, packaged]).code, 0);
    machine.verified(packaged);

    let config = "/etc/butler/butler.yaml";
    machine.config(config, "/var/lib/butler/butler.db", "");
    machine.sh("systemctl daemon-reload", &[]);
    let install = |arguments: &[&str]| {
        let output = machine.sh("/usr/lib/butler/butler service \"$@\"", arguments);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    };
    assert!(install(&["install", "-c", config]).contains(packaged));
    assert_ne!(machine.sh("ls /etc/systemd/system/butler.service", &[]).code, 0);
    machine.read("/etc/systemd/system/multi-user.target.wants/butler.service");
    let said = install(&["uninstall"]);
    assert!(said.contains(packaged) && said.contains("belongs to a package"), "{said}");
    machine.read(packaged);
    assert_ne!(machine.sh("ls /etc/systemd/system/multi-user.target.wants/butler.service", &[]).code, 0);
}

#[test]
fn a_service_is_made_started_looked_at_stopped_and_removed() {
    let machine = Machine::new();
    machine.config(CONFIG, "/var/lib/butler/butler.db", "");
    assert_eq!(machine.service(&["status"]).code, 1);
    let said = machine.does(&["install", "--config", CONFIG]);
    for part in ["/etc/systemd/system/butler.service", "an account that systemd makes", "butler service start"] {
        assert!(said.contains(part), "{said}");
    }
    let unit = machine.read("/etc/systemd/system/butler.service");
    for line in ["DynamicUser=yes", "User=butler", "StateDirectory=butler", "ProtectHome=yes"] {
        assert!(unit.lines().any(|there| there == line), "{unit}");
    }
    assert!(
        !unit.contains("ReadWritePaths=\"") && unit.contains("\"/srv/butler/butler\" service run --name butler"),
        "{unit}"
    );
    machine.verified("/etc/systemd/system/butler.service");
    machine.read("/etc/systemd/system/multi-user.target.wants/butler.service");

    let stopped = machine.service(&["status"]);
    assert!(stopped.code == 1 && stopped.stderr.contains("does not run: inactive (dead)"), "{stopped:?}");
    let runs = machine.does(&["start"]);
    assert!(runs.contains("as process 4711") && runs.contains("1 of 1 instance runs."), "{runs}");
    assert!(!runs.contains("not started with the machine"), "{runs}");
    // Again: nothing changes. With another config the unit is written anew, and what runs is as it was.
    let stop = "butler service stop";
    let said = machine.does(&["install", "--config", CONFIG]);
    assert!(!said.contains(stop), "{said}");
    machine.config("/srv/etc/other.yaml", "/var/lib/butler/butler.db", "");
    let said = machine.does(&["install", "--config", "/srv/etc/other.yaml"]);
    assert!(said.contains(stop) && said.contains("It runs as it was before"), "{said}");
    assert!(machine.read("/etc/systemd/system/butler.service").contains("/srv/etc/other.yaml"));
    machine.does(&["stop"]);
    machine.does(&["uninstall"]);
    assert_ne!(machine.sh("ls /etc/systemd/system/butler.service", &[]).code, 0);
    assert_ne!(machine.sh("ls /etc/systemd/system/multi-user.target.wants/butler.service", &[]).code, 0);
    let gone = machine.service(&["uninstall"]);
    assert!(gone.code == 1 && gone.stderr.contains("there is no service butler"), "{gone:?}");
}

#[test]
fn what_is_wrong_with_a_service_is_said() {
    let machine = Machine::new();
    machine.config(CONFIG, "/var/lib/butler/butler.db", "");
    machine.does(&["install", "-c", CONFIG]);
    machine.keeps("fails", "");
    let failed = machine.service(&["start"]);
    for part in ["the service butler does not start", "`journalctl -u butler -n 30` says why", "exited with error code"]
    {
        assert!(failed.code == 1 && failed.stderr.contains(part), "{failed:?}");
    }
    machine.keeps(
        "properties.json",
        r#"{"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}"#,
    );
    let status = machine.service(&["status"]);
    let said = "the service butler does not run: activating (auto-restart), after `exit-code`; `butler service start --name butler`";
    assert!(status.code == 1 && status.stderr.contains(said), "{status:?}");
    for (state, said) in [
        (r#"{"ActiveState": "activating", "SubState": "start"}"#, "is starting, and does not work yet; `journalctl"),
        (r#"{"ActiveState": "deactivating", "SubState": "stop-sigterm"}"#, "is stopping; `journalctl"),
    ] {
        machine.keeps("properties.json", state);
        let status = machine.service(&["status"]);
        assert!(status.code == 1 && status.stderr.contains(said), "{status:?}");
    }
    let reloads = r#"{"ActiveState": "reloading", "NRestarts": "3", "UnitFileState": "disabled"}"#;
    machine.keeps("properties.json", reloads);
    let said = machine.does(&["status"]);
    for part in [
        "The service butler runs since ",
        "It reads its config anew.",
        "started again 3 times: `journalctl -u butler`",
        "not started with the machine (disabled): `systemctl enable butler`",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
}

#[test]
fn paths_by_the_folder_above_are_those_that_systemd_takes() {
    let machine = Machine::new();
    machine
        .sh("mkdir -p /srv/real/etc /srv/here && ln -s /srv/real/etc /srv/here/etc && chown daemon /srv/real/etc", &[]);
    let more = "log: { file: { path: ../../real/logs/butler.log } }\n";
    machine.config("/srv/real/etc/butler.yaml", "../new/data/butler.db", more);
    // By its letters `..` would be /srv/here; for the system it is /srv/real.
    for config in ["/srv/here/etc/../etc/butler.yaml", "../etc/butler.yaml"] {
        let output = machine.sh("cd /srv/real/etc && /srv/butler/butler service install -c \"$1\"", &[config]);
        assert_eq!(output.code, 0, "{output:?}");
        let unit = machine.read("/etc/systemd/system/butler.service");
        assert!(unit.contains("\nReadWritePaths=\"/srv/real/logs\" \"/srv/real/new/data\"\n"), "{unit}");
        assert!(unit.contains(" --config \"/srv/real/etc/butler.yaml\"\n") && !unit.contains("/.."), "{unit}");
        machine.verified("/etc/systemd/system/butler.service");
    }
    let made = machine.sh("cd /srv/real && stat -c '%U %a' logs new/data new", &[]);
    assert_eq!(made.stdout, "daemon 700\ndaemon 700\nroot 755\n");
    // And they are where no service gets, however they are written.
    machine.config("/srv/real/etc/tmp.yaml", "../../../tmp/butler.db", "");
    let refused = machine.service(&["install", "-c", "/srv/real/etc/tmp.yaml", "--user", "daemon"]);
    assert!(refused.code == 1 && refused.stderr.contains("nothing of /tmp"), "{refused:?}");
}

#[test]
fn odd_paths_reach_the_daemon_and_another_name_is_another_service() {
    let machine = Machine::new();
    let odd = "/srv/50% of \"it\" $HOME [x]/butler.yaml";
    machine.config(odd, "/var/lib/butler-2/butler.db", "");
    machine.does(&["install", "--config", odd, "--name", "butler-2"]);
    let unit = machine.read("/etc/systemd/system/butler-2.service");
    let config = r#""/srv/50%% of \"it\" $$HOME [x]/butler.yaml""#;
    assert!(unit.contains(&format!(" service run --name butler-2 --config {config}\n")), "{unit}");
    assert!(unit.contains("\nUser=butler-2\nStateDirectory=butler-2\n"), "{unit}");
    machine.verified("/etc/systemd/system/butler-2.service");
    // In the folder of a program, systemd says whether it has found it.
    machine.sh("mkdir '/srv/a b%c' && mount --bind /srv/butler '/srv/a b%c'", &[]);
    let output = machine.sh("'/srv/a b%c/butler' service install --name butler-2 --config \"$1\"", &[odd]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        machine.read("/etc/systemd/system/butler-2.service").contains("ExecStart=\"/srv/a b%%c/butler\" service run")
    );
    machine.verified("/etc/systemd/system/butler-2.service");
}

#[test]
fn a_store_elsewhere_takes_an_account_that_there_is() {
    let machine = Machine::new();
    machine.config(CONFIG, "/srv/data/butler.db", "log: { file: { path: /srv/logs/butler.log } }\n");
    machine.refuses(&["install", "-c", CONFIG], &["/srv/data", "--user ACCOUNT", "/var/lib/butler/butler.db"]);
    machine.refuses(&["install", "-c", CONFIG, "--user", "nobody-there"], &["useradd --system", "nobody-there"]);
    // The owner of the config's folder, if it is not root.
    machine.sh("chown daemon /srv/etc", &[]);
    let said = machine.does(&["install", "-c", CONFIG]);
    assert!(said.contains("the account daemon"), "{said}");
    let unit = machine.read("/etc/systemd/system/butler.service");
    assert!(unit.contains("\nUser=daemon\n") && !unit.contains("DynamicUser"), "{unit}");
    assert!(unit.contains("\nReadWritePaths=\"/srv/data\" \"/srv/logs\"\n"), "{unit}");
    machine.verified("/etc/systemd/system/butler.service");
    assert_eq!(machine.sh("stat -c %U /srv/data", &[]).stdout, "daemon\n");
}

#[test]
fn what_the_account_may_not_read_or_write_is_said_before_anything_is_done() {
    let machine = Machine::new();
    let entry = "  - { use: webhook, settings: { url: '${file:secret}' } }\n";
    machine.config(CONFIG, "/var/lib/butler/butler.db", entry);
    machine.sh("printf http://127.0.0.1:9/ > /srv/etc/secret && chmod 600 /srv/etc/secret", &[]);
    let remedy = "chgrp butler /srv/etc/secret && chmod g+r /srv/etc/secret";
    machine.refuses(&["install", "-c", CONFIG], &["useradd --system", remedy]);
    machine.refuses(&["install", "-c", CONFIG, "--user", "daemon"], &["chgrp daemon /srv/etc/secret"]);
    machine.sh("chgrp daemon /srv/etc/secret && chmod g+r /srv/etc/secret", &[]);
    // A store that root has begun.
    machine.config(CONFIG, "/srv/data/butler.db", entry);
    machine.sh(
        "mkdir /srv/data && chown daemon /srv/data && touch /srv/data/butler.db && chmod 600 /srv/data/butler.db",
        &[],
    );
    machine.refuses(&["install", "-c", CONFIG, "--user", "daemon"], &["chown daemon /srv/data/butler.db\n"]);
    machine.sh("chown daemon /srv/data/butler.db", &[]);
    // Folders that would be made, while something else is refused: none is there then.
    machine.sh("mkdir -m 700 /srv/closed && mkdir /srv/logs", &[]);
    machine.config("/srv/etc/barred.yaml", "/srv/closed/new/butler.db", "");
    machine.refuses(&["install", "-c", "/srv/etc/barred.yaml", "--user", "daemon"], &["chmod o+x /srv/closed\n"]);
    machine.config("/srv/etc/log.yaml", "/srv/new/butler.db", "log: { file: { path: /srv/logs/butler.log } }\n");
    machine.refuses(&["install", "-c", "/srv/etc/log.yaml", "--user", "daemon"], &["chown daemon /srv/logs\n"]);
    assert_eq!(machine.sh("ls -d /srv/closed/new /srv/new 2>&- | cat", &[]).stdout, "");
    machine.does(&["install", "-c", CONFIG, "--user", "daemon"]);
}

#[test]
fn a_store_beside_config_and_executable_leaves_these_to_root() {
    let machine = Machine::new();
    machine.config(CONFIG, "butler.db", "log: { file: { path: butler.log } }\n");
    // All of root.
    let others = "butler butler.env butler.v4-20260304T050607Z.bak butler.2020-01-01.log butler.db.run.json";
    machine.sh(&format!("cd /srv/etc && touch {others} && chmod 600 {others}"), &[]);
    let install = &["install", "-c", CONFIG, "--user", "daemon"];
    machine.refuses(install, &["chown daemon /srv/etc\n", "may replace them"]);
    machine.sh("chown daemon /srv/etc && cd /srv/etc && touch butler.db butler.db-wal butler.lock", &[]);
    machine.sh("touch /srv/etc/butler.$(date -u +%F).log", &[]);
    let today = machine.sh("date -u +%F", &[]).stdout;
    let files =
        format!("butler.{}.log /srv/etc/butler.db /srv/etc/butler.db-wal /srv/etc/butler.lock", today.trim_end());
    machine.refuses(install, &[&format!("chown daemon /srv/etc/{files}\n")]);
    machine.sh(&format!("chown daemon /srv/etc/{files}"), &[]);
    machine.does(install);
}

#[test]
fn units_of_others_configs_that_cannot_work_and_people_without_rights_are_refused() {
    let machine = Machine::new();
    machine.config(CONFIG, "/var/lib/butler/butler.db", "");
    machine.config("/srv/etc/bad.yaml", "/var/lib/butler/butler.db", "nonsense: 1\n");
    let bad = machine.service(&["install", "-c", "/srv/etc/bad.yaml"]);
    assert!(bad.code == 2 && bad.stderr.contains("nonsense"), "{bad:?}");
    let fleeting = TempDir::new_in("/tmp").unwrap();
    let fleeting = fleeting.path().join("butler.yaml");
    let fleeting = fleeting.to_str().unwrap();
    machine.config(fleeting, "/var/lib/butler/butler.db", "");
    machine.refuses(&["install", "-c", fleeting], &["nothing of /tmp", "move"]);
    let user = machine
        .sh("setpriv --reuid=1 --regid=1 --clear-groups /srv/butler/butler service install -c \"$1\"", &[CONFIG]);
    assert!(user.code == 1 && user.stderr.contains("sudo butler service install"), "{user:?}");

    machine.sh("ln -s /dev/null /etc/systemd/system/butler.service", &[]);
    for arguments in [&["install", "-c", CONFIG][..], &["start"], &["status"]] {
        machine.refuses(arguments, &["the service butler is masked", "`systemctl unmask butler`"]);
    }
    machine.sh("rm /etc/systemd/system/butler.service", &[]);
    machine.sh("printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/butler.service", &[]);
    machine.refuses(&["install", "-c", CONFIG], &["a unit of somebody else", "--name"]);
    machine.refuses(&["uninstall"], &["a unit of somebody else"]);
    machine.refuses(&["start"], &["a unit of somebody else"]);

    machine.keeps("down", "");
    machine.refuses(&["install", "-c", CONFIG, "--name", "butler-2"], &["has not been booted with systemd"]);
}
