"""systemctl for tests, where systemd does not run: it knows units from their files, and refuses what the real one refuses.

Units are read and checked at `daemon-reload`, by `systemd-analyze verify`. `enable` and `disable` are the real systemctl's, which needs
no systemd for them. `start` and `stop` only keep the state. Calls are written down in the folder STATE; a file `fails` there has
a start fail, `properties.json` says what is otherwise of a unit.
"""

import json
import os
import pathlib
import subprocess
import sys

STATE = pathlib.Path(os.environ["FAKE_SYSTEMD"])
FOLDERS = [pathlib.Path("/etc/systemd/system"), pathlib.Path("/usr/lib/systemd/system")]
FILE = STATE / "units.json"
KNOWN = json.loads(FILE.read_text()) if FILE.exists() else {}


def fail(text, code=1):
    sys.stderr.write(text + "\n")
    sys.exit(code)


def keep():
    FILE.write_text(json.dumps(KNOWN))


def fragment(unit):
    return next((str(folder / unit) for folder in FOLDERS if (folder / unit).is_file()), "")


def enabled(unit):
    state = subprocess.run(["/usr/bin/systemctl", "is-enabled", unit], capture_output=True, text=True, env=OFFLINE)
    return state.stdout.strip()


OFFLINE = {**os.environ, "SYSTEMD_OFFLINE": "1"}
arguments = sys.argv[1:]
with (STATE / "calls").open("a") as calls:
    calls.write(" ".join(arguments) + "\n")
if (STATE / "down").exists():
    fail("System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down")
command, *rest = arguments
options, units = [a for a in rest if a.startswith("-")], [a for a in rest if not a.startswith("-")]
if command == "daemon-reload":
    for name in set(KNOWN) | {"butler.service", "butler-2.service"}:
        path = fragment(name)
        if not path:
            KNOWN.pop(name, None)
            continue
        verified = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
        if verified.returncode or name in verified.stderr:
            fail(verified.stderr)
        KNOWN[name] = {"state": "inactive", **KNOWN.get(name, {}), "path": path, "text": pathlib.Path(path).read_text()}
    keep()
elif command == "show":
    (wanted,) = [o.removeprefix("--property=").split(",") for o in options]
    if not units:
        values = {"Version": "252"}
    else:
        unit = KNOWN.get(units[0], {})
        running = unit.get("state") == "active"
        values = {
            "FragmentPath": unit.get("path", ""),
            "ActiveState": unit.get("state", "inactive"),
            "SubState": "running" if running else "dead",
            "Result": "success",
            "StatusText": "1 of 1 instance runs" if running else "",
            "MainPID": "4711" if running else "0",
            "ActiveEnterTimestamp": "Sat 2026-11-28 10:00:00 UTC" if running else "",
            "UnitFileState": enabled(units[0]) if unit else "",
            "NRestarts": "0",
        }
        if (STATE / "properties.json").exists():
            values.update(json.loads((STATE / "properties.json").read_text()))
    print("\n".join(f"{name}={values[name]}" for name in wanted))
elif command in ("enable", "disable"):
    changed = subprocess.run(["/usr/bin/systemctl", command, *units], capture_output=True, text=True, env=OFFLINE)
    if changed.returncode:
        fail(changed.stderr)
    if "--now" in options and units[0] in KNOWN:
        KNOWN[units[0]]["state"] = "inactive"
        keep()
elif command in ("start", "stop", "reset-failed"):
    unit = KNOWN.get(units[0])
    if unit is None:
        fail(f"Failed to {command} {units[0]}: Unit {units[0]} not found.", 5)
    if command == "start" and unit["text"] != pathlib.Path(unit["path"]).read_text():
        fail(f"Warning: The unit file of {units[0]} changed on disk. Run 'systemctl daemon-reload' to reload units.")
    if command == "start" and (STATE / "fails").exists():
        fail(f"Job for {units[0]} failed because the control process exited with error code.")
    if command != "reset-failed":
        unit["state"] = "active" if command == "start" else "inactive"
        keep()
else:
    fail(f"Unknown command verb {command}.")
