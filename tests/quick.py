"""``spa`` without the seconds it takes to time models and kernels, here and in processes of its own.

What a machine likes is measured on it, and tests have to give the same on every one. Where measuring is what a test is
about, it measures.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime as ort

ROOT = Path(__file__).resolve().parents[1]
# commands that measure something
MEASURING = {"prune", "sweep", "verify"}


def shorten(patch: Callable[[object, str, object], None]) -> None:
    """Latency that is only reported takes 20 ms; ``--round-to auto``, the default, takes any widths.

    Sessions compute on one thread each: onnxruntime's others wait for work by turning on the processor.
    """
    from spa_cli import finish, isolation
    from spa_cli.devices.profiles import HERE
    from spa_cli.runtime import session
    from spa_cli.trial import choose
    from spa_cli.verification import compare, speed

    opened = session._opened

    def alone(
        what: object, options: ort.SessionOptions, providers: tuple[str, ...], kind: type[ort.InferenceSession]
    ) -> ort.InferenceSession:
        options.intra_op_num_threads = 1
        return opened(what, options, providers, kind)

    patch(session, "_opened", alone)

    # children are as quick
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {_CHILD}"
    patch(isolation, "command", lambda: [sys.executable, "-c", program])

    # one setting is as good as three
    patch(speed, "_LONG", 0.0)
    patch(finish, "too_long", lambda *_: False)
    for module in (speed, compare):
        patch(module, "latency", functools.partial(module.latency, budget=0.02))
    # what a profile says is the same on every machine
    timed = choose.by_time
    patch(choose, "by_time", lambda request: request.options.device != HERE and timed(request))


def executable(folder: Path) -> Path:
    """A ``spa`` in this folder that is quick, to be found first on a ``PATH``."""
    path = folder / "spa"
    path.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{_RUN}")
    path.chmod(0o755)
    return path


_CHILD = "from tests.quick import serve; serve()"
_RUN = "from tests.quick import main\nmain()\n"


def main() -> None:
    """The command line."""
    if MEASURING & set(sys.argv[1:2]):
        shorten(setattr)
    from spa_cli.cli import main as run

    run()


def serve() -> None:
    """What a child of ``spa_cli.isolation`` does."""
    from spa_cli.threads import on_one_thread

    on_one_thread()
    shorten(setattr)
    from spa_cli.isolation import serve as run

    run()


if __name__ == "__main__":
    main()
