"""A campaign: batches of random cases on as many processes as it may take, added up."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vta.config import Config
from vta.errors import ToolError
from vta.extras import needed
from vta.tools.fuzz.coverage import Row
from vta.tools.fuzz.minimise import minimise
from vta.tools.fuzz.random_cases import draw_case
from vta.tools.fuzz.trial import Difference, MakeRtl, make_rtl, run_case

__all__ = ["Batch", "Tally", "Until", "campaign", "cluster_pool", "local_pool", "run_batch"]

BATCH = 20
"""Cases that a process runs before it reports: seconds of work."""


MOST_DIFFERENCES = 20

PATIENCE = "20s"
"""How long a scheduler may take to answer."""


@dataclass(frozen=True)
class Batch:
    """Cases `first` to `first + count - 1` of one configuration."""

    seed: int
    name: str
    config: Config
    first: int
    count: int


@dataclass
class Tally:
    """What became of cases.

    Attributes
    ----------
    launches : int
        Programs that were compared.
    errors, resets : int
        How many of them ended with an error, and how many were reset in mid-run.
    seconds : float
        Of one processor.
    """

    cases: int = 0
    launches: int = 0
    errors: int = 0
    resets: int = 0
    seconds: float = 0.0
    covered: Counter[Row] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.cases += other.cases
        self.launches += other.launches
        self.errors += other.errors
        self.resets += other.resets
        self.seconds += other.seconds
        self.covered.update(other.covered)
        self.differences += other.differences


@dataclass(frozen=True)
class Until:
    """Where a campaign ends: after so many programs, or after so many seconds.

    With both, it ends at whichever is first; and after `MOST_DIFFERENCES`, which are enough to
    work on.
    """

    programs: int | None = None
    seconds: float | None = None

    def share(self, tally: Tally, seconds: float) -> float:
        """How far the campaign is, 0 to 1."""
        if len(tally.differences) >= MOST_DIFFERENCES:
            return 1.0
        done = tally.launches / self.programs if self.programs else 0.0
        spent = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(done, spent))


def run_batch(batch: Batch, make: MakeRtl = make_rtl) -> Tally:
    """Runs a batch; each difference is made as small as it gets."""
    # Of this thread: a worker of a cluster may run several batches at a time.
    tally, start = Tally(), time.thread_time()
    for number in range(batch.first, batch.first + batch.count):
        trial = run_case(draw_case(batch.seed, batch.name, batch.config, number), make)
        tally.cases += 1
        tally.launches += trial.launches
        tally.errors += trial.errors
        tally.resets += trial.resets
        tally.covered += trial.covered
        if trial.difference is not None:
            tally.differences.append(minimise(trial.difference, make))
    tally.seconds = time.thread_time() - start
    return tally


def batches(configs: Mapping[str, Config], seed: int, count: int = BATCH) -> Iterator[Batch]:
    """Batches without end, of each configuration in turn."""
    for first in itertools.count(0, count):
        for name, config in configs.items():
            yield Batch(seed, name, config, first, count)


def campaign(
    configs: Mapping[str, Config],
    *,
    seed: int,
    until: Until,
    pool: concurrent.futures.Executor | None,
    jobs: int = 1,
    report: Callable[[Tally, float], None] = lambda tally, share: None,
) -> Tally:
    """Runs cases until the end.

    Parameters
    ----------
    configs : mapping of name to Config
    seed : int
        Cases follow from it, the configuration's name and their number.
    until : Until
    pool : Executor or None
        Runs `jobs` batches at a time; None runs them in this process.
    report : function of (Tally, share)
        Is told now and then how far it is.
    """
    tally, start = Tally(), time.monotonic()
    count = BATCH if until.programs is None else max(1, min(BATCH, until.programs // 2))
    todo = batches(configs, seed, count)

    def enough() -> bool:
        share = until.share(tally, time.monotonic() - start)
        report(tally, share)
        return share >= 1.0

    if pool is None:
        while not enough():
            tally.add(run_batch(next(todo)))
        return tally
    running = {pool.submit(run_batch, next(todo)) for _ in range(jobs)}
    while running:
        done, running = concurrent.futures.wait(
            running, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            tally.add(future.result())
            if not enough():
                running.add(pool.submit(run_batch, next(todo)))
    return tally


def local_pool(jobs: int) -> concurrent.futures.Executor:
    """Processes of this computer that run batches."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context)


@contextlib.contextmanager
def cluster_pool(address: str) -> Iterator[tuple[concurrent.futures.Executor, int]]:
    """The workers of a Dask cluster, and how many batches they run at a time.

    Raises
    ------
    ToolError
        If the extra is missing, or no scheduler answers, or it has no workers.
    """
    with needed("a cluster", "cluster"):
        distributed: Any = importlib.import_module("distributed")
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ToolError(f"no Dask scheduler answers at {address} ({error})") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise ToolError(f"the Dask scheduler at {address} has no workers: start some first")
        yield client.get_executor(), threads
