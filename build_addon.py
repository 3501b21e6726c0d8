"""PlenoVDB's one entry for people: build the Blender extension, run the demo, run the tests.

    python build_addon.py                  build dist/blender_plenovdb-VERSION.zip
    python build_addon.py demo             train the bundled scene, bring it into Blender, render it (under 10 minutes)
    python build_addon.py test [...]       run every check and test; arguments go to pytest

Needs Python 3.11 or newer and nothing else; `demo` and `test` download the rest into environments of their own
(.venv, .venv-bpy-*), with the versions pinned in pyproject.toml.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036 - said here, since the next import would fail without a word
    sys.exit(
        f"build_addon.py needs Python 3.11 or newer; this is {sys.version.split()[0]}. Get one at https://python.org."
    )

import tomllib

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "tests")]

from build_wheel import build_wheel, write_archive  # noqa: E402 - the path is set one line above
from checks import Check, run_all, split_arguments  # noqa: E402

EXTENSION = "blender_plenovdb"
STAMP = "plenovdb-environment.json"
# Room that an environment takes, in GB: measured on Linux with the CPU build of torch.
NEEDED_GB = {"backend": 1.75, "blender": 1.2, "while unpacking": 0.6}
CUDA_TORCH_GB = 8.0


class Problem(Exception):
    """Something a person can put right: the sentence says what, where and how."""


# ---------------------------------------------------------------------------------------------------------------------
# The extension's zip


def extension_members(root: Path) -> Iterator[tuple[str, bytes]]:
    """The files of the extension, by their name in the zip."""
    source = root / EXTENSION
    for path in source.rglob("*"):
        parts = path.relative_to(source).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield "/".join(parts), path.read_bytes()


def build_extension(root: Path) -> Path:
    """Build dist/blender_plenovdb-VERSION.zip, with the backend's wheel inside, and return its path."""
    manifest = root / EXTENSION / "blender_manifest.toml"
    if not manifest.is_file():
        raise Problem(f"{manifest} is missing: this is not a complete checkout of PlenoVDB; clone it anew.")
    version = tomllib.loads(manifest.read_text(encoding="utf-8"))["version"]
    wheel = build_wheel(root / "backend", root / "dist")
    archive = root / "dist" / f"{EXTENSION}-{version}.zip"
    members = dict(extension_members(root))
    members[f"backend_wheel/{wheel.name}"] = wheel.read_bytes()
    write_archive(archive, members.items())
    return archive


# ---------------------------------------------------------------------------------------------------------------------
# Interpreters and environments


def candidate_pythons(version: str) -> Iterator[list[str]]:
    """Commands that may start a Python of this version ("3.11"), likeliest first."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield [sys.executable]
    for name in (f"python{version}", "python3", "python"):
        if found := shutil.which(name):
            yield [found]
    if os.name == "nt":
        if launcher := shutil.which("py"):
            yield [launcher, f"-{version}"]
        pattern = f"pyenv-win/versions/{version}.*/python.exe"
    else:
        pattern = f"versions/{version}.*/bin/python"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from ([str(path)] for path in sorted(pyenv.glob(pattern)))
    framework = Path(f"/Library/Frameworks/Python.framework/Versions/{version}/bin/python{version}")
    if framework.is_file():
        yield [str(framework)]


def find_python(version: str) -> Path | None:
    """A Python of this version that can make environments, or None."""
    probe = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys._base_executable, sep='\\n')"
    for command in candidate_pythons(version):
        try:
            # -I -S would hide a broken site; cwd is set so that no file lying about shadows a module.
            answer = subprocess.run(
                [*command, "-I", "-c", probe], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = answer.stdout.splitlines()
        if answer.returncode == 0 and len(lines) == 2 and lines[0] == version:
            return Path(lines[1]).resolve()  # python and python3.11 are one, found by different ways
    return None


@dataclass(frozen=True)
class Settings:
    """What pyproject.toml pins."""

    groups: Mapping[str, Sequence[str]]
    python_of_bpy: Mapping[str, str]

    @classmethod
    def read(cls, root: Path) -> Settings:
        document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        return cls(document["dependency-groups"], document["tool"]["plenovdb"]["python-of-bpy"])

    def requirements(self, groups: Iterable[str]) -> list[str]:
        return [requirement for group in groups for requirement in self.groups[group]]


@dataclass(frozen=True)
class Environment:
    """A virtual environment in the checkout and what is installed in it."""

    folder: Path
    base_python: Path
    blender: str  # the dependency group of its bpy, such as "bpy-5.0"
    groups: tuple[str, ...]

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def title(self) -> str:
        return f"Blender {self.blender.removeprefix('bpy-')}"


def choose_environments(
    root: Path, settings: Settings, extra_groups: Sequence[str]
) -> tuple[Environment, list[Environment], dict[str, str]]:
    """The main environment, those of the other Blender versions, and the versions left out with the reason.

    The main environment takes this Python if a bpy exists for it, else the first one found on the machine.
    """
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    versions = sorted(settings.python_of_bpy.items(), key=lambda item: item[1] != running)
    pythons = {version: find_python(version) for version in dict.fromkeys(settings.python_of_bpy.values())}
    found = [(blender, python) for blender, version in versions if (python := pythons[version])]
    if not found:
        wanted = " or ".join(pythons)
        raise Problem(
            f"Blender's Python module is made for Python {wanted}; this is {running} and neither was found on this "
            f"machine. Install Python {wanted} from https://python.org and run the same command again."
        )
    main_blender, main_python = found[0]
    main = Environment(root / ".venv", main_python, main_blender, ("backend", main_blender, *extra_groups))
    others = [
        Environment(
            root / f".venv-{blender}",
            python,
            blender,
            (blender, *(group for group in extra_groups if group == "tests")),
        )
        for blender, python in found[1:]
    ]
    left_out = {
        blender: f"no Python {version} was found on this machine"
        for blender, version in versions
        if pythons[version] is None
    }
    return main, others, left_out


def clean_environment(**additions: str) -> dict[str, str]:
    """The variables for a child: without what would bend its Python, with UTF-8 everywhere."""
    bending = {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in bending}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **additions}


def check_room(folder: Path, environment: Environment) -> None:
    """Refuse to start an installation that cannot fit."""
    needed = NEEDED_GB["blender"] + NEEDED_GB["while unpacking"]
    if "backend" in environment.groups:
        needed += NEEDED_GB["backend"]
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise Problem(
            f"{environment.folder} needs about {needed:.1f} GB and the disk has {free:.1f} GB left: "
            f"make room there, or move this folder to a larger disk."
        )
    if sys.platform == "linux" and "backend" in environment.groups and free < needed + CUDA_TORCH_GB:
        print(
            f"  note: the disk has {free:.1f} GB left and torch with CUDA takes about {CUDA_TORCH_GB:.0f} GB. Without\n"
            "  an NVIDIA GPU, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu to get the small one."
        )


def explain_pip_failure(output: str, environment: Environment, log: Path) -> Problem:
    """One sentence for the usual reasons for which pip fails."""
    where = f"The whole output is in {log}."
    if "No space left on device" in output or "Errno 28" in output or "not enough space on the disk" in output:
        return Problem(
            f"The disk became full while installing into {environment.folder} (pip also unpacks in the temporary "
            f"folder, which TMPDIR moves): make room and run the same command again. {where}"
        )
    if re.search(
        r"NewConnectionError|NameResolutionError|Max retries exceeded|ConnectTimeout|ProxyError|SSLError", output
    ):
        return Problem(
            "pip could not reach the package index: connect to the internet (or set PIP_PROXY or PIP_INDEX_URL to "
            f"what your network offers) and run the same command again. {where}"
        )
    if "Permission denied" in output or "Errno 13" in output:
        return Problem(f"pip may not write to {environment.folder}: own that folder or move the checkout. {where}")
    if missing := re.search(r"No matching distribution found for (\S+)", output):
        return Problem(
            f"No build of {missing[1]} exists for this system ({sys.platform}, {environment.base_python}): it needs "
            f"64-bit Windows, Linux with glibc 2.28 or newer, or macOS on Apple silicon. {where}"
        )
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    return Problem(f"pip failed in {environment.folder}: {last.strip()} {where}")


def run_pip(environment: Environment, arguments: Sequence[str], log: Path) -> None:
    """Run pip's install in an environment; show the name of each package as it comes, keep everything in `log`."""
    command = [str(environment.python), "-I", "-u", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    log.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*command, "--progress-bar", "off", *arguments],
        cwd=environment.folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    output: list[str] = []
    with process, log.open("w", encoding="utf-8") as file:
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            output.append(line)
            if large := re.search(r"Downloading \S*?([^/\s]+?)-\d\S* (\([\d.]+ [MG]B\))", line):
                print(f"  {large[1]} {large[2]}", flush=True)
            elif line.startswith("Installing collected"):
                print("  unpacking ...", flush=True)
    if process.returncode != 0:
        raise explain_pip_failure("".join(output), environment, log)


def prepare(root: Path, settings: Settings, environment: Environment) -> None:
    """Make an environment, or bring it up to date: nothing is done when its stamp already has all that is wanted."""
    wanted = settings.requirements(environment.groups)
    stamp = environment.folder / STAMP
    state: dict[str, Any] = {}
    if stamp.is_file():
        state = json.loads(stamp.read_text(encoding="utf-8"))
    elif environment.folder.exists():
        raise Problem(
            f"{environment.folder} exists and was not made by build_addon.py: "
            "move it away, then run the same command again."
        )
    if state.get("base_python") != str(environment.base_python) or not environment.python.exists():
        state = {}
    if set(wanted) <= set(state.get("requirements", [])):
        return
    check_room(root, environment)
    if not state:
        print(f"Making {environment.folder.name} with {environment.base_python} ...", flush=True)
        shutil.rmtree(environment.folder, ignore_errors=True)
        made = subprocess.run(
            [str(environment.base_python), "-I", "-m", "venv", str(environment.folder)],
            cwd=root,
            env=clean_environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        if made.returncode != 0:
            reason = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["no reason given"]
            raise Problem(f"{environment.base_python} could not make {environment.folder}: {reason[0]}")
        state = {"base_python": str(environment.base_python), "requirements": []}
        # Written before pip starts, so that an interrupted run is known as ours and continued.
        stamp.write_text(json.dumps(state), encoding="utf-8")
    print(f"Installing {environment.title} and what it needs into {environment.folder.name} ...", flush=True)
    log = root / ".cache" / f"pip{environment.folder.name}.log"
    run_pip(environment, ["--only-binary", ":all:", *wanted], log)
    kept = [old for old in state["requirements"] if name_of(old) not in {name_of(new) for new in wanted}]
    state["requirements"] = sorted({*wanted, *kept})
    stamp.write_text(json.dumps(state, indent=1), encoding="utf-8")


def name_of(requirement: str) -> str:
    """The package's name in a requirement such as "torch==2.13.0"."""
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].rstrip("=").lower()


def install_backend(root: Path, environment: Environment) -> None:
    """Install the backend's wheel, unless this very wheel is installed already."""
    wheel = build_wheel(root / "backend", root / "dist")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    stamp = environment.folder / STAMP
    state = json.loads(stamp.read_text(encoding="utf-8"))
    if state.get("wheel") == digest:
        return
    log = root / ".cache" / f"pip{environment.folder.name}-backend.log"
    run_pip(environment, ["--no-index", "--no-deps", "--force-reinstall", str(wheel)], log)
    stamp.write_text(json.dumps({**state, "wheel": digest}, indent=1), encoding="utf-8")


def validate_extension(environment: Environment, archive: Path) -> None:
    """Have Blender's own validator read the zip."""
    found = sorted(environment.folder.rglob("bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if not found:
        raise Problem(f"{environment.folder} holds no bpy: delete that folder and run the same command again.")
    answer = subprocess.run(
        [str(environment.python), "-I", str(found[0]), "validate", str(archive)],
        cwd=archive.parent,
        env=clean_environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
    )
    if answer.returncode != 0:
        raise Problem(f"Blender's validator refuses {archive}:\n{(answer.stdout + answer.stderr).strip()}")


# ---------------------------------------------------------------------------------------------------------------------
# The demo


def run_demo(root: Path, output: Path, fresh: bool) -> None:
    """Train the bundled scene, bring it into Blender through the extension's operators, and render it there."""
    seconds: dict[str, float] = {}
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    settings = Settings.read(root)
    environment, _, _ = choose_environments(root, settings, ())
    prepare(root, settings, environment)
    install_backend(root, environment)
    seconds["environment"] = round(time.monotonic() - started, 1)
    started = time.monotonic()
    archive = build_extension(root)
    validate_extension(environment, archive)
    seconds["build"] = round(time.monotonic() - started, 1)
    print(f"Built {archive.relative_to(root)}; Blender's validator accepts it.", flush=True)
    resources = root / ".cache" / f"demo-{environment.blender}"
    shutil.rmtree(resources, ignore_errors=True)  # as it is for whoever installs the extension for the first time
    command = [str(environment.python), "-E", "-s", "-u", str(root / "tests" / "end_to_end" / "demo.py")]
    command += ["--extension", str(archive), "--output", str(output), "--earlier-steps", json.dumps(seconds)]
    variables = clean_environment(BLENDER_USER_RESOURCES=str(resources), PLENOVDB_PYTHON=str(environment.python))
    with subprocess.Popen([*command, *(["--fresh"] if fresh else [])], cwd=output, env=variables) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait(timeout=20)  # it was interrupted as well, and first stops the trainer
            raise
        finally:
            process.kill()  # no effect on one that has ended
    if process.returncode != 0:
        raise Problem(f"The demo stopped in Blender. What Blender said is in {output / 'blender.log'}.")


# ---------------------------------------------------------------------------------------------------------------------
# The tests


def pytest_check(
    root: Path, name: str, environment: Environment, main: Environment, tests: Sequence[str], options: Sequence[str]
) -> Check:
    """One pytest run; jobs that its tests start run in the main environment, which has the backend."""
    cache = root / ".cache"
    label = re.sub(r"[^a-z0-9.]+", "-", name.lower())
    variables = clean_environment(
        PLENOVDB_PYTHON=str(main.python),
        BLENDER_USER_RESOURCES=str(cache / f"blender-{label}"),
        WARP_CACHE_PATH=str(cache / "warp"),
    )
    junit = cache / f"{label}.xml"
    command = [str(environment.python), "-m", "pytest", "-rs", f"--junitxml={junit}", *tests, *options]
    check = Check(name, command, variables, junit, may_be_empty=bool(options))
    if not tests:
        check.skipped = "none of the tests named belongs here"
    return check


def run_tests(root: Path, arguments: Sequence[str]) -> bool:
    """Run linters, type checker and every test, in each Blender version that this machine can have."""
    settings = Settings.read(root)
    main, others, left_out = choose_environments(root, settings, ("tests", "lint"))
    for environment in (main, *others):
        prepare(root, settings, environment)
    install_backend(root, main)
    validate_extension(main, build_extension(root))
    checks: list[Check] = []
    if not arguments:
        for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
            checks.append(Check(" ".join(tool), [str(main.python), "-m", *tool], clean_environment()))
    named, options = split_arguments(root, arguments)
    if not named:
        named = sorted(f"tests/{path.name}" for path in (root / "tests").iterdir() if any(path.glob("test_*.py")))
    # Tests of the backend import torch, which must never share a process with Blender.
    inside = [name for name in named if name.replace("\\", "/").startswith(("tests/blender", "tests/end_to_end"))]
    outside = [name for name in named if name not in inside]
    checks.append(pytest_check(root, "pytest outside Blender", main, main, outside, options))
    for environment in (main, *others):
        checks.append(pytest_check(root, f"pytest in {environment.title}", environment, main, inside, options))
    checks += [Check(f"pytest in {blender}", skipped=reason) for blender, reason in left_out.items()]
    return run_all(root, checks)


# ---------------------------------------------------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="build_addon.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("build", help="build the extension's zip (also without a command)")
    demo = commands.add_parser("demo", help="the main job on the bundled scene, through Blender")
    demo.add_argument(
        "--output", type=Path, default=Path("demo_output"), help="where results go (default: %(default)s)"
    )
    demo.add_argument("--fresh", action="store_true", help="train again even if a finished field is there")
    commands.add_parser("test", help="run every check and test", add_help=False)
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command != "test":
        parser.error(f"unknown argument: {rest[0]}")
    return known, rest


def explain_os_error(error: OSError) -> Problem:
    """A sentence for what the operating system refused."""
    where = error.filename or ROOT
    if error.errno == errno.ENOSPC:
        return Problem(f"The disk is full at {where}: make room and run the same command again.")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return Problem(f"{where} may not be written: own the folder, or copy the checkout to one of yours.")
    return Problem(f"{error.strerror or error}: {where}")


def main(arguments: Sequence[str]) -> int:
    known, rest = parse_arguments(arguments)
    try:
        if known.command == "demo":
            run_demo(ROOT, known.output.resolve(), known.fresh)
        elif known.command == "test":
            return 0 if run_tests(ROOT, rest) else 1
        else:
            print(build_extension(ROOT))
        return 0
    except Problem as problem:
        print(f"build_addon.py: {problem}", file=sys.stderr)
    except OSError as error:
        print(f"build_addon.py: {explain_os_error(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("build_addon.py: stopped.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # Windows consoles: never fail at a folder's name
    raise SystemExit(main(sys.argv[1:]))
