"""What `build_addon.py test` runs: a list of commands, how each ended, and which tests were left out and why."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

TIMEOUT = 1200  # seconds
NO_TESTS_COLLECTED = 5  # pytest's exit status
OPTIONS_WITH_VALUE = {"-k", "-m", "-o", "-p", "-W", "--deselect", "--ignore"}


@dataclass
class Check:
    """One command and how it ended."""

    name: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    junit: Path | None = None  # where pytest writes its results, to be read for the summary
    may_be_empty: bool = False  # with arguments such as -k it is no failure that nothing fits
    skipped: str = ""  # why it was not run
    seconds: float = 0.0
    returncode: int = 0
    counts: str = ""
    skipped_tests: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.skipped:
            return "skipped"
        return "ok" if self.returncode == 0 else "FAILED"

    def run(self, root: Path) -> None:
        """Run the command in `root`, its output going where ours goes."""
        print(f"\n=== {self.name}\n{subprocess.list2cmdline(self.command)}", flush=True)
        if self.junit:
            self.junit.unlink(missing_ok=True)
        started = time.monotonic()
        try:
            self.returncode = subprocess.run(
                self.command, cwd=root, env=self.environment, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False
            ).returncode
        except subprocess.TimeoutExpired:  # pip's bpy was seen to hang while it shuts down
            print(f"stopped: not done after {TIMEOUT} s", flush=True)
            self.returncode = 124
        self.seconds = time.monotonic() - started
        if self.returncode == NO_TESTS_COLLECTED and self.may_be_empty:
            self.skipped = "no test fits the arguments"
        elif self.junit and self.junit.is_file():
            self.read_junit(self.junit)

    def read_junit(self, path: Path) -> None:
        """Take counts and reasons from pytest's JUnit file."""
        suites = list(ElementTree.parse(path).getroot().iter("testsuite"))

        def count(*keys: str) -> int:
            return sum(int(suite.get(key, 0)) for suite in suites for key in keys)

        failed, skipped = count("failures", "errors"), count("skipped")
        self.counts = f"{count('tests') - failed - skipped} passed, {failed} failed, {skipped} skipped"
        for suite in suites:
            for element in suite.iter("skipped"):
                reason = element.get("message") or "no reason given"
                self.skipped_tests[reason] = self.skipped_tests.get(reason, 0) + 1


def split_arguments(root: Path, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide pytest's arguments into the tests they name and the options with their values."""
    named: list[str] = []
    options: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        path = argument.split("::")[0]
        is_value = before in OPTIONS_WITH_VALUE
        names_tests = path != "" and not path.startswith("-") and not is_value and (root / path).exists()
        (named if names_tests else options).append(argument)
    return named, options


def run_all(root: Path, checks: Sequence[Check]) -> bool:
    """Run every check, also after one that failed; print a summary; True if none failed."""
    for check in checks:
        if not check.skipped:
            check.run(root)
    print("\n=== Summary")
    for check in checks:
        detail = check.skipped or f"{check.seconds:4.0f} s  {check.counts}"
        print(f"  {check.verdict:<8} {check.name:<50} {detail}")
        for reason, count in check.skipped_tests.items():
            print(f"             {count} skipped: {reason}")
    return all(check.verdict != "FAILED" for check in checks)
