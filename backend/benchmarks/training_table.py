"""How good a field is after so many seconds: the table of trained scenes, beside Plenoxels' published figures.

Each row is one run of `python -m plenoxels train`, as users start it: the field is written, read back and measured on
the held-out views. A finished row is kept; results.json grows row by row.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import BACKEND, SCENES, BenchmarkFailed, Machine, markdown, number, read_results
from benchmarks.job_figures import JobFigures
from plenoxels.errors import PlenoxelError
from plenoxels.files import make_folder, write_json


@dataclass(frozen=True)
class Row:
    """One training of the table.

    Attributes:
        name: how --rows calls it.
        dataset: folder below --data (or absolute).
        downscale: every n x n pixels of a photo become one.
        seconds: of training.
        preset: the recipe's.
        compositing: `linear` or `encoded`.
        settings: changes of the recipe or the model, as `--set`.
        target: PSNR in dB that we want to reach; None: none of its own.
        like: the row whose PSNR is the target instead, less `slack` dB.
    """

    name: str
    dataset: str
    seconds: float
    downscale: int = 1
    preset: str = "high"
    compositing: str = "encoded"
    settings: Mapping[str, str] = field(default_factory=dict)
    target: float | None = None
    like: str | None = None
    slack: float = 0.3

    def command(self, data: Path, job: Path, options: Sequence[str]) -> list[str]:
        """What trains it."""
        command = [sys.executable, "-m", "plenoxels", "train", str(data / self.dataset), "--output", str(job)]
        command += ["--preset", self.preset, "--max-seconds", f"{self.seconds:g}", "--downscale", str(self.downscale)]
        command += ["--compositing", self.compositing]
        return [*command, *(f"--set={name}={value}" for name, value in self.settings.items()), *options]

    def recipe_text(self) -> str:
        return " ".join([self.preset, self.compositing, *(f"{name}={value}" for name, value in self.settings.items())])


# The shared lego has 800 x 800 photos: downscale 2 makes 400 x 400 of them. chair_400 is that small already.
ROWS = (
    Row("lego_400_60s", "lego", 60, downscale=2, preset="standard", target=32.3),
    Row("lego_400_300s", "lego", 300, downscale=2, target=34.8),
    Row("lego_400_300s_no_alpha", "lego", 300, downscale=2, settings={"use_alpha": "false"}, target=33.8),
    Row("lego_400_300s_linear", "lego", 300, downscale=2, compositing="linear", like="lego_400_300s"),
    Row("lego_800_648s", "lego", 648, target=34.1),
    Row("chair_400_120s", "chair_400", 120, preset="standard", target=33.5),
)


@dataclass(frozen=True)
class Published:
    """A figure of the paper: PSNR in dB over the official test views; seconds of training; rays used."""

    scene: str
    psnr: float
    photo: int = 800
    views: int = 200
    rays: int = 640_000_000
    seconds: float | None = None


PUBLISHED = (Published("lego", 34.10, seconds=648), Published("chair", 33.98))
PUBLISHED_NOTE = (
    "Published: Plenoxels (Fridovich-Keil et al., CVPR 2022), on a Titan RTX. They are not the same measurement: other "
    "hardware, photos of 800x800 where the rows named 400 have a quarter of the pixels, all "
    "200 official test views where the shared data have fewer (see the column), encoded compositing always."
)


def main(argv: Sequence[str] | None = None, rows: Sequence[Row] = ROWS) -> int:
    """The command line; returns its exit status."""
    arguments = _parser(rows).parse_args(argv)
    known = {row.name: row for row in rows}
    unknown = [name for name in arguments.rows or () if name not in known]
    if unknown:
        print(f"There is no row {unknown[0]!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    options = ["--device", arguments.device] + (["--threads", str(arguments.threads)] if arguments.threads else [])
    path = arguments.output / "results.json"
    failed = 0
    try:
        results = read_results(path)
        for row in [] if arguments.print else [known[name] for name in arguments.rows or known]:
            definition = {**asdict(row), "options": options}
            kept = results.get(row.name)
            if kept and kept["row"] == definition and not arguments.again:
                print(f"{row.name}: measured before ({kept['machine']['date']}); --again measures it anew.")
                continue
            try:
                results[row.name] = {"row": definition, **_measure(row, arguments.data, arguments.output, options)}
            except BenchmarkFailed as error:
                failed += 1
                print(f"{row.name}: {error}", file=sys.stderr)
            else:
                write_json(path, results)
        print(f"\n{table(rows, results)}")
    except (BenchmarkFailed, PlenoxelError) as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if failed else 0


def table(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    """The Markdown table of the rows that have results, the published figures and what it was measured on."""
    header = "row|recipe|photos|views|PSNR dB|target|SSIM|training s|CPU s / threads|rays M|M rays/s|steps|voxels M"
    lines, machines = [], []
    for row in rows:
        if row.name in results:
            figures = JobFigures.from_json(results[row.name]["figures"])
            lines.append(_line(row, figures, _target(row, results)))
            machines.append(f"{Machine(**results[row.name]['machine']).line()}, {figures.device}")
    if not lines:
        return "No row has been measured."
    for paper in PUBLISHED:
        size, views, rays = f"{paper.photo}x{paper.photo}", str(paper.views), number(paper.rays, 0, 1e6)
        speed = paper.rays / paper.seconds if paper.seconds else None
        cells = [f"Plenoxels, {paper.scene}", "as published", size, views, f"{paper.psnr:.2f}", "-", "-"]
        cells += [number(paper.seconds), "-", rays, number(speed, 2, 1e6)]
        lines.append([*cells, *["-"] * 4])
    measured = "\n".join(f"Measured on: {line}" for line in dict.fromkeys(machines))
    return "\n\n".join([markdown([*header.split("|"), "file MB", "memory MB"], lines), PUBLISHED_NOTE, measured])


def _line(row: Row, figures: JobFigures, target: float | None) -> list[str]:
    return [
        row.name,
        row.recipe_text(),
        "x".join(map(str, figures.photo)),
        str(figures.views),
        number(figures.psnr, 2),
        "-" if target is None else f"{target:.2f}" + _verdict(figures.psnr, target),
        number(figures.ssim, 4),
        number(figures.seconds, 1),
        number(figures.cpu_seconds_a_thread, 1),
        number(figures.rays, 1, 1e6),
        number(figures.rays_per_second, 2, 1e6),
        number(figures.iterations),
        number(figures.voxels, 2, 1e6),
        number(figures.field_mb, 1),
        number(figures.peak_memory_mb),
    ]


def _verdict(psnr: float | None, target: float) -> str:
    return "" if psnr is None else f" ({psnr - target:+.2f})"


def _target(row: Row, results: Mapping[str, Any]) -> float | None:
    """The PSNR to reach; None where there is none, or the row that it is taken from is not measured."""
    if row.like is None:
        return row.target
    psnr = results.get(row.like, {}).get("figures", {}).get("psnr")
    return None if psnr is None else psnr - row.slack


def _measure(row: Row, data: Path, output: Path, options: Sequence[str]) -> dict[str, Any]:
    """Trains a row and gathers its figures."""
    machine, job = Machine.here(), output / "jobs" / row.name
    if job.exists():
        shutil.rmtree(job)  # of a run that failed, or is measured again: this folder is ours alone
    make_folder(job)
    print(f"{row.name}: {row.seconds:g} s of training, then measuring ...", flush=True)
    paths = [str(BACKEND), *filter(None, [os.environ.get("PYTHONPATH")])]  # this checkout, whatever is installed
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    log = job / "train.log"
    with log.open("wb") as file:
        command = row.command(data, job, options)
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    try:
        if code:
            raise ValueError(f"The training ended with status {code}: {_last_line(log)}")
        figures = JobFigures.gather(job)
    except (OSError, ValueError, KeyError) as error:
        raise BenchmarkFailed(f"{error} See {log}.") from None
    print(f"{row.name}: PSNR {number(figures.psnr, 2)} dB after {figures.seconds:.1f} s", flush=True)
    return {"machine": machine.to_json(), "figures": figures.to_json()}


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing.")


def _parser(rows: Sequence[Row]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(row.name for row in rows)
    parser.add_argument("--data", type=Path, default=SCENES, metavar="DIR", help="the folder with the scenes in it")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help=f"only these: {names}")
    parser.add_argument(
        "--output", type=Path, default=Path("training_table"), metavar="DIR", help="for results.json and the jobs"
    )
    parser.add_argument("--again", action="store_true", help="measure rows anew that have results")
    parser.add_argument("--print", action="store_true", help="only print the table of the results so far")
    parser.add_argument("--device", default="auto", help="as in `plenoxels train`")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
