"""Checks that every dependency may be used under MIT, Apache-2.0 or a licence like them."""

import json
import subprocess
import sys

ALLOWED = {
    "MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "0BSD", "MIT-0",
    "Unicode-3.0", "Unlicense", "CC0-1.0", "BSL-1.0", "CDLA-Permissive-2.0",
}

# Package: why it is used all the same.
EXCEPTIONS = {
    "generational-arena": "MPL-2.0, used unchanged by abi_stable, which has no version without it",
}


def fits(expression):
    """Whether one alternative of an SPDX expression is allowed. `/` is an old form of OR."""
    text = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ")
    for name in sorted(ALLOWED, key=len, reverse=True):
        text = text.replace(name, "\0" + str(sorted(ALLOWED).index(name)) + "\0")
    words = []
    for word in text.split():
        if word in ("(", ")"):
            words.append(word)
        elif word in ("OR", "AND"):
            words.append(word.lower())
        else:
            words.append(str(word.startswith("\0") and word.endswith("\0")))
    try:
        return eval(" ".join(words), {"__builtins__": {}})  # only True, False, and, or, brackets are left
    except SyntaxError:
        return False


command = ["cargo", "metadata", "--format-version=1", "--locked"]
metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
bad = [
    f"{package['name']} {package['version']}: {package['license'] or 'no licence stated'}"
    for package in metadata["packages"]
    if package["source"] and package["name"] not in EXCEPTIONS and not fits(package["license"] or "")
]
print(f"{len(metadata['packages'])} packages, {len(bad)} with a licence that is not allowed")
for name, reason in EXCEPTIONS.items():
    print(f"exception: {name}: {reason}")
print("\n".join(bad))
sys.exit(bool(bad))
