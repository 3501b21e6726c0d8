"""Opening a dataset: looks at the folder and asks the loader that knows its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from plenoxels.config import Compositing
from plenoxels.datasets.dataset import Dataset
from plenoxels.datasets.nerf_synthetic import NerfSyntheticLoader
from plenoxels.errors import DatasetInvalid, DatasetMissing

MAX_DOWNSCALE = 64


class DatasetLoader(Protocol):
    """Knows one layout of folders. A new layout is a new class of this shape in `LOADERS`."""

    @property
    def description(self) -> str:
        """The layout's name and the file it is known by, for the message when nothing fits."""
        ...

    def fits(self, folder: Path) -> bool:
        """Whether the folder has this layout; looks at names only."""
        ...

    def open(self, folder: Path) -> Dataset:
        """The dataset at full size. Raises DatasetMissing, DatasetInvalid."""
        ...


LOADERS: Sequence[DatasetLoader] = (NerfSyntheticLoader(),)


def open_dataset(
    path: str | Path,
    downscale: int = 1,
    compositing: Compositing | str = Compositing.LINEAR,
    loaders: Sequence[DatasetLoader] = LOADERS,
) -> Dataset:
    """Opens the dataset in a folder.

    Args:
        path: the folder.
        downscale: every n x n pixels of a photo become one.
        compositing: what downscaling averages: light or encoded values.
        loaders: the layouts to look for, in this order.

    Raises:
        DatasetMissing: there is no such folder, or a file of it is missing.
        DatasetInvalid: no loader knows the folder, or something in it is wrong; names file and frame.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DatasetMissing(
            f"The dataset {folder} {kind}.", "Give the folder that holds the photos and their cameras."
        )
    if not 1 <= downscale <= MAX_DOWNSCALE:
        raise DatasetInvalid(
            f"The photos of {folder} cannot be downscaled by {downscale}.", f"Choose 1 to {MAX_DOWNSCALE}."
        )
    for loader in loaders:
        if loader.fits(folder):
            dataset = loader.open(folder)
            break
    else:
        known = "; ".join(loader.description for loader in loaders)
        raise DatasetInvalid(f"The folder {folder} holds no dataset of a known layout.", f"Known: {known}.")
    try:
        return replace(
            dataset,
            train=[view.downscaled(downscale) for view in dataset.train],
            val=[view.downscaled(downscale) for view in dataset.val],
            test=[view.downscaled(downscale) for view in dataset.test],
            downscale=downscale,
            compositing=Compositing(compositing),
        )
    except ValueError as error:
        raise DatasetInvalid(f"The dataset {folder}: {error}.") from None
