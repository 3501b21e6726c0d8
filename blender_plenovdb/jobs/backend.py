"""Asking the backend's `doctor` whether it can train here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PlenoError
from . import checked
from .checked import Invalid
from .environment import INSTALL_HINT, Environment

ANSWER_LIMIT = 256 * 1024


@dataclass(frozen=True)
class Problem:
    """What is wrong with the backend's surroundings, and what to do."""

    what: str
    fix: str


@dataclass(frozen=True)
class BackendReport:
    """What `plenoxels doctor --json` found. `device` is a sentence for people; disk space in MB."""

    version: str
    python: str
    executable: str
    torch: str
    warp: str
    device: str
    disk_free_mb: float
    problems: tuple[Problem, ...]


def check(environment: Environment, *, timeout: float) -> BackendReport:
    """Runs the doctor, at most `timeout` seconds. Raises PlenoError if it gives no usable answer."""
    environment.make_caches()
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    try:
        answer = subprocess.run(
            environment.command("doctor", "--json"),
            cwd=environment.caches,
            env=environment.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            creationflags=flags,
            check=False,
        )
    except OSError as error:
        raise PlenoError(
            f"The interpreter {environment.interpreter} cannot be run ({error.strerror or error}).",
            "Choose another Python in the extension's preferences.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PlenoError(
            f"The backend in {environment.interpreter} gave no answer within {timeout:.0f} seconds.",
            "Try again: the first start after installing is the slow one.",
        ) from error
    return read_answer(answer.stdout, answer.stderr, answer.returncode, environment)


def read_answer(output: bytes, errors: bytes, exit_status: int, environment: Environment) -> BackendReport:
    """Makes a report of the doctor's answer; a doctor that found problems exits with 1 and still answers."""
    complaint = errors[-ANSWER_LIMIT:].decode("utf-8", "replace")
    if re.search(r"No module named '?plenoxels\b", complaint):
        raise PlenoError(f"The package plenoxels is not installed in {environment.interpreter}.", INSTALL_HINT)
    try:
        if len(output) > ANSWER_LIMIT:
            raise Invalid("is too long")
        return _parse(checked.parse_object(output))
    except Invalid as error:
        lines = [line.strip() for line in complaint.splitlines() if line.strip()]
        said = f": {lines[-1][:300]}" if lines else ""
        raise PlenoError(
            f"The answer of {environment.interpreter} (exit status {exit_status}) {error}{said}.",
            "Choose the Python that has the package plenoxels installed.",
        ) from error


def _parse(values: dict[str, Any]) -> BackendReport:
    problems = values.get("problems")
    if not isinstance(problems, list) or len(problems) > 100 or not all(isinstance(item, dict) for item in problems):
        raise Invalid("has no usable list as problems")
    return BackendReport(
        version=_version(values, "version"),
        python=_version(values, "python"),
        executable=_version(values, "executable"),
        torch=_version(values, "torch"),
        warp=_version(values, "warp"),
        device=_device(values.get("cuda")),
        disk_free_mb=checked.optional_number(values, "disk_free_mb") or 0.0,
        problems=tuple(Problem(checked.text(item, "what"), checked.text(item, "fix", "")) for item in problems),
    )


def _version(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if isinstance(value, Mapping):
        value = value.get("version")
    return value[: checked.MAX_TEXT] if isinstance(value, str) else ""


def _device(cuda: object) -> str:
    if not isinstance(cuda, Mapping):
        return "no CUDA device, training on the CPU"
    name = cuda.get("name") or cuda.get("device")
    return f"CUDA device {name}" if isinstance(name, str) else "CUDA device"
