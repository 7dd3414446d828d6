"""What the store says about the slides that adapt has taken in: their versions, and whose trainer states are still needed."""

from dynmm_core.store.latents import LatentStore
from dynmm_core.store.state import StateFiles
from dynmm_core.store.version import Version


class TakenSlides:
    """The slides behind which learning goes on: the active lineage's, and those that a rollback skipped.

    Args:
        store: read once; what is committed afterwards comes by :meth:`add`.
        first_seen_within_ms: how long after its slide's end a version is first seen.
    """

    def __init__(self, store: LatentStore, first_seen_within_ms: int) -> None:
        self._delay_ms = first_seen_within_ms
        skipped = store.skipped()
        self._chain = store.active()
        self._skipped = {version.number for version in skipped}
        self._by_slide = {version.slide_end_ms: version for version in (*skipped, *self._chain)}
        self.newest = store.newest_slide()
        self.next_number = len(store.log())

    @property
    def head(self) -> Version | None:
        """The newest version of the active lineage."""
        return self._chain[-1] if self._chain else None

    @property
    def through_ms(self) -> int | None:
        """End of the last slide taken in; None before the first."""
        return None if self.newest is None else self.newest.slide_end_ms

    def ends(self) -> list[int]:
        """Return slide_end_ms of every slide taken in, in order."""
        return sorted(self._by_slide)

    def version(self, slide_end_ms: int) -> Version | None:
        """Return the version that was made of a slide, active or skipped."""
        return self._by_slide.get(slide_end_ms)

    def is_skipped(self, version: Version) -> bool:
        """Return whether a rollback took the version away, and its slide counts without having been learned from."""
        return version.number in self._skipped

    def add(self, version: Version) -> None:
        """Take in the version that was committed on top of the head."""
        self._chain.append(version)
        self._by_slide[version.slide_end_ms] = self.newest = version
        self.next_number = version.number + 1

    def seen_from(self, slide_end_ms: int) -> int | None:
        """Return the oldest version that events behind the version about to be made may see; None: no older one."""
        return self._seen(len(self._chain), slide_end_ms)[0].number if self._delay_ms and self._chain else None

    def seen(self) -> set[int]:
        """Return the numbers of the versions that events behind the head may see."""
        return {version.number for version in self._seen_behind(len(self._chain))}

    def states_to_keep(self, states: StateFiles, rollback_versions: int) -> set[str]:
        """Return the states that going on needs, and those there are for going back to one of the newest versions."""
        needed = {version.state for version in self._seen_behind(len(self._chain))}
        oldest = max(1, len(self._chain) - rollback_versions + 1)
        wanted = {version.state for version in (*self._seen_behind(oldest), *self._chain[oldest:])}
        # An earlier setting may have removed some.
        return needed | {state for state in wanted if states.has(state)}

    def _seen_behind(self, count: int) -> list[Version]:
        return self._seen(count, self._chain[count - 1].slide_end_ms) if count else []

    def _seen(self, count: int, now_ms: int) -> list[Version]:
        """Return those of the first ``count`` versions that an event at ``now_ms`` or later may see."""
        first = count - 1
        while first > 0 and self._chain[first].slide_end_ms > now_ms - self._delay_ms:
            first -= 1
        return self._chain[first:count]
