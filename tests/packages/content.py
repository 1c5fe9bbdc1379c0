"""What is in the packages, and what is not: `content.py DIR`. Prints the table of sizes."""

import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from machine import PLUGINS, ROOT, VERSION, check, run

# Never in a package.
FOREIGN = re.compile(r"probe|relay|rogue|garbage|other_layout|other_version|bench|simulator|demo|e2e", re.IGNORECASE)
# Libraries of the system that the files may need.
LINUX = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}
# Those of Windows itself; none of a compiler.
NOT_WINDOWS = re.compile(r"libgcc|libstdc|winpthread|libssp|msys|cygwin", re.IGNORECASE)


def papers():
    """Documents, config and schemas by the source tree, as Git has it."""
    tracked = run("git", "-C", ROOT, "ls-files", "config", "schemas", "plugins").split("\n")
    kept = re.compile(r"config/(README\.md|butler\.yaml|minimal\.yaml|(log4net|templates|sense|systemd)/.*)|schemas/.*\.json|plugins/[^/]*/README\.md")
    files = {file for file in tracked if kept.fullmatch(file)}
    own = {"README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "plugin-api/README.md"}
    return files | own | {"licenses/butler.cdx.json", "licenses/THIRD-PARTY.txt"}


def programs(begin, end, exe):
    return {exe} | {f"plugins/{begin}butler_plugin_{name.replace('-', '_')}{end}" for name in PLUGINS}


class Entry:
    """A file in a package."""

    def __init__(self, data, mode, owner, time):
        self.data, self.mode, self.owner, self.time = data, mode, owner, time


def of_tar(archive, strip):
    """Files, folders with their modes, links."""
    files, folders, links = {}, {}, {}
    for member in archive:
        name = member.name.removeprefix("./").removeprefix(strip).strip("/")
        owner = (member.uid, member.gid)
        if member.isdir():
            folders[name] = Entry(b"", member.mode, owner, member.mtime)
        elif member.issym():
            links[name] = member.linkname
        else:
            check(member.isfile(), f"{name} is a file, a folder or a link") if not member.isfile() else None
            files[name] = Entry(archive.extractfile(member).read(), member.mode, owner, member.mtime)
    return files, folders, links


def same(name, found, expected):
    """Two sets of names are one."""
    check(found == expected, f"{name}: {len(found)} files, those expected",
          f"too much: {sorted(found - expected)}\nmissing: {sorted(expected - found)}")


def clean(name, files):
    """No path of the machine that builds, nothing of tests, no symbols."""
    home, cargo = os.path.expanduser("~"), os.environ.get("CARGO_HOME", "")
    paths = [str(ROOT), home + "/.", cargo, "/.cargo/", "/.rustup/", "/usr/src/rustc", os.environ.get("CARGO_TARGET_DIR", "")]
    paths = [path.encode() for path in paths if len(path) > 3]
    found = [(file, path) for file, entry in files.items() for path in paths if path in entry.data]
    detail = []
    for file, path in found[:20]:
        at = files[file].data.index(path)
        detail.append(f"{file}: {files[file].data[max(0, at - 20):at + 100]!r}")
    check(not found, f"{name}: no path of the machine that built it", "\n".join(detail))
    foreign = [file for file in files if FOREIGN.search(file)]
    check(not foreign, f"{name}: nothing of tests, benchmark or demo", foreign)
    code = [b"qlik_simulator", b"butler_plugin_probe", b"proptest"]
    foreign = [(file, word) for file, entry in files.items() if file.endswith(("butler", ".so", ".exe", ".dll")) for word in code if word in entry.data]
    check(not foreign, f"{name}: no code of tests", foreign)


def linked(name, files, folder):
    """The executables need nothing but the system, and have no symbols for a debugger."""
    wrong = []
    for file, entry in files.items():
        if not file.endswith(("butler", ".so", ".exe", ".dll")):
            continue
        path = folder / Path(file).name
        path.write_bytes(entry.data)
        if entry.data[:4] == b"\x7fELF":
            needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "--dynamic", "--wide", path))
            wrong += [f"{file} needs {library}" for library in needed if library not in LINUX]
            if ".debug_" in (sections := run("readelf", "--sections", "--wide", path)) or ".symtab" in sections:
                wrong.append(f"{file} is not stripped")
        else:
            text = run("x86_64-w64-mingw32-objdump", "-p", path)
            wrong += [f"{file} needs {library}" for library in re.findall(r"DLL Name: (.*)", text) if NOT_WINDOWS.search(library)]
            if ".debug_" in run("x86_64-w64-mingw32-objdump", "-h", path):
                wrong.append(f"{file} is not stripped")
        path.unlink()
    check(not wrong, f"{name}: the executables need the system alone, and are stripped", "\n".join(wrong))


def links_hold(name, files):
    """Links between the documents lead somewhere, in the package."""
    folders = {str(parent) for file in files for parent in Path(file).parents}
    broken = []
    for file, entry in files.items():
        if file.endswith(".md"):
            text = re.sub(r"```.*?```", "", entry.data.decode(), flags=re.DOTALL)
            for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
                target = os.path.normpath(os.path.join(os.path.dirname(file), link))
                if "://" not in link and target not in files and target not in folders:
                    broken.append(f"{file}: {link}")
    check(not broken, f"{name}: links of the documents hold", "\n".join(broken))


def bill(name, files, target):
    """The SBOM is valid, names what is linked and nothing of tests; the licences are of the same components."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = files["licenses/butler.cdx.json"].data.decode()
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    check(fault is None, f"{name}: the SBOM is valid CycloneDX 1.6", fault)
    document = json.loads(text)
    components = {(each["name"], each["version"]): each for each in document["components"]}
    check(all(each["licenses"] for each in components.values()), f"{name}: every component has a licence")
    check(document["metadata"]["component"]["properties"][0]["value"] == target, f"{name}: the SBOM is for {target}")
    names = {each for each, _ in components}
    ours = {"butler", "butler-plugin-api"} | {f"butler-plugin-{plugin}" for plugin in PLUGINS}
    needed = {"sqlite", "zstd", "rust-std", "tokio", "abi_stable", "ring", "rustls"} | ours
    tests = {"insta", "proptest", "rcgen", "qlik-simulator", "e2e", "demo", "bench", "syn", "serde_derive"}
    check(needed <= names and not tests & names, f"{name}: the SBOM has {len(names)} names, what is linked and nothing of tests or macros",
          f"missing: {needed - names}, too much: {tests & names}")
    lock = set(re.findall(r'name = "(.*)"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text()))
    crates = {key for key, each in components.items() if each.get("purl", "pkg:cargo").startswith("pkg:cargo")}
    check(crates <= lock, f"{name}: the versions are those of Cargo.lock", crates - lock)
    # What the executables themselves say: panics name the file of their crate, with its version.
    said = set()
    for file, entry in files.items():
        if file.endswith(("butler", ".so", ".exe", ".dll")):
            said |= set(re.findall(rb"crates[/\\]([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[A-Za-z0-9.+-]*)[/\\]", entry.data))
    said = {(crate.decode(), version.decode()) for crate, version in said}
    # For Windows the standard library is built with the rest, and its crates have the same place; the SBOM has it as one.
    std = set()
    if target.endswith("windows-gnu"):
        lock = Path(run("/usr/bin/rustc", "--print", "sysroot").strip()) / "lib/rustlib/src/rust/library/Cargo.lock"
        std = set(re.findall(r'name = "(.*)"\nversion = "(.*)"', lock.read_text()))
    unlisted = said - std - set(components)
    check(len(said) > 50 and not unlisted, f"{name}: the {len(said)} crates that the executables name are in the SBOM", unlisted)
    listed = files["licenses/THIRD-PARTY.txt"].data.decode().split("=" * 100)
    head = {tuple(line.split()[:2]) for line in listed[0].split("\n")[2:] if line}
    check(head == {key for key in components if key[0] not in ours}, f"{name}: licences of the same {len(head)} components")
    with_text = {tuple(each.split()) for part in listed[1:] for each in part.split("-" * 100)[0].strip().split(", ")}
    check(with_text == head, f"{name}: a text for each", head ^ with_text)


def modes(name, files, folders, executables, odd=()):
    wrong = [f"{file}: {entry.mode:o}" for file, entry in files.items() if entry.mode != (0o755 if file in executables else 0o644)]
    wrong += [f"{folder}/: {entry.mode:o}" for folder, entry in folders.items() if entry.mode != dict(odd).get(folder, 0o755)]
    check(not wrong, f"{name}: modes", "\n".join(wrong))
    entries = list(files.values()) + list(folders.values())
    check({entry.owner for entry in entries} == {(0, 0)}, f"{name}: everything is root's")
    check(len({entry.time for entry in entries}) == 1, f"{name}: one time for all", {entry.time for entry in entries})


def linux_tar(path, folder):
    with tarfile.open(path) as archive:
        files, folders, links = of_tar(archive, f"butler-{VERSION}-linux-x64")
    same(path.name, set(files), programs("lib", ".so", "butler") | papers())
    check(not links, f"{path.name}: no links")
    modes(path.name, files, folders, {"butler"})
    common(path.name, files, folder, "x86_64-unknown-linux-gnu")
    return files


def debian(path, folder, of_tar_gz):
    """The same files at other places."""
    with tarfile.open(fileobj=io.BytesIO(run("dpkg-deb", "--fsys-tarfile", path, text=False, stderr=None))) as archive:
        files, folders, links = of_tar(archive, "")
    unit = "config/systemd/butler.service"
    expected = {f"usr/lib/butler/{file}": file for file in programs("lib", ".so", "butler")}
    expected |= {f"usr/share/butler/{file}": file for file in papers() - {unit}} | {"usr/lib/systemd/system/butler.service": unit}
    debian = {"usr/share/doc/butler/copyright", "usr/share/doc/butler/changelog.gz"}
    same(path.name, set(files), set(expected) | debian)
    other = [file for file, source in expected.items() if files[file].data != of_tar_gz[source].data]
    check(not other, f"{path.name}: the files are those of the tar.gz", other)
    check(links == {"usr/bin/butler": "../lib/butler/butler", "usr/share/doc/butler/README.md": "../../butler/README.md",
                    f"usr/share/butler/{unit}": "../../../../lib/systemd/system/butler.service"}, f"{path.name}: links", links)
    targets = {os.path.normpath(os.path.join(os.path.dirname(link), target)) for link, target in links.items()}
    check(targets <= set(files), f"{path.name}: the links lead to files", targets - set(files))
    share = "usr/share/butler/"
    links_hold(path.name, {file.removeprefix(share): entry for file, entry in (files | dict.fromkeys(links)).items() if file.startswith(share)})
    modes(path.name, files, folders, {"usr/lib/butler/butler"}, {"etc/butler": 0o750}.items())
    size = sum(-(-len(entry.data) // 1024) for file, entry in files.items() if file.startswith("usr/"))
    check(run("dpkg-deb", "--field", path, "Installed-Size").strip() == str(size), f"{path.name}: installed it has {size} kB, folders not counted")
    check(run("dpkg-deb", "--field", path, "Version").strip() == VERSION, f"{path.name}: version {VERSION}")
    with tarfile.open(fileobj=io.BytesIO(run("dpkg-deb", "--ctrl-tarfile", path, text=False, stderr=None))) as archive:
        control, _, _ = of_tar(archive, "")
    check(set(control) == {"control", "md5sums", "postinst", "prerm", "postrm"}, f"{path.name}: control files", set(control))
    sums = dict(line.split("  ")[::-1] for line in control["md5sums"].data.decode().splitlines())
    check(sums == {file: hashlib.md5(entry.data).hexdigest() for file, entry in files.items()}, f"{path.name}: md5sums of all files")
    needs = run("dpkg-deb", "--field", path, "Depends")
    libc = re.match(r"libc6 \(>= 2\.(\d+)\), libgcc-s1, ", needs)
    # Debian 12 has 2.36, as PACKAGE.md promises.
    check(libc and int(libc[1]) <= 36, f"{path.name}: needs {needs.strip()}, which Debian 12 has")


def windows_zip(path, folder):
    strip = f"butler-{VERSION}-windows-x64/"
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        files = {entry.filename.removeprefix(strip): Entry(archive.read(entry), 0, 0, entry.date_time)
                 for entry in entries if not entry.is_dir()}
    check(all(entry.filename.startswith(strip) for entry in entries), f"{path.name}: one folder")
    same(path.name, set(files), programs("", ".dll", "butler.exe") | papers())
    check(len({entry.time for entry in files.values()}) == 1, f"{path.name}: one time for all")
    dlls = [file for file in files if file.endswith((".dll", ".exe"))]
    machines = {struct.unpack_from("<H", files[file].data, struct.unpack_from("<I", files[file].data, 0x3C)[0] + 4)[0] for file in dlls}
    check(machines == {0x8664}, f"{path.name}: x64")
    common(path.name, files, folder, "x86_64-pc-windows-gnu")


def common(name, files, folder, target):
    clean(name, files)
    linked(name, files, folder)
    links_hold(name, files)
    bill(name, files, target)


def table(folder):
    print(f"\n{'package':<40} {'MB':>6} {'unpacked, MB':>13}")
    for path in sorted(folder.glob("butler*")):
        if path.suffix == ".zip":
            size = sum(entry.file_size for entry in zipfile.ZipFile(path).infolist())
        else:
            data = path.read_bytes() if path.suffix == ".gz" else run("dpkg-deb", "--fsys-tarfile", path, text=False, stderr=None)
            size = sum(member.size for member in tarfile.open(fileobj=io.BytesIO(data)))
        print(f"{path.name:<40} {path.stat().st_size / 1e6:>6.1f} {size / 1e6:>13.1f}")


def main():
    folder = Path(sys.argv[1])
    scratch = Path(sys.argv[2])
    linux, deb, windows = (folder / name for name in (
        f"butler-{VERSION}-linux-x64.tar.gz", f"butler_{VERSION}_amd64.deb", f"butler-{VERSION}-windows-x64.zip"))
    found = {path.name for path in folder.iterdir()}
    check(found == {linux.name, deb.name, windows.name, "SHA256SUMS"}, f"{folder}: three packages and their sums (remove what is old)", found)
    run("sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS", cwd=folder)
    check((folder / "SHA256SUMS").read_text().count("\n") == 3, "SHA256SUMS are those of the three")
    files = linux_tar(linux, scratch)
    debian(deb, scratch, files)
    windows_zip(windows, scratch)
    table(folder)


if __name__ == "__main__":
    main()
