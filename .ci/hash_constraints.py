"""Writes constraints-hashed.txt: what the package needs to run, with the digest of each file.

    python .ci/hash_constraints.py

The versions are those of constraints.txt, and the files those that pip would install on the system
and with the Python on which this runs. PyTorch is left out, as everyone chooses a build of it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRAS = ("demo", "photos")
HEAD = """\
# What the package needs to run, with the extras demo and photos, by the digests of the files: those
# of constraints.txt for Python 3.11 on Linux (x86-64). Made by `python .ci/hash_constraints.py`.
# After PyTorch, of which everyone chooses a build:
#   pip install --require-hashes --no-deps -r constraints-hashed.txt && pip install --no-deps .
"""


def add_needed(texts: Iterable[str], extras: Iterable[str], found: set[str]) -> None:
    """Add the names of all packages that requirements lead to, which have to be installed."""
    for text in texts:
        requirement = Requirement(text)
        marker, other = requirement.marker, canonicalize_name(requirement.name)
        wanted = marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras))
        if wanted and other not in found and other != "torch":
            found.add(other)
            add_needed(requires(other) or (), requirement.extras, found)


def main() -> int:
    """Write the file; the exit status is pip's."""
    names: set[str] = set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    several = [project["dependencies"], *(project["optional-dependencies"][e] for e in EXTRAS)]
    for texts in several:
        add_needed(texts, (), names)
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [p for p in lines if canonicalize_name(p.partition("==")[0]) in names]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        asked = ["--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-"]
        command = [sys.executable, "-m", "pip", "install", *asked, "-r", file.name]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        return run.returncode
    written = []
    for part in json.loads(run.stdout)["install"]:
        name = re.sub(r"[-_.]+", "-", part["metadata"]["name"]).lower()
        digest = part["download_info"]["archive_info"]["hashes"]["sha256"]
        written.append(f"{name}=={part['metadata']['version']} --hash=sha256:{digest}\n")
    text = HEAD + "".join(sorted(written))
    (ROOT / "constraints-hashed.txt").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
