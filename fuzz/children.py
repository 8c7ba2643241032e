"""The parent's side: a child that runs cases, and another one when it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.processes import Watch

ROOT = Path(__file__).resolve().parent.parent
# a case that computes for longer hangs
SECONDS = 60
# a child is replaced after so many cases: what leaks is no finding
_CASES_EACH = 2000


class Children:
    """``log``: where they say what they say."""

    def __init__(self, log: Path) -> None:
        self._log, self._count = log, 0
        self._child: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """What came of an order; a crash or a hang ends the child."""
        self._count += 1
        if self._child is None or self._count % _CASES_EACH == 0:
            self._start()
        assert self._child is not None
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps({**order, "seconds": SECONDS}) + "\n")
            self._child.stdin.flush()
            line = self._answer()
        except queue.Empty:
            native = self._innermost().find("/onnx") >= 0
            self.close()
            where = "in onnxruntime or onnx" if native else f"in {self._innermost()}"
            return {"good": False, "kind": "hang", "key": f"takes more than {SECONDS} s {where}", "native": native}
        except BrokenPipeError:
            line = ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        code = self._child.wait()
        self.close()
        # a worker that ends by itself is a mistake of the harness
        return {"good": False, "kind": "crash", "key": f"ends with {code}", "native": code < 0}

    def _answer(self) -> str:
        """The next line; raises queue.Empty where none comes in time."""
        assert self._child is not None
        watch = Watch(self._child.pid, SECONDS)
        while True:
            try:
                return self._answers.get(timeout=1)
            except queue.Empty:
                if watch.late:
                    raise

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            if self._child.stdin is not None:
                with contextlib.suppress(OSError):
                    self._child.stdin.close()
            self._child = None

    def _start(self) -> None:
        self.close()
        self._answers = answers = queue.Queue()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", "fuzz.worker"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

        def listen() -> None:
            if child.stdout is not None:
                with child.stdout:
                    for line in child.stdout:
                        answers.put(line)
            answers.put("")

        threading.Thread(target=listen, daemon=True).start()
        answers.get(timeout=300)

    def _innermost(self) -> str:
        """The innermost Python frame that was at work when time was up, as the child told in its log."""
        told = self._log.read_text(errors="replace").rpartition("Timeout (")[2].splitlines()
        return next((line.strip() for line in told if line.strip().startswith("File ")), "?")
