"""The field: sparse voxels, their memory layout, and the bricks that rays march through."""

from plenoxels.grid.brick_map import BrickCounts, BrickMap
from plenoxels.grid.row_layout import RowLayout
from plenoxels.grid.space_curve import curve_position
from plenoxels.grid.voxel_grid import VoxelGrid

__all__ = ["BrickCounts", "BrickMap", "RowLayout", "VoxelGrid", "curve_position"]
