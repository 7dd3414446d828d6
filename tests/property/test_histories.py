"""What a request may know of its user equals a walk over the log, event by event."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.adapt.histories import Histories
from dynmm_core.model.features import SESSION_GAP_MS

BASE_ITEMS, MAX_LENGTH = 6, 3
EVENTS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.sampled_from([0, 1, 1_000, SESSION_GAP_MS, SESSION_GAP_MS + 1])),
    min_size=1,
    max_size=40,
)


def walk(log: list[tuple[int, int, int]], slide: int, within: bool) -> list[tuple[object, ...]]:
    """The definition: for each event of each slide, (recent, length, gap, session position, consumed)."""
    seen: dict[int, list[tuple[int, int]]] = {}
    out: list[tuple[object, ...]] = []
    for start in range(0, len(log), slide):
        frozen = {user: list(events) for user, events in seen.items()}
        for user, item, time in log[start : start + slide]:
            past = (seen if within else frozen).get(user, [])
            recent = [i for i, _ in past if i <= BASE_ITEMS][-MAX_LENGTH:]
            gap = time - past[-1][1] if past else 0
            position = 0
            if past and gap <= SESSION_GAP_MS:
                position = 1
                for (_, later), (_, earlier) in zip(past[::-1], past[-2::-1], strict=False):
                    if later - earlier > SESSION_GAP_MS:
                        break
                    position += 1
            out.append((recent, len(past), gap, position, sorted({i for i, _ in past})))
            seen.setdefault(user, []).append((item, time))
    return out


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(1, 12), st.booleans())
def test_view_equals_a_walk_over_the_log(steps: list[tuple[int, int, int]], slide: int, within: bool) -> None:
    time, log = 1_000_000_000, []
    for user, item, gap in steps:
        time += gap
        log.append((user, item, time))
    histories = Histories(BASE_ITEMS, MAX_LENGTH)
    found: list[tuple[object, ...]] = []
    for start in range(0, len(log), slide):
        events = tuple(np.array(column, np.int64) for column in zip(*log[start : start + slide], strict=True))
        view = histories.view(*events, within=within)
        for row in range(len(events[0])):
            recent = view.recent[row, : view.recent_length[row]].tolist()
            assert not view.recent[row, view.recent_length[row] :].any()
            consumed = view.consumed_items[view.consumed_rows == row].tolist()
            assert len(consumed) == len(set(consumed))
            facts = (recent, int(view.length[row]), int(view.gap_ms[row]), int(view.session_position[row]), sorted(consumed))
            found.append(facts)
        if within:
            positions, lengths = histories.places(*events)
            assert (positions.tolist(), lengths.tolist()) == (view.session_position.tolist(), view.length.tolist())
        histories.observe(*events)
    assert found == walk(log, slide, within)
