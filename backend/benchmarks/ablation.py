"""What each setting of the recipe is worth: a base and single changes of it, measured on training views held back.

Some training views are kept from the training and measured instead of the test views: whoever picks settings by the
views that are reported fools themselves. Those beside the test cameras are taken: lego's test path has no view from
high above, where training views are many and easy. Differences that are not clearly above the spread of two seeds are
ties.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.changes import changed, difference
from benchmarks.common import SCENES, BenchmarkFailed, Machine, markdown, number, read_results
from plenoxels.cameras import View
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.datasets import Dataset, open_dataset
from plenoxels.errors import PlenoxelError
from plenoxels.evaluation.evaluate import evaluate_views
from plenoxels.files import make_folder, write_json
from plenoxels.render import FieldRenderer
from plenoxels.training.clock import Clock, WorkClock
from plenoxels.training.progress import SilentObserver
from plenoxels.training.recipe import PRESETS, Recipe
from plenoxels.training.trainer import Trainer

# One line a change, relative to the base where the base's value may move (see changes.py). Several settings that only
# make sense together go on one line with spaces between.
CHANGES = (
    "density_rate*2",
    "density_rate/2",
    "density_rate_end*2",
    "density_rate_end/2",
    "sh_rate*1.5",
    "sh_rate/1.5",
    "sh_rate_end*2",
    "sh_rate_end/2",
    "decay=0.8",
    "decay=0.95",
    "decay=0.99",
    "error_share=0",
    "error_share=0.8",
    "opacity_weight=0",
    "training_step=0.5",
    "training_step=1",
    "training_step=2",
    "tile=1",
    "tile=2",
    "tile=8",
    "batch_rays/2",
    "batch_rays*2",
    "tv_density=0",
    "tv_density*3",
    "tv_sh=0",
    "tv_sh*3",
    "tv_density=0 tv_sh=0",
    "prune_weight=0.003",
    "prune_weight=0.03",
    "hull_slack=3",
    "use_alpha=false",
    "stages-1",
    "stages+1",
    "voxel_pixels*1.25",
    "voxel_pixels/1.25",
    "initial_depth*3",
    "initial_depth/3",
)
BASE = "base"
CLOCKS: dict[str, Callable[[], Clock]] = {"wall": Clock, "work": WorkClock}
HELD_BACK_SHARE = 10  # one of so many training views
# Nobody watches: what is drawn and measured on the way only takes time and memory.
UNWATCHED = {"evaluation_seconds": 1e7, "preview_seconds": 1e7, "checkpoint_seconds": 1e7}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        change: as in CHANGES, or `base`.
        seed: of everything drawn at random.
        settings: what the change came to.
        psnr, ssim: means over the views held back; psnr in dB.
        seconds: of training alone.
        cpu_seconds: processor time of all threads, loading the photos included.
        iterations, rays: steps done and rays used.
        voxels: active ones of the field.
        coarsened: why memory ended the refinement early, or None.
    """

    change: str
    seed: int
    settings: Mapping[str, Any]
    psnr: float
    ssim: float | None
    seconds: float
    cpu_seconds: float
    iterations: int
    rays: int
    voxels: int
    coarsened: str | None


def held_back(dataset: Dataset) -> tuple[Dataset, list[View]]:
    """The dataset without some training views and without its test views; and those training views.

    A tenth is held back: the nearest ones to test cameras spread evenly over their path, or every tenth without a test.

    Raises:
        BenchmarkFailed: there are too few.
    """
    count = len(dataset.train) // HELD_BACK_SHARE
    if not count:
        raise BenchmarkFailed(f"{dataset.folder} has {len(dataset.train)} training views: too few to hold one back.")
    if dataset.test:
        positions = np.stack([view.position for view in dataset.train])
        free = list(range(len(dataset.train)))
        for test in np.linspace(0, len(dataset.test) - 1, count).round().astype(int):
            distances = np.linalg.norm(positions[free] - dataset.test[test].position, axis=1)
            free.pop(int(distances.argmin()))
        left = set(free)
        kept = [view for i, view in enumerate(dataset.train) if i not in left]
    else:
        kept = dataset.train[HELD_BACK_SHARE - 1 :: HELD_BACK_SHARE]
    names = {view.name for view in kept}
    return replace(dataset, train=[view for view in dataset.train if view.name not in names], test=[]), kept


def measure(
    dataset: Dataset,
    base: Recipe,
    change: str,
    seed: int,
    config: PlenoxelConfig,
    device: str = "auto",
    threads: int | None = None,
    clock: Callable[[], Clock] = Clock,
) -> Run:
    """Trains once and measures the field, as it is in memory, on the views held back.

    Raises:
        PlenoxelError: the training failed.
    """
    recipe = replace(base if change == BASE else changed(base, change), seed=seed)
    training, views = held_back(dataset)
    begin = time.process_time()
    trainer = Trainer(training, config, recipe.with_overrides(UNWATCHED), device, threads, clock())
    result = trainer.run(SilentObserver())
    cpu_seconds = time.process_time() - begin
    if not result.grid.active_voxels:
        raise BenchmarkFailed(f"{change}: the training ended without a visible voxel. Give it more steps or seconds.")
    scores = evaluate_views(FieldRenderer(result.grid, result.config, device, threads), dataset, views)
    return Run(
        change=change,
        seed=seed,
        settings=difference(replace(base, seed=seed), recipe),
        psnr=scores.psnr,
        ssim=scores.ssim,
        seconds=round(result.seconds, 3),
        cpu_seconds=round(cpu_seconds, 3),
        iterations=result.iterations,
        rays=result.rays,
        voxels=result.grid.active_voxels,
        coarsened=result.coarsened,
    )


def table(runs: Iterable[Run]) -> str:
    """The Markdown table, greatest gain first. Gains are means over the seeds that change and base both have."""
    by_change: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_change.setdefault(run.change, {})[run.seed] = run
    base = by_change.get(BASE, {})
    measured = []
    for change, seeds in by_change.items():
        gains = [run.psnr - base[seed].psnr for seed, run in seeds.items() if seed in base]
        measured.append((fmean(gains) if gains else float("-inf"), change, list(seeds.values()), gains))
    header = ["change", "gain dB", "+-", "PSNR dB", "+-", "SSIM", "s", "CPU s", "steps", "rays M", "voxels M", "seeds"]
    lines = []
    for gain, change, all_runs, gains in sorted(measured, key=lambda entry: (-entry[0], entry[1])):
        lines.append(
            [
                f"**{change}**" if change == BASE else f"`{change}`",
                f"{gain:+.2f}" if gains else "-",
                _spread(gains if change != BASE else []),
                f"{fmean(run.psnr for run in all_runs):.2f}",
                _spread([run.psnr for run in all_runs]),
                number(_mean(run.ssim for run in all_runs), 4),
                f"{fmean(run.seconds for run in all_runs):.1f}",
                f"{fmean(run.cpu_seconds for run in all_runs):.1f}",
                f"{fmean(run.iterations for run in all_runs):,.0f}",
                f"{fmean(run.rays for run in all_runs) / 1e6:.1f}",
                f"{fmean(run.voxels for run in all_runs) / 1e6:.2f}",
                str(len(all_runs)),
            ]
        )
    return markdown(header, lines) if lines else "Nothing has been measured."


def _spread(values: Sequence[float]) -> str:
    """Half the range: with the two or three seeds that anyone can afford, a deviation would only look more exact."""
    return f"{(max(values) - min(values)) / 2:.2f}" if len(values) > 1 else "-"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def main(argv: Sequence[str] | None = None, changes: Sequence[str] = CHANGES) -> int:
    """The command line; returns its exit status."""
    arguments = _parser().parse_args(argv)
    path = arguments.output / "ablation.json"
    try:
        results = read_results(path)
        if arguments.print:
            print(_report(results))
            return 0
        base = _base(arguments)
        wanted = _different(base, arguments.only or changes)  # all are checked before the first one is trained
        definition = {
            "dataset": str(arguments.dataset.resolve()),
            "downscale": arguments.downscale,
            "compositing": arguments.compositing,
            "clock": arguments.clock,
            "recipe": asdict(base),
        }
        if results and not arguments.again and results["base"] != definition:
            raise BenchmarkFailed(f"{path} holds runs of another base. Give another --output, or --again to drop them.")
        if not results or arguments.again:
            results = {"base": definition, "machine": Machine.here().to_json(), "runs": []}
        make_folder(arguments.output)
        compositing = Compositing(arguments.compositing)
        dataset = open_dataset(arguments.dataset, arguments.downscale, compositing)
        done = {(run["change"], run["seed"]) for run in results["runs"]}
        for seed in range(arguments.seeds):  # seed by seed: a first table is there early
            for change in [BASE, *wanted]:
                if (change, seed) in done:
                    continue
                config = PlenoxelConfig(compositing=compositing)
                run = measure(
                    dataset, base, change, seed, config, arguments.device, arguments.threads, CLOCKS[arguments.clock]
                )
                results["runs"].append(asdict(run))
                write_json(path, results)
                print(f"{change}, seed {seed}: PSNR {run.psnr:.2f} dB after {run.seconds:.1f} s", flush=True)
        print(f"\n{_report(results)}")
    except (BenchmarkFailed, PlenoxelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _report(results: Mapping[str, Any]) -> str:
    if not results:
        return "Nothing has been measured."
    base = results["base"]
    recipe = Recipe(**base["recipe"])
    budget = f"{recipe.max_iterations:,} steps" if recipe.max_iterations else f"{recipe.max_seconds:g} s"
    text = f"{Path(base['dataset']).name}, downscale {base['downscale']}, {base['compositing']}, {budget}, measured on "
    text += f"one of {HELD_BACK_SHARE} training views, held back; seconds of the {base['clock']} clock."
    machine = f"Measured on: {Machine(**results['machine']).line()}"
    return "\n\n".join([text, table(Run(**run) for run in results["runs"]), machine])


def _base(arguments: argparse.Namespace) -> Recipe:
    """Raises ValueError: a setting is wrong."""
    recipe = Recipe.preset(arguments.preset)
    if arguments.steps:
        recipe = replace(recipe, max_iterations=arguments.steps)
    if arguments.seconds:
        recipe = replace(recipe, max_seconds=arguments.seconds)
    return changed(recipe, " ".join(arguments.base))


def _different(base: Recipe, changes: Sequence[str]) -> list[str]:
    """The changes that change something. Raises ValueError: one is wrong."""
    wanted = []
    for change in dict.fromkeys(changes):
        try:
            if changed(base, change) != base:
                wanted.append(change)
            else:
                print(f"{change}: left out, the base has that.")
        except ValueError as error:
            raise ValueError(f"The change '{change}': {error} Choose others with --only.") from None
    return wanted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=SCENES / "lego", metavar="DIR", help="the posed photos")
    parser.add_argument("--downscale", type=int, default=2, metavar="N", help="photos at 1/N of their size (default 2)")
    parser.add_argument("--compositing", choices=[str(kind) for kind in Compositing], default="encoded")
    parser.add_argument("--preset", choices=PRESETS, default="standard")
    parser.add_argument("--base", nargs="+", default=[], metavar="CHANGE", help="changes that the base itself has")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, metavar="N", help="every run takes so many steps")
    budget.add_argument("--seconds", type=float, metavar="S", help="every run takes so long (default: the preset's)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each, with seeds from 0 (default 1)")
    parser.add_argument(
        "--only", nargs="+", metavar="CHANGE", help="these changes, of the list or new: 'tile*2 decay=.9'"
    )
    parser.add_argument("--output", type=Path, default=Path("ablation"), metavar="DIR", help="for ablation.json")
    parser.add_argument("--again", action="store_true", help="drop the results so far")
    parser.add_argument("--print", action="store_true", help="only print the table of the results so far")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="work: seconds by the work done, which no other program changes (CPU)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
