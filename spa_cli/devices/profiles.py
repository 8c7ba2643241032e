"""Machines that are not at hand, as profiles of them say: a table in the package, or a TOML file of the user's own."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from spa_cli.devices.kinds import KINDS
from spa_cli.errors import OptionError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# this machine, which is measured
HERE = "here"
_KNOWN = Path(__file__).with_name("profiles.toml")
_TEXTS = ("name", "about", "source")


@dataclass(frozen=True)
class Profile:
    """``multiples``: of how many channels kernels work at a time, by kind of layer; 1 where nothing is said.

    ``source``: where the numbers are from. ``layers``: milliseconds that nodes take at full width, by name, where
    somebody measured them.
    """

    name: str
    about: str
    source: tuple[str, ...]
    multiples: Mapping[str, int]
    layers: Mapping[str, float] = field(default_factory=dict)


@cache
def profiles() -> dict[str, Profile]:
    """Those that the package knows, by name."""
    found = tomllib.loads(_KNOWN.read_text(encoding="utf-8"))
    return {name: _profile(table, name, str(_KNOWN)) for name, table in found.items()}


def is_file(device: str) -> bool:
    """Whether a device is told by a file."""
    return device.endswith(".toml")


def profile_of(device: str) -> Profile | None:
    """The profile of a name or of a TOML file; ``None`` of this machine, which has to be measured.

    Raises UsageError for a name that is not known and for a file that can't be read or says something else.
    """
    if device == HERE:
        return None
    if is_file(device):
        return _profile(_read(device), Path(device).stem, device)
    if device not in profiles():
        near = difflib.get_close_matches(device.lower(), [HERE, *profiles()], 1, 0.6)
        advice = (
            f"did you mean '{near[0]}'?" if near else "'spa devices' lists all, and a file of your own ends in .toml"
        )
        raise OptionError(f"there is no device '{device}'; {advice}")
    return profiles()[device]


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"the device '{file}' can't be read: {why}; name another with --device") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the device '{file}' is not TOML: {error}; write it anew") from error


def _profile(table: dict[str, Any], name: str, file: str) -> Profile:
    multiples, layers = dict.fromkeys(KINDS, 1), table.get("layers", {})
    for key, value in table.items():
        if key in KINDS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"'{key}' in the device '{file}' has to be a whole number above 0, not {value}")
            multiples[key] = value
        elif key not in (*_TEXTS, "layers"):
            near = difflib.get_close_matches(key, (*KINDS, *_TEXTS, "layers"), 1)
            advice = f"did you mean '{near[0]}'?" if near else f"use {', '.join(KINDS)} or a table [layers]"
            raise UsageError(f"'{key}' in the device '{file}' is no kind of layer; {advice}")
    if not isinstance(layers, dict):
        raise UsageError(
            f"'layers' in the device '{file}' has to be a table: [layers], then one name = milliseconds a line"
        )
    for key, value in layers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UsageError(f"the layer '{key}' in the device '{file}' has to be milliseconds above 0, not {value}")
    if not layers and max(multiples.values()) == 1:
        raise UsageError(f"the device '{file}' says nothing of widths or layers; write convolution = 16, for one")
    source = table.get("source", ())
    source = (source,) if isinstance(source, str) else source
    if not isinstance(source, list | tuple):
        raise UsageError(f"'source' in the device '{file}' has to be text, or a list of texts")
    return Profile(
        str(table.get("name", name)), str(table.get("about", "")), tuple(map(str, source)), multiples, layers
    )
