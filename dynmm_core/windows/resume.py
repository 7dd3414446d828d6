"""From the end markers that a run has sent to the place where it goes on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS
from dynmm_core.windows.messages import EndMarker
from dynmm_core.windows.progress import IdleCut, RunProgress, ShardProgress, newest_cuts


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on: its progress behind the newest slide that every bucket has sent, and every cut told since.

    ``drained``: the run has ended, with nothing left to send.
    """

    progress: RunProgress
    cuts: tuple[IdleCut, ...]
    drained: bool


def resume(markers: Mapping[str, Sequence[EndMarker]], shards: Iterable[str]) -> Resumption | None:
    """Where to go on, given each bucket's markers in their order; None where some bucket has sent none: from the beginning.

    A cut that only a marker behind the common slide tells counts, too: what that bucket has sent must come out the same again.
    """
    newest = {shard: max((marker.closed_through_ms for marker in markers.get(shard, ())), default=None) for shard in shards}
    known = [through for through in newest.values() if through is not None]
    if len(known) < len(newest):
        return None
    through_ms = min(known)
    progress = RunProgress.merged(through_ms, {shard: _at(markers[shard], through_ms) for shard in newest})
    return Resumption(progress, newest_cuts(_cuts_in(markers), progress.points), through_ms == DRAINED_MS)


def reaches_back(markers: Mapping[str, Sequence[EndMarker]], shards: Iterable[str]) -> bool:
    """Whether these markers are enough for :func:`resume`: every bucket has one at or before the common slide."""
    found = resume(markers, shards)
    return found is not None and all(
        any(marker.slide_end_ms <= found.progress.through_ms for marker in markers[shard]) for shard in found.progress.shards
    )


def cuts_without_progress(markers: Mapping[str, Sequence[EndMarker]]) -> tuple[IdleCut, ...]:
    """Every cut told by the markers of a run that starts from its beginning again."""
    return newest_cuts(_cuts_in(markers), {})


def _cuts_in(markers: Mapping[str, Sequence[EndMarker]]) -> Iterator[IdleCut]:
    for marker in chain.from_iterable(markers.values()):
        yield from marker.progress.cuts
        yield from marker.progress.told


def _at(markers: Sequence[EndMarker], through_ms: int) -> ShardProgress:
    """The progress of the newest slide up to ``through_ms``: a start that sent slides again has put older ones behind it."""
    progress, newest_ms = ShardProgress(), NEVER_MS
    for marker in markers:
        if newest_ms <= marker.slide_end_ms <= through_ms:
            progress, newest_ms = marker.progress, marker.slide_end_ms
    return progress
