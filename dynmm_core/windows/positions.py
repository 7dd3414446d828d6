"""Where the summaries topic must be read from again behind a slide."""

from collections import deque
from collections.abc import Mapping


class MarkerPositions:
    """Remembers where each bucket's end markers lie. A bucket's messages are all in one partition.

    Args:
        starts: partition -> offset at which reading began; nothing before it will be asked for.
    """

    def __init__(self, starts: Mapping[int, int]) -> None:
        self._starts = dict(starts)
        self._markers: dict[str, deque[tuple[int, int, int]]] = {}  # (slide_end_ms, partition, offset)

    def note(self, shard: str, slide_end_ms: int, partition: int, offset: int) -> None:
        """An end marker of a bucket lies there; one that repeats an earlier slide is passed over."""
        markers = self._markers.setdefault(shard, deque())
        if not markers or slide_end_ms > markers[-1][0]:
            markers.append((slide_end_ms, partition, offset))

    def behind(self, end_ms: int) -> dict[int, int]:
        """Per partition the first offset that is needed behind the slide: every bucket's newest marker up to it is read again."""
        found: dict[int, list[int]] = {}
        for markers in self._markers.values():
            while len(markers) > 1 and markers[1][0] <= end_ms:
                markers.popleft()
            slide_end_ms, partition, offset = markers[0]
            known = slide_end_ms <= end_ms
            found.setdefault(partition, []).append(offset if known else self._starts.get(partition, 0))
        return {partition: min(found.get(partition, [start])) for partition, start in self._starts.items()}
