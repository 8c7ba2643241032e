"""The clock that widths and latency are chosen by."""

from __future__ import annotations

from spa_cli.analysis import Analysis
from spa_cli.budget.bill import Clock
from spa_cli.devices import store
from spa_cli.devices.clock import MeasuredClock
from spa_cli.devices.measure import measured, timed
from spa_cli.errors import first_line
from spa_cli.progress import LOG, stage
from spa_cli.runtime.session import Feeds


def clock_of(analysis: Analysis, feeds: Feeds) -> Clock | None:
    """Of this machine, as it is measured now or was before; ``None`` where the model can't be profiled."""
    key = store.key_of(analysis, feeds)
    table = store.fetch(key)
    if table is None:
        stage("measuring what widths cost here")
        try:
            table = store.keep(key, measured(analysis, feeds, store.machine()))
        except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises: then widths are not chosen by time
            LOG.info("what widths cost was not measured: %s", first_line(error))
            return None
    return MeasuredClock(table, timed(analysis))
