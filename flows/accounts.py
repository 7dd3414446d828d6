"""The accounting of a run: every event read is used, late, a duplicate, dead, or still pending."""

from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from dynmm_core.windows.intake import PartitionTally
from dynmm_core.windows.messages import EndMarker


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

    def plus(self, other: "Accounting") -> "Accounting":
        """The accounting of both parts together."""
        mine, theirs = self.model_dump(), other.model_dump()
        return Accounting(**{name: mine[name] + theirs[name] for name in mine})


@dataclass
class Ledger:
    """Collects tallies of partitions (cumulative) and end markers of buckets (one per slide) in any order."""

    tallies: dict[int, PartitionTally] = field(default_factory=dict)
    used: int = 0
    duplicate: int = 0
    pending: dict[str, tuple[int, int]] = field(default_factory=dict)

    def note(self, entry: PartitionTally | EndMarker) -> None:
        """Enter one tally or end marker."""
        if isinstance(entry, PartitionTally):
            known = self.tallies.get(entry.partition)
            if known is None or entry.read >= known.read:
                self.tallies[entry.partition] = entry
            return
        self.used += entry.events
        self.duplicate += entry.duplicates
        newest = (entry.closed_through_ms, entry.pending)
        self.pending[entry.shard] = max(self.pending.get(entry.shard, newest), newest)

    def balance(self) -> Accounting:
        """The accounting so far."""
        tallies = self.tallies.values()
        return Accounting(
            read=sum(tally.read for tally in tallies),
            used=self.used,
            late=sum(tally.late for tally in tallies),
            duplicate=self.duplicate + sum(tally.duplicate for tally in tallies),
            dead=sum(tally.dead for tally in tallies),
            pending=sum(pending for _, pending in self.pending.values()),
        )
