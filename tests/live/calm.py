"""A run that nothing befell, and the messages that it read."""

from dataclasses import dataclass

from live_ops import Hashes, Messages, Operated

from simulators.faults import FaultRates
from simulators.faulty_log import ExpectedCounts

# Every event has an id: one without is known by its topic, and each of these runs has topics of its own.
RATES = FaultRates(late=0.02, duplicate=0.03, out_of_order=0.05, malformed=0.02, future=0.01, roaming=0.1)
PARTITIONS, LATENESS_MS, SKEW_MS = 3, 60_000, 3_600_000


@dataclass(frozen=True)
class Calm:
    """An undisturbed run over ``messages``, whose last one in each partition closes every slide before it.

    ``versions`` and ``summaries`` are those of the slides that a run which is not drained has closed, too; ``expected`` does
    not know of the closing messages.
    """

    live: Operated
    messages: Messages
    expected: ExpectedCounts
    versions: Hashes
    summaries: dict[str, str]
