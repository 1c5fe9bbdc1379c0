"""Folders that stand for a machine, for the tests of the packages. All mounts are made in a mount namespace of the test (run.sh),
so they are gone with it, and the machine stays as it is."""

import os
import re
import shutil
from pathlib import Path

from machine import check, run


def namespace():
    """Whether this process has its own mounts: nothing is mounted on the machine itself."""
    machine = os.environ.get("MACHINE_MOUNTS")
    check(machine and machine != os.readlink("/proc/self/ns/mnt"), "mounts are the test's own (run.sh)")


def mount(kind, at, options="", source=None):
    Path(at).mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", kind] + (["-o", options] if options else [])
    run(*command, source or kind, at)


def bind(source, at):
    Path(at).mkdir(parents=True, exist_ok=True) if Path(source).is_dir() else Path(at).touch()
    run("mount", "--bind", source, at)


def read_only(at):
    run("mount", "-o", "remount,ro", at)


def devices(root):
    """The few devices that a container has."""
    mount("tmpfs", root / "dev", "mode=755")
    for name in ("null", "zero", "random", "urandom"):
        bind(f"/dev/{name}", root / "dev" / name)


def overlay(folder):
    """This machine once more: what is written goes into the folder `upper`."""
    mount("tmpfs", folder, "mode=755")
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    root = folder / "root"
    mount("overlay", root, f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work")
    mount("proc", root / "proc")
    devices(root)
    for name in ("run", "tmp"):
        mount("tmpfs", root / name, "mode=1777" if name == "tmp" else "mode=755")
    return root


def minimal(folder, executable, programs):
    """A root with nothing in it but an executable's folder, at `programs`, and the libraries that it needs."""
    mount("tmpfs", folder, "mode=755")
    shutil.copytree(executable.parent, folder / programs.lstrip("/"))
    libraries = set(re.findall(r"(/\S+) \(0x", run("ldd", executable, *sorted((executable.parent / "plugins").glob("*.so")))))
    for library in libraries:
        (folder / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, folder / library.lstrip("/"))
    mount("proc", folder / "proc")
    devices(folder)
    return folder


def owned(path, user, mode=0o750):
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, user, user)
    path.chmod(mode)
    return path
