"""What can go wrong, as one sentence each, with the exit code a pipeline can rely on."""

from __future__ import annotations


def first_line(said: BaseException | str, most: int = 200) -> str:
    """What an exception, or a text, says first, no longer than ``most``; its type's name if it says nothing."""
    lines = str(said).strip().splitlines()
    if lines:
        return lines[0].strip()[:most]
    return "no message" if isinstance(said, str) else type(said).__name__


class SpaError(Exception):
    """A failure the user can act on: one sentence saying what is wrong, where, and what to do."""

    exit_code = 1


class VerificationError(SpaError):
    """The result did not pass verification, or a gate failed; nothing was written (exit 1)."""

    exit_code = 1


class UsageError(SpaError):
    """Options, calibration data or the output path can't be used (exit 2)."""

    exit_code = 2


class ModelError(SpaError):
    """The model is missing, unreadable, invalid, or has nothing prunable (exit 3)."""

    exit_code = 3


class UnreachableError(SpaError):
    """The target can't be met; the message says the best that can (exit 4)."""

    exit_code = 4


class CutError(Exception):
    """A node can't be brought in line with a cut; the sentence says why. What was tried is taken back."""
