"""The .deb is installed, run, upgraded, removed and purged in an overlay over this machine: `installed.py DIR SCRATCH`. The unit's
command is started with its account and its folders, as systemd would; systemd itself is played by a script that notes what it is
told. Prints how long the start takes and how much memory the daemon has."""

import os
import re
import shlex
import socket
import sys
from pathlib import Path

import roots
from machine import PLUGINS, VERSION, Daemon, Receiver, check, config, run, wait

# Notes each call. The test says what is active; Debian enables by its presets, which are to enable everything.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/run/calls
case "$*" in
*is-active*) [ -e /run/active ] ;;
*is-enabled*) [ -e /etc/systemd/system/multi-user.target.wants/butler.service ] && echo enabled ;;
enable* | *preset*) mkdir -p /etc/systemd/system/multi-user.target.wants
    ln -sf /lib/systemd/system/butler.service /etc/systemd/system/multi-user.target.wants/butler.service ;;
*) exit 0 ;;
esac
"""
# What installing and removing anything writes.
BOOKS = re.compile(r"(var/(lib/dpkg|log|cache|lib/systemd/deb-systemd-helper-enabled)|run|tmp|dev|proc|etc/(passwd|group|shadow|gshadow|subuid|subgid|\.pwd\.lock)-?$)")


class Machine:
    """The overlay."""

    def __init__(self, scratch):
        self.root = roots.overlay(scratch / "installed")
        self.upper = scratch / "installed/upper"
        (self.root / "run/systemd/system").mkdir(parents=True)
        systemctl = self.root / "usr/local/bin/systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        # Of a machine that starts no services.
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        self.before = self.written()

    def run(self, *command, **more):
        return run("chroot", self.root, "env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", *command, **more)

    def told(self, *expected):
        """Whether systemd was told just that since this was last asked, but for questions; it is printed if not."""
        calls = self.calls()
        if calls != list(expected):
            print(f"systemd was told {calls}")
        return calls == list(expected)

    def calls(self):
        path = self.root / "run/calls"
        calls = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [re.sub(r"--\S+ ", "", call) for call in calls if not re.search(r"is-(active|enabled)|daemon-reload|preset", call)]

    def written(self):
        """Paths that are new or changed, beside the books that are kept of packages."""
        found = set()
        for folder, folders, files in os.walk(self.upper):
            below = os.path.relpath(folder, self.upper)
            # A folder of the machine is there as well once something in it has changed.
            new = [name for name in folders if not os.path.isdir(os.path.join("/", below, name))]
            names = files + [name for name in new if not os.listdir(os.path.join(folder, name))]
            found |= {os.path.normpath(os.path.join(below, name)) for name in names}
        return {path for path in found if not BOOKS.match(path)}

    def enabled(self):
        return (self.root / "etc/systemd/system/multi-user.target.wants/butler.service").is_symlink()


def older(package, scratch, version):
    """The same package as one of an older version."""
    folder = scratch / version
    run("dpkg-deb", "--raw-extract", package, folder)
    control = folder / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {VERSION}\n", f"Version: {version}\n"))
    path = scratch / f"butler_{version}_amd64.deb"
    run("dpkg-deb", "--build", "--root-owner-group", "-Zgzip", folder, path)
    return path


def unit(machine):
    """What the unit says of the service: values by name."""
    text = (machine.root / "usr/lib/systemd/system/butler.service").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z][A-Za-z]+=", line))


class Notify:
    """The socket that a service of type `notify` tells how it is."""

    def __init__(self, machine, user):
        path = machine.root / "run/notify"
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        os.chown(path, user, user)

        self.lines = []

    def told(self, line):
        """Waits until it was told this line."""

        def look():
            try:
                self.lines += self.socket.recv(65536).decode().splitlines()
            except BlockingIOError:
                pass
            return line in self.lines

        wait(f"the service manager is told {line}", look, lambda: str(self.lines))
        return True


def start(machine, scratch):
    """The unit's command, as its user and with its folders."""
    service = unit(machine)
    check(service.get("StateDirectory") == "butler" and "User" in service, "the unit has an account and a folder for the state")
    line = next(line for line in (machine.root / "etc/passwd").read_text().splitlines() if line.startswith(service["User"] + ":"))
    user, group = (int(number) for number in line.split(":")[2:4])
    state = roots.owned(machine.root / "var/lib/butler", user, 0o700)
    roots.owned(machine.root / "var/log/butler", user, 0o700)
    notify = Notify(machine, user)
    command = shlex.split(service["ExecStart"])
    inside = ["setpriv", "--no-new-privs", "chroot", f"--userspec={user}:{group}", machine.root, "env", "-i", "NOTIFY_SOCKET=/run/notify"]
    ask = ["chroot", machine.root, "/usr/bin/butler"]
    daemon = Daemon([*inside, *command], state / "butler.db.run.json", ask, scratch / "installed.log")
    if service["Type"] == "notify":
        check(notify.told("READY=1"), "it has told systemd that it is ready")
    return daemon, notify


def main():
    roots.namespace()
    packages, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    package = packages / f"butler_{VERSION}_amd64.deb"
    machine, receiver = Machine(scratch), Receiver()
    (machine.root / "tmp/new.deb").write_bytes(package.read_bytes())
    for version in ("0.0.1", "0.0.2"):
        (machine.root / f"tmp/{version}.deb").write_bytes(older(package, scratch, version).read_bytes())

    said = machine.run("dpkg", "-i", "/tmp/0.0.1.deb")
    check("butler init --out /etc/butler --store /var/lib/butler/butler.db" in said, "installed without a config it says how to make one")
    check(machine.told() and not machine.enabled(), "and starts and enables nothing")
    check(machine.run("dpkg", "--verify", "butler") == "", "all files are as in the package")
    check(machine.run("butler", "--version") == f"butler {VERSION}\n", "butler is in the path")
    listed = machine.run("butler", "plugins", "list")
    missing = [plugin for plugin in PLUGINS if not re.search(rf"\b{plugin}\b", listed)]
    check(not missing and "cannot" not in listed, f"it finds its {len(PLUGINS)} plugins", listed)
    folder = (machine.root / "etc/butler").stat()
    group = machine.run("getent", "group", "butler").split(":")[2]
    check((folder.st_mode & 0o7777, folder.st_uid, folder.st_gid) == (0o750, 0, int(group)), "/etc/butler is for root to write, for its account to read")

    text = config(receiver)
    kept = machine.root / "etc/butler/butler.yaml"
    kept.write_text(text)
    kept.chmod(0o640)
    os.chown(kept, 0, int(group))
    daemon, notify = start(machine, scratch)
    seconds, memory = daemon.seconds, daemon.memory()
    event = daemon.alert(receiver)
    check(True, "an alert by UDP is delivered")
    after = daemon.memory()
    said = machine.run("butler", "health", "-c", "/etc/butler/butler.yaml")
    check(said.startswith("ready: "), f"health: {said.strip()}")
    code = daemon.stop()
    check(code == 0, "it stops when it is asked to, with exit code 0", daemon.text())
    if unit(machine)["Type"] == "notify":
        check(notify.told("STOPPING=1"), "and has told systemd so")

    machine.run("dpkg", "-i", "/tmp/0.0.2.deb")
    check(not machine.enabled() and machine.told(), "an upgrade enables and starts nothing that nobody has enabled")
    machine.run("systemctl", "enable", "butler")
    (machine.root / "run/active").touch()
    machine.calls()
    machine.run("dpkg", "-i", "/tmp/new.deb")
    check(machine.enabled() and machine.told("restart butler.service"), "an upgrade restarts what runs, once")
    check(kept.read_text() == text and (kept.stat().st_mode & 0o777) == 0o640, "an upgrade leaves the config as it is")
    kept.rename(kept.with_name("other.yaml"))
    said = machine.run("dpkg", "-i", "/tmp/new.deb")
    check(machine.told("restart butler.service") and "does not run" not in said, "an upgrade restarts one with another config, too", said)
    kept.with_name("other.yaml").rename(kept)
    check(machine.run("dpkg-query", "-W", "-f", "${Version}", "butler") == VERSION, f"{VERSION} is installed")
    daemon, _ = start(machine, scratch)
    listed = machine.run("butler", "deliveries", "list", "-c", "/etc/butler/butler.yaml")
    check("reload-task.failed" in listed and daemon.get(f"/v5/events/{event}")["id"] == event, "it remembers what was before", listed)
    daemon.alert(receiver)
    check(daemon.stop() == 0, "and goes on")

    machine.run("dpkg", "-r", "butler")
    check(machine.told("stop butler.service"), "removal stops the service")
    check(kept.read_text() == text and (machine.root / "var/lib/butler/butler.db").exists(), "and keeps config and state")
    check(not (machine.root / "usr/lib/butler").exists() and not (machine.root / "usr/share/butler").exists(), "the files are gone")
    (machine.root / "run/active").unlink()
    machine.run("dpkg", "-i", "/tmp/new.deb")
    check(machine.enabled() and machine.told("restart butler.service"), "installed again it is enabled as it was, and started")
    said = machine.run("dpkg", "-P", "butler")
    rest = [place for place in ("var/lib/butler", "var/log/butler") if (machine.root / place).exists()]
    check(not rest, "purging removes state and log", rest)
    check(kept.read_text() == text and "/etc/butler is left" in said, "and leaves the config, and says so")
    machine.calls()
    machine.run("dpkg", "-i", "/tmp/new.deb")
    check(machine.enabled() and machine.told("start butler.service"), "over a config that is there it is enabled and started")
    machine.run("dpkg", "-P", "butler")
    kept.unlink()
    kept.parent.rmdir()
    left = machine.written() - machine.before - {"etc/butler", "usr/local/bin/systemctl"}
    check(not left, "nothing else is left", sorted(left))

    print(f"\nof the installed package, with two instances\n{'start to ready, s':<40} {seconds:>8.2f}")
    print(f"{'resident memory when ready, MB':<40} {memory / 1000:>8.1f}\n{'resident memory after an alert, MB':<40} {after / 1000:>8.1f}")


if __name__ == "__main__":
    main()
