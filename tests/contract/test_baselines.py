"""What every simple model promises a runner, and that each ranks as its definition says."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.baselines.contract import OnlineModel
from dynmm_core.baselines.models import build_model, model_names
from dynmm_core.errors import UserError
from tests.slow_baselines import SLOW_MODELS, Scores
from tests.streams import SLIDE_MS, Event, facts, in_slides, requests, stream

MINUTE_MS = 60_000
SETTINGS = {
    "window_popularity": {"window_ms": 20 * MINUTE_MS},
    "decayed_popularity": {"half_life_ms": 17 * MINUTE_MS},
    "sequential_rule": {"half_life_ms": 40 * MINUTE_MS},
    "item_knn": {"half_life_ms": 50 * MINUTE_MS, "shrinkage": 1.0},
    "session_knn": {"half_life_ms": 17 * MINUTE_MS, "sessions": 6, "neighbours": 4},
    "switch": {"window_ms": 20 * MINUTE_MS, "half_life_ms": 40 * MINUTE_MS},
}
every_model = pytest.mark.parametrize("name", model_names())
rows = st.tuples(st.integers(1, 4), st.integers(1, 9), st.sampled_from([0, 1, 40_000, 3 * MINUTE_MS, 35 * MINUTE_MS]))
streams = st.lists(rows, min_size=2, max_size=60).map(stream)


def new(name: str) -> OnlineModel:
    return build_model(name, SETTINGS[name])


def split(events: list[Event], held: int = 1) -> tuple[list[list[Event]], list[Event], int, int]:
    """Slides to learn from, the events of the ``held`` last ones to rank, when these begin, and the items known by then."""
    slides = in_slides(events)
    learned, last = slides[:-held], [event for slide in slides[-held:] for event in slide]
    known = max((event.item for slide in learned for event in slide), default=0)
    return learned, last, last[0].time_ms // SLIDE_MS * SLIDE_MS, known


def long_stream(seed: int, events: int = 400) -> list[Event]:
    """Users go round in circles, some items more popular than others, one slide after the other."""
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.geometric(0.06, events), 60)
    rows = zip(rng.integers(1, 15, events), items, rng.integers(0, 4 * MINUTE_MS, events), strict=True)
    return stream([(int(user), int(item), int(gap)) for user, item, gap in rows])


def taught(name: str, slides: list[list[Event]]) -> OnlineModel:
    model = new(name)
    for slide in slides:
        model.observe(facts(slide))
    return model


def ranks(
    model: OnlineModel, as_of_ms: int, num_items: int, slide: list[Event], targets: list[int] | None = None
) -> list[object]:
    return [part.tolist() for part in model.freeze(as_of_ms, num_items).rank(requests(slide, targets))]


@every_model
def test_ranking_and_freezing_change_no_state(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(1), 8)
    quiet, asked = taught(name, learned[:-1]), new(name)
    for before, slide in zip([None, *learned[:-2]], learned[:-1], strict=True):
        if before is not None:
            ranks(asked, facts(before).slide_end_ms, known, last)
        asked.observe(facts(slide))
    ranker = asked.freeze(facts(learned[-2]).slide_end_ms, known)
    once, twice = (ranker.rank(requests(last)) for _ in range(2))
    assert np.array_equal(once, twice)
    assert np.array_equal(once, asked.freeze(facts(learned[-2]).slide_end_ms, known).rank(requests(last)))
    for model in (quiet, asked):
        model.observe(facts(learned[-1]))
    assert ranks(quiet, as_of_ms, known, last) == ranks(asked, as_of_ms, known, last)


@every_model
def test_a_frozen_ranker_stays_what_it_was(name: str) -> None:
    learned, last, _, known = split(long_stream(2), 8)
    model = taught(name, learned[:-6])
    ranker = model.freeze(facts(learned[-7]).slide_end_ms, known)
    before = ranker.rank(requests(last))
    for slide in learned[-6:]:
        model.observe(facts(slide))
    assert not np.array_equal(before, model.freeze(facts(learned[-1]).slide_end_ms, known).rank(requests(last)))
    assert np.array_equal(before, ranker.rank(requests(last)))


@every_model
def test_requests_do_not_depend_on_their_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = long_stream(3)
    learned, last = in_slides(events[:330]), events[330:]
    known = max(event.item for event in events[:330])
    ranker = taught(name, learned).freeze(facts(learned[-1]).slide_end_ms, known)
    whole, asked = ranker.rank(requests(last)), requests(last)
    for size in (1, 7):
        parts = [ranker.rank(asked.take(np.arange(at, min(at + size, len(last))))) for at in range(0, len(last), size)]
        assert np.array_equal(whole, np.concatenate(parts, axis=1))
    backwards = np.arange(len(last))[::-1]
    assert np.array_equal(whole, np.array(ranker.rank(asked.take(backwards)))[:, ::-1])
    monkeypatch.setattr("dynmm_core.baselines.item_lists.PAIRS_AT_ONCE", 10)
    assert np.array_equal(whole, ranker.rank(asked))


@every_model
def test_padding_and_unknown_items_are_misses(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(4), 8)
    ranker = taught(name, learned).freeze(as_of_ms, known)
    for target in (0, known + 1, 10**6):
        better, ties = ranker.rank(requests(last, [target] * len(last)))
        assert better.tolist() == [-1] * len(last) and ties.tolist() == [0] * len(last)


@every_model
def test_the_same_slides_give_the_same_model(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(6), 8)
    model = taught(name, learned)
    half = copy.deepcopy(taught(name, learned[: len(learned) // 2]))
    for slide in learned[len(learned) // 2 :]:
        half.observe(facts(slide))
    assert ranks(model, as_of_ms, known, last) == ranks(taught(name, learned), as_of_ms, known, last)
    assert ranks(model, as_of_ms, known, last) == ranks(half, as_of_ms, known, last)


@every_model
@settings(max_examples=60, deadline=None)
@given(events=streams, target=st.integers(1, 9))
def test_ranks_are_those_of_the_definition(name: str, events: list[Event], target: int) -> None:
    learned, last, as_of_ms, known = split(events)
    for targets in ([event.item for event in last], [target] * len(last)):
        found = taught(name, learned).freeze(as_of_ms, known).rank(requests(last, targets))
        slow = SLOW_MODELS[name](SETTINGS[name], [event for slide in learned for event in slide], as_of_ms, known)
        for row, event in enumerate(last):
            check(int(found[0][row]), int(found[1][row]), slow, event, targets[row], known)


@every_model
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_item_ranks_by_definition_where_users_come_back_to_items(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = zip(rng.integers(1, 4, 200), rng.integers(1, 12, 200), rng.integers(0, 6 * MINUTE_MS, 200), strict=True)
    learned, last, as_of_ms, known = split(stream([(int(user), int(item), int(gap)) for user, item, gap in rows]), 15)
    ranker = taught(name, learned).freeze(as_of_ms, known)
    slow = SLOW_MODELS[name](SETTINGS[name], [event for slide in learned for event in slide], as_of_ms, known)
    for target in range(1, known + 1):
        better, ties = ranker.rank(requests(last, [target] * len(last)))
        for row, event in enumerate(last):
            check(int(better[row]), int(ties[row]), slow, event, target, known)


def test_shrinkage_weighs_more_as_counts_fade() -> None:
    wide = [row for user in range(10, 50) for row in ((user, 4, 0), (user, 2, 0))]
    pairs = [row for user in range(1, 4) for row in ((user, 1, 0), (user, 2, 0))] + [(4, 1, 0), (4, 3, 0)]
    learned = in_slides(stream([(9, 1, 0), (9, 2, 0), (9, 3, 0), *wide, *pairs]))
    asked, model = requests(stream([(60, 1, 0), (60, 2, 0)])[1:], [3]), taught("item_knn", learned)
    soon, late = (model.freeze(SLIDE_MS * slides, 4).rank(asked)[0][0] for slides in (1, 100))
    assert (soon, late) == (0, 1)


def check(better: int, ties: int, slow: Callable[[Event], Scores], event: Event, target: int, known: int) -> None:
    """Compare with scores by definition: pairs (what the model says, popularity below it), None where it says nothing."""
    if target > known:
        assert (better, ties) == (-1, 0)
        return
    scores = slow(event)
    consumed = {item for item, _ in event.before} - {target}
    found = [compare(scores[i], scores[target]) for i in range(1, known + 1) if i != target and i not in consumed]
    above, open_ = found.count(1), found.count(None)
    assert above <= better <= above + open_
    assert found.count(0) <= ties and better + ties <= above + found.count(0) + open_


def compare(one: tuple[float | None, float], other: tuple[float | None, float]) -> int | None:
    """Which is higher; None where it takes the last bits to tell, which depend on the order of a sum. Whole numbers are exact."""
    for a, b in zip(one, other, strict=True):
        x, y = (-1.0 if value is None else value for value in (a, b))
        if abs(x - y) > 1e-5 * max(abs(x), abs(y)):
            return 1 if x > y else -1
        if isinstance(a, float) and isinstance(b, float) and (a, b) != (0.0, 0.0):
            return None
    return 0


@pytest.mark.parametrize("name", ["sequential_rule", "session_knn"])
def test_popularity_decides_where_the_model_says_the_same(name: str) -> None:
    learned = in_slides(stream([(1, 1, 0), (2, 1, 0), (1, 2, 0), (2, 3, 0), (3, 3, 0), (3, 4, 31 * MINUTE_MS)]))
    asked = stream([(9, 1, 0), (9, 2, 0)])[1:]
    ranker = taught(name, learned).freeze(facts(learned[-1]).slide_end_ms, 4)
    better = [int(ranker.rank(requests(asked, [target]))[0][0]) for target in (3, 2, 4)]
    assert better == [0, 1, 2]


@every_model
def test_consumed_items_are_no_candidates_but_the_target_is(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(7), 8)
    model, asked = taught(name, learned), requests(last)
    returning = next(event for event in last if event.before and event.before[-1][0] <= known)
    target = returning.before[-1][0]
    slow = SLOW_MODELS[name](SETTINGS[name], [event for slide in learned for event in slide], as_of_ms, known)
    better, ties = model.freeze(as_of_ms, known).rank(requests([returning], [target]))
    check(int(better[0]), int(ties[0]), slow, returning, target, known)
    none = np.zeros(0, np.int64)
    kept = type(asked)(*(getattr(asked, field) for field in list(asked.__dataclass_fields__)[:6]), none, none)
    assert model.freeze(as_of_ms, known).rank(kept)[0].sum() > model.freeze(as_of_ms, known).rank(asked)[0].sum()


@every_model
def test_settings_tried_together_rank_as_each_alone(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(8), 8)
    other = {key: 2 * value for key, value in SETTINGS[name].items()}
    both = build_model(name, SETTINGS[name], other)
    for slide in learned:
        both.observe(facts(slide))
    together = [ranker.rank(requests(last)) for ranker in both.freeze_each(as_of_ms, known)]
    assert not np.array_equal(together[0], together[1])
    for one, found in zip((SETTINGS[name], other), together, strict=True):
        alone = build_model(name, one)
        for slide in learned:
            alone.observe(facts(slide))
        assert np.array_equal(found, alone.freeze(as_of_ms, known).rank(requests(last)))


def test_a_wrong_name_or_setting_is_told() -> None:
    with pytest.raises(UserError, match="oracle is no simple model"):
        build_model("oracle", {})
    with pytest.raises(UserError, match="it has window_ms"):
        build_model("window_popularity", {"minutes": 15})
