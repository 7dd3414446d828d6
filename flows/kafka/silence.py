"""For how long a partition has been silent: time in which its events could have been heard, and none came."""

import time

_SHORTEST_PAUSE_S, _PAUSE_SHARE = 5.0, 0.1


class Silence:
    """The silence of one partition, asked once each time it is read.

    It begins anew after a broker that was away, whose producers still hold what they could not send, and after a pause of this
    process, in which nobody listened: a gap between two reads of 5 s and a tenth of ``idle_after_ms``.
    """

    def __init__(self, idle_after_ms: int | None) -> None:
        self._idle_after_ms = idle_after_ms
        self._pause_s = max(_SHORTEST_PAUSE_S, _PAUSE_SHARE * (idle_after_ms or 0) / 1_000)
        self._errors = 0
        self._read_at = time.time()
        self.begin()

    def begin(self) -> None:
        """Something was heard, or nothing could be: the silence begins now."""
        self._since = time.monotonic()

    def listen(self, away: bool, errors: int) -> None:
        """The partition is read; ``away``: the broker is, ``errors``: how many it has told so far."""
        # The wall clock, for the other one stands still in a machine that sleeps.
        now = time.time()
        if away or errors != self._errors or abs(now - self._read_at) > self._pause_s:
            self.begin()
        self._errors, self._read_at = errors, now

    @property
    def is_long(self) -> bool:
        """Whether it has lasted for longer than ``idle_after_ms``; never where that is None."""
        return self._idle_after_ms is not None and (time.monotonic() - self._since) * 1_000 > self._idle_after_ms
