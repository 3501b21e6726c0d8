"""What a field is made of, beyond its voxels: the settings that say how it becomes a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Compositing(StrEnum):
    """How samples along a ray become a pixel (contracts/vdb.md)."""

    LINEAR = "linear"
    ENCODED = "encoded"


@dataclass(frozen=True)
class PlenoxelConfig:
    """A Plenoxel field's model settings, stored in its file.

    Attributes:
        sh_degree: degree of the spherical harmonics, 0 to 3.
        compositing: light (what Blender shows) or encoded values (as Plenoxels was published).
        background: sRGB-encoded colour behind the field.
        step_fraction: step along a ray when a picture is rendered, in smallest voxel edges.
        weight_threshold: samples with a smaller compositing weight are left out.
        transmittance_threshold: a ray ends where less light than this remains.
    """

    sh_degree: int = 2
    compositing: Compositing = Compositing.LINEAR
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    step_fraction: float = 0.5
    weight_threshold: float = 1e-4
    transmittance_threshold: float = 1e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "compositing", Compositing(self.compositing))
        background = tuple(float(c) for c in self.background)
        object.__setattr__(self, "background", background)
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree is {self.sh_degree}; it must be 0 to 3.")
        if len(background) != 3 or not all(math.isfinite(c) and c >= 0 for c in background):
            raise ValueError(f"background is {self.background}; it must be three numbers from 0 up.")
        if not 0.01 <= self.step_fraction <= 4:
            raise ValueError(f"step_fraction is {self.step_fraction}; it must be 0.01 to 4 voxels.")
        for name in ("weight_threshold", "transmittance_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "compositing": self.compositing.value, "background": list(self.background)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PlenoxelConfig:
        """The config of a file's metadata; unknown keys are ignored.

        Raises:
            ValueError: a value is of the wrong kind or out of range.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"model_config holds a value of the wrong kind: {error}.") from error
