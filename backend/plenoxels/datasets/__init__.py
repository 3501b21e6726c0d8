"""Posed photos: the dataset interface and the loaders behind it."""

from plenoxels.datasets.dataset import Dataset
from plenoxels.datasets.registry import LOADERS, DatasetLoader, open_dataset

__all__ = ["LOADERS", "Dataset", "DatasetLoader", "open_dataset"]
