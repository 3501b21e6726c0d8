"""The exception family of this package: every error a user can meet says what happened, where, and what to do."""


class PlenoxelError(Exception):
    """Something a user can act on.

    Attributes:
        code: the job folder's error code (backend/contracts/job_folder.md).
        message: what happened and where (path, frame, grid).
        fix: what to do, a sentence; may be empty.
    """

    code = "internal"

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message if not fix else f"{message} {fix}")
        self.message = message
        self.fix = fix


class DatasetMissing(PlenoxelError):
    """The dataset's folder or one of its essential files is not there."""

    code = "dataset_missing"


class DatasetInvalid(PlenoxelError):
    """The dataset is there, but cannot be what it claims to be."""

    code = "dataset_invalid"


class FieldFileError(PlenoxelError):
    """A .vdb that is missing, truncated, foreign, oversized or at odds with its own metadata."""

    code = "field_invalid"


class ResumeInvalid(PlenoxelError):
    """A checkpoint that does not fit what is being resumed."""

    code = "resume_invalid"


class FolderInUse(PlenoxelError):
    """A job folder that holds newer work, which is never overwritten."""

    code = "folder_in_use"


class NotWritable(PlenoxelError):
    """A folder or file that cannot be written."""

    code = "not_writable"


class DiskFull(PlenoxelError):
    """No space left where the result should go."""

    code = "disk_full"


class OutOfMemory(PlenoxelError):
    """More memory was needed than there is."""

    code = "out_of_memory"


class DeviceMissing(PlenoxelError):
    """The asked-for device (CUDA) is not there."""

    code = "device_missing"


class OpenVDBMissing(PlenoxelError, ImportError):
    """No OpenVDB module could be found (also an ImportError, as the storage API promises)."""

    code = "openvdb_missing"


_MEMORY_WORDS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "failed to allocate",
    "bad_alloc",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of ours, Python's, torch's or the system's means that memory ran out."""
    words = str(error).lower()
    return isinstance(error, MemoryError | OutOfMemory) or (
        isinstance(error, RuntimeError | OSError) and any(known in words for known in _MEMORY_WORDS)
    )
