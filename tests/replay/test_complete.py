"""A run is finished only where every event of its split was ranked, or the dataflow told why it was not."""

import pytest

from replay.runner import _check_complete
from replay.splits import make_split
from tests.replay.hand_made import HandMadeLog

SPLIT = make_split(HandMadeLog(tuple(range(10))))


def check(ranked: int, left_out: int = 0, **parts: int) -> None:
    accounting = {"read": 10, "used": ranked, "late": 0, "duplicate": 0, "dead": 0, "pending": 0, **parts}
    _check_complete(SPLIT, {"events": ranked}, accounting, left_out)


def test_events_that_are_accounted_for_may_be_missing() -> None:
    check(10)
    for part in ("late", "duplicate", "dead"):
        check(8, **{part: 2})
    check(8, left_out=2)
    check(6, left_out=1, late=1, duplicate=1, dead=1)
    check(10, late=2)  # of the events before and behind the range, which are learned from alone


@pytest.mark.parametrize(
    ("ranked", "left_out", "parts"),
    [(9, 0, {}), (7, 1, {"late": 1}), (11, 0, {}), (11, 1, {}), (10, 0, {"pending": 1}), (9, 0, {"pending": 1})],
)
def test_events_nobody_accounts_for_leave_the_run_unfinished(ranked: int, left_out: int, parts: dict[str, int]) -> None:
    with pytest.raises(RuntimeError, match=f"{ranked} of the split's 10 were ranked.*left unfinished"):
        check(ranked, left_out, **parts)
