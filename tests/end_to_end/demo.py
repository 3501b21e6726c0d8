"""The demo inside Blender: bundled photos in, a trained radiance volume rendered by Cycles out.

`python build_addon.py demo` starts this with pip's bpy; see there for what it needs. It says on the terminal what it is
doing, keeps Blender's own talk in blender.log, and leaves everything else in the output folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import time
import tomllib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

try:
    import bpy
except ImportError as missing:  # on servers; everything else is installed by build_addon.py
    sys.exit(
        f"Blender could not be loaded: {missing}. It needs some of the system's libraries even without a window; "
        "on Debian and Ubuntu: apt install libegl1 libgl1 libice6 libsm6 libx11-6 libxext6 libxfixes3 libxi6 "
        "libxkbcommon0 libxrender1"
    )
import numpy as np
import road
import studio
from PIL import Image, ImageDraw, ImageFont

TRAINING_SECONDS = 60
PHOTOS_IN_COMPARISON = 2  # how much larger than life
MARKER = "demo.json"


class Terminal:
    """What the person sees: a line for each step, and one for its progress that is written over."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()
        self._last_line = 0.0
        self._open_line = False

    def say(self, text: str) -> None:
        self._end_line()
        self.stream.write(f"[{time.monotonic() - self._started:5.0f} s] {text}\n")
        self.stream.flush()

    def progress(self, text: str) -> None:
        """On a terminal one line that changes, elsewhere a line every five seconds."""
        now = time.monotonic()
        if self.stream.isatty():
            self.stream.write(f"\r          {text[:100]:<100}")
            self._open_line = True
        elif now - self._last_line >= 5:
            self.stream.write(f"          {text}\n")
            self._last_line = now
        self.stream.flush()

    def _end_line(self) -> None:
        if self._open_line:
            self.stream.write("\n")
            self._open_line = False

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        self.say(text)
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)


@dataclass(frozen=True)
class TrainingRun:
    """What is told of the training; kept beside the job, so that a second run can tell it again."""

    inputs: str
    seconds: float
    iterations: int
    rays_per_second: float
    resolution: tuple[int, int, int] | None
    voxels: int
    peak_memory_mb: float
    device: str


def digest_of_inputs(extension: Path, seconds: float) -> str:
    """Changes when the photos, the trainer or the options change: all of the first two are in the zip."""
    return hashlib.sha256(extension.read_bytes() + f"{seconds:g}".encode()).hexdigest()


def digest_of_everything(inputs: str) -> str:
    """Changes when anything that shows in the report does: those inputs, Blender, or what this folder makes of them."""
    digest = hashlib.sha256(f"{inputs} {bpy.app.version_string}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def earlier_report(output: Path, everything: str) -> dict[str, Any] | None:
    """The report of an earlier run that would come out the same, if all that it names is still there."""
    path = output / "report.json"
    if not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = report["digest"] == everything and all(
            (output / name).stat().st_size == size for name, size in report["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report if same else None


def train(api: Any, terminal: Terminal, output: Path, inputs: str, seconds: float, fresh: bool) -> TrainingRun:
    """The job in `output`/job: a finished one of the same inputs is used again, anything else of ours is replaced."""
    job, marker = output / "job", output / MARKER
    earlier = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None
    if job.exists() and earlier is None:
        raise RuntimeError(f"{job} exists and was not made by the demo: choose another --output, or move it away.")
    if earlier and earlier.get("inputs") == inputs and (job / "field.vdb").is_file() and not fresh:
        terminal.say("The field trained earlier from the same photos is used again; --fresh trains anew.")
        bpy.ops.plenovdb.attach(directory=str(job))
        return TrainingRun(**earlier)
    if job.exists():
        if (job / "status.json").is_file() and not api.poll(job).is_over:
            raise RuntimeError(
                f"A training is still running in {job}: wait for it, or put a file named 'cancel' there."
            )
        shutil.rmtree(job)
    # Written first: from here on the folder is known as ours, also when this run is interrupted.
    marker.write_text(json.dumps({"inputs": None}), encoding="utf-8")
    speeds: list[float] = []

    def report(status: Any) -> None:
        speeds.extend([status.rays_per_second] if status.rays_per_second else [])
        measured = "" if status.psnr is None else f", held-out {status.psnr:.2f} dB"
        speed = f", {status.rays_per_second / 1e6:.2f} M rays/s" if status.rays_per_second else ""
        terminal.progress(f"{status.progress:4.0%} {status.stage}, {status.seconds:.0f} s{speed}{measured}")

    bpy.ops.plenovdb.use_demo_scene()
    dataset = Path(bpy.path.abspath(road.active_scene().plenovdb.dataset))
    road.start_training(dataset, job, preset="standard", max_seconds=seconds)
    try:
        status = api.wait(job, report)
    except BaseException:
        with suppress(api.PlenoError):
            api.cancel(job, force=True)  # the trainer would outlive us
        raise
    status.raise_if_failed()
    run = TrainingRun(
        inputs=inputs,
        seconds=status.seconds,
        iterations=status.iteration,
        rays_per_second=statistics.median(speeds) if speeds else 0.0,
        resolution=status.resolution,
        voxels=status.voxels,
        peak_memory_mb=status.peak_memory_mb,
        device=status.device,
    )
    marker.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
    return run


def write_comparison(view: road.ViewComparison, path: Path) -> None:
    """Photo, trainer and Cycles side by side, labelled."""
    panels = [
        ("photo (held out)", "never seen in training", view.photo),
        ("trainer", f"{view.trainer_photo:.2f} dB to the photo", view.trainer),
        (
            "Cycles",
            f"{view.cycles_photo:.2f} dB to the photo, {view.cycles_trainer:.1f} dB to the trainer",
            view.cycles,
        ),
    ]
    height, width = (PHOTOS_IN_COMPARISON * size for size in view.photo.shape[:2])
    gap, label = 12, 48
    sheet = Image.new("RGB", (gap + len(panels) * (width + gap), gap + label + height + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, detail, picture) in enumerate(panels):
        left = gap + index * (width + gap)
        pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        sheet.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, gap + label))
        draw.text((left, gap), title, "black", ImageFont.load_default(18))
        draw.text((left, gap + 24), detail, "#444444", ImageFont.load_default(13))
    sheet.save(path, optimize=True)


def versions() -> dict[str, Any]:
    return {
        "blender_plenovdb": version_of_extension(),
        "plenoxels": version("plenoxels"),
        "blender": bpy.app.version_string,
        "python": platform.python_version(),
        "torch": version("torch"),
        "warp": version("warp-lang"),
        "numpy": np.__version__,
        "system": platform.platform(),
        "cpu_count": os.cpu_count(),
    }


def version_of_extension() -> str:
    """As Blender knows it, from the installed manifest."""
    manifest = Path(sys.modules[road.EXTENSION].__file__ or "").with_name("blender_manifest.toml")
    return str(tomllib.loads(manifest.read_text(encoding="utf-8"))["version"])


def peak_memory_of_blender_mb() -> float | None:
    """The most memory that this process has held; Windows does not tell the standard library."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def run(arguments: argparse.Namespace, terminal: Terminal) -> dict[str, Any]:
    """All steps; writes report.json and returns what it says. An earlier run that would end the same is told again."""
    started = time.monotonic()
    output: Path = arguments.output
    inputs = digest_of_inputs(arguments.extension, arguments.seconds)
    everything = digest_of_everything(inputs)
    if not arguments.fresh and (report := earlier_report(output, everything)):
        terminal.say("Nothing has changed since the run that is reported here; --fresh does it all again.")
        return report
    with terminal.step("install_extension", f"Installing the extension into Blender {bpy.app.version_string}"):
        api = road.install_extension(arguments.extension)
    scene = road.active_scene()
    with terminal.step("train", f"Training on the bundled photos for {arguments.seconds:g} s, in a process of its own"):
        training = train(api, terminal, output, inputs, arguments.seconds, arguments.fresh)
    with terminal.step("import", "Importing the volume, its levels of detail and the cameras"):
        field = road.place_field(output / "job", output)
        volume, levels = road.import_everything(field, output / "job")
    with terminal.step("compare", "Rendering the held-out cameras with the trainer and with Cycles"):
        views = road.compare_held_out(
            scene,
            field,
            output / "job",
            output / "held_out",
            report=lambda done, total: terminal.progress(f"view {done + 1} of {total}"),
        )
        middle = sorted(views, key=lambda view: view.cycles_photo)[len(views) // 2]
        write_comparison(middle, output / "comparison.png")
    with terminal.step("picture", "Rendering the volume among other objects"):
        first = road.held_out_views(output / "job", scene)[0]
        bpy.ops.plenovdb.setup_scene(camera=first.camera.name, pixel_exact=True)
        studio.make(scene, volume, field)
        road.save_scene(output / "scene.blend")
        studio.render(output / "render.png", terminal.progress)
    seconds = {**json.loads(arguments.earlier_steps), **terminal.seconds}
    seconds["total"] = round(sum(json.loads(arguments.earlier_steps).values()) + time.monotonic() - started, 1)
    report = {
        "digest": everything,
        "versions": versions(),
        "seconds": seconds,
        "training": {**asdict(training), "levels_of_detail": levels},
        "fidelity": {
            "view_transform": scene.view_settings.view_transform,
            "samples": scene.cycles.samples,
            "pixel_filter": f"{scene.cycles.pixel_filter_type} {scene.cycles.filter_width:.2f}",
            "trainer_photo_psnr": round(road.mean([view.trainer_photo for view in views]), 3),
            "cycles_photo_psnr": round(road.mean([view.cycles_photo for view in views]), 3),
            "cycles_trainer_psnr": round(road.mean([view.cycles_trainer for view in views]), 2),
            "cycles_trainer_psnr_lowest": round(min(view.cycles_trainer for view in views), 2),
            "views": {
                view.name: {
                    "trainer_photo": round(view.trainer_photo, 3),
                    "cycles_photo": round(view.cycles_photo, 3),
                    "cycles_trainer": round(view.cycles_trainer, 2),
                }
                for view in views
            },
        },
        "peak_memory_mb": {"trainer": training.peak_memory_mb, "blender": peak_memory_of_blender_mb()},
        "files": {path.name: path.stat().st_size for path in shown_files(output)},
    }
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    (output / "report.json").write_text(text, encoding="utf-8")
    return report


def shown_files(output: Path) -> list[Path]:
    names = ["render.png", "comparison.png", "scene.blend", *sorted(path.name for path in output.glob("field*.vdb"))]
    return [output / name for name in names]


def print_table(report: dict[str, Any], output: Path, terminal: Terminal) -> None:
    """The few figures that matter, and where to look."""
    fidelity, training = report["fidelity"], report["training"]
    speed = f"{training['rays_per_second'] / 1e6:.2f} M rays/s" if training["rays_per_second"] else ""
    rows = {
        "held-out photos, trainer": f"{fidelity['trainer_photo_psnr']:.2f} dB",
        "held-out photos, Cycles": f"{fidelity['cycles_photo_psnr']:.2f} dB",
        "Cycles against the trainer": f"{fidelity['cycles_trainer_psnr']:.2f} dB "
        f"(lowest {fidelity['cycles_trainer_psnr_lowest']:.2f})",
        "training": f"{training['seconds']:.0f} s, {training['iterations']} iterations, {speed}",
        "voxels": f"{training['voxels']:,}, {training['levels_of_detail']} coarser levels of detail",
        "memory, at most": f"trainer {training['peak_memory_mb']:.0f} MB",
        "time": ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report["seconds"].items()),
    }
    lines = ["", *(f"  {name:<28}{value}" for name, value in rows.items()), "", f"Look at, in {output}:"]
    lines += [f"  {name:<28}{size / 1e6:.1f} MB" for name, size in report["files"].items()]
    lines += ["  report.json                 every figure above, and per view"]
    terminal.stream.write("\n".join(lines) + "\n")
    terminal.stream.flush()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extension", type=Path, required=True, help="the extension's zip")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=TRAINING_SECONDS, help="of training (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="train again even if a finished field is there")
    parser.add_argument("--earlier-steps", default="{}", help="seconds of the steps before, as JSON")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    # Blender writes to the process's own stdout from C; only our lines are for the person.
    terminal = Terminal(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace"))
    log = os.open(arguments.output / "blender.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    try:
        report = run(arguments, terminal)
    except KeyboardInterrupt:
        terminal.say("Stopped.")
        return 130
    except Exception as error:
        traceback.print_exc()
        terminal.say(f"{type(error).__name__}: {str(error).strip()}")
        return 1
    print_table(report, arguments.output, terminal)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # pip's bpy was seen to hang while Python shuts down
