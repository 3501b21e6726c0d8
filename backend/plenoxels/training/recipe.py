"""Every hyper-parameter of a training, with what it does; presets; and changes by name."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PRESETS = ("draft", "standard", "high")


def _setting(default: Any, description: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": description, "low": low, "high": high})


@dataclass(frozen=True)
class Recipe:
    """How a field is trained. `describe()` lists every setting with its meaning; the defaults are `standard`'s.

    Comments say what a choice gave: dB on a tenth of lego's training views, held back (400x400, alpha known, encoded
    compositing), after 30 s on two cores unless said, against what the other settings were when it was tried; below 0.2
    is a tie. `backend/benchmarks/ablation.py` measures such differences again, against what they are now.
    """

    max_seconds: float = _setting(60.0, "seconds of training; every schedule is stretched over them", 0.5, 1e7)
    max_iterations: int = _setting(
        0, "stop after so many steps instead (schedules follow the steps); 0: seconds count", 0, 10**9
    )
    seed: int = _setting(0, "seed of everything drawn at random", 0, 2**31 - 1)
    deterministic: bool = _setting(
        False, "the same bits each time on the same machine and number of threads; needs max_iterations"
    )
    max_memory_mb: float = _setting(
        0.0,
        "most MB for the voxels' values, gradients, optimiser and bricks: a finer grid that needs more is not made; "
        "0: what is free when it is due, less a tenth",
        0,
        1e9,
    )
    voxel_pixels: float = _setting(0.9, "edge of a final voxel, in pixels of the photos there", 0.2, 16)
    max_resolution: int = _setting(256, "most voxels along the longest side", 16, 1024)
    stages: int = _setting(3, "grids from coarse to fine; each has twice the resolution of the one before", 1, 5)
    # 0.9 instead of 0.8: -0.8; four stages instead of three: 0 at 30 s.
    last_stage_share: float = _setting(0.8, "share of the time for the last stage", 0.05, 1)
    stage_share_ratio: float = _setting(0.25, "each earlier stage's share, of the one after it", 0.01, 1)
    hull_resolution: int = _setting(64, "voxels along the grid that the visual hull is first carved from", 16, 256)
    # 3 instead of 1.75: -0.2 at 1,600 steps.
    hull_slack: float = _setting(
        1.75, "how far outside a silhouette a voxel may project and stay, in voxel edges", 0.5, 10
    )
    use_alpha: bool = _setting(True, "carve the visual hull from the photos' alpha where they have it")
    initial_depth: float = _setting(0.1, "optical depth of a voxel at the start, inside a visual hull", 1e-6, 10)
    initial_depth_open: float = _setting(0.05, "the same where no hull is known and all voxels start", 1e-6, 10)
    # 10,000 instead of 20,000: 0.
    batch_rays: int = _setting(20_000, "rays of a batch", 256, 10**6)
    # 8 instead of 4: -1.1; 3: +0.1, a tie.
    tile: int = _setting(4, "rays are drawn in tiles of so many by so many pixels", 1, 16)
    # 0.8 by the root of the error instead of 0: +0.25, and +0.4 for the worst view. 0.5 instead of 0.8: 0 at 60 s; 0.4
    # instead of 0.8: +0.1 in 150 s of `high`.
    error_share: float = _setting(0.5, "share of the rays drawn where the error is great, the rest anywhere", 0, 1)
    # 0.03 instead of 0: +0.05 at 60 s, a tie; it clears white fog where a white background hides it from the colours.
    opacity_weight: float = _setting(
        0.05, "weight of the opacity's squared error beside the colours' where the photos have alpha", 0, 100
    )
    # 1.5 instead of 1: +0.8; 2 instead of 1.5: -0.1; 1.5 instead of 1.25: +0.13 at 60 s.
    training_step: float = _setting(1.5, "distance of samples in training, in voxel edges, started at random", 0.05, 4)
    # 6: -1.2 against 12 and a last rate of 0.5; 24: +0.4; 48: -1.9 against 24; 24 against 16: -0.2.
    density_rate: float = _setting(
        16.0, "first learning rate of the optical depth across the scene's longest side", 1e-6, 1e4
    )
    # Without alpha, 60 s: 16 and an initial depth of 0.05: 32.6 dB; 4 and 0.01: 32.0 dB.
    density_rate_open: float = _setting(16.0, "the first one where no hull is known", 1e-6, 1e4)
    # 1.5 instead of 0.5: +0.45; 3 instead of 1.5: +0.2; long trainings want a lower one (`high`).
    density_rate_end: float = _setting(3.0, "last one", 1e-9, 1e4)
    # 0.02: -0.8; 0.045: -0.15.
    sh_rate: float = _setting(0.03, "first learning rate of the harmonics' coefficients", 1e-9, 10)
    # 0.001 instead of 0.0002: +0.8; 0.002: +0.2 more; 0.003: 0.
    sh_rate_end: float = _setting(0.002, "last one", 1e-9, 10)
    # 0.8, 0.9 and 0.95 are ties at 60 s; 0.98: -0.3 against 0.95.
    decay: float = _setting(0.9, "RMSProp's memory of squared gradients", 0, 0.99999)
    epsilon: float = _setting(1e-8, "RMSProp's smallest divisor", 1e-30, 1)
    # None at all: -0.1; three times as much: -0.6 at 300 s.
    tv_density: float = _setting(1e-5, "total variation of the optical depth of a voxel", 0, 1)
    tv_sh: float = _setting(1e-3, "total variation of the harmonics' coefficients", 0, 1)
    tv_share: float = _setting(0.01, "share of the voxels whose variation is looked at in each step", 0.0001, 1)
    # 0.003 instead of 0.01: 0.
    prune_weight: float = _setting(
        0.01, "at the end of a stage, voxels that never weighed more in any ray are dropped", 0, 0.9
    )
    final_prune_weight: float = _setting(0.001, "the same at the end of the training", 0, 0.9)
    evaluation_seconds: float = _setting(5.0, "seconds between measurements on held-out pixels", 0.1, 1e7)
    preview_seconds: float = _setting(8.0, "seconds between preview pictures", 0.1, 1e7)
    checkpoint_seconds: float = _setting(60.0, "seconds between checkpoints", 1, 1e7)

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value, low, high = getattr(self, entry.name), entry.metadata["low"], entry.metadata["high"]
            if low is not None and not low <= value <= high:
                raise ValueError(
                    f"{entry.name} is {value:g}; it must be {low:g} to {high:g} ({entry.metadata['help']})."
                )
        if self.deterministic and not self.max_iterations:
            raise ValueError(
                "A deterministic training cannot follow the clock, which never runs twice alike: give the number of "
                "its steps too, for instance max_iterations=2000."
            )

    @classmethod
    def preset(cls, name: str) -> Recipe:
        """`draft` (20 seconds), `standard` (a minute) or `high` (five minutes).

        Raises:
            ValueError: no such preset.
        """
        if name == "draft":
            return cls(max_seconds=20, voxel_pixels=1.3, max_resolution=128, last_stage_share=0.65, density_rate_end=5)
        if name == "standard":
            return cls()
        if name == "high":
            return cls(
                max_seconds=300,
                voxel_pixels=0.8,
                max_resolution=384,
                stages=4,
                last_stage_share=0.6,
                stage_share_ratio=0.4,
                # In 150 s: 4 and 0.002: 34.1 dB; 2 and 0.001: 34.0; 1 and 0.0005: 33.8; 0.4 and 0.0002: 33.4.
                density_rate_end=3,
                sh_rate_end=0.0015,
                tv_density=3e-6,  # +0.15 against 1e-5 and 1e-3, which three times greater gave -0.6
                tv_sh=3e-4,
            )
        raise ValueError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")

    @classmethod
    def describe(cls) -> list[tuple[str, str, str]]:
        """(name, default, meaning) of every setting."""
        return [(f.name, str(f.default), f.metadata["help"]) for f in dataclasses.fields(cls)]

    def with_overrides(self, overrides: Mapping[str, Any]) -> Recipe:
        """The recipe with some settings replaced; values may be texts.

        Raises:
            ValueError: an unknown name, or a value of the wrong kind or out of range; the sentence names it.
        """
        kinds = typing.get_type_hints(type(self))
        values = {}
        for name, value in overrides.items():
            if name not in kinds:
                raise ValueError(f"There is no setting {name!r}; there are {', '.join(sorted(kinds))}.")
            values[name] = _parse(name, value, kinds[name])
        return dataclasses.replace(self, **values)

    def stage_shares(self) -> list[float]:
        """Share of the training for each stage, coarse first; they sum to 1."""
        earlier = [self.stage_share_ratio**k for k in range(self.stages - 1, 0, -1)]
        if not earlier:
            return [1.0]
        rest = (1 - self.last_stage_share) / sum(earlier)
        return [*(rest * share for share in earlier), self.last_stage_share]


def _parse(name: str, value: Any, kind: type | types.UnionType) -> Any:
    try:
        if kind is bool:
            word = str(value).lower()
            if word not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
                raise ValueError
            return word in ("true", "1", "yes", "on")
        if kind is int:
            number = float(value)
            if number != int(number):
                raise ValueError
            return int(number)
        number = float(value)
        if number != number:
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]  # type: ignore[index]
        raise ValueError(f"{name} is {value!r}; it must be {wanted}.") from None
