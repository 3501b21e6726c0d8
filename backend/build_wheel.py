"""Builds the backend's wheel with the standard library alone: no network, no build tools, always the same bytes.

    python backend/build_wheel.py DIRECTORY

A wheel of pure Python is a zip file with three small text files in it (PEP 427). build_addon.py puts it into the
Blender extension, which must be buildable on a machine that has nothing but Python. `pip install ./backend` goes
through setuptools instead and gives the same package.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TAG = "py3-none-any"
# Zip cannot say anything earlier; a fixed time keeps the clock out of the bytes.
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def write_archive(target: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip file whose bytes depend on its members alone, and which appears complete or not at all.

    Members are stored, not deflated: zlib's output differs between its versions, and photos do not shrink anyway.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(members):
                info = zipfile.ZipInfo(name, FIXED_TIME)
                info.create_system = 3  # Unix: also on Windows, so that permissions read the same
                info.external_attr = 0o100644 << 16
                archive.writestr(info, content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def metadata_text(project: Mapping[str, Any]) -> str:
    """The METADATA file (core metadata 2.1) of a pyproject.toml's [project] table."""
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Requires-Python: {project['requires-python']}",
        f"Keywords: {','.join(project.get('keywords', []))}",
    ]
    lines += [f"Classifier: {classifier}" for classifier in project.get("classifiers", [])]
    lines += [f"Requires-Dist: {requirement}" for requirement in project.get("dependencies", [])]
    for extra, requirements in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        for requirement in requirements:
            specifier, _, marker = requirement.partition(";")
            condition = f'extra == "{extra}"'
            if marker.strip():
                condition = f"({marker.strip()}) and {condition}"
            lines.append(f"Requires-Dist: {specifier.strip()} ; {condition}")
    return "\n".join(lines) + "\n"


def entry_points_text(project: Mapping[str, Any]) -> str:
    """The entry_points.txt file: the commands that pip creates."""
    scripts = project.get("scripts", {})
    return "".join(["[console_scripts]\n", *(f"{name} = {target}\n" for name, target in sorted(scripts.items()))])


def record_text(members: Mapping[str, bytes], record_name: str) -> str:
    """The RECORD file: every member with its hash and size."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, content in sorted(members.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")
        writer.writerow([name, f"sha256={digest}", len(content)])
    writer.writerow([record_name, "", ""])
    return text.getvalue()


def package_members(backend: Path, package: str, patterns: Iterable[str]) -> dict[str, bytes]:
    """The package's files that are shipped, by their name in the wheel; `patterns` as in package-data."""
    wanted = ["*.py", *patterns]
    return {
        path.relative_to(backend).as_posix(): path.read_bytes()
        for path in (backend / package).rglob("*")
        if path.is_file() and any(path.match(pattern) for pattern in wanted)
    }


def build_wheel(backend: Path, directory: Path) -> Path:
    """Write the wheel of the package described by `backend`/pyproject.toml into `directory` and return its path."""
    settings = tomllib.loads((backend / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    package = re.sub(r"[-_.]+", "_", project["name"])
    stem = f"{package}-{project['version']}"
    members = package_members(backend, package, settings["tool"]["setuptools"]["package-data"]["*"])
    wheel_text = f"Wheel-Version: 1.0\nGenerator: {Path(__file__).name}\nRoot-Is-Purelib: true\nTag: {TAG}\n"
    information = f"{stem}.dist-info"
    members[f"{information}/METADATA"] = metadata_text(project).encode("utf-8")
    members[f"{information}/WHEEL"] = wheel_text.encode("utf-8")
    members[f"{information}/entry_points.txt"] = entry_points_text(project).encode("utf-8")
    record = f"{information}/RECORD"
    members[record] = record_text(members, record).encode("utf-8")
    wheel = directory / f"{stem}-{TAG}.whl"
    write_archive(wheel, members.items())
    return wheel


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        raise SystemExit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    print(build_wheel(Path(__file__).resolve().parent, Path(sys.argv[1])))
