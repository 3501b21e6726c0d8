"""What a training leaves to look at afterwards: history.jsonl, curves.png and TensorBoard's files."""

import importlib.util
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plenoxels.errors import DiskFull
from plenoxels.jobs.curves import draw_curves, finer_grids
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.history import HistoryLine, Pace, append_line, read_history
from plenoxels.jobs.records import TrainingRecords
from plenoxels.jobs.request import JobRequest, TrainingOptions
from plenoxels.jobs.run import run_training_job
from plenoxels.jobs.status import JobState, JobStatus
from plenoxels.training.progress import TrainingProgress
from small_scene import write_small_scene

SETTINGS = {"max_resolution": "32", "hull_resolution": "32", "sh_degree": "1", "batch_rays": "2048"}
KEYS = {
    "iteration", "seconds", "rays", "loss", "psnr", "rays_per_second", "resolution", "voxels", "memory_mb",
}  # fmt: skip
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)


class Recorder:
    """A console that asks the job to stop at a given iteration."""

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        self.notes: list[str] = []
        self._folder, self._stop_at = folder, stop_at

    def show(self, status: JobStatus) -> None:
        if self._stop_at is not None and status.iteration >= self._stop_at:
            (self._folder / "cancel").touch()

    def note(self, line: str) -> None:
        self.notes.append(line)


def train(
    scene: Path, folder: Path, iterations: int, resume: Path | None = None, stop_at: int | None = None
) -> tuple[JobStatus, list[str]]:
    settings = {**SETTINGS, "max_iterations": str(iterations)}
    options = TrainingOptions(preset="draft", device="cpu", resume=resume, settings=settings)
    console = Recorder(folder, stop_at)
    return run_training_job(JobRequest(scene, options), folder, console), console.notes


def raw_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("scene") / "bällchen $1")


@pytest.fixture(scope="module")
def job(scene: Path, tmp_path_factory) -> Path:
    """A finished job."""
    folder = tmp_path_factory.mktemp("jobs") / "jöb"
    status, notes = train(scene, folder, 60)
    assert status.state is JobState.FINISHED
    assert not [note for note in notes if note.startswith("No ")], notes
    return folder


def moment(seconds: float, iteration: int = 1, **values) -> TrainingProgress:
    return TrainingProgress("training", "Training", **{"iteration": iteration, "seconds": seconds, **values})


# ---------------------------------------------------------------------------------------------------------------------
# history.jsonl


def test_a_job_keeps_its_history(job: Path) -> None:
    lines = raw_lines(job)
    assert all(set(line) == KEYS for line in lines)
    status = json.loads((job / "status.json").read_text(encoding="utf-8"))
    last = lines[-1]
    assert last["iteration"] == 60
    assert 10 < last["psnr"] == pytest.approx(status["psnr"], abs=3)  # a sample of pixels against all
    assert 0 < last["loss"] < 1
    assert last["memory_mb"] > 50
    stages = [line["resolution"] for line in lines]
    assert len({tuple(stage) for stage in stages}) > 1
    assert stages == sorted(stages)
    history = read_history(job / "history.jsonl")
    iterations = [line.iteration for line in history]
    assert iterations == sorted(set(iterations))


def test_the_pace_is_a_second_and_slows_down_with_the_hours() -> None:
    pace = Pace()
    kept = [tenth / 10 for tenth in range(3000) if pace.keeps(moment(tenth / 10))]
    assert kept[:3] == [0, 1, 2]
    assert len(kept) == 300
    pace, seconds, count = Pace(), 0.0, 0
    while seconds < 1e7:  # four months
        count += pace.keeps(moment(seconds))
        seconds += max(0.5, seconds * 3e-4)
    assert count < 11_000
    assert pace.keeps(moment(seconds, resolution=(8, 8, 8)))  # a finer grid is never missed
    assert not pace.keeps(moment(seconds, resolution=(8, 8, 8)))


def test_numbers_that_json_cannot_say_are_null(tmp_path: Path) -> None:
    progress = moment(1.23456, loss=float("nan"), psnr=float("inf"), rays_per_second=123456789.0)
    append_line(tmp_path / "h", HistoryLine.of(progress, 12.34))
    line = read_history(tmp_path / "h")[0]
    assert (line.loss, line.psnr, line.rays_per_second) == (None, None, 123457000.0)
    assert (line.seconds, line.memory_mb, line.rays) == (1.235, 12.3, None)


def test_a_half_line_costs_only_itself_and_a_resumed_run_replaces_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for iteration in (10, 20, 30, 40):
        append_line(path, HistoryLine(iteration, float(iteration), psnr=1.0))
    with path.open("ab") as file:
        file.write(b'{"iteration": 50, "sec')  # killed
    before = path.read_bytes()
    for iteration in (25, 30, 35):
        append_line(path, HistoryLine(iteration, float(iteration), psnr=2.0))
    assert path.read_bytes().startswith(before)
    assert [(line.iteration, line.psnr) for line in read_history(path)] == [
        (10, 1.0), (20, 1.0), (25, 2.0), (30, 2.0), (35, 2.0),
    ]  # fmt: skip
    assert read_history(tmp_path / "none") == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"iteration": -1, "seconds": 1}', '{"iteration": 1, "seconds": NaN}', "[" * 10000, "\0\xff"],
)
def test_foreign_lines_are_passed_over(text: str, tmp_path: Path) -> None:
    good = json.dumps(asdict(HistoryLine(7, 1.0)))
    (tmp_path / "h").write_bytes(f"{text}\n{good}\n".encode("latin-1"))
    assert [line.iteration for line in read_history(tmp_path / "h")] == [7]


def test_a_resumed_job_goes_on_in_its_folders_history(job: Path, scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    status, _ = train(scene, folder, 400, stop_at=20)
    assert status.state is JobState.CANCELLED
    assert (folder / "curves.png").is_file()
    assert not (folder / "evaluation.png").exists()
    before = (folder / "history.jsonl").read_bytes()
    done = status.iteration
    status, _ = train(scene, folder, done + 30, resume=folder / status.checkpoint)
    assert status.state is JobState.FINISHED
    assert (folder / "history.jsonl").read_bytes().startswith(before)
    history = read_history(folder / "history.jsonl")
    assert history[0].iteration <= done
    assert history[-1].iteration == done + 30
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(history))
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["ssim"] > 0.2
    # What was measured on an earlier field does not stay beside a later one.
    status, _ = train(scene, folder, 4000, resume=folder / status.checkpoint, stop_at=done + 35)
    assert status.state is JobState.CANCELLED
    assert not (folder / "evaluation.json").exists()
    assert not (folder / "evaluation.png").exists()


# ---------------------------------------------------------------------------------------------------------------------
# curves.png and evaluation.png


def test_a_job_ends_with_its_pictures(job: Path) -> None:
    for name in ("curves.png", "evaluation.png"):
        picture = np.asarray(Image.open(job / name).convert("RGB"))
        assert picture.shape[0] > 200
        assert picture.shape[1] > 400
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    values = json.loads((job / "evaluation.json").read_text(encoding="utf-8"))
    assert set(values) == {
        "field", "split", "psnr", "ssim", "lpips", "lpips_network", "lpips_missing", "views",
    }  # fmt: skip
    assert all(set(view) == {"name", "psnr", "ssim", "lpips"} for view in values["views"])
    assert 0 < values["ssim"] < 1
    message = json.loads((job / "status.json").read_text(encoding="utf-8"))["message"]
    assert f", held-out PSNR {values['psnr']:.2f} dB, SSIM {values['ssim']:.4f}" in message


def test_curves_show_the_history(tmp_path: Path) -> None:
    grids = ((16, 16, 16), (32, 32, 32))
    history = [
        HistoryLine(10 * i, float(i), None, 10 ** (-1 - i / 20), 10 + 5 * (i // 10), 1e6 * (1 + i % 3), grids[i > 20])
        for i in range(1, 41)
    ]
    assert finer_grids(history) == [(1.0, grids[0]), (21.0, grids[1])]
    draw_curves(tmp_path / "full.png", history, "a title of $1 and $2", final_psnr=33.0)
    picture = np.asarray(Image.open(tmp_path / "full.png").convert("RGB")).astype(int)
    for colour in ((0, 114, 178), (230, 159, 0), (0, 158, 115)):  # held-out PSNR and speed, loss, the final figure
        assert (np.abs(picture - colour).max(-1) < 8).sum() > 50
    bare = [replace(line, loss=None, psnr=None, rays_per_second=None) for line in history[:1]]
    draw_curves(tmp_path / "bare.png", bare, "ünknown 日本")
    assert np.asarray(Image.open(tmp_path / "bare.png")).shape == (*picture.shape[:2], 4)
    assert not list(tmp_path.glob(".*"))


# ---------------------------------------------------------------------------------------------------------------------
# TensorBoard


@needs_tensorboard
def test_tensorboard_reads_what_a_job_wrote(job: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(job / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "psnr", "voxels"}
    history = raw_lines(job)
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (line["iteration"], pytest.approx(line["loss"], rel=1e-6)) for line in history if line["loss"] is not None
    ]
    assert events.Scalars("voxels")[-1].value == history[-1]["voxels"]
    image = events.Images("preview")[-1]
    assert (image.height, image.width, 3) == np.asarray(Image.open(job / "preview.png")).shape
    assert image.encoded_image_string.startswith(b"\x89PNG")


def test_without_tensorboard_there_is_no_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("plenoxels.jobs.tensorboard.is_installed", lambda: False)
    records = TrainingRecords(JobFolder(tmp_path), lambda line: pytest.fail(line))
    records.report(moment(1.0))
    records.preview(np.zeros((4, 4, 3), np.uint8))
    records.finish_training()
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


# ---------------------------------------------------------------------------------------------------------------------
# Failures


def test_none_of_it_is_worth_the_training(scene: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise DiskFull("There was no space left.", "Free some.")

    def broken(*_: object) -> None:
        raise RuntimeError("font\nbroken")

    monkeypatch.setattr("plenoxels.jobs.records.append_line", full)
    monkeypatch.setattr("plenoxels.jobs.records.read_history", lambda path: [HistoryLine(1, 1.0)])
    monkeypatch.setattr("plenoxels.jobs.records.draw_curves", broken)
    monkeypatch.setattr("plenoxels.evaluation.contact_sheet.ContactSheet.write", broken)
    monkeypatch.setattr("plenoxels.jobs.tensorboard.TensorBoardLog._open", broken)
    status, notes = train(scene, tmp_path / "job", 30)
    assert status.state is JobState.FINISHED, status
    failed = sorted(note for note in notes if note.startswith("No "))
    assert [note for note in failed if not note.startswith("No TensorBoard")] == [
        "No contact sheet: RuntimeError: font broken",
        "No history: DiskFull: There was no space left. Free some.",
        "No learning curves: RuntimeError: font broken",
    ]
    assert len(failed) <= 4  # each once
    assert (tmp_path / "job" / "evaluation.json").is_file()
    assert (tmp_path / "job" / "field.vdb").is_file()


def test_a_history_that_is_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    notes: list[str] = []
    records = TrainingRecords(JobFolder(tmp_path), notes.append)
    for second in range(5):
        records.report(moment(float(second), second + 1))
    records.finish_training()
    records.draw("nothing", None)
    assert len(notes) == 1
    assert notes[0].startswith(f"No history: NotWritable: {tmp_path / 'history.jsonl'} could not be written")
