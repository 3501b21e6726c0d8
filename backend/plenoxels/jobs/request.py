"""What a job was asked to do: request.json (contracts/job_folder.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from plenoxels import __version__
from plenoxels import checked_json as check

_T = TypeVar("_T")
FORMAT_VERSION = 1
MAX_BYTES = check.MIB
PRESETS = ("draft", "standard", "high")
COMPOSITING = ("linear", "encoded")
DEFAULT_LEVELS = 2
MAX_LEVELS = 8
MAX_THREADS = 1024
MAX_SEED = 2**31 - 1


def launcher() -> str:
    """How the command line names itself as a launcher."""
    return f"plenoxels {__version__} command line"


def now() -> str:
    """The time as the contract writes it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class TrainingOptions:
    """The options of `train`, by their long names.

    Attributes:
        preset: the recipe's name.
        max_seconds: seconds of training, or None for the preset's.
        downscale: every n x n pixels of a photo become one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads, or None for all.
        compositing: `linear` or `encoded`.
        levels: levels of detail coarser than the field.
        resume: a checkpoint to go on from, or None.
        seed: of everything drawn at random, or None for the recipe's.
        deterministic: the same bits each time.
        settings: single settings of the recipe or the model, name to text (`--set`).
    """

    preset: str = "standard"
    max_seconds: float | None = None
    downscale: int = 1
    device: str = "auto"
    threads: int | None = None
    compositing: str = "linear"
    levels: int = DEFAULT_LEVELS
    resume: Path | None = None
    seed: int | None = None
    deterministic: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "max_seconds": self.max_seconds,
            "downscale": self.downscale,
            "device": self.device,
            "threads": self.threads,
            "compositing": self.compositing,
            "levels": self.levels,
            "resume": None if self.resume is None else str(self.resume),
            "seed": self.seed,
            "deterministic": self.deterministic,
            "set": dict(self.settings),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingOptions:
        """Raises ValueError: half a sentence that names the value at fault."""
        seconds, threads, resume = (values.get(name) for name in ("max_seconds", "threads", "resume"))
        levels, seed = values.get("levels"), values.get("seed")
        settings = check.mapping(values.get("set", {}), "set")
        return cls(
            preset=_choice(values.get("preset", "standard"), "preset", PRESETS),
            max_seconds=None if seconds is None else check.number(seconds, "max_seconds", 0),
            downscale=check.integer(values.get("downscale", 1), "downscale", 1, 64),
            device=check.text(values.get("device", "auto"), "device", 64),
            threads=None if threads is None else check.integer(threads, "threads", 1, MAX_THREADS),
            compositing=_choice(values.get("compositing", "linear"), "compositing", COMPOSITING),
            levels=DEFAULT_LEVELS if levels is None else check.integer(levels, "levels", 0, MAX_LEVELS),
            resume=None if resume is None else Path(check.text(resume, "resume")),
            seed=None if seed is None else check.integer(seed, "seed", 0, MAX_SEED),
            deterministic=_choice(values.get("deterministic", False), "deterministic", (False, True)),
            settings={check.text(name, "set"): check.text(str(value), name) for name, value in settings.items()},
        )


@dataclass(frozen=True)
class JobRequest:
    """One job's dataset and options.

    Attributes:
        dataset: absolute path.
        options: of the command line.
        launcher: name and version of who asked.
        created: ISO 8601, UTC.
    """

    dataset: Path
    options: TrainingOptions = field(default_factory=TrainingOptions)
    launcher: str = field(default_factory=launcher)
    created: str = field(default_factory=now)

    def asks_the_same_as(self, other: JobRequest) -> bool:
        """Whether both ask for the same work, whoever asked and when."""
        return (self.dataset, self.options) == (other.dataset, other.options)

    def to_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "created": self.created,
            "launcher": self.launcher,
            "dataset": str(self.dataset),
            "options": self.options.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> JobRequest:
        """Raises ValueError: half a sentence that names the value at fault."""
        check.integer(check.required(values, "format_version"), "format_version", 1, FORMAT_VERSION)
        return cls(
            dataset=Path(check.text(check.required(values, "dataset"), "dataset")),
            options=TrainingOptions.from_json(check.mapping(values.get("options", {}), "options")),
            launcher=check.text(values.get("launcher", ""), "launcher"),
            created=check.text(values.get("created", ""), "created", 64),
        )


def _choice(value: Any, name: str, allowed: tuple[_T, ...]) -> _T:
    for choice in allowed:
        if type(value) is type(choice) and value == choice:
            return choice
    raise ValueError(f"'{name}' is {value!r}; it must be one of {', '.join(map(str, allowed))}")
