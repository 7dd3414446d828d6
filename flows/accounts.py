"""The accounting of a run: every event read is used, late, a duplicate, dead, or still pending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from dynmm_core.windows.progress import PartitionTally
from dynmm_core.windows.shard import ShardWindow


class Accounting(BaseModel):
    """Events by what became of them; unit: events, an undecodable message counts 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: int
    used: int
    late: int
    duplicate: int
    dead: int
    pending: int

    @property
    def closes(self) -> bool:
        """Whether nothing was lost or counted twice."""
        return self.read == self.used + self.late + self.duplicate + self.dead + self.pending


class _Reading(Protocol):
    """Anything that reads one partition and counts what it reads."""

    @property
    def tally(self) -> PartitionTally: ...


@dataclass
class Ledger:
    """The readers and windows of this process, asked for their totals at the end; each partition and bucket is in one process."""

    readers: dict[int, _Reading] = field(default_factory=dict)
    windows: list[ShardWindow] = field(default_factory=list)

    def add_reader(self, partition: int, reader: _Reading) -> None:
        """Enter the reader of a partition."""
        self.readers[partition] = reader

    def add_window(self, window: ShardWindow) -> None:
        """Enter the window of a bucket."""
        self.windows.append(window)

    def part(self) -> "LedgerPart":
        """The totals so far, since the run began; used and duplicate as of the slides closed."""
        tallies = [reader.tally for reader in self.readers.values()]
        return LedgerPart(
            read=sum(tally.read for tally in tallies),
            late=sum(tally.late for tally in tallies),
            duplicate=sum(tally.duplicate for tally in tallies),
            dead=sum(tally.dead for tally in tallies),
            partitions=tuple(sorted(self.readers)),
            shards={
                window.shard: ShardTotals(used=window.progress.used, duplicate=window.progress.duplicates, pending=window.pending)
                for window in self.windows
            },
        )


class ShardTotals(BaseModel):
    """Events of one bucket: in slides sent, dropped from them, and in open slides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    used: int
    duplicate: int
    pending: int = 0


class LedgerPart(BaseModel):
    """One process's share of the accounting: its partitions' tallies added up, and its buckets by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: int
    late: int
    duplicate: int
    dead: int
    shards: dict[str, ShardTotals]
    partitions: tuple[int, ...] = ()


def add_up(parts: Sequence[LedgerPart], resumed: Mapping[str, ShardTotals]) -> Accounting:
    """The accounting of all processes; a bucket that no item has woken yet stands where the run was ``resumed``."""
    shards = dict(resumed)
    for part in parts:
        shards.update(part.shards)
    return Accounting(
        read=sum(part.read for part in parts),
        used=sum(totals.used for totals in shards.values()),
        late=sum(part.late for part in parts),
        duplicate=sum(part.duplicate for part in parts) + sum(totals.duplicate for totals in shards.values()),
        dead=sum(part.dead for part in parts),
        pending=sum(totals.pending for totals in shards.values()),
    )
