"""Putting a model in place with its weights in a file beside it: no model ever reads the weights of another run.

Two files can't be moved at once. So the weights first get a name that only this run's model refers to, and the model is
put in place once as one that refers to it: from then on the output is this run's, in one step. Then the weights get
the name that they keep as well, and the model is put in place as one that refers to that. Whoever is killed between two
steps leaves the old output or the new one, whole, and at most a hidden file, which the next run to the same output
removes.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from spa_cli import written
from spa_cli.atomic import put
from spa_cli.graph.parameters import inner_tensors
from spa_cli.interrupts import uninterrupted
from spa_cli.staging import locked


def data_name(name: str) -> str:
    """What the file is called in which the weights of a model lie."""
    return f"{name}.data"


def put_model(model: Path, data: Path | None, out: Path, force: bool) -> None:
    """Move a finished model to ``out`` and the file of its weights (``None``: it has none) to ``<out>.data``.

    The model refers to that name. One process at a time does so in a folder. Raises OSError, FileExistsError if one of
    both is there and not ``force``; what was there stays then.
    """
    with uninterrupted(), locked(out.parent):
        if data is None:
            put(model, out, force)
        else:
            _put_both(model, data, out, force)


def _put_both(model: Path, data: Path, out: Path, force: bool) -> None:
    beside = out.with_name(data_name(out.name))
    if not force and os.path.lexists(beside):
        raise FileExistsError
    own = out.with_name(f".{out.name}.{secrets.token_hex(4)}.data")
    first = model.with_name(f"{model.name}.first")
    _referring(model, data.name, own.name, first)
    try:
        put(data, own, True)
        put(first, out, force)
    except OSError:
        own.unlink(missing_ok=True)
        raise
    finally:
        written.forget(own)
    try:
        _named(own, beside)
        try:
            put(model, out, True)
        except OSError:
            # two names of one file do not stay: readers take a second one for an attack
            os.replace(beside, own)
            beside.unlink(missing_ok=True)
            raise
    except OSError:
        # the output is whole; where nothing was replaced it can be taken back
        if not force:
            out.unlink()
            own.unlink(missing_ok=True)
            written.forget(out)
        raise
    written.note(beside)
    _sweep(out)


def _referring(model: Path, old: str, new: str, to: Path) -> None:
    """A copy of a model that takes its weights from the file ``new`` instead of ``old``."""
    changed = onnx.load(str(model), load_external_data=False, format="protobuf")
    for tensor in (*changed.graph.initializer, *inner_tensors(changed.graph)):
        if uses_external_data(tensor):
            for entry in tensor.external_data:
                if entry.key == "location" and entry.value == old:
                    entry.value = new
    onnx.save(changed, str(to), format="protobuf")
    to.chmod(model.stat().st_mode & 0o777)


def _named(own: Path, beside: Path) -> None:
    """Give the weights their second name; where there are no hard links it is their only one for a moment."""
    linked = own.with_name(f"{own.name}.linked")
    try:
        os.link(own, linked)
    except OSError:
        os.replace(own, beside)
    else:
        try:
            os.replace(linked, beside)
        finally:
            linked.unlink(missing_ok=True)


def _sweep(out: Path) -> None:
    """Remove the first names of weights, this run's and those of runs that were killed."""
    first = re.compile(re.escape(f".{out.name}.") + r"[0-9a-f]{8}\.data(\.linked)?")
    for file in out.parent.iterdir():
        if first.fullmatch(file.name):
            with suppress(OSError):
                file.unlink()
