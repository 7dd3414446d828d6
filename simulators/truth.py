"""The truth behind a log, read back from its file: the drifts, and of a simulated log the probability of every item."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from simulators.chances import Chances
from simulators.drifts import Drift
from simulators.names import names_of, numbers_of
from simulators.truth_file import KnownDrift, TruthFile, read_truth
from simulators.world import World, make_world

_BLOCK = 65_536


@dataclass(frozen=True)
class Truth:
    """What is known of a log: its file, and the world that it was drawn from, None if drifts were put into a log.

    Users and items are numbers from 0, those in their ids; ``user_numbers`` and ``item_ids`` translate.
    """

    file: TruthFile
    world: World | None
    _chances: Chances | None

    @classmethod
    def load(cls, path: Path, log: PreparedLog | None = None) -> "Truth":
        """Read ``truth.json``, or the one in a folder, and rebuild its world; with a ``log``, make sure that it is about that.

        Raises:
            UserError: the file is damaged, of another world than its seed and settings give, or of another log.
        """
        path = path / "truth.json" if path.is_dir() else path
        file = read_truth(path)
        if log is not None and log.fingerprint != file.log:
            raise UserError(f"{path}: is the truth of another log than {log.path}, of another seed perhaps; name its own")
        if file.settings is None:
            return cls(file, None, None)
        world = make_world(file.settings, file.plans)
        if world.fingerprint() != file.world:
            raise UserError(
                f"{path}: seed {file.settings.seed} and its settings give another world than the one that the log was drawn from;"
                " restore the file, or simulate again"
            )
        return cls(file, world, Chances(world))

    @classmethod
    def of(cls, world: World) -> "Truth":
        """The truth of a world at hand."""
        return cls(TruthFile.of(world), world, Chances(world))

    @property
    def drifts(self) -> tuple[KnownDrift, ...]:
        """The drifts, with their moments and the ids of whom they affect."""
        return self.file.drifts

    @property
    def item_ids(self) -> pa.Array:
        """The item of each column (items,) of the probabilities."""
        return names_of("i", np.arange(self._known_world().settings.items))

    def user_numbers(self, user_ids: list[str]) -> np.ndarray:
        """The number (n,) of each user id.

        Raises:
            UserError: the world has no such user.
        """
        return self._numbers("u", user_ids, self._known_world().settings.users)

    def item_numbers(self, item_ids: list[str]) -> np.ndarray:
        """The number (n,) of each item id, as ``user_numbers``."""
        return self._numbers("i", item_ids, self._known_world().settings.items)

    def probabilities(self, users: np.ndarray, times_ms: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """p(item | user, time, previous item) as (B, items) float64; rows add up to 1.

        ``users``, ``times_ms`` and ``previous`` are (B,) integers; ``previous`` is the user's event before if it is at most 30
        minutes ago, else -1 (:func:`simulators.stream.previous_items` finds it in a log). That is all of the past that an event
        depends on. A model sees the log alone: whoever does not use the item before cannot reach these figures.

        Raises:
            UserError: the log was not drawn from a world.
        """
        self._known_world()
        assert self._chances is not None
        return self._chances.probabilities(users, times_ms, previous)

    def probability_of(self, users: np.ndarray, times_ms: np.ndarray, previous: np.ndarray, items: np.ndarray) -> np.ndarray:
        """p (n,) of one item for each request, without the whole rows."""
        self._known_world()
        assert self._chances is not None
        blocks = [slice(first, first + _BLOCK) for first in range(0, len(users), _BLOCK)]
        columns = (users, times_ms, previous, items)
        return np.concatenate(
            [np.zeros(0), *(self._chances.of_items(*(column[block] for column in columns)) for block in blocks)]
        )

    def ranking(self, users: np.ndarray, times_ms: np.ndarray, previous: np.ndarray, k: int) -> np.ndarray:
        """The oracle's first ``k`` items (B, k), best first; equal ones by number."""
        chance = self.probabilities(users, times_ms, previous)
        return np.argsort(-chance, axis=1, kind="stable")[:, :k]

    def available(self, modality: str, items: np.ndarray, times_ms: np.ndarray) -> np.ndarray:
        """Whether an item's features of a modality (n,) can be had at a time, as far as outages go."""
        found = np.ones(len(items), bool)
        for drift in self._known_world().drifts:
            if drift.kind == "modality_outage" and drift.modality == modality:
                assert drift.end_ms is not None
                found &= ~(np.isin(items, _struck(drift)) & (times_ms >= drift.start_ms) & (times_ms < drift.end_ms))
        return found

    def _known_world(self) -> World:
        if self.world is None:
            raise UserError("truth: the drifts were put into a log that was not simulated; nobody knows its probabilities")
        return self.world

    @staticmethod
    def _numbers(prefix: str, names: list[str], count: int) -> np.ndarray:
        numbers = numbers_of(prefix, names)
        wrong = np.flatnonzero((numbers < 0) | (numbers >= count))
        if len(wrong):
            raise UserError(f"truth: {names[int(wrong[0])]!r} is no id of this world")
        return numbers


def _struck(drift: Drift) -> np.ndarray:
    """The items (n,) without features in an outage: a share of its items as large as its magnitude."""
    turn = drift.generator(0, "struck").permutation(len(drift.items))
    return drift.items[turn < round(drift.magnitude * len(turn))]
