"""What a package contains: an SBOM (CycloneDX) and the licences, of what is linked into the executable and the plugins.

    bill.py TARGET OUT      TARGET: x86_64-unknown-linux-gnu, x86_64-pc-windows-gnu, ...

writes OUT/butler.cdx.json and OUT/THIRD-PARTY.txt. What only builds or tests is in neither: macros, build scripts, crates of
tests. `RUSTC` names the compiler, whose standard library is listed too. Two runs for one commit write the same bytes; the time
is that of `SOURCE_DATE_EPOCH`.
"""

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# C code in crates: crate, name, file with the version, how it stands there, licence, files of the licence.
SQLITE_VERSION = (r'#define SQLITE_VERSION\s+"([\d.]+)"',)
ZSTD_VERSION = tuple(rf"#define ZSTD_VERSION_{part}\s+(\d+)" for part in ("MAJOR", "MINOR", "RELEASE"))
NATIVE = {
    "libsqlite3-sys": ("sqlite", "sqlite3/sqlite3.h", SQLITE_VERSION, "blessing", []),
    "zstd-sys": ("zstd", "zstd/lib/zstd.h", ZSTD_VERSION, "BSD-3-Clause", ["zstd/LICENSE"]),
}
# Crates that say they link something, and why nothing is to be listed beside them.
LINKS_NOTHING_ELSE = {
    "ring": "its C code has the crate's own licence files",
}
SQLITE_BLESSING = (
    "SQLite is in the public domain: its authors dedicate the code to it (https://www.sqlite.org/copyright.html), and give a\n"
    "blessing in place of a licence."
)

# Texts for crates that come without one. `{holders}`: who the crate names as its authors.
MIT = Path(ROOT / "LICENSE-MIT").read_text().split("\n\n", 2)
MIT_TEXT = "MIT License\n\nCopyright (c) {holders}\n\n" + MIT[2]
ZLIB_TEXT = """zlib License

Copyright (c) {holders}

This software is provided 'as-is', without any express or implied warranty. In no event will the authors be held liable for any
damages arising from the use of this software.

Permission is granted to anyone to use this software for any purpose, including commercial applications, and to alter it and
redistribute it freely, subject to the following restrictions:

1. The origin of this software must not be misrepresented; you must not claim that you wrote the original software. If you use
   this software in a product, an acknowledgment in the product documentation would be appreciated but is not required.
2. Altered source versions must be plainly marked as such, and must not be misrepresented as being the original software.
3. This notice may not be removed or altered from any source distribution.
"""
STANDARD = {"MIT": MIT_TEXT, "Zlib": ZLIB_TEXT, "Apache-2.0": (ROOT / "LICENSE-APACHE").read_text()}

LICENCE_FILE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def fail(message):
    sys.exit(f"config/packages/bill.py: {message}")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def spdx(licence):
    """`/` is an old form of OR."""
    return licence.replace("/", " OR ") if " OR " not in licence else licence


def read(path):
    return path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").strip("\n") + "\n"


def shipped(metadata):
    """The packages that are linked into the executable and the plugins, and those of ours that they start from."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

    def is_ours(package):
        folder = Path(package["manifest_path"]).parent.relative_to(ROOT).parts
        return folder == ("host",) or folder[0] == "plugins"

    def is_macro(package):
        return any("proc-macro" in target["kind"] for target in package["targets"])

    roots = [id for id in metadata["workspace_members"] if is_ours(packages[id])]
    found, waiting = {}, list(roots)
    while waiting:
        id = waiting.pop()
        if id in found or is_macro(packages[id]):
            continue
        links = nodes[id]["deps"]
        found[id] = sorted(link["pkg"] for link in links if any(kind["kind"] is None for kind in link["dep_kinds"]))
        waiting += found[id]
    found = {id: [dep for dep in deps if dep in found] for id, deps in found.items()}
    return packages, roots, found


def licence_files(package):
    folder = Path(package["manifest_path"]).parent
    named = [folder / package["license_file"]] if package["license_file"] else []
    files = sorted(path for path in folder.iterdir() if LICENCE_FILE.match(path.name))
    files = [inner for path in files for inner in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [path for path in dict.fromkeys(named + files) if path.is_file() and path.suffix not in (".rs", ".toml")]


def licence_texts(package):
    """The texts that come with a crate; else the one of the first licence it offers."""
    texts = [read(path) for path in licence_files(package)]
    if texts:
        return texts
    offered = re.split(r" OR | AND ", spdx(package["license"]).replace("(", "").replace(")", ""))
    standard = [name for name in offered if name in STANDARD]
    if not standard:
        fail(f"{package['name']} comes without the text of {package['license']}: add it to STANDARD")
    holders = ", ".join(re.sub(r"\s*<.*?>", "", author) for author in package["authors"]) or f"the authors of {package['name']}"
    return [STANDARD[standard[0]].format(holders=holders) if "{holders}" in STANDARD[standard[0]] else STANDARD[standard[0]]]


def crate(package):
    """The component of a crate."""
    name, version = package["name"], package["version"]
    component = {
        "type": "library",
        "bom-ref": f"pkg:cargo/{name}@{version}",
        "name": name,
        "version": version,
        "licenses": [{"expression": spdx(package["license"])}],
        "purl": f"pkg:cargo/{name}@{version}",
    }
    if not package["source"]:
        # Ours are published nowhere.
        del component["purl"]
        component["bom-ref"] = f"{name}@{version}"
    if package["description"]:
        component["description"] = " ".join(package["description"].split())
    if package["repository"]:
        component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return component


def native(package):
    """The component of the C code in a crate, and the texts of its licence. None where there is none."""
    name = package["name"]
    if not package["links"] or name in LINKS_NOTHING_ELSE:
        return None
    if name not in NATIVE:
        fail(f"{name} links `{package['links']}`: say in NATIVE or LINKS_NOTHING_ELSE what that is")
    what, header, patterns, licence, files = NATIVE[name]
    folder = Path(package["manifest_path"]).parent
    text = (folder / header).read_text(errors="replace")
    version = ".".join(re.search(pattern, text).group(1) for pattern in patterns)
    component = {
        "type": "library",
        "bom-ref": f"pkg:generic/{what}@{version}",
        "name": what,
        "version": version,
        "licenses": [{"license": {"id": licence}}],
        "purl": f"pkg:generic/{what}@{version}",
        "description": f"C code in the crate {name}",
    }
    return component, [read(folder / file) for file in files] or [SQLITE_BLESSING + "\n"]


def installed(package):
    """Version of a Debian package."""
    return output("dpkg-query", "-W", "-f", "${Version}", package)


def runtime(target):
    """What comes with the compilers: the standard library, and on Windows what mingw links. Components with their texts."""
    rustc = os.environ.get("RUSTC", "rustc")
    version = re.search(r"^release: (\S+)", output(rustc, "-vV"), re.MULTILINE).group(1)
    docs = Path(output(rustc, "--print", "sysroot").strip()) / "share/doc"
    page = docs / "rust/COPYRIGHT-library.html"
    if page.exists():
        # A page; its text is enough, and says the same.
        text = re.sub(r"<(style|script).*?</\1>", "", read(page), flags=re.DOTALL)
        text = re.sub(r"<[^>]*>", "", text)
        for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")):
            text = text.replace(entity, sign)
        text = re.sub(r"\n\s*\n\s*\n+", "\n\n", text).strip() + "\n"
    else:
        # Debian has another place.
        page = docs / "libstd-rust-web-dev/copyright"
        if not page.exists():
            fail(f"the licences of Rust's standard library are not below {docs}")
        text = read(page)
    std = {
        "type": "library",
        "bom-ref": f"pkg:generic/rust-std@{version}",
        "name": "rust-std",
        "version": version,
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "purl": f"pkg:generic/rust-std@{version}",
        "description": "Standard library of Rust, with the crates in it",
    }
    found = [(std, [text])]
    if target.endswith("windows-gnu"):
        for name, package, licence, about in (
            ("mingw-w64", "mingw-w64-x86-64-dev", "ZPL-2.1", "Start-up code and import libraries"),
            ("libgcc", "gcc-mingw-w64-x86-64-win32", "GPL-3.0-or-later WITH GCC-exception-3.1", "Support code of GCC"),
        ):
            version = installed(package)
            ref = f"pkg:generic/{name}@{version}"
            component = {"type": "library", "bom-ref": ref, "name": name, "version": version,
                         "licenses": [{"expression": licence}], "purl": ref, "description": about}
            holder = "mingw-w64-common" if name == "mingw-w64" else package
            found.append((component, [read(Path(f"/usr/share/doc/{holder}/copyright"))]))
    return found


def sbom(version, target, when, components, dependencies, seed):
    """The document, in the form of CycloneDX 1.6."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {
            "timestamp": when,
            "component": {"type": "application", "bom-ref": "package", "name": "butler", "version": version,
                          "licenses": [{"expression": "MIT OR Apache-2.0"}],
                          "properties": [{"name": "target", "value": target}]},
        },
        "components": components,
        "dependencies": dependencies,
    }


def third_party(version, target, entries):
    """The list of all components, then each text once, with who has it."""
    lines = [f"What Butler {version} for {target} is made of, beside Butler itself: {len(entries)} components.", ""]
    widest = max(len(f"{c['name']} {c['version']}") for c, _ in entries)
    texts = {}
    for component, own in entries:
        name = f"{component['name']} {component['version']}"
        licence = component["licenses"][0]
        lines.append(f"{name:<{widest}}  {licence.get('expression') or licence['license']['id']}")
        for text in own:
            key = hashlib.sha256(" ".join(text.split()).encode()).digest()
            texts.setdefault(key, (text, []))[1].append(name)
    for text, names in texts.values():
        # A crate may bring one text twice.
        lines += ["", "=" * 100, ", ".join(dict.fromkeys(names)), "-" * 100, "", text.rstrip("\n")]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 3:
        fail("call it with TARGET and OUT")
    target, out = sys.argv[1], Path(sys.argv[2])
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or output("git", "log", "-1", "--format=%ct"))
    when = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    cargo = os.environ.get("CARGO", "cargo")
    metadata = json.loads(output(cargo, "metadata", "--format-version=1", "--locked", "--filter-platform", target))
    packages, roots, found = shipped(metadata)
    version = next(packages[id]["version"] for id in roots if packages[id]["name"] == "butler")

    ids = sorted(found, key=lambda id: (packages[id]["name"], packages[id]["version"]))
    ref = {id: crate(packages[id])["bom-ref"] for id in ids}
    components, dependencies, entries = [], [{"ref": "package", "dependsOn": sorted(ref[id] for id in roots)}], []
    for id in ids:
        package = packages[id]
        component, needs = crate(package), [ref[dep] for dep in found[id]]
        components.append(component)
        if package["source"]:
            entries.append((component, licence_texts(package)))
        if extra := native(package):
            components.append(extra[0])
            entries.append(extra)
            needs.append(extra[0]["bom-ref"])
            dependencies.append({"ref": extra[0]["bom-ref"]})
        dependencies.append({"ref": ref[id], "dependsOn": sorted(set(needs))})
    for extra in runtime(target):
        components.append(extra[0])
        entries.append(extra)
        dependencies[0]["dependsOn"].append(extra[0]["bom-ref"])
        dependencies.append({"ref": extra[0]["bom-ref"]})

    seed = f"butler {version} {target} {hashlib.sha256((ROOT / 'Cargo.lock').read_bytes()).hexdigest()}"
    document = sbom(version, target, when, components, dependencies, seed)
    out.mkdir(parents=True, exist_ok=True)
    (out / "butler.cdx.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    (out / "THIRD-PARTY.txt").write_text(third_party(version, target, entries))
    print(f"{len(components)} components for {target}")


main()
