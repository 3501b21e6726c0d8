"""The summary of `build_addon.py test` says what failed and what was left out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from checks import Check, run_all, split_arguments

JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="1" failures="1" skipped="2" tests="7">
<testcase name="a"><skipped type="pytest.skip" message="no GPU"/></testcase>
<testcase name="b"><skipped type="pytest.skip" message="no GPU"/></testcase>
</testsuite></testsuites>"""


def python(code: str, **options: object) -> Check:
    return Check("a check", [sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_one_failure_fails_everything_and_the_rest_still_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checks = [python("raise SystemExit(3)"), python("print('second ran')"), Check("left out", skipped="no Python 3.13")]
    assert not run_all(tmp_path, checks)
    output = capfd.readouterr().out
    assert "second ran" in output
    assert [check.verdict for check in checks] == ["FAILED", "ok", "skipped"]
    assert "no Python 3.13" in output


def test_reasons_of_skipped_tests_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    junit = tmp_path / "results.xml"
    check = python(f"open({str(junit)!r}, 'w').write({JUNIT!r})", junit=junit)
    assert run_all(tmp_path, [check])
    output = capfd.readouterr().out
    assert "3 passed, 2 failed, 2 skipped" in output
    assert "2 skipped: no GPU" in output


def test_no_test_for_the_arguments_is_no_failure(tmp_path: Path) -> None:
    assert run_all(tmp_path, [python("raise SystemExit(5)", may_be_empty=True)])
    assert not run_all(tmp_path, [python("raise SystemExit(5)")])


def test_arguments_are_divided_into_tests_and_options(tmp_path: Path) -> None:
    (tmp_path / "tests" / "backend").mkdir(parents=True)
    arguments = ["tests/backend", "-k", "tests", "-x", "tests/backend::test_one", "absent"]
    assert split_arguments(tmp_path, arguments) == (
        ["tests/backend", "tests/backend::test_one"],
        ["-k", "tests", "-x", "absent"],
    )
