"""A log made by the simulator, drawn from a world or changed by drifts, with all that is known of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pyarrow as pa

from dynmm_core.datasets.prepared import PreparedLog
from simulators.injection import inject_drifts
from simulators.output import as_table, fingerprint_of, refuse_existing, write_made
from simulators.schedule import DriftPlan
from simulators.settings import StreamSettings
from simulators.stream import draw_stream
from simulators.truth_file import KnownFaults, TruthFile
from simulators.world import World, make_world


@dataclass(frozen=True)
class Made:
    """Events in time order, what is known of them, and the world behind them, None where there is only a log."""

    table: pa.Table
    truth: TruthFile
    world: World | None

    @classmethod
    def drawn(cls, settings: StreamSettings, plans: tuple[DriftPlan, ...] | None = None) -> Self:
        """Draw a stream with these drifts, or with those of the demo."""
        world = make_world(settings, plans)
        table = as_table(draw_stream(world))
        return cls(table, TruthFile.of(world, fingerprint_of(table)), world)

    @classmethod
    def injected(cls, log: Path, plans: tuple[DriftPlan, ...], seed: int) -> Self:
        """Put drifts into a prepared log."""
        table, truth = inject_drifts(PreparedLog.open(log), plans, seed)
        return cls(table, truth.model_copy(update={"log": fingerprint_of(table)}), None)

    def with_faults(self, faults: KnownFaults) -> "Made":
        """The same, and what is known of the faults in its messages."""
        return replace(self, truth=self.truth.model_copy(update={"faults": faults}))

    def part(self, part: str) -> pa.Table:
        """All events, or those of the online part alone."""
        first = 0 if part == "all" else int((self.table["event_time_ms"].to_numpy() < self.truth.cut_ms).sum())
        return self.table.slice(first)


def write_stream(out: Path, settings: StreamSettings) -> Made:
    """Draw the demo's stream and write it to ``out``.

    Raises:
        UserError: ``out`` exists.
    """
    refuse_existing(out)
    made = Made.drawn(settings)
    write_made(out, made.table, made.truth)
    return made
