"""What the benchmarks share: where things lie, which machine this is, and tables for people."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from plenoxels import checked_json as check

BACKEND = Path(__file__).resolve().parents[1]
SCENES = BACKEND.parent.parent / "shared" / "data" / "nerf_synthetic"  # where the tests look too
_MAX_BYTES = 64 * check.MIB


class BenchmarkFailed(Exception):
    """For people: what went wrong and, in a second sentence, what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message} {fix}".strip())


@dataclass(frozen=True)
class Machine:
    """What a figure was measured with.

    Attributes:
        cpu: the processor's name.
        cores: logical processors of the machine.
        system: operating system and architecture.
        python, torch, warp: versions.
        commit: of this checkout, with a + where files were changed; empty outside git.
        load: running processes in the mean of the minute before (Unix); None where the system does not say.
            Above about 0.5, others worked beside the benchmark.
        date: when the measurement began, local time.
    """

    cpu: str
    cores: int
    system: str
    python: str
    torch: str
    warp: str
    commit: str
    load: float | None
    date: str

    @classmethod
    def here(cls) -> Machine:
        return cls(
            cpu=_cpu_name(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            torch=version("torch"),
            warp=version("warp-lang"),
            commit=_commit(),
            load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            date=time.strftime("%Y-%m-%d %H:%M"),
        )

    def line(self) -> str:
        """Without load and date, which differ from row to row."""
        parts = [f"{self.cpu}, {self.cores} processors", self.system, f"Python {self.python}"]
        return ", ".join([*parts, f"torch {self.torch}", f"warp {self.warp}", f"commit {self.commit or 'unknown'}"])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well as plain text; numbers (all but the first column) to the right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [f"{text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join([f"{row[0]:{widths[0]}}", *padded]) + " |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(cells[0]), line(rule), *(line(row) for row in cells[1:])])


def number(value: float | None, digits: int = 0, scale: float = 1.0) -> str:
    """A figure in a table; a dash where there is none."""
    return "-" if value is None else f"{value / scale:,.{digits}f}"


def read_results(path: Path) -> dict[str, Any]:
    """The results written so far; empty where there are none.

    Raises:
        BenchmarkFailed: the file is there and cannot be read.
    """
    try:
        return check.read_object(path, _MAX_BYTES)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BenchmarkFailed(f"{path} cannot be read: {error}. Remove it or give another --output.") from None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        command = ["git", "-C", str(BACKEND), "describe", "--always", "--exclude", "*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
