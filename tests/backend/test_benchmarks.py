"""The benchmark scripts beside the package: what they gather, keep and print."""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from plenoxels.config import Compositing
from plenoxels.datasets import open_dataset
from plenoxels.training.recipe import Recipe
from small_scene import write_small_scene

BACKEND = Path(__file__).resolve().parents[2] / "backend"
sys.path.append(str(BACKEND))  # behind an installed plenoxels

from benchmarks import ablation, kernels_against_reference, reference_kernels, training_table  # noqa: E402
from benchmarks.changes import changed, difference  # noqa: E402
from benchmarks.common import BenchmarkFailed, markdown, read_results  # noqa: E402
from benchmarks.job_figures import JobFigures  # noqa: E402

SMALL = {"max_iterations": "12", "max_resolution": "24", "batch_rays": "500", "stages": "2"}
BASE = [f"{name}={value}" for name, value in SMALL.items()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("scenes") / "bällchen 1")


def test_a_table_is_aligned_markdown() -> None:
    lines = markdown(["a", "b"], [["x", "1.25"], ["long one", "10"]]).splitlines()
    assert lines[1] == "| :------- | ---: |"
    assert {len(line) for line in lines} == {len(lines[0])}
    assert lines[3].endswith("|   10 |")


def test_changes_are_relative_to_the_base() -> None:
    base = Recipe()
    recipe = changed(base, "density_rate*2 sh_rate/1.5 stages+1 use_alpha=false")
    assert recipe.density_rate == pytest.approx(2 * base.density_rate)
    assert difference(base, recipe) == {
        "density_rate": recipe.density_rate,
        "sh_rate": recipe.sh_rate,
        "stages": base.stages + 1,
        "use_alpha": False,
    }
    assert changed(base, "sh_rate=0.03 sh_rate/1.5").sh_rate == pytest.approx(base.sh_rate / 1.5)
    assert changed(base, "") == base


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("densty_rate*2", "no setting 'densty_rate'"),
        ("densty_rate=2", "no setting 'densty_rate'"),
        ("density_rate", "none of NAME=VALUE"),
        ("density_rate/0", "cannot be reckoned"),
        ("density_rate*two", "cannot be reckoned"),
        ("stages/2", "whole number"),
        ("stages+9", "it must be 1 to 5"),
        ("use_alpha*2", "true or false"),
    ],
)
def test_wrong_changes_are_named(change: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        changed(Recipe(), change)


def test_every_change_of_the_list_fits_the_presets() -> None:
    for change in ablation.CHANGES:
        for preset in ("standard", "high"):
            changed(Recipe.preset(preset), change)
    assert len(set(ablation.CHANGES)) == len(ablation.CHANGES)


def test_test_views_stay_unseen(scene: Path) -> None:
    dataset = open_dataset(scene, 1, Compositing.ENCODED)
    training, kept = ablation.held_back(dataset)
    names = [view.name for view in dataset.train]
    held = {view.name for view in kept}
    assert len(held) == len(kept) == len(names) // ablation.HELD_BACK_SHARE
    assert not training.test
    assert {view.name for view in training.train} == set(names) - held
    first = dataset.test[0].position
    nearest = min(dataset.train, key=lambda view: float(np.linalg.norm(view.position - first)))
    assert nearest.name in held
    without, every_tenth = ablation.held_back(replace(dataset, test=[]))
    assert [view.name for view in every_tenth] == names[9::10]
    assert len(without.train) == len(names) - len(every_tenth)
    with pytest.raises(BenchmarkFailed, match="too few"):
        ablation.held_back(replace(dataset, train=dataset.train[:3]))


def test_a_wrong_change_ends_before_any_training(scene: Path, tmp_path: Path, capsys) -> None:
    arguments = ["--dataset", str(scene), "--output", str(tmp_path), "--only", "sh_rate*2", "sh_rat*2"]
    assert ablation.main(arguments) == 1
    assert "no setting 'sh_rat'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ablation(scene: Path, tmp_path: Path, capsys) -> None:
    common = [
        "--dataset",
        str(scene),
        "--downscale",
        "1",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--output",
        str(tmp_path),
    ]
    arguments = [*common, "--base", *BASE]
    changes = ("density_rate*2 tile=2", "use_alpha=true")
    assert ablation.main(arguments, changes) == 0
    out = capsys.readouterr().out
    assert "use_alpha=true: left out" in out
    assert "**base**" in out
    assert "`density_rate*2 tile=2`" in out
    runs = json.loads((tmp_path / "ablation.json").read_text("utf-8"))["runs"]
    assert [(run["change"], run["seed"]) for run in runs] == [("base", 0), ("density_rate*2 tile=2", 0)]
    assert runs[1]["settings"] == {"density_rate": 2 * Recipe().density_rate, "tile": 2}
    assert all(run["iterations"] == 12 and run["rays"] > 1000 and run["psnr"] > 5 for run in runs)

    # A second seed is added to what is there; another base is not mixed with it.
    assert ablation.main([*arguments, "--seeds", "2"], changes) == 0
    again = json.loads((tmp_path / "ablation.json").read_text("utf-8"))["runs"]
    assert again[:2] == runs
    assert [run["seed"] for run in again] == [0, 0, 1, 1]
    assert ablation.main([*arguments, "tv_sh=0"], changes) == 1
    assert "another base" in capsys.readouterr().err
    assert ablation.main([*common, "--print"]) == 0
    assert "12 steps" in capsys.readouterr().out


def test_gains_are_sorted_and_paired_by_seed() -> None:
    def run(change: str, seed: int, psnr: float) -> ablation.Run:
        return ablation.Run(change, seed, {}, psnr, None, 1.0, 2.0, 10, 5_000_000, 1000, None)

    runs = [run("base", 0, 20), run("base", 1, 22), run("a", 0, 19), run("b", 0, 21), run("b", 1, 22.5)]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ablation.table(runs).splitlines()[2:]]
    assert [row[0] for row in rows] == ["`b`", "**base**", "`a`"]
    assert [row[1] for row in rows] == ["+0.75", "+0.00", "-1.00"]  # b: +1.0 and +0.5
    assert [row[2] for row in rows] == ["0.25", "-", "-"]
    assert rows[0][3:5] == ["21.75", "0.75"]


def test_the_tables_rows_are_sound() -> None:
    names = [row.name for row in training_table.ROWS]
    assert len(set(names)) == len(names)
    for row in training_table.ROWS:
        changed(Recipe.preset(row.preset), " ".join(f"{name}={value}" for name, value in row.settings.items()))
        assert (row.target is None) != (row.like is None)
        assert row.like is None or row.like in names


@pytest.mark.slow
def test_training_table(scene: Path, tmp_path: Path, capsys) -> None:
    row = training_table.Row(
        "tiny", scene.name, 1, preset="draft", settings={**SMALL, "sh_degree": "1"}, target=50, compositing="linear"
    )
    broken = replace(row, name="broken", dataset="nowhere")
    arguments = ["--data", str(scene.parent), "--output", str(tmp_path), "--device", "cpu", "--threads", "1"]
    assert training_table.main([*arguments, "--rows", "tiny", "broken"], [row, broken]) == 1
    captured = capsys.readouterr()
    assert "nowhere" in captured.err
    assert "| tiny" in captured.out
    assert "Plenoxels, lego" in captured.out
    assert "34.10" in captured.out
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert list(results) == ["tiny"]
    figures = JobFigures.from_json(results["tiny"]["figures"])
    assert figures == JobFigures.gather(tmp_path / "jobs" / "tiny")
    assert (figures.views, figures.photo, figures.threads, figures.iterations) == (3, (48, 48), 1, 12)
    assert figures.psnr is not None
    assert 5 < figures.psnr < 50
    assert figures.rays is not None
    assert 1000 < figures.rays <= 12 * 500
    assert figures.cpu_seconds is not None
    assert figures.cpu_seconds > 0
    assert figures.field_mb > 0
    assert figures.peak_memory_mb > 50

    # Finished rows are kept; one that is defined otherwise is not taken for the same.
    before = (tmp_path / "results.json").read_bytes()
    assert training_table.main(arguments, [row]) == 0
    assert "measured before" in capsys.readouterr().out
    assert (tmp_path / "results.json").read_bytes() == before
    assert training_table.main([*arguments, "--print"], [row]) == 0
    assert f"({figures.psnr - 50:+.2f})" in capsys.readouterr().out

    shutil.rmtree(tmp_path / "jobs")
    other = replace(row, target=None, like="tiny")
    table = training_table.table([other], {"tiny": {**results["tiny"], "row": asdict(other)}})
    assert "(+0.30)" in table


def test_unknown_rows_are_named(tmp_path: Path, capsys) -> None:
    assert training_table.main(["--rows", "lego_9", "--output", str(tmp_path)]) == 2
    assert "lego_400_60s" in capsys.readouterr().err
    assert training_table.main(["--print", "--output", str(tmp_path)]) == 0
    assert "No row" in capsys.readouterr().out


def test_broken_results_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("{", "utf-8")
    with pytest.raises(BenchmarkFailed, match=r"results\.json cannot be read"):
        read_results(path)


def test_the_reference_needs_a_compiler(tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ["--reference", str(tmp_path / "plx.h")]
    assert kernels_against_reference.main([*arguments, "--compiler", "no-such-compiler"]) == 1
    assert "no C++ compiler no-such-compiler" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BenchmarkFailed, match="no C\\+\\+ compiler"):
        reference_kernels.find_compiler()


def test_a_missing_reference_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match=r"plx\.h does not exist"):
        reference_kernels.compile_reference(tmp_path / "plx.h", "c++", tmp_path)


def test_ratios_are_paired() -> None:
    comparison = kernels_against_reference.Comparison(64, "w", 1, [1e6, 2e6, 4e6], [1e6, 1e6, 1e6])
    assert comparison.ratios == [1, 2, 4]
    assert comparison.cells()[1:5] == ["1", "2.000", "1.000", "2.000"]
