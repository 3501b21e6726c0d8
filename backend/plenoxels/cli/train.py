"""`train`: a job folder's worth of training."""

from __future__ import annotations

import argparse
import sys

from plenoxels.cli.progress import job_console
from plenoxels.config import PlenoxelConfig
from plenoxels.jobs.request import JobRequest, TrainingOptions
from plenoxels.jobs.run import recipe_and_config, run_training_job
from plenoxels.jobs.status import JobState
from plenoxels.training.recipe import Recipe


def run(arguments: argparse.Namespace) -> int:
    options = TrainingOptions(
        preset=arguments.preset,
        max_seconds=arguments.max_seconds,
        downscale=arguments.downscale,
        device=arguments.device,
        threads=arguments.threads,
        compositing=arguments.compositing,
        levels=arguments.levels,
        resume=arguments.resume.expanduser().resolve() if arguments.resume else None,
        seed=arguments.seed,
        deterministic=arguments.deterministic,
        settings=dict(arguments.settings),
    )
    try:
        recipe_and_config(options)
    except ValueError as error:
        arguments.command_parser.error(str(error))
    request = JobRequest(arguments.dataset.expanduser().resolve(), options)
    with job_console() as console:
        status = run_training_job(request, arguments.output, console)
    if status.state is JobState.FAILED:
        sentence = status.error.sentence if status.error else status.message
        print(f"plenoxels: {sentence}", file=sys.stderr)
        return 1
    memory = f"{status.peak_memory_mb:,.0f} MB of memory at most"
    print(f"{status.message}, {memory}: {arguments.output / (status.field or '')}")
    return 0


def settings_text() -> str:
    """All settings that --set knows, with defaults and meanings."""
    model = PlenoxelConfig()
    rows = [
        ("sh_degree", str(model.sh_degree), "degree of the spherical harmonics, 0 to 3"),
        ("background", ",".join(f"{c:g}" for c in model.background), "sRGB-encoded colour behind the field: r,g,b"),
        ("step_fraction", str(model.step_fraction), "step along a ray in rendering, in smallest voxel edges"),
        ("weight_threshold", str(model.weight_threshold), "samples of a smaller weight are left out"),
        ("transmittance_threshold", str(model.transmittance_threshold), "a ray ends where less light remains"),
        *((name, str(value), meaning) for name, value, meaning in Recipe.preset("standard").describe()),
    ]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"  {name:{name_width}}  {value:{value_width}}  {meaning}" for name, value, meaning in rows]
    return "\n".join(["settings for --set NAME=VALUE, with the defaults of the preset 'standard':", *lines])
