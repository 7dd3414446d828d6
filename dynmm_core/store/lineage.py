"""Which versions are served: every version ever committed, the active chain among them, and what rollbacks left out."""

import json
from dataclasses import asdict, dataclass

from dynmm_core.errors import UserError
from dynmm_core.store.version import Version


@dataclass(frozen=True)
class Rollback:
    """The entry that makes version ``to`` the head again, for run ``run``; ``left`` was the head before.

    With ``skip`` the slides after ``after_ms`` that end by ``through_ms`` are not learned from again; without, the new
    run begins behind ``to``, and both are the end of its slide. ``rolled_back_at_ms`` is wall time.
    """

    to: int
    run: str
    left: int
    skip: bool
    after_ms: int
    through_ms: int
    rolled_back_at_ms: int

    def to_json(self) -> str:
        """Return the rollback as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Rollback":
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))


class Lineage:
    """The store's log in memory: versions by number, and the active chain from the first of them to the head."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.rollbacks: list[Rollback] = []
        self._active: list[Version] = []
        # (versions that were active when it happened, versions whose slides it left out), in order.
        self._skips: list[tuple[int, list[Version]]] = []

    @property
    def head(self) -> Version | None:
        """The newest version of the active chain."""
        return self._active[-1] if self._active else None

    @property
    def run(self) -> str | None:
        """The only run that may commit, once there was a rollback."""
        return self.rollbacks[-1].run if self.rollbacks else None

    def active(self) -> list[Version]:
        """Return the active chain, oldest first."""
        return list(self._active)

    def skipped(self) -> list[Version]:
        """Return the versions that rollbacks took out of the active chain without learning from their slides again."""
        return [version for _, versions in self._skips for version in versions]

    def newest_slide(self) -> Version | None:
        """Return the version of the last slide taken in, learned from or skipped: the stream goes on behind it."""
        if self._skips and self._skips[-1][0] == len(self._active):
            return self._skips[-1][1][-1]
        return self.head

    def add(self, version: Version) -> None:
        """Take in a committed version, made against the head."""
        self.versions.append(version)
        self._active.append(version)

    def roll_back(self, rollback: Rollback) -> None:
        """Take in a committed rollback."""
        self.rollbacks.append(rollback)
        place = self._place(rollback.to)
        gone = self._active[place + 1 :]
        gone += [version for at, versions in self._skips if at > place for version in versions]
        del self._active[place + 1 :]
        self._skips = [skip for skip in self._skips if skip[0] <= place]
        if rollback.skip:
            self._skips.append((place + 1, sorted(gone, key=lambda version: version.slide_end_ms)))

    def plan(self, to: int, run: str, skip: bool, now_ms: int) -> Rollback:
        """Return the rollback to version ``to`` as it would stand in the log.

        Raises:
            UserError: ``to`` is not active, there is nothing to go back from, or the run's name was used before.
        """
        place = self._place(to)
        head, newest = self.head, self.newest_slide()
        if head is None or newest is None or newest.number == to:
            raise UserError(f"version: {to} is the head already; name an older one")
        if run in {version.run for version in self.versions} | {rollback.run for rollback in self.rollbacks}:
            raise UserError(f"--run: {run} has been used in this store; choose a new name")
        after_ms = self._active[place].slide_end_ms
        return Rollback(to, run, head.number, skip, after_ms, newest.slide_end_ms if skip else after_ms, now_ms)

    def new_run_name(self) -> str:
        """Return the active run's name with the number of the next rollback behind it."""
        head = self.head
        known = self.run or (head.run if head is not None else "run")
        stem = known.removesuffix(f"-r{len(self.rollbacks)}") if self.rollbacks else known
        return f"{stem}-r{len(self.rollbacks) + 1}"

    def chain(self, number: int) -> list[Version]:
        """Return version ``number`` and its parents, oldest first, whether active or not."""
        found = [self.versions[number]]
        while (parent := found[-1].parent) is not None:
            found.append(self.versions[parent])
        return found[::-1]

    def _place(self, number: int) -> int:
        """Return where in the active chain a version stands."""
        # A chain's numbers grow, and never faster than by leaving numbers out: the place is at or before the number.
        for place in range(min(number, len(self._active) - 1), -1, -1):
            if self._active[place].number == number:
                return place
        raise UserError(f"version: {number} is not in the active lineage; see `dynmm store log` for those that are")
