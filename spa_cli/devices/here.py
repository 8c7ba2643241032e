"""The clock that widths and latency are chosen by: of this machine, measured, or of another, by a profile."""

from __future__ import annotations

from spa_cli.analysis import Analysis
from spa_cli.budget.bill import Clock
from spa_cli.devices import store
from spa_cli.devices.clock import MeasuredClock
from spa_cli.devices.measure import measured, timed
from spa_cli.devices.profile_clock import ProfileClock
from spa_cli.devices.profiles import HERE, profile_of
from spa_cli.progress import LOG, stage
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds


def clock_of(analysis: Analysis, feeds: Feeds, device: str = HERE) -> Clock | None:
    """Of this machine, as it is measured now or was before, or of a profile; ``None`` where nothing can be measured.

    Raises UsageError for a device that is not known, or that tells of other layers.
    """
    profile = profile_of(device)
    if profile is not None:
        return ProfileClock(profile, analysis)
    key = store.key_of(analysis, feeds)
    table = store.fetch(key)
    if table is None:
        stage("measuring what widths cost here")
        try:
            table = store.keep(key, measured(analysis, feeds, store.machine()))
        except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises: then widths are not chosen by time
            LOG.info("what widths cost was not measured: %s", said(error))
            return None
    return MeasuredClock(table, timed(analysis))
