"""What can go wrong, as one sentence each, with the exit code a pipeline can rely on."""

from __future__ import annotations


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
