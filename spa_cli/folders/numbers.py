"""The numbers of a configuration that depend on the model, read off the pruned one."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from spa_cli.channels.naming import RESIDUAL
from spa_cli.errors import VerificationError
from spa_cli.folders import keys
from spa_cli.folders.configs import Config
from spa_cli.folders.measured import Attention, Heads, attention, caches, widths
from spa_cli.result import Result

_NOTHING = "(nothing was written)"


def derived(config: Config, result: Result, model: str) -> dict[str, int]:
    """What the configuration has to say instead, by key; ``model``: the name of its file.

    Raises VerificationError where layers differ that have one number, or where nothing tells for certain what it is.
    """
    found = dict(_of_widths(config, result, model))
    residual = config.first(keys.RESIDUAL)
    heads = config.first(keys.of_side(keys.HEADS, model))
    width = config.first(keys.PER_HEAD)
    if width is None and residual and heads and residual % heads == 0:
        width = residual // heads
    if heads and width:
        before = Heads(heads, config.first(keys.KEY_HEADS) or heads, width)
        found |= _of_attention(config, result, before, found, model)
    return {key: after for key, after in found.items() if config.said.get(key) != after}


def _of_widths(config: Config, result: Result, model: str) -> Iterator[tuple[str, int]]:
    for key in keys.of_side(keys.RESIDUAL, model):
        if before := config.number(key):
            # of what is as wide by chance, as what leads to a head
            found = widths(result, before, RESIDUAL) or widths(result, before, "")
            if found:
                yield key, _one(config, key, found)
    for key in keys.of_side(keys.HIDDEN, model):
        if before := config.number(key):
            yield from _of_hidden(config, key, before, result)
    if (wide := config.number(keys.GPT2_RESIDUAL)) and config.said.get(keys.GPT2_HIDDEN) is None:
        yield from _gpt2(config, wide, result)


def _of_hidden(config: Config, key: str, before: int, result: Result) -> Iterator[tuple[str, int]]:
    found = widths(result, before, "")
    if any(after != before for after in found):
        after = _one(config, key, found)
        _all_layers(config, key, len(found))
        yield key, after


def _gpt2(config: Config, wide: int, result: Result) -> Iterator[tuple[str, int]]:
    """What is said by saying nothing holds only as long as both shrink alike."""
    before, key = keys.GPT2_TIMES * wide, keys.GPT2_HIDDEN
    found = widths(result, before, "")
    residual = widths(result, wide, RESIDUAL)
    after = dict(_of_hidden(config, key, before, result)).get(key, before)
    if found and after != keys.GPT2_TIMES * (residual[0] if residual else wide):
        yield key, after


def _of_attention(config: Config, result: Result, before: Heads, changed: dict[str, int], model: str) -> dict[str, int]:
    seen, found = attention(result, before), dict[str, int]()
    own = keys.of_side(keys.HEADS, model)
    key = next(k for k in own if config.number(k))
    queries, shared = before.queries, before.keys
    if seen.cut:
        if not seen.queries or not seen.fits:
            raise VerificationError(
                f"'{config.file}' says {key} {before.queries}, of {before.width} channels each, which is not how "
                f"the attention of '{model}' is laid out; leave it whole by --ignore '*/heads' {_NOTHING}"
            )
        queries = _one(config, key, seen.queries)
        keys_said = next((k for k in keys.KEY_HEADS if config.number(k)), keys.KEY_HEADS[0])
        shared = _one(config, keys_said, seen.keys) if seen.keys else before.keys
        if (queries, shared) != (before.queries, before.keys) or seen.width != {before.width}:
            _all_layers(config, key, seen.layers)
        found |= {k: queries for k in own if config.number(k) == before.queries}
        if config.first(keys.KEY_HEADS) or shared != queries:
            found[keys_said] = shared
    given = caches(result)
    width = _width(config, before, seen, bool(given))
    found |= _per_head(config, {**changed, **found}, queries, width, bool(given))
    fits_caches(config, given, before, (shared, width or before.width))
    return found


def _width(config: Config, before: Heads, seen: Attention, cached: bool) -> int | None:
    """Channels of a head; ``None`` where they differ, and nobody asks."""
    if not seen.cut or seen.width == {before.width}:
        return before.width
    key = next((k for k in keys.PER_HEAD if config.number(k)), None)
    if key is not None or cached:
        return _one(config, key or keys.PER_HEAD[0], seen.width, "'*/qk' and '*/v' whole")
    return next(iter(seen.width)) if len(seen.width) == 1 else None


def _per_head(config: Config, changed: dict[str, int], queries: int, width: int | None, cached: bool) -> dict[str, int]:
    """How many channels a head has, where it is said, or where what readers would work out is no longer so."""
    said = [k for k in keys.PER_HEAD if config.number(k)]
    if said:
        return dict.fromkeys(said, width) if width is not None else {}
    residual = next((k for k in keys.RESIDUAL if config.number(k)), None)
    wide = changed.get(residual or "", config.number(residual or "") or 0)
    if wide == queries * (width or 0) or not wide:
        return {}
    if all(config.number(k) for k in keys.READS_PER_HEAD):
        return {keys.PER_HEAD[0]: width} if width is not None else {}
    if cached:
        raise VerificationError(
            f"'{config.file}' has no number for the {width} channels of a head, which its readers take to be "
            f"{residual} / heads, now {wide} / {queries}; leave the residual whole by --ignore '*residual' {_NOTHING}"
        )
    return {}


def fits_caches(
    config: Config,
    given: list[tuple[tuple[int, int], tuple[int, int]]],
    before: Heads,
    after: tuple[int, int],
) -> None:
    """Readers make caches by these numbers."""
    for old, new in given:
        if old == (before.keys, before.width) and new != after:
            raise VerificationError(
                f"a cache of this cut has {new[0]} heads of {new[1]} channels, and '{config.file}' would say "
                f"{after[0]} of {after[1]}; leave attention whole by --states keep {_NOTHING}"
            )


def _one(
    config: Config,
    key: str,
    found: Collection[int],
    whole: str = "out --no-uniform, or more layers whole",
) -> int:
    several = sorted(set(found))
    if len(several) > 1:
        raise VerificationError(
            f"'{config.file}' has one {key} for all layers, and this cut leaves {several[0]} in one and {several[-1]} "
            f"in another; leave {whole} by --ignore {_NOTHING}"
        )
    return several[0]


def _all_layers(config: Config, key: str, found: int) -> None:
    """Refuse a number of which it is not known that all layers have it."""
    layers = {n for k in keys.LAYERS if (n := config.number(k))}
    if not any(found and found % n == 0 for n in layers):
        many = f"of {found} of the {min(layers)} layers" if layers else "of layers that nothing counts"
        raise VerificationError(
            f"'{config.file}' has one {key} for all layers, and this cut changes that {many}; leave those whole by "
            f"--ignore {_NOTHING}"
        )
