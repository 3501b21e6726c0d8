"""Checkpoints: a field as .vdb, which anything can open, and the optimiser's state beside it as .npz, never pickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenoxels.errors import FieldFileError, FolderInUse, ResumeInvalid
from plenoxels.files import replacing
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb.metadata import FieldMetadata
from plenoxels.neuralvdb.vdb_reader import read_field
from plenoxels.neuralvdb.vdb_writer import write_field

STATE_VERSION = 1
_VERSION, _COORDINATES, _NUMBERS, _ARRAY = "format_version", "coordinates", "numbers", "array_"
_MAX_NUMBERS_CHARACTERS = 1024 * 1024
_MAX_STATE_BYTES = 64 * 1024**3


class Checkpoint(NamedTuple):
    """What `load_checkpoint` gives back; `state` is None where no .npz lies beside the .vdb."""

    grid: VoxelGrid
    metadata: FieldMetadata
    state: dict[str, Any] | None


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """The .vdb of a checkpoint."""
    return folder / f"checkpoint_{iteration:06d}.vdb"


def save_checkpoint(
    folder: Path, iteration: int, grid: VoxelGrid, metadata: FieldMetadata, state: Mapping[str, Any]
) -> Path:
    """Writes `checkpoint_NNNNNN.vdb` in full floats and its .npz.

    The .vdb appears last: where it is, the checkpoint is whole.

    Args:
        folder: exists already.
        iteration: optimisation steps done; there must be no checkpoint of the same one.
        grid, metadata: the field.
        state: arrays without objects, numbers, texts and lists of them. Arrays with one entry per voxel follow the
            grid's rows.

    Returns:
        The .vdb's path.

    Raises:
        ValueError: the state holds something else.
        FolderInUse: there is a checkpoint of this iteration.
        DiskFull, NotWritable: the disk refused; nothing of the checkpoint is left.
    """
    path = checkpoint_path(folder, iteration)
    if path.exists():
        raise FolderInUse(f"{path} exists and is not overwritten.", "Choose another output folder.")
    arrays, numbers = _split(state)
    arrays[_VERSION] = np.array(STATE_VERSION)
    arrays[_COORDINATES] = grid.coordinates.cpu().numpy()
    arrays[_NUMBERS] = np.array(numbers)
    beside = path.with_suffix(".npz")
    with replacing(beside) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, values, allow_pickle=False)  # type: ignore[no-untyped-call,unused-ignore]
    try:
        write_field(path, grid, metadata, half_precision=False)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Reads a checkpoint, or any field file, to go on training from.

    Raises:
        ResumeInvalid: the field cannot be read, or the state beside it is damaged or belongs to other voxels.
        OpenVDBMissing: there is no OpenVDB module.
    """
    path = Path(path)
    try:
        grid, metadata = read_field(path)
    except FieldFileError as error:
        raise ResumeInvalid(
            f"The checkpoint {error.message}", error.fix or "Resume from another checkpoint."
        ) from error
    beside = path.with_suffix(".npz")
    if not beside.exists():
        return Checkpoint(grid, metadata, None)
    try:
        coordinates, state = _read_state(beside)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ResumeInvalid(
            f"The optimiser's state {beside} cannot be read ({_reason(error)}).",
            "Resume from another checkpoint, or remove the .npz to go on from the field alone.",
        ) from error
    order = _matching_rows(coordinates, grid.coordinates.numpy())
    if order is None:
        raise ResumeInvalid(
            f"The optimiser's state {beside} belongs to other voxels than {path.name}.",
            "Resume from another checkpoint, or remove the .npz to go on from the field alone.",
        )
    if not np.array_equal(order, np.arange(len(order))):
        state = {name: _reordered(value, order) for name, value in state.items()}
    return Checkpoint(grid, metadata, state)


def remove_older(written: list[Path], keep: int, protected: Iterable[Path] = ()) -> list[Path]:
    """Removes all but the newest `keep` of the checkpoints that this run wrote, and never a protected one.

    Args:
        written: this run's checkpoints, oldest first.
        keep: how many to keep.
        protected: e.g. the one that was resumed from.

    Returns:
        Those that are left, oldest first.
    """
    safe = {path.resolve() for path in protected}
    old = [path for path in written[: max(0, len(written) - keep)] if path.resolve() not in safe]
    for path in old:
        # The .vdb first: it is what makes a checkpoint visible.
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)
    return [path for path in written if path not in old]


def _split(state: Mapping[str, Any]) -> tuple[dict[str, NDArray[Any]], str]:
    """Arrays by their names in the file, and everything else as JSON."""
    arrays: dict[str, NDArray[Any]] = {}
    numbers: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise ValueError(f"The state's array {name!r} holds objects.")
            arrays[_ARRAY + name] = value
        else:
            numbers[name] = value.item() if isinstance(value, np.generic) else value
    try:
        return arrays, json.dumps(numbers, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"The state holds a value that cannot be stored: {error}.") from error


def _read_state(path: Path) -> tuple[NDArray[np.integer[Any]], dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MAX_STATE_BYTES:
            raise ValueError("it unpacks to more than can be used")
    with np.load(path, allow_pickle=False) as data:
        if int(data[_VERSION]) != STATE_VERSION:
            raise ValueError(f"its format version is {int(data[_VERSION])}, not {STATE_VERSION}")
        coordinates = data[_COORDINATES]
        if coordinates.ndim != 2 or coordinates.shape[1] != 3 or coordinates.dtype.kind not in "iu":
            raise ValueError("its coordinates are no [N, 3] integers")
        text = str(data[_NUMBERS])
        if len(text) > _MAX_NUMBERS_CHARACTERS:
            raise ValueError("its numbers are too many")
        numbers = json.loads(text)
        if not isinstance(numbers, dict):
            raise ValueError("its numbers are no object")
        arrays = {name.removeprefix(_ARRAY): data[name] for name in data.files if name.startswith(_ARRAY)}
    return coordinates, {**numbers, **arrays}


def _matching_rows(saved: NDArray[np.integer[Any]], loaded: NDArray[np.integer[Any]]) -> NDArray[np.int64] | None:
    """For each loaded voxel the saved row of the same voxel, int64 [N]; None if they are not the same voxels."""
    if saved.shape != loaded.shape or (len(saved) and (saved.min() < 0 or saved.max() >= 1 << 20)):
        return None
    saved_key, loaded_key = _linear(saved), _linear(loaded)
    if np.array_equal(saved_key, loaded_key):
        return np.arange(len(saved_key))
    order = np.argsort(saved_key)
    place = np.searchsorted(saved_key[order], loaded_key).clip(max=len(order) - 1)
    rows = order[place]
    return rows if np.array_equal(saved_key[rows], loaded_key) else None


def _linear(coordinates: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    c = coordinates.astype(np.int64)
    return np.asarray((c[:, 0] << 42) | (c[:, 1] << 21) | c[:, 2])


def _reordered(value: Any, order: NDArray[np.int64]) -> Any:
    """An array with one entry per voxel in the loaded grid's order; anything else as it is."""
    is_per_voxel = isinstance(value, np.ndarray) and value.ndim and len(value) == len(order)
    return value[order] if is_per_voxel else value


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
