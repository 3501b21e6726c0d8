"""The one error that people see."""

from __future__ import annotations


class PlenoError(Exception):
    """Something the user can act upon: `what` happened and where, and `fix`, what to do about it; one sentence each."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what} {fix}")
        self.what = what
        self.fix = fix
