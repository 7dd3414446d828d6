"""What is measured: our engines in two profiles, and the peers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dynmm_core.errors import UserError

Source = Literal["memory", "json", "parquet", "kafka"]
Profile = Literal["windows", "full"]


@dataclass(frozen=True)
class Engine:
    """One row. ``most_events``: how long a prefix a slow engine is given; ``environment``: its own, by name, None for ours.

    ``program`` is a module for ours, a file beside ``measuring.py`` for the peers, which leaves its windows in ``cells``.
    ``form``: how events lie in the topic.
    """

    name: str
    profile: Profile
    source: Source
    program: str
    form: Literal["json", "arrow"] | None = None
    most_events: int | None = None
    environment: str | None = None
    cells: str = "cells.arrow"
    on_demand: bool = False
    needs_broker: bool = False

    @property
    def key(self) -> tuple[str, Profile]:
        """Name and profile: what tells rows apart."""
        return self.name, self.profile


def _ours(profile: Profile) -> tuple[Engine, ...]:
    program = f"benchmarks.stream.{profile}_job"
    return (
        Engine("dynmm memory", profile, "memory", program),
        Engine("dynmm json file", profile, "json", program),
        Engine("dynmm parquet", profile, "parquet", program),
        Engine("dynmm kafka json", profile, "kafka", program, form="json"),
        Engine("dynmm kafka arrow", profile, "kafka", program, form="arrow"),
    )


PEERS = (
    Engine("bytewax fold_window", "windows", "json", "bytewax_job.py", most_events=100_000, cells="cells.csv"),
    Engine("duckdb json batch", "windows", "json", "duckdb_job.py", cells="cells.parquet"),
    Engine("flink sql hop", "windows", "json", "flink_job.py", environment="flink", cells="cells"),
    Engine(
        "pathway sliding", "windows", "json", "pathway_job.py",
        most_events=100_000, environment="pathway", cells="cells.csv", on_demand=True,
    ),
    Engine(
        "quix hopping_window", "windows", "json", "quix_job.py", needs_broker=True,
        most_events=100_000, environment="quixstreams", cells="cells.csv", on_demand=True,
    ),
)  # fmt: skip
ENGINES = (*_ours("windows"), *_ours("full"), *PEERS)


def choose(only: Sequence[str], peers: bool) -> list[Engine]:
    """The engines of those names (all that are not on demand, if none is given).

    Raises:
        UserError: there is no such engine.
    """
    names = {engine.name for engine in ENGINES}
    for name in only:
        if name not in names:
            raise UserError(f"--only: there is no engine {name!r}; there are {', '.join(sorted(names))}")
    return [engine for engine in ENGINES if (engine.name in only if only else peers or not engine.on_demand)]
