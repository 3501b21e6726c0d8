"""The command line's contract: exit statuses, one sentence on stderr, JSON on stdout, the job folder it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plenoxels.__main__ import main
from plenoxels.neuralvdb import load_checkpoint, read_field, read_metadata
from small_scene import write_small_scene

BACKEND = Path(__file__).parents[2] / "backend"
QUICK = [
    "--device", "cpu", "--preset", "draft", "--set", "max_resolution=32", "--set", "hull_resolution=32",
    "--set", "sh_degree=1", "--set", "batch_rays=2048",
]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(BACKEND), "PYTHONUTF8": "1"}


def start(*arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-u", "-m", "plenoxels", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(),
        **options,
    )


def run(*arguments: object) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def status_of(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text(encoding="utf-8"))


def wait_for(folder: Path, ready, seconds: float = 120) -> dict:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (folder / "status.json").exists():
            status = status_of(folder)
            if ready(status):
                return status
            assert status["state"] in ("starting", "running"), status
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {status_of(folder)}")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("scene") / "bällchen 1")


@pytest.fixture(scope="module")
def job(scene: Path, tmp_path_factory) -> Path:
    """A finished job."""
    folder = tmp_path_factory.mktemp("jobs") / "jöb 1"
    code, out, err = run("train", scene, "--output", folder, *QUICK, "--set", "max_iterations=60")
    assert code == 0, err
    assert out.splitlines()[-1].startswith("Finished after ")
    return folder


def test_help_is_quick_and_names_every_command() -> None:
    begin = time.perf_counter()
    code, out, _ = run("--help")
    assert time.perf_counter() - begin < 5
    assert code == 0
    for command in ("train", "evaluate", "render", "info", "doctor", "bench"):
        assert f"    {command} " in out
    assert "examples:" in out


def test_help_imports_neither_torch_nor_warp() -> None:
    code = (
        "import sys, plenoxels.__main__ as m; m.main(['train', '--help']); "
        "sys.exit('torch' in sys.modules or 'warp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "x"],
        ["train", "x", "--output", "y", "--preset", "best"],
        ["train", "x", "--output", "y", "--downscale", "0"],
        ["train", "x", "--output", "y", "--max-seconds", "nan"],
        ["train", "x", "--output", "y", "--device", "gpu"],
        ["train", "x", "--output", "y", "--set", "novalue"],
        ["train", "x", "--output", "y", "--set", "unknown=1"],
        ["train", "x", "--output", "y", "--set", "sh_degree=9"],
        ["train", "x", "--output", "y", "--set", "background=a,b,c"],
        ["train", "x", "--out", "y"],
        ["evaluate", "x"],
        ["render", "x", "--output", "y"],
        ["bench", "--resolution", "5"],
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str], capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: plenoxels" in captured.err
    assert not list(tmp_path.iterdir())


def test_settings_can_be_listed(capsys) -> None:
    assert main(["train", "--list-settings"]) == 0
    out = capsys.readouterr().out
    assert "  max_resolution" in out
    assert "  sh_degree" in out


def test_a_job_leaves_what_the_contract_says(job: Path, scene: Path) -> None:
    status = status_of(job)
    assert (status["state"], status["stage"], status["progress"], status["error"]) == ("finished", "done", 1.0, None)
    assert status["levels"] == ["field.vdb", "field_lod1.vdb", "field_lod2.vdb"]
    assert all((job / name).is_file() for name in status["levels"])
    assert (status["field"], status["checkpoint"]) == ("field.vdb", "checkpoints/checkpoint_000060.vdb")
    assert status["device"].startswith("cpu")
    evaluation = json.loads((job / "evaluation.json").read_text(encoding="utf-8"))
    assert [view["name"] for view in evaluation["views"]] == ["test/r_0", "test/r_1", "test/r_2"]
    metadata = read_metadata(job / "field.vdb")
    assert metadata.training.held_out_psnr == pytest.approx(evaluation["psnr"]) == pytest.approx(status["psnr"])
    assert (metadata.training.iterations, metadata.training.dataset) == (60, "bällchen 1")
    cameras = json.loads((job / "cameras.json").read_text(encoding="utf-8"))
    assert len(cameras["frames"]) == 19
    assert cameras["scene_bounds"] == list(metadata.scene_bounds)
    assert Path(cameras["frames"][0]["file_path"]).is_file()
    events = [json.loads(line)["event"] for line in (job / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (events[0], events[-1]) == ("started", "finished")
    request = json.loads((job / "request.json").read_text(encoding="utf-8"))
    assert request["dataset"] == str(scene.resolve())
    assert not list(job.rglob(".*"))


def test_evaluate_gives_the_figure_of_the_training(job: Path, scene: Path) -> None:
    code, out, err = run("evaluate", job / "field.vdb", scene, "--json", "--device", "cpu")
    assert code == 0, err
    values = json.loads(out)
    assert values["psnr"] == pytest.approx(status_of(job)["psnr"], abs=1e-6)
    assert len(values["views"]) == 3


def test_render_writes_the_pictures_that_were_measured(job: Path, scene: Path, tmp_path: Path, capsys) -> None:
    arguments = [
        "render",
        job / "field.vdb",
        "--cameras",
        job / "cameras.json",
        "--split",
        "test",
        "--output",
        tmp_path,
    ]
    assert main([*map(str, arguments), "--device", "cpu"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r_0.png", "r_1.png", "r_2.png"]
    picture = np.asarray(Image.open(tmp_path / "r_0.png"))
    assert picture.shape == (48, 48, 3)
    capsys.readouterr()
    arguments = ["render", job / "field.vdb", "--cameras", scene / "transforms_test.json", "--output", tmp_path / "b"]
    assert main([*map(str, arguments), "--device", "cpu"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b" / "r_0.png")), picture)


def test_info(job: Path, capsys) -> None:
    assert main(["info", str(job / "field.vdb"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    grid, metadata = read_field(job / "field.vdb")
    assert values["voxels"] == grid.active_voxels
    assert values["resolution"] == list(metadata.resolution)
    assert list(values["grids"]) == ["density", "sh_0", "sh_1", "sh_2", "sh_3"]
    assert main(["info", str(job / "field_lod1.vdb")]) == 0
    assert "level of detail 1" in capsys.readouterr().out


def test_doctor(capsys) -> None:
    code = main(["doctor", "--json"])
    values = json.loads(capsys.readouterr().out)
    assert set(values) == {
        "version", "python", "executable", "torch", "warp", "cuda", "openvdb", "disk_free_mb", "problems",
    }  # fmt: skip
    assert code == 0
    assert values["openvdb"]["version"]
    assert main(["doctor"]) == 0
    assert "Ready to train." in capsys.readouterr().out


def test_bench(capsys) -> None:
    assert main(["bench", "--resolution", "32", "--seconds", "0.1", "--threads", "1", "--device", "cpu", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["resolution"] == 32
    assert values["training_tiles"] > 0


def test_without_openvdb_everything_says_how_to_get_it(scene: Path, tmp_path: Path) -> None:
    """A child interpreter in which nothing called openvdb or bpy can be found."""
    code = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('openvdb', 'bpy') else find(name, *a)\n"
        "from plenoxels.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    values = {**environment(), "PLENOVDB_OPENVDB": str(tmp_path / "nowhere")}

    def child(*arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=values, check=False)

    doctor = child("doctor", "--json")
    assert doctor.returncode == 1
    assert json.loads(doctor.stdout)["openvdb"] is None
    train = child("train", scene, "--output", tmp_path / "job", *QUICK)
    assert train.returncode == 1
    assert "OpenVDB not available" in train.stderr
    assert "pip install bpy" in train.stderr
    assert status_of(tmp_path / "job")["error"]["code"] == "openvdb_missing"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "none.vdb"], "none.vdb does not exist."),
        (["info", "foreign.vdb"], "foreign.vdb cannot be read as a field: it is not an OpenVDB file."),
        (["evaluate", "none.vdb", "data"], "none.vdb does not exist."),
        (["render", "none.vdb", "--cameras", "none.json", "--output", "o"], "none.json does not exist."),
    ],
)
def test_failures_are_one_sentence_and_exit_status_1(arguments, sentence, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.vdb").write_bytes(b"something else")
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"plenoxels: {sentence}\n"


def test_a_failed_training_says_so_everywhere(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["train", str(tmp_path / "empty"), "--output", str(tmp_path / "job"), "--device", "cpu"]) == 1
    status = status_of(tmp_path / "job")
    assert (status["state"], status["error"]["code"]) == ("failed", "dataset_invalid")
    assert status["error"]["fix"].startswith("Known: NeRF-synthetic")
    assert "holds no dataset of a known layout" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none"), "--output", str(tmp_path / "job 2"), "--device", "cpu"]) == 1
    assert status_of(tmp_path / "job 2")["error"]["code"] == "dataset_missing"


def test_an_earlier_job_is_never_overwritten(job: Path, scene: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in job.rglob("*")}
    assert main(["train", str(scene), "--output", str(job)]) == 1
    assert "which is never overwritten" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in job.rglob("*")} == before


def test_resume_goes_on_and_keeps_the_older_checkpoint(job: Path, scene: Path, tmp_path: Path) -> None:
    checkpoint = job / "checkpoints" / "checkpoint_000060.vdb"
    arguments = ["--resume", checkpoint, "--set", "max_iterations=90"]
    code, _, err = run("train", scene, "--output", tmp_path / "more", *QUICK, *arguments)
    assert code == 0, err
    status = status_of(tmp_path / "more")
    assert (status["state"], status["iteration"]) == ("finished", 90)
    assert checkpoint.is_file()
    assert load_checkpoint(tmp_path / "more" / "checkpoints" / "checkpoint_000090.vdb").state is not None
    code, _, err = run(
        "train", scene, "--output", tmp_path / "other", *QUICK, "--resume", checkpoint, "--compositing", "encoded"
    )
    assert code == 1
    assert "Give --compositing linear." in err
    assert status_of(tmp_path / "other")["error"]["code"] == "resume_invalid"


@pytest.mark.parametrize("how", ["file", "SIGINT", "SIGTERM"])
def test_a_cancelled_training_keeps_what_it_learned(how: str, scene: Path, tmp_path: Path) -> None:
    if how != "file" and sys.platform == "win32":
        pytest.skip("Windows has no such signals for another process")
    folder = tmp_path / "job"
    process = start("train", scene, "--output", folder, *QUICK, "--max-seconds", "300")
    wait_for(folder, lambda status: status["iteration"] > 5)
    if how == "file":
        (folder / "cancel").touch()
    else:
        process.send_signal(getattr(signal, how))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Cancelled after" in out
    status = status_of(folder)
    assert (status["state"], status["stage"], status["field"]) == ("cancelled", "done", "field.vdb")
    assert load_checkpoint(folder / status["checkpoint"]).state is not None
    assert read_field(folder / "field.vdb")[0].active_voxels == status["voxels"] > 0
    assert not (folder / "cancel").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_killed_training_leaves_a_folder_that_can_be_resumed(scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    process = start("train", scene, "--output", folder, *QUICK, "--max-seconds", "300", "--set", "checkpoint_seconds=1")
    status = wait_for(folder, lambda status: status["checkpoint"] is not None)
    assert time.time() - status["updated"] < 3
    process.kill()
    process.communicate()
    newest = max((folder / "checkpoints").glob("*.vdb"))
    steps = read_metadata(newest).training.iterations + 20
    code, _, err = run(
        "train", scene, "--output", folder, *QUICK, "--resume", newest, "--set", f"max_iterations={steps}"
    )
    assert code == 0, err
    assert status_of(folder)["iteration"] == steps
    assert newest.is_file()
    assert not list(folder.rglob(".*"))
