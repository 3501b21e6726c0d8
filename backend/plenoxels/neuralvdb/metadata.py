"""A field file's metadata: one JSON string beside the voxels (contracts/vdb.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from plenoxels import __version__
from plenoxels import checked_json as check
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.grid import VoxelGrid

METADATA_KEY = "plenoxel"
FORMAT_VERSION = 1
MAX_METADATA_BYTES = check.MIB
MAX_RESOLUTION = 4096
_MAX_LEVEL = 16
_KNOWN = {
    "format_version", "resolution", "scene_bounds", "sh_degree", "compositing", "lod_level", "step_size", "background",
    "model_config", "training", "generator",
}  # fmt: skip


def generator() -> str:
    """This program's name and version, as it is written into files."""
    return f"plenoxels {__version__}"


@dataclass(frozen=True)
class TrainingRecord:
    """How a field came to be.

    Attributes:
        iterations: optimisation steps done.
        seconds: seconds of training.
        dataset: the dataset's name.
        held_out_psnr: mean PSNR over held-out views in dB, or None where it was not measured.
    """

    iterations: int = 0
    seconds: float = 0.0
    dataset: str = ""
    held_out_psnr: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "iterations": self.iterations,
            "seconds": self.seconds,
            "dataset": self.dataset,
            "held_out_psnr": self.held_out_psnr,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingRecord:
        """Raises ValueError: half a sentence that names the value at fault."""
        psnr = values.get("held_out_psnr")
        return cls(
            check.integer(values.get("iterations", 0), "iterations", 0, 10**12),
            check.number(values.get("seconds", 0.0), "seconds", 0),
            check.text(values.get("dataset", ""), "dataset"),
            None if psnr is None else check.number(psnr, "held_out_psnr"),
        )


@dataclass(frozen=True)
class FieldMetadata:
    """What a file says about its field.

    Attributes:
        resolution: voxels along x, y, z inside the bounds.
        scene_bounds: min x, y, z, max x, y, z in world units.
        config: the model's settings; degree, compositing and background of the file are those of the config.
        step_size: the step along a ray that the trainer evaluates with, in world units.
        lod_level: 0 = finest.
        training: how it came to be.
        generator: which program wrote it.
        extra: keys this version does not know, kept as they are.
    """

    resolution: tuple[int, int, int]
    scene_bounds: tuple[float, ...]
    config: PlenoxelConfig
    step_size: float
    lod_level: int = 0
    training: TrainingRecord = field(default_factory=TrainingRecord)
    generator: str = field(default_factory=generator)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        grid: VoxelGrid,
        config: PlenoxelConfig,
        training: TrainingRecord | None = None,
        lod_level: int = 0,
    ) -> FieldMetadata:
        """The metadata of a grid under a config; the grid's degree goes before the config's."""
        config = replace(config, sh_degree=grid.sh_degree)
        step = config.step_fraction * min(grid.voxel_size)
        training = training or TrainingRecord()
        return cls(grid.resolution, grid.scene_bounds, config, step, lod_level, training)

    def for_level(self, grid: VoxelGrid, lod_level: int) -> FieldMetadata:
        """The same, for a coarser grid of the same field."""
        step = self.config.step_fraction * min(grid.voxel_size)
        return replace(
            self, resolution=grid.resolution, scene_bounds=grid.scene_bounds, step_size=step, lod_level=lod_level
        )

    @property
    def sh_degree(self) -> int:
        return self.config.sh_degree

    @property
    def compositing(self) -> Compositing:
        return self.config.compositing

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in world units."""
        b, r = self.scene_bounds, self.resolution
        return ((b[3] - b[0]) / r[0], (b[4] - b[1]) / r[1], (b[5] - b[2]) / r[2])

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position of the centre of voxel (0, 0, 0)."""
        h, b = self.voxel_size, self.scene_bounds
        return (b[0] + h[0] / 2, b[1] + h[1] / 2, b[2] + h[2] / 2)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the contract's keys."""
        return {
            **self.extra,
            "format_version": FORMAT_VERSION,
            "resolution": list(self.resolution),
            "scene_bounds": list(self.scene_bounds),
            "sh_degree": self.sh_degree,
            "compositing": self.compositing.value,
            "lod_level": self.lod_level,
            "step_size": self.step_size,
            "background": list(self.config.background),
            "model_config": self.config.to_json(),
            "training": self.training.to_json(),
            "generator": self.generator,
        }

    def to_text(self) -> str:
        """The file's entry.

        Raises:
            ValueError: it is longer than the contract allows, or holds a number JSON cannot say.
        """
        text = json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)
        if len(text.encode()) > MAX_METADATA_BYTES:
            raise ValueError(f"The metadata is longer than {MAX_METADATA_BYTES:,} bytes.")
        return text

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FieldMetadata:
        """Metadata from a file, every value checked.

        Raises:
            ValueError: half a sentence that names the value at fault.
        """
        check.integer(check.required(values, "format_version"), "format_version", 1, FORMAT_VERSION)
        x, y, z = (
            check.integer(edge, "resolution", 1, MAX_RESOLUTION)
            for edge in check.numbers(check.required(values, "resolution"), "resolution", 3)
        )
        bounds = tuple(check.numbers(check.required(values, "scene_bounds"), "scene_bounds", 6))
        if not all(bounds[axis + 3] - bounds[axis] > 1e-12 for axis in range(3)) or max(map(abs, bounds)) > 1e12:
            raise ValueError(f"'scene_bounds' is {list(bounds)}; each minimum must lie below its maximum")
        degree = check.integer(check.required(values, "sh_degree"), "sh_degree", 0, 3)
        compositing = check.text(check.required(values, "compositing"), "compositing", 64)
        if compositing not in list(Compositing):
            raise ValueError(f"'compositing' is {compositing!r}; it must be linear or encoded")
        try:
            config = PlenoxelConfig.from_json(check.mapping(values.get("model_config", {}), "model_config"))
            config = replace(
                config,
                sh_degree=degree,
                compositing=Compositing(compositing),
                background=tuple(check.numbers(values.get("background", [1, 1, 1]), "background", 3)),  # type: ignore[arg-type]
            )
        except ValueError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return cls(
            (x, y, z),
            bounds,
            config,
            check.number(check.required(values, "step_size"), "step_size", 1e-12, 1e12),
            check.integer(values.get("lod_level", 0), "lod_level", 0, _MAX_LEVEL),
            TrainingRecord.from_json(check.mapping(values.get("training", {}), "training")),
            check.text(values.get("generator", ""), "generator"),
            {key: value for key, value in values.items() if key not in _KNOWN},
        )

    @classmethod
    def from_text(cls, text: str) -> FieldMetadata:
        """The inverse of `to_text`, checked. Raises ValueError: half a sentence."""
        if len(text.encode("utf-8", "replace")) > MAX_METADATA_BYTES:
            raise ValueError(f"the metadata is longer than {MAX_METADATA_BYTES:,} bytes")
        return cls.from_json(check.parse_object(text, "the metadata"))
