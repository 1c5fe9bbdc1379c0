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
    // Again, with another config: the unit is written anew.
    machine.config("/srv/etc/other.yaml", "/var/lib/butler/butler.db", "");
    machine.does(&["install", "--config", "/srv/etc/other.yaml"]);
    assert!(machine.read("/etc/systemd/system/butler.service").contains("/srv/etc/other.yaml"));
    machine.does(&["stop"]);
    machine.does(&["uninstall"]);
    assert_ne!(machine.sh("ls /etc/systemd/system/butler.service", &[]).code, 0);
    assert_ne!(machine.sh("ls /etc/systemd/system/multi-user.target.wants/butler.service", &[]).code, 0);
    let gone = machine.service(&["uninstall"]);
    assert!(gone.code == 1 && gone.stderr.contains("there is no service butler"), "{gone:?}");
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
    machine.refuses(&["install", "-c", CONFIG, "--user", "daemon"], &["chown -R daemon /srv/data/butler.db"]);
    machine.sh("chown daemon /srv/data/butler.db", &[]);
    machine.does(&["install", "-c", CONFIG, "--user", "daemon"]);
}

#[test]
fn units_of_others_configs_that_cannot_work_and_people_without_rights_are_refused() {
    let machine = Machine::new();
    machine.config(CONFIG, "/var/lib/butler/butler.db", "");
    machine.config("/srv/etc/bad.yaml", "/var/lib/butler/butler.db", "nonsense: 1\n");
    let bad = machine.service(&["install", "-c", "/srv/etc/bad.yaml"]);
    assert!(bad.code == 2 && bad.stderr.contains("nonsense"), "{bad:?}");
    let fleeting = machine.state.path().join("butler.yaml");
    let fleeting = fleeting.to_str().unwrap();
    machine.config(fleeting, "/var/lib/butler/butler.db", "");
    machine.refuses(&["install", "-c", fleeting], &["nothing of /tmp", "move"]);
    let user = machine
        .sh("setpriv --reuid=1 --regid=1 --clear-groups /srv/butler/butler service install -c \"$1\"", &[CONFIG]);
    assert!(user.code == 1 && user.stderr.contains("sudo butler service install"), "{user:?}");

    machine.sh("printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/butler.service", &[]);
    machine.refuses(&["install", "-c", CONFIG], &["a unit of somebody else", "--name"]);
    machine.refuses(&["uninstall"], &["a unit of somebody else"]);
    machine.refuses(&["start"], &["a unit of somebody else"]);

    std::fs::write(machine.state.path().join("down"), "").unwrap();
    machine.refuses(&["install", "-c", CONFIG, "--name", "butler-2"], &["has not been booted with systemd"]);
}
