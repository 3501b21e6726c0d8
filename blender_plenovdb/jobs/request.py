"""What is asked of the trainer: options, request.json and the command line they become."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import PlenoError

FORMAT_VERSION = 1
LAUNCHER = "blender_plenovdb 0.1.0"

PRESETS = ("draft", "standard", "high")
COMPOSITING = ("linear", "encoded")

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of one run, named as on the command line. None leaves the choice to the backend.

    dataset: folder with transforms_train.json (and, for held-out views, transforms_test.json).
    max_seconds: training time in seconds. downscale: photos are reduced by this whole factor first.
    compositing: `linear` shows the photos' colours in Blender's Standard view; `encoded` needs Raw.
    resume: a checkpoint of an earlier run. settings: single values of the trainer's own configuration.
    """

    dataset: Path
    preset: str = "standard"
    max_seconds: float | None = None
    downscale: int = 1
    device: str = "auto"
    compositing: str = "linear"
    levels: int | None = None
    threads: int | None = None
    resume: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises PlenoError for a dataset that is not there or an option outside its range."""
        if not str(self.dataset) or not self.dataset.is_dir():
            raise PlenoError(
                f"The dataset folder {self.dataset} does not exist.",
                "Choose a folder of photos with transforms_train.json, or use the demo scene.",
            )
        for name, value, allowed in (
            ("preset", self.preset, PRESETS),
            ("compositing", self.compositing, COMPOSITING),
        ):
            if value not in allowed:
                raise PlenoError(f"The option {name} is {value!r}.", f"Choose one of {', '.join(allowed)}.")
        if not _DEVICE.fullmatch(self.device):
            raise PlenoError(f"The device is {self.device!r}.", "Choose auto, cpu, cuda or cuda:N.")
        for name, count in (("downscale", self.downscale), ("levels", self.levels), ("threads", self.threads)):
            if count is not None and count < 1:
                raise PlenoError(f"The option {name} is {count}.", "Choose 1 or more.")
        if self.max_seconds is not None and not 0 < self.max_seconds < 1e7:
            raise PlenoError(f"The training time is {self.max_seconds} seconds.", "Choose a positive number.")
        if self.resume is not None and not self.resume.is_file():
            raise PlenoError(f"The checkpoint {self.resume} does not exist.", "Choose a file below checkpoints/.")
        for name in self.settings:
            if not _SETTING_NAME.fullmatch(name):
                raise PlenoError(f"{name!r} cannot be the name of a setting.", "Write settings as name=value.")

    def request(self, now: datetime | None = None) -> dict[str, Any]:
        """The content of request.json."""
        return {
            "format_version": FORMAT_VERSION,
            "created": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
            "launcher": LAUNCHER,
            "dataset": str(self.dataset.resolve()),
            "options": {
                "preset": self.preset,
                "max_seconds": self.max_seconds,
                "downscale": self.downscale,
                "device": self.device,
                "threads": self.threads,
                "compositing": self.compositing,
                "levels": self.levels,
                "resume": None if self.resume is None else str(self.resume.resolve()),
                "set": dict(self.settings),
            },
        }

    def arguments(self, job_folder: Path) -> list[str]:
        """The command line after `python -m plenoxels`; absolute paths, since the trainer runs in the job's folder."""
        arguments = ["train", str(self.dataset.resolve()), "--output", str(job_folder)]
        arguments += ["--preset", self.preset, "--downscale", str(self.downscale)]
        arguments += ["--device", self.device, "--compositing", self.compositing]
        if self.max_seconds is not None:
            arguments += ["--max-seconds", f"{self.max_seconds:g}"]
        if self.threads is not None:
            arguments += ["--threads", str(self.threads)]
        if self.levels is not None:
            arguments += ["--levels", str(self.levels)]
        for name, value in self.settings.items():
            arguments += ["--set", f"{name}={value}"]
        if self.resume is not None:
            arguments += ["--resume", str(self.resume.resolve())]
        return arguments


def parse_settings(line: str) -> dict[str, str]:
    """`name=value other="two words"` as a dictionary. Raises PlenoError where an entry is no name=value."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise PlenoError(f"The settings {line!r} have an open quotation mark.", "Close it.") from error
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not _SETTING_NAME.fullmatch(name):
            raise PlenoError(f"{word!r} is no setting.", "Write settings as name=value, with spaces between them.")
        settings[name] = value
    return settings
