"""Plenoxels: sparse radiance volumes trained from posed photos and stored as OpenVDB."""

__version__ = "0.1.0"
