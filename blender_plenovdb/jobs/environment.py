"""The backend's surroundings: which interpreter runs it, and the environment variables it gets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import PlenoError

INTERPRETER_VARIABLE = "PLENOVDB_PYTHON"

INSTALL_HINT = (
    "Install the backend in it (PYTHON -m pip install the wheel that comes with the extension), or set another "
    f"interpreter in the extension's preferences or in the environment variable {INTERPRETER_VARIABLE}."
)

_CACHES = {
    "WARP_CACHE_PATH": "warp",
    "XDG_CACHE_HOME": "xdg",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "torch_inductor",
    "TORCH_EXTENSIONS_DIR": "torch_extensions",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
}

# What Blender, a virtual environment or a macOS launcher set for their own Python would mislead another one.
_FOREIGN = frozenset({"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})


@dataclass(frozen=True)
class Environment:
    """Where the backend runs.

    interpreter: the Python that has the backend installed.
    caches: an existing or creatable folder that takes every cache of the trainer and its libraries.
    openvdb: the folder that holds Blender's `openvdb` module, or None if Blender has none.
    """

    interpreter: Path
    caches: Path
    openvdb: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """The backend's command line. `-I` ignores PYTHONUTF8, hence `-X utf8`."""
        return [str(self.interpreter), "-I", "-u", "-X", "utf8", "-m", "plenoxels", *arguments]

    def variables(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment variables for the backend: the inherited ones (default: ours) without what belongs to our
        Python, every cache below `caches`."""
        inherited = os.environ if inherited is None else inherited
        variables = {
            name: value
            for name, value in inherited.items()
            if not name.upper().startswith("PYTHON") and name not in _FOREIGN
        }
        for name, folder in _CACHES.items():
            variables[name] = str(self.caches / folder)
        if self.openvdb is not None:
            variables["PLENOVDB_OPENVDB"] = str(self.openvdb)
        return variables

    def make_caches(self) -> None:
        """Creates the cache folders. Raises PlenoError if that is not possible."""
        try:
            for folder in _CACHES.values():
                (self.caches / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlenoError(
                f"The cache folder {self.caches} cannot be written ({error.strerror or error}).",
                "Free some space or allow writing there, then try again.",
            ) from error


def find_interpreter(preferred: str, inherited: Mapping[str, str] | None = None) -> Path:
    """The backend's interpreter: the one of the preferences, else of PLENOVDB_PYTHON.

    Only looks whether it is a program; whether it runs and has the backend shows when it runs.
    Raises PlenoError with what to do if none is set or it cannot be a program.
    """
    inherited = os.environ if inherited is None else inherited
    from_preferences = preferred.strip()
    value = from_preferences or inherited.get(INTERPRETER_VARIABLE, "").strip()
    source = "preferences" if from_preferences else f"environment variable {INTERPRETER_VARIABLE}"
    if not value:
        raise PlenoError(
            "No Python interpreter is set for the backend.",
            "Set one that has the package plenoxels in the extension's preferences or in the environment variable "
            f"{INTERPRETER_VARIABLE}.",
        )
    path = Path(value).expanduser()
    if path.is_dir():
        raise PlenoError(
            f"The interpreter {path} ({source}) is a folder.",
            "Choose the program in it: bin/python, or Scripts\\python.exe on Windows.",
        )
    if not path.is_absolute() and (found := shutil.which(value)):
        path = Path(found)
    if not path.is_file():
        raise PlenoError(
            f"The interpreter {path} ({source}) does not exist.",
            "Choose the Python that has the package plenoxels installed.",
        )
    if not os.access(path, os.X_OK):
        raise PlenoError(f"The interpreter {path} ({source}) is not a program.", "Choose a Python executable.")
    return path.absolute()  # not resolved: a virtual environment's python is a link that must stay one
