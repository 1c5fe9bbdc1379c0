"""What the Dockerfile says, without an engine: user, entry point and health check over the files of the tar.gz, in a root that
has nothing else and cannot be written: `container.py DIR SCRATCH`."""

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import roots
from machine import ROOT, VERSION, Daemon, Receiver, check, config, run


def instructions(path):
    """Instructions of the last stage, joined lines and without comments: name and rest."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    lines = [line.split(None, 1) for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    last = max(index for index, (name, _) in enumerate(lines) if name == "FROM")
    return lines[last:]


def only(lines, name):
    found = [rest for each, rest in lines if each == name]
    check(len(found) == 1, f"the image has one {name}")
    return found[0]


def old_store(path):
    """A store of version 1 with more events than SQLite sorts without a file when it makes an index."""
    shutil.copy(ROOT / "tests/e2e/stores/v1.db", path)
    store = sqlite3.connect(path)
    (time,) = store.execute("SELECT max(received) FROM events").fetchone()
    events = ((-n, "reload-task.failed", time, time, "udp", 1, f"{n:036}", "", "{}") for n in range(1, 400_001))
    store.executemany("INSERT INTO events (seq, kind, time, received, source, state, task, keys, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", events)
    store.commit()
    store.close()


def main():
    roots.namespace()
    packages, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    image = instructions(ROOT / "config/docker/Dockerfile")
    user = only(image, "USER")
    check(re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), f"the user is a number and not root: {user}")
    number = int(user.split(":")[0])
    # JSON: no shell between the engine and Butler.
    command = json.loads(only(image, "ENTRYPOINT"))
    health = json.loads(only(image, "HEALTHCHECK").split("CMD", 1)[1])
    volumes = json.loads(only(image, "VOLUME"))
    check(command[1] == "run" and "-c" in command and health[1] == "health", "it runs the daemon with its config; health asks the daemon")
    check(volumes == ["/etc/butler", "/var/lib/butler"], "config and state are volumes")
    programs = next(rest.split()[-1] for name, rest in image if name == "COPY")
    check(command[0] == f"{programs}/butler" == health[0], f"the executable is {command[0]}")
    # The path is for whoever works in the container.
    environment = [each for each in only(image, "ENV").split() if not each.startswith("PATH=")]
    stop = next((rest for name, rest in image if name == "STOPSIGNAL"), "SIGTERM")
    check(stop == "SIGTERM", "it is stopped by SIGTERM")

    receiver = Receiver()
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    run("tar", "-xzf", packages / f"butler-{VERSION}-linux-x64.tar.gz", "--strip-components=1", "--no-same-owner", "-C", unpacked)
    root = roots.minimal(scratch / "container", unpacked / "butler", programs)
    (root / "etc/butler").mkdir(parents=True)
    (root / "etc/butler/butler.yaml").write_text(config(receiver))
    state = root / "var/lib/butler"
    roots.mount("tmpfs", state)
    old_store(roots.owned(state, number) / "butler.db")
    os.chown(state / "butler.db", number, number)
    roots.read_only(root)
    roots.read_only(root / "dev")

    # Process 1 of its own process namespace, as in a container.
    start = 'mount -t proc proc "$0/proc" && exec setpriv --no-new-privs chroot --userspec="$1" "$0" "${@:2}"'
    inside = ["setpriv", "--no-new-privs", "chroot", f"--userspec={user}", root]
    daemon = Daemon(["env", *environment, "unshare", "--pid", "--fork", "--kill-child", "--mount", "bash", "-c", start, root, user, *command],
                    state / "butler.db.run.json", [*inside, command[0]], scratch / "container.log")
    check(daemon.info["pid"] == 1, "it is process 1")
    check("the store is migrated" in daemon.text(), "a large store of an earlier version is brought to this one, nothing else being writable", daemon.text())
    join = ["nsenter", "--target", daemon.pid, "--pid", "--mount", "--root", "--wdns=/", f"--setuid={number}", f"--setgid={number}"]
    said = run(*join, *health)
    check(said.startswith("ready: "), f"the health check holds: {said.strip()}")
    said = run(*join, command[0], "migrate", "/nothing", code=2)
    check("/nothing" in said, f"other commands run beside it: {said.strip()}")
    daemon.alert(receiver)
    check(True, "an alert by UDP is delivered")
    os.kill(daemon.pid, signal.SIGSTOP)
    said = run(*join, *health, code=1)
    check("does not answer within 8s" in said, "the health check fails for a daemon that hangs")
    os.kill(daemon.pid, signal.SIGCONT)
    code = daemon.stop()
    check(code == 0 and "stopped" in daemon.text().lower(), "SIGTERM reaches it as process 1: it stops in order", daemon.text())
    check(not (state / "butler.db.run.json").exists(), "and leaves no run file")


if __name__ == "__main__":
    main()
