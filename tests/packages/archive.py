"""The tar.gz runs as another user where nothing can be written but the folder of the store: `archive.py DIR SCRATCH`."""

import subprocess
import sys
from pathlib import Path

import roots
from machine import VERSION, Daemon, Receiver, check, config, run

# Nobody's, on a usual machine.
USER = 61001


def main():
    roots.namespace()
    packages, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    receiver = Receiver()
    # All of this machine, and what is needed on top of it; then no more is written.
    root = roots.overlay(scratch / "archive")
    run("tar", "-xzf", packages / f"butler-{VERSION}-linux-x64.tar.gz", "--no-same-owner", "-C", root / "opt")
    butler = f"/opt/butler-{VERSION}-linux-x64/butler"
    (root / "etc/butler").mkdir()
    (root / "etc/butler/butler.yaml").write_text(config(receiver))
    state = root / "var/lib/butler"
    roots.mount("tmpfs", state, "mode=700")
    for path in (root, root / "run", root / "tmp", root / "dev"):
        roots.read_only(path)
    inside = ["setpriv", "--no-new-privs", "chroot", f"--userspec={USER}:{USER}", root]
    for place in ("/opt", "/etc/butler", "/tmp", "/run"):
        run(*inside, "touch", f"{place}/x", code=1)
    check(subprocess.run(["touch", root / "x"], capture_output=True).returncode != 0, "root is read-only, for root too")

    said = run(*inside, butler, "--version")
    check(said == f"butler {VERSION}\n", f"it says {said.strip()}")
    command = [*inside, butler, "run", "-c", "/etc/butler/butler.yaml"]
    refused = run(*command, code=1)
    check("/var/lib/butler" in refused and refused.count("\n") < 8, "without a folder that it may write it does not start, and says which", refused)

    roots.owned(state, USER)
    daemon = Daemon(command, state / "butler.db.run.json", [*inside, butler], scratch / "archive.log")
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    check(f"Uid:\t{USER}\t{USER}\t{USER}" in status and "CapEff:\t0000000000000000" in status, f"it runs as user {USER}, with no capability")
    daemon.alert(receiver)
    check(True, "an alert by UDP is delivered")
    said = run(*inside, butler, "health", "-c", "/etc/butler/butler.yaml")
    check(said.startswith(f"ready: version {VERSION}, process "), f"health: {said.strip()}")
    code = daemon.stop()
    check(code == 0, "it stops when it is asked to, with exit code 0", daemon.text())
    said = run(*inside, butler, "health", "-c", "/etc/butler/butler.yaml", code=1)
    check("not running" in said, "then health fails")
    check("ERROR" not in daemon.text() and "WARN" not in daemon.text(), "its log has no warning", daemon.text())


if __name__ == "__main__":
    main()
