"""What the tests of the packages share: checks that name what they check, the daemon as a process, a receiver of alerts."""

import atexit
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r'^\[workspace\.package\]\nversion = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/Cargo.toml"))

# Longest wait for anything; seconds.
PATIENCE = 60


def fail(text):
    print(f"FAILED  {text}", flush=True)
    sys.exit(1)


def check(holds, what, detail=""):
    """Ends the test with what does not hold, and says what does."""
    if not holds:
        fail(f"{what}\n{detail}" if detail else what)
    print(f"ok      {what}", flush=True)


def run(*command, code=0, **more):
    """Runs a command to its end and answers with what it printed; another exit code than expected ends the test."""
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": PATIENCE * 5} | more
    done = subprocess.run([str(part) for part in command], **more)
    if code is not None and done.returncode != code:
        fail(f"`{' '.join(map(str, command))}` ends with {done.returncode} instead of {code}:\n{done.stdout}")
    return done.stdout


def wait(what, look, detail=lambda: ""):
    """Waits until `look` answers with something."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.01)
    fail(f"{what}: not within {PATIENCE} s\n{detail()}")


class Receiver:
    """Takes alerts by HTTP on this machine."""

    def __init__(self):
        self.bodies = []
        bodies = self.bodies

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


def config(receiver, store="/var/lib/butler/butler.db"):
    """A config with two instances, at ports of the system's choice."""
    return (
        f"version: 1\nstore: {{ path: {store} }}\nudp: {{ listen: 127.0.0.1:0 }}\nrest: {{ listen: 127.0.0.1:0 }}\n"
        f"plugins:\n  - use: console\n  - use: webhook\n    settings: {{ url: \"{receiver.url}\", format: event }}\n"
    )


def process_of(pid, executable="butler"):
    """The process of an executable: this one, or one that it has started."""
    try:
        if os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")) == executable:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return next((found for child in children if (found := process_of(int(child), executable))), None)


class Daemon:
    """The daemon, started by a command. `run_file`: as this process sees it. `ask`: a command and its arguments, by which the
    executable is called there."""

    def __init__(self, command, run_file, ask, log):
        self.run_file, self.ask, self.log = Path(run_file), ask, Path(log)
        # Left over from one that was killed, it would name another daemon.
        self.run_file.unlink(missing_ok=True)
        self.began = time.monotonic()
        with self.log.open("wb") as out:
            self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        # A check that does not hold ends the test, and it with it.
        atexit.register(self._end)
        self.info = wait("the daemon has written its run file", self._read, self.text)
        self.pid = wait("its process is found", lambda: process_of(self.child.pid), self.text)
        # Its REST server answers from now on; how long the start took is said without the start of another process.
        wait("the daemon is ready", self._ready, self.text)
        self.seconds = time.monotonic() - self.began

    def _end(self):
        if self.child.poll() is None:
            os.kill(process_of(self.child.pid) or self.child.pid, signal.SIGKILL)
            self.child.kill()
            self.child.wait()

    def text(self):
        return self.log.read_text(errors="replace")

    def _read(self):
        if self.child.poll() is not None:
            fail(f"the daemon has ended with {self.child.returncode}:\n{self.text()}")
        try:
            return json.loads(self.run_file.read_text())
        except (OSError, json.JSONDecodeError):
            return None

    def get(self, path):
        request = urllib.request.Request(self.info["rest"] + path, headers={"authorization": f"Bearer {self.info['token']}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def _ready(self):
        try:
            return self.get("/v5/health/ready")["status"] == "ready"
        except OSError:
            return False

    def memory(self):
        """Resident memory, kB."""
        return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE).group(1))

    def alert(self, receiver):
        """A failed task by UDP arrives at the receiver, and both instances have delivered it; the event's id."""
        before = len(receiver.bodies)
        host, port = self.info["udp"].rsplit(":", 1)
        run(*self.ask, "udp-send", "--ip", host, "--port", port, "--event", "reload-task.failed")
        wait("the alert arrives", lambda: len(receiver.bodies) > before, self.text)
        event = receiver.bodies[-1]["id"]

        def delivered():
            deliveries = self.get("/v5/deliveries?state=delivered")["deliveries"]
            return sorted(each["instance"] for each in deliveries if each["event"] == event) == ["console", "webhook"]

        wait("both instances have delivered it", delivered, self.text)
        return event

    def stop(self):
        """Asks it to stop, and waits for that; answers with the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        try:
            code = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            fail(f"it does not stop when it is asked to:\n{self.text()}")
        return code
