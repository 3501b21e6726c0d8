"""Our CPU kernels against the C++ header that showed what is possible: the same scene, rays and threads, turn by turn.

A figure of one side alone says little on a machine that others use. Each pair of measurements lies within a second or
two, its order alternates, it counts processor time, and the median of the pairs' ratios is what is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import torch

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import BenchmarkFailed, Machine, markdown
from benchmarks.reference_kernels import ReferenceKernels, compile_reference, find_compiler
from plenoxels.benchmark import orbit_rays, shell_scene
from plenoxels.config import Compositing
from plenoxels.errors import PlenoxelError
from plenoxels.files import write_json
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import Field, GradientBuffers, MarchSettings, RmsPropRates
from plenoxels.kernels.cpu.kernels import CpuKernels

_BATCH = 20_000
_BATCHES = 8
_DENSITY_RATE, _SH_RATE, _DECAY, _EPSILON = 1e-6, 1e-9, 0.95, 1e-8  # too small to change the scene while it is timed
_MOST_DIFFERENCE = 0.03  # of the pictures, root mean square: samples lie up to half a step apart

Turn = Callable[[int], None]  # works through batch number i


@dataclass(frozen=True)
class Work:
    """What is timed: `tile` x `tile` pixels of rays together; forward alone, with gradients, or a whole step."""

    name: str
    tile: int
    gradients: bool = False
    update: bool = False


WORKS = (
    Work("forward, random rays", 1),
    Work("forward, 4x4 tiles", 4),
    Work("gradients, 4x4 tiles", 4, gradients=True),
    Work("train, random rays", 1, gradients=True, update=True),
    Work("train, 4x4 tiles", 4, gradients=True, update=True),
)


@dataclass(frozen=True)
class Comparison:
    """Rays per processor second of both sides, pair by pair.

    Attributes:
        scene: the shell's voxels a side.
        work: a Work's name.
        threads: of both.
        ours, reference: rays a second of processor time of all threads.
    """

    scene: int
    work: str
    threads: int
    ours: list[float]
    reference: list[float]

    @property
    def ratios(self) -> list[float]:
        """Ours over the reference's, each pair: above 1 we are faster."""
        return [a / b for a, b in zip(self.ours, self.reference, strict=True)]

    def cells(self) -> list[str]:
        """Its line of the table."""
        ratios = self.ratios
        quarters = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [ratios[0]] * 3
        rates = [f"{median(rates) / 1e6:.3f}" for rates in (self.ours, self.reference)]
        return [
            f"shell {self.scene}^3: {self.work}",
            str(self.threads),
            *rates,
            f"{median(ratios):.3f}",
            f"{quarters[0]:.3f}..{quarters[2]:.3f}",
            f"{min(ratios):.3f}..{max(ratios):.3f}",
        ]


class Sides:
    """Both kernels on one scene with so many threads."""

    def __init__(self, reference: ReferenceKernels, grid: VoxelGrid, threads: int) -> None:
        self._reference, self._ours = reference, CpuKernels(threads)
        self._field, self._gradients = Field.of(grid), GradientBuffers.for_grid(grid)
        self._layout = grid.layout
        self._settings = MarchSettings(0.5 * grid.voxel_size[0], 1e-4, 1e-4, (1.0, 1.0, 1.0), Compositing.ENCODED)
        self._rates = RmsPropRates(_DENSITY_RATE, _SH_RATE, _DECAY, _EPSILON, _EPSILON)

    def check(self) -> None:
        """Whether both do the same.

        Raises:
            BenchmarkFailed: pictures or gradients differ.
        """
        rays, targets, pixels = orbit_rays(_BATCH, 4, 0), torch.full((_BATCH, 3), 0.5), torch.empty(_BATCH, 3)
        scene = self._reference.scene(rays, targets, pixels)
        self._reference.add_gradients(scene)
        self._ours.loss_gradients(self._field, rays, targets, self._settings, self._gradients)
        picture = self._ours.render(self._field, rays, self._settings)[0]
        difference = float((picture - pixels).square().mean().sqrt())
        colours = self._layout.sh_columns().flatten()
        norms = [float(rows[:, colours].norm()) for rows in (self._gradients.rows, self._reference.gradients)]
        self._reference.gradients.zero_()
        self._gradients.rows.zero_()
        if difference > _MOST_DIFFERENCE or not 0.8 < norms[0] / norms[1] < 1.25:
            raise BenchmarkFailed(
                f"The reference does not compute what we do: pictures differ by {difference:.4f} (root mean square), "
                f"the gradients' lengths are {norms[0]:.3g} and {norms[1]:.3g}.",
                "Timing one against the other would say nothing.",
            )

    def turns(self, work: Work) -> tuple[Turn, Turn]:
        """What does one batch: ours, the reference's."""
        batches = [orbit_rays(_BATCH, work.tile, seed) for seed in range(_BATCHES)]
        targets, pixels = torch.full((_BATCH, 3), 0.5), torch.empty(_BATCH, 3)
        scenes = [self._reference.scene(rays, targets, pixels) for rays in batches]

        def ours(number: int) -> None:
            rays = batches[number % _BATCHES]
            if not work.gradients:
                self._ours.render(self._field, rays, self._settings)
                return
            self._ours.loss_gradients(self._field, rays, targets, self._settings, self._gradients)
            if work.update:
                self._ours.rmsprop_step(self._field, self._gradients, self._rates)

        def reference(number: int) -> None:
            scene = scenes[number % _BATCHES]
            if not work.gradients:
                self._reference.forward(scene)
                return
            self._reference.add_gradients(scene)
            if work.update:
                self._reference.update(scene, _DENSITY_RATE, _SH_RATE, _DECAY, _EPSILON)

        return ours, reference


def compare(sides: Sides, work: Work, scene: int, threads: int, pairs: int, seconds: float) -> Comparison:
    """Times both sides turn by turn, `seconds` of processor time each."""
    turns = sides.turns(work)
    for turn in turns:
        _rate(turn, 0.0)  # once through the memory
    rates: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            rates[side].append(_rate(turns[side], seconds))
    return Comparison(scene, work.name, threads, *rates)


def _rate(turn: Turn, seconds: float) -> float:
    """Rays a second of processor time; whole rounds through the batches, so that both sides see the same rays."""
    begin, done = time.process_time(), 0
    while True:
        for number in range(_BATCHES):
            turn(number)
        done += _BATCHES * _BATCH
        elapsed = time.process_time() - begin
        if elapsed >= seconds:
            return done / elapsed


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    arguments = _parser().parse_args(argv)
    results: list[Comparison] = []
    try:
        compiler = find_compiler(arguments.compiler)
        # On Windows a loaded library cannot be removed.
        with tempfile.TemporaryDirectory(prefix="plenoxels_", ignore_cleanup_errors=True) as folder:
            functions = compile_reference(arguments.reference, compiler, Path(folder))
            for resolution in arguments.resolutions:
                grid = shell_scene(resolution)
                for threads in arguments.threads:
                    sides = Sides(ReferenceKernels(functions, grid, threads), grid, threads)
                    sides.check()
                    for work in WORKS:
                        results.append(compare(sides, work, resolution, threads, arguments.pairs, arguments.seconds))
                        print(" | ".join(results[-1].cells()), flush=True)
        machine = Machine.here()
        if arguments.output:
            document = {"machine": machine.to_json(), "compiler": compiler, "results": [asdict(r) for r in results]}
            write_json(arguments.output, document)
    except (BenchmarkFailed, PlenoxelError) as error:
        print(error, file=sys.stderr)
        return 1
    header = ["scene and work", "threads", "ours M rays/CPU s", "reference", "ours / reference", "quartiles", "range"]
    print("\n" + markdown(header, [comparison.cells() for comparison in results]))
    print(f"\nAbove 1, ours is faster. {arguments.pairs} pairs each, medians. Reference compiled by {compiler}.")
    print(f"Measured on: {machine.line()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, metavar="FILE", help="the header plx.h")
    parser.add_argument("--compiler", metavar="NAME", help="C++ compiler (default: $CXX, or what there is)")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[128, 256], metavar="N", help="scenes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="threads (default: 1 2)")
    parser.add_argument("--pairs", type=int, default=9, metavar="N", help="pairs of measurements each (default: 9)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="processor time of each (default: 0.5)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep all measurements as JSON")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
