"""A faulty log on a real broker, and what a run leaves that nothing befell."""

from dataclasses import dataclass

from live_run import SLIDE_MS, LiveRun

from dynmm_core.datasets.prepared import PreparedLog
from simulators.faults import FaultRates, inject
from simulators.faulty_log import FaultyLog

RATES = FaultRates(
    late=0.02, duplicate=0.03, out_of_order=0.05, malformed=0.01, future=0.01, oversized=0.001, without_event_id=0.02, roaming=0.1
)  # fmt: skip
PARTITIONS, LATENESS_MS, SKEW_MS = 3, 60_000, 3_600_000


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing befell: its topics, what it has made, and what the fault injector says of its log."""

    live: LiveRun
    log: FaultyLog
    summaries: dict[str, str]
    versions: list[tuple[int, str]]


def faulty_log(log: PreparedLog, rates: FaultRates = RATES) -> FaultyLog:
    events = log.read(["event_time_ms", "event_id", "user_id", "item_id"], log.cut_row, log.rows)
    return inject(events, rates, 3, PARTITIONS, SLIDE_MS, LATENESS_MS, SKEW_MS)
