"""What can go wrong, as one sentence each, with the exit code a pipeline can rely on."""

from __future__ import annotations

from collections.abc import Callable


def first_line(said: BaseException | str, most: int = 200) -> str:
    """What an exception, or a text, says first, no longer than ``most``; its type's name if it says nothing."""
    lines = str(said).strip().splitlines()
    if lines:
        return lines[0].strip()[:most]
    return "no message" if isinstance(said, str) else type(said).__name__


class SpaError(Exception):
    """A failure the user can act on: one sentence saying what is wrong, where, and what to do.

    ``kind``: what ``--json`` calls it.
    """

    exit_code = 1
    kind = "unexpected"


class VerificationError(SpaError):
    """The result did not pass verification, or a gate failed; nothing was written (exit 1)."""

    exit_code = 1
    kind = "verification"


class UsageError(SpaError):
    """Options, calibration data or the output path can't be used (exit 2)."""

    exit_code = 2
    kind = "usage"


class OptionError(UsageError):
    """An option is not known, is not of its type, is out of range or does not go with another (exit 2)."""


class SpreadError(UsageError):
    """Workers that were to do some of it are not there, would do it otherwise, or end with it (exit 2)."""


class ModelError(SpaError):
    """The model is missing, unreadable, invalid, or has nothing prunable (exit 3)."""

    exit_code = 3
    kind = "model"


class UnreachableError(SpaError):
    """The target can't be met; the message says the best that can (exit 4)."""

    exit_code = 4
    kind = "unreachable"


class ResourceError(SpaError):
    """There is not enough memory here for what was asked (exit 5)."""

    exit_code = 5
    kind = "memory"


class CutError(Exception):
    """A node can't be brought in line with a cut; the sentence says why. What was tried is taken back."""


# how native code says so: C++ itself, onnxruntime's arena, the system, protobuf
_NO_MEMORY = (
    *("bad_alloc", "bad allocation", "failed to allocate memory", "cannot allocate memory", "out of memory"),
    *("failed to map segment", "can't start new thread", "pthread_create failed"),
    # a message of which no 2 GB are ever made here
    "failed to serialize proto",
)


def of_memory(error: BaseException, quoted: Callable[[BaseException | str], str] = first_line) -> ResourceError | None:
    """The refusal for an error that is, or that comes from, memory that there is not; ``None`` for any other.

    ``quoted``: what it says of it.
    """
    seen: BaseException | None = error
    while seen is not None:
        lines = [line for line in str(seen).splitlines() if any(words in line.lower() for words in _NO_MEMORY)]
        if lines or isinstance(seen, MemoryError):
            why = quoted(lines[0] if lines else seen)
            return ResourceError(
                f"there is not enough memory ({why}); give --memory less, or run it where there is more"
            )
        seen = seen.__cause__ or seen.__context__
    return None
