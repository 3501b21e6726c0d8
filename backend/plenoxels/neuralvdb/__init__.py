"""Fields as OpenVDB files: writing, reading, levels of detail and checkpoints (contracts/vdb.md)."""

from plenoxels.neuralvdb.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from plenoxels.neuralvdb.levels_of_detail import coarser, level_path, write_levels
from plenoxels.neuralvdb.metadata import FieldMetadata, TrainingRecord
from plenoxels.neuralvdb.vdb_reader import read_field, read_metadata
from plenoxels.neuralvdb.vdb_writer import write_field

__all__ = [
    "Checkpoint",
    "FieldMetadata",
    "TrainingRecord",
    "coarser",
    "level_path",
    "load_checkpoint",
    "read_field",
    "read_metadata",
    "save_checkpoint",
    "write_field",
    "write_levels",
]
