"""The layout of the NeRF-synthetic scenes: transforms_train.json and transforms_test.json beside the pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from plenoxels.camera_files import Frame, path_below, read_frames
from plenoxels.cameras import View
from plenoxels.datasets.dataset import Dataset
from plenoxels.datasets.photos import find_photo, photo_header
from plenoxels.errors import DatasetInvalid, DatasetMissing

_HOLD_OUT_EVERY = 8
_NAMES_IN_MESSAGE = 3
_HEADER_THREADS = 8


class NerfSyntheticLoader:
    """Loads folders with a transforms_train.json.

    transforms_val.json is optional. Without transforms_test.json the val split is held out instead, or else every 8th
    training view.
    """

    description = "NeRF-synthetic (transforms_train.json and transforms_test.json beside the photos)"

    def fits(self, folder: Path) -> bool:
        return self._transforms(folder, "train").is_file()

    def open(self, folder: Path) -> Dataset:
        train, has_alpha = self._read_split(folder, "train")
        rest = {
            split: self._read_split(folder, split)[0]
            for split in ("val", "test")
            if self._transforms(folder, split).is_file()
        }
        val, test = rest.get("val", []), rest.get("test", [])
        if not test and val:
            val, test = [], [replace(view, split="test") for view in val]
        elif not test:
            if len(train) < 2:
                raise DatasetInvalid(f"{self._transforms(folder, 'train')} has one frame; at least two are needed.")
            test = [replace(view, split="test") for view in train[::_HOLD_OUT_EVERY]]
            train = [view for index, view in enumerate(train) if index % _HOLD_OUT_EVERY]
        return Dataset(folder.resolve().name, folder, train, test, val, has_alpha)

    def _transforms(self, folder: Path, split: str) -> Path:
        return folder / f"transforms_{split}.json"

    def _read_split(self, folder: Path, split: str) -> tuple[list[View], bool]:
        """The views of a split, and whether all its photos have alpha."""
        path = self._transforms(folder, split)
        frames = read_frames(path)
        photos = self._find_photos(path, frames)
        with ThreadPoolExecutor(_HEADER_THREADS) as pool:
            headers = list(pool.map(lambda pair: self._header(path, *pair), zip(frames, photos, strict=True)))
        views: list[View] = []
        first: tuple[int, int] | None = None
        for frame, photo, (width, height, _) in zip(frames, photos, headers, strict=True):
            try:
                size = (width, height)
                written = frame.written_size
                if written is not None and written != size:
                    raise ValueError(
                        f"{photo.name} is {width}x{height} pixels, but the file says {written[0]}x{written[1]}"
                    )
                first = first or size
                # One camera_angle_x means one camera: another size would silently mean another focal length.
                if written is None and size != first:
                    raise ValueError(f"{photo.name} is {width}x{height} pixels, the first photo {first[0]}x{first[1]}")
                views.append(View(frame.name, photo, frame.camera_to_world, frame.intrinsics(size), split))
            except ValueError as error:
                raise DatasetInvalid(f"{path}: frame '{frame.name}': {error}.") from None
        return views, all(alpha for _, _, alpha in headers)

    def _find_photos(self, path: Path, frames: list[Frame]) -> list[Path]:
        found: list[Path] = []
        missing: list[str] = []
        for frame in frames:
            try:
                photo = find_photo(path_below(path.parent, frame.file_path))
            except (ValueError, OSError) as error:
                raise DatasetInvalid(f"{path}: frame '{frame.name}': {error}.") from None
            if photo is None:
                missing.append(frame.file_path)
            else:
                found.append(photo)
        if missing:
            names = ", ".join(missing[:_NAMES_IN_MESSAGE]) + (", ..." if len(missing) > _NAMES_IN_MESSAGE else "")
            raise DatasetMissing(
                f"{path} lists {len(frames)} photos, of which {len(missing)} are not there: {names}.",
                "Put them back, or take their frames out of the file.",
            )
        return found

    def _header(self, path: Path, frame: Frame, photo: Path) -> tuple[int, int, bool]:
        try:
            return photo_header(photo)
        except ValueError as error:
            raise DatasetInvalid(f"{path}: frame '{frame.name}': {error}.") from None
