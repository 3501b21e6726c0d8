"""One set of posed photos, whatever files it came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenoxels.cameras import View
from plenoxels.config import Compositing
from plenoxels.datasets.photos import load_photo
from plenoxels.errors import DatasetInvalid

_MAX_THREADS = 8


@dataclass(frozen=True)
class Dataset:
    """Posed photos, split for training and for measuring. Nothing is decoded before `load_photos`.

    Attributes:
        name: the folder's name.
        folder: where it lies.
        train: views to learn from.
        test: held-out views, never learned from.
        val: views for choosing settings; may be empty.
        has_alpha: every training photo has an alpha channel, so that silhouettes are known.
        downscale: every n x n pixels of a photo are one pixel of a view.
        compositing: whether downscaling averages light or encoded values.
    """

    name: str
    folder: Path
    train: list[View]
    test: list[View]
    val: list[View] = field(default_factory=list)
    has_alpha: bool = False
    downscale: int = 1
    compositing: Compositing = Compositing.LINEAR

    @property
    def views(self) -> list[View]:
        """All views: train, val, test."""
        return [*self.train, *self.val, *self.test]

    def split(self, name: str) -> list[View]:
        """The views of `train`, `val` or `test`.

        Raises:
            DatasetInvalid: there is no such split, or it is empty.
        """
        splits = {"train": self.train, "val": self.val, "test": self.test}
        if not splits.get(name):
            known = ", ".join(known for known, views in splits.items() if views)
            raise DatasetInvalid(f"The dataset {self.folder} has no split '{name}'.", f"It has: {known}.")
        return splits[name]

    def load_photos(
        self, views: Sequence[View], on_progress: Callable[[int, int], None] | None = None
    ) -> list[NDArray[np.uint8]]:
        """Decodes the views' photos with several threads.

        Args:
            views: views of this dataset.
            on_progress: called with (done, total) after each photo, from the calling thread.

        Returns:
            One uint8 [height, width, 4] per view: sRGB-encoded colour, straight alpha (255 where the file has none).

        Raises:
            DatasetInvalid: a photo cannot be read or has changed its size; the sentence names frame and file.
        """
        photos: list[NDArray[np.uint8]] = []
        with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="photos") as pool:
            try:
                for photo in pool.map(self._load, views):
                    photos.append(photo)
                    if on_progress:
                        on_progress(len(photos), len(views))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return photos

    def _load(self, view: View) -> NDArray[np.uint8]:
        if view.photo is None:
            raise DatasetInvalid(f"Frame '{view.name}' of {self.folder} has no photo.")
        size = (view.intrinsics.width, view.intrinsics.height)
        try:
            return load_photo(view.photo, size, self.downscale, self.compositing)
        except ValueError as error:
            raise DatasetInvalid(f"Frame '{view.name}' of {self.folder}: {error}.", f"See {view.photo}.") from None
