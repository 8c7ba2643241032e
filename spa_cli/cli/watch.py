"""Under ``ulimit -v`` a command runs in a child: native code that gets no memory ends the process that it is in.

Not even what it would print then can be told from ours: where it prints to is closed to it, and what leaves in an
orderly way says so by its exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

from spa_cli.cli.failures import DEBUG, INTERRUPTED, JSON, tell, was_told
from spa_cli.errors import ResourceError
from spa_cli.interrupts import uninterrupted
from spa_cli.isolation import child_environment, how_it_ended
from spa_cli.memory import limited

# set in the child
_MARK = "SPA_WATCHED"
# added to the exit code of a child that came to its end, one of those that are documented
_ORDERLY = 64
_CODES = {*range(6), INTERRUPTED}
# seconds that a child has, which most signals reach as well, before it is told to end
_GRACE = 1.0


def watched(run: Callable[[], None]) -> None:
    """Do it here, or in a child where memory is limited; leaves with the exit code that the documentation says."""
    if os.environ.pop(_MARK, None):
        _as_child(run)
    elif limited() is None:
        run()
    else:
        raise SystemExit(_watch(sys.argv[1:]))


def command(arguments: list[str]) -> list[str]:
    """How the child is started."""
    return [sys.executable, "-m", "spa_cli", *arguments]


def _watch(arguments: list[str]) -> int:
    environment = {**child_environment(), _MARK: "1"}
    child = subprocess.Popen(command(arguments), env=environment)
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                child.wait(_GRACE)
            if child.poll() is None:
                child.terminate()
    if code - _ORDERLY in _CODES:
        return code - _ORDERLY
    error = ResourceError(
        f"there is not enough memory ({how_it_ended(code)}, where 'ulimit' allows {(limited() or 0) / 1e9:.2f} GB); "
        "allow more, or run it where there is more"
    )
    tell(error.exit_code, error.kind, str(error), JSON in arguments)
    return error.exit_code


def _as_child(run: Callable[[], None]) -> NoReturn:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        # of what crashes nothing large is left
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _keep_errors()
    code: object = 0
    try:
        run()
    except SystemExit as left:
        code = left.code or 0
    except Exception:  # noqa: BLE001 - whatever ends more than the command has no room even to say so
        # which is left to the parent, unless it has
        if DEBUG in sys.argv:
            sys.excepthook(*sys.exc_info())
        os._exit(_ORDERLY + was_told() if was_told() else 1)
    with uninterrupted():
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # what native code does as it is unloaded is none of the result
        os._exit(_ORDERLY + (code if isinstance(code, int) else 1))


def _keep_errors() -> None:
    """Standard error for Python alone."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        own = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        sys.stderr = open(own, "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115
