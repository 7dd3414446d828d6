"""The oracle: the ranking by the truth's own probabilities, of the events and under the protocol that the models are held to.

It knows what the world draws from at the very moment of a request, and the session as it stands; neither publish delay nor
version history holds it back. What the protocol lets nobody rank, it does not rank either: its candidates are the items known at
the end of the slide before, and a brand-new one is a miss. Among them it is to expect more than any other order, and no set of
candidates is larger.

Where consumed items are no candidates, a target that was consumed before is ranked all the same, against the others alone. Such a
target meets no other consumed item, whatever is believed of those: an order that puts all consumed items first finds each of
them in the first place and loses nothing elsewhere. The oracle does that, because a model might. It is far above what models of
preference reach then; with ``keep_consumed`` it is their bound in earnest.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dynmm_core.adapt.catalogue import dictionary
from dynmm_core.adapt.strata import WindowRow, window_rows
from dynmm_core.console import progress
from dynmm_core.metrics.ranking import expected_metrics
from replay.past import Past, blocks
from simulators.stream import previous_items
from simulators.truth import Truth

ORACLE = "oracle"
_ROWS_PER_BLOCK = 256


@dataclass(frozen=True)
class RankedRange:
    """Which events are ranked: those in [from_ms, to_ms) behind the cut; and whether consumed items are candidates."""

    from_ms: int
    to_ms: int
    keep_consumed: bool


def oracle_windows(truth: Truth, past: Past, ranked: RankedRange) -> list[WindowRow]:
    """Return the oracle's sums by evaluation window and stratum, as the models' come from the stream; its staleness is 0."""
    first, last = np.searchsorted(past.event_time_ms, [ranked.from_ms, ranked.to_ms])
    rows = np.arange(max(int(first), past.line.cut_row), int(last))
    metrics = expected_metrics(*oracle_ranks(truth, past, rows, keep_consumed=ranked.keep_consumed))
    strata = {name: mask[rows] for name, mask in past.strata().items()}
    return window_rows(ORACLE, past.event_time_ms[rows], metrics, strata, np.zeros(len(rows), np.int64))


def oracle_ranks(truth: Truth, past: Past, rows: np.ndarray, *, keep_consumed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (better, ties) of the targets of the events ``rows`` (m,): candidates that are likelier, or as likely; -1 is a miss.

    Users and items of ``past`` are numbered as in the truth.
    """
    items = len(truth.item_ids)
    previous = previous_items(past.user, past.item, past.event_time_ms)
    known_ms, consumed = past.first_seen_ms(items), past.consumed()
    better, ties = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    done = 0
    with progress("ranking by the truth", len(rows)) as bar:
        for block in blocks(rows, _ROWS_PER_BLOCK):
            chance = truth.probabilities(past.user[block], past.event_time_ms[block], previous[block])
            candidate = known_ms < past.slide_start_ms[block, None]
            known = candidate[np.arange(len(block)), past.item[block]]
            if not keep_consumed:
                seen = consumed.before(block, items)
                candidate &= ~seen
                chance[seen] = 2.0  # ahead of everything: see above
            above, equal = _ranks(chance, past.item[block], candidate)
            here = slice(done, done + len(block))
            better[here], ties[here] = np.where(known, above, -1), np.where(known, equal, 0)
            done += len(block)
            bar.advance(len(block))
    return better, ties


def numbered(truth: Truth, log: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth's numbers (n,) of a log's users and items.

    Raises:
        UserError: an id is none of the truth's world.
    """
    columns = []
    for name, numbers_of in (("user_id", truth.user_numbers), ("item_id", truth.item_numbers)):
        codes, distinct = dictionary(log[name])
        columns.append(numbers_of(list(distinct))[codes])
    return columns[0], columns[1]


def _ranks(scores: np.ndarray, targets: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(better, ties) of targets (b,) by scores (b, items) among the candidates (b, items) other than themselves."""
    rows = np.arange(len(targets))
    own = scores[rows, targets][:, None]
    candidate[rows, targets] = False
    return ((scores > own) & candidate).sum(axis=1), ((scores == own) & candidate).sum(axis=1)
