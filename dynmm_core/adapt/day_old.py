"""Versions a day old: what requests would see had nothing been learned, counted or refreshed since."""

from collections import deque
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dynmm_core.adapt.published import Published
from dynmm_core.adapt.slide_ranking import RequestRun
from dynmm_core.times import DAY_MS


class AgedVersions:
    """The versions of the last day, and the one before them: each ranks a day after it was first seen, the bundle till then.

    What it holds is a day's versions of counts, pairs and sessions; items that none but newer ones know are a miss.

    Args:
        first: the bundle's version.
    """

    def __init__(self, first: Published) -> None:
        self._versions = deque([_without_rankers(first)])

    def __len__(self) -> int:
        return len(self._versions)

    def add(self, version: Published) -> None:
        """Keep the next version until it is more than a day old."""
        self._versions.append(_without_rankers(version))

    def runs(self, run: RequestRun) -> list[RequestRun]:
        """Return the run's requests with the versions of the day before; requests come in order of time."""
        times = run.slide.event_time_ms[run.rows]
        edges = sorted({0, *(int(np.searchsorted(times, _aged_ms(version))) for version in self._versions), len(times)})
        parts = []
        for start, stop in pairwise(edges):
            while len(self._versions) > 1 and _aged_ms(self._versions[1]) <= times[start]:
                self._versions.popleft()
            parts.append(run.part(start, stop, self._versions[0]))
        return parts


def _aged_ms(version: Published) -> int:
    return version.available_at_ms + DAY_MS


def _without_rankers(version: Published) -> Published:
    # The simple models are of no use here, and theirs are the largest tables of all.
    return replace(version, rankers={})
