"""Entry of `python -m plenoxels` and of the console script."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from plenoxels.cli.arguments import build_parser
from plenoxels.errors import PlenoxelError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments behind the program's name; None takes the process's.

    Returns:
        The exit status: 0 done (also when cancelled on request), 1 failed (one sentence on stderr), 2 usage.
    """
    for stream in (sys.stdout, sys.stderr):  # a console of another encoding must not end a training over a file's name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except PlenoxelError as error:
        return _fail(str(error))
    except SystemExit as error:  # argparse: --help is 0, wrong usage 2
        return error.code if isinstance(error.code, int) else 2
    except KeyboardInterrupt:
        return _fail("Interrupted.")
    except MemoryError:
        return _fail("There was not enough memory. Use a coarser level of detail or close other programs.")
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _fail(sentence: str) -> int:
    print(f"plenoxels: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
