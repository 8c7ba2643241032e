"""A client of a Dask cluster: of processes that are started here, or of one that is there."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

from spa_cli.engines import Asked
from spa_cli.errors import SpreadError, first_line
from spa_cli.extras import extra

# seconds to reach a cluster in
_REACH = "10s"
# what Dask has in the environment of its workers, of which one costs a fault for every page of every large array
_ENVIRONMENT, _TRIM = "distributed.nanny.pre-spawn-environ", "MALLOC_TRIM_THRESHOLD_"


def dask(asked: Asked) -> Any:
    """Dask itself; raises UsageError that says how to install it."""
    return extra("distributed", f"--engine {asked.text} needs Dask", "distributed")


def client_of(asked: Asked, workers: int, stack: ExitStack) -> Any:
    """A client that ends with ``stack``, and with it the cluster of so many workers, if that was started here."""
    distributed = dask(asked)
    if asked.address:
        return stack.enter_context(_reached(distributed, asked))
    config = extra("dask.config", f"--engine {asked.text} needs Dask", "distributed")
    environment = {k: v for k, v in config.get(_ENVIRONMENT, {}).items() if k != _TRIM}
    with config.set({_ENVIRONMENT: environment}):
        # work takes the memory that it is told to take
        local = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            # its pages are for this machine alone, at any port
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        here = stack.enter_context(local)
    return stack.enter_context(distributed.Client(here, set_as_default=False, direct_to_workers=True))


def _reached(distributed: Any, asked: Asked) -> Any:
    """A client of what is there; keys, certificates and whether they are needed are Dask's own configuration."""
    try:
        return distributed.Client(asked.address, set_as_default=False, timeout=_REACH)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise SpreadError(
            f"no Dask cluster answers at '{asked.text}' ({first_line(error)}); run 'dask scheduler' and "
            "'dask worker' there, or name another"
        ) from error
