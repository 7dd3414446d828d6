"""The simple models by their definitions, one request at a time, in plain Python."""

from collections.abc import Callable
from typing import Any

from tests.streams import Event

PANE_MS = 300_000
# Of each item: what the model says of it (None: nothing), and the popularity that decides then.
Scores = dict[int, tuple[float | None, float]]
Scorer = Callable[[Event], Scores]


def fading(events: list[Event], half_life_ms: float, as_of_ms: int, known: int) -> list[float]:
    """Decayed clicks by item, whole panes of them, as of the last slide's end."""
    clicks = [0.0] * (known + 1)
    for event in events:
        clicks[event.item] += 2.0 ** ((event.time_ms // PANE_MS * PANE_MS + PANE_MS - as_of_ms) / half_life_ms)
    return clicks


def window_popularity(setting: dict[str, Any], events: list[Event], as_of_ms: int, known: int) -> Scorer:
    counts = [0] * (known + 1)
    for event in events:
        counts[event.item] += event.time_ms // PANE_MS * PANE_MS >= as_of_ms - setting["window_ms"]
    return lambda _: {item: (None, counts[item]) for item in range(1, known + 1)}


def decayed_popularity(setting: dict[str, Any], events: list[Event], as_of_ms: int, known: int) -> Scorer:
    clicks = fading(events, setting["half_life_ms"], as_of_ms, known)
    return lambda _: {item: (None, clicks[item]) for item in range(1, known + 1)}


def sequential_rule(setting: dict[str, Any], events: list[Event], as_of_ms: int, known: int) -> Scorer:
    half_life_ms = setting["half_life_ms"]
    clicks = fading(events, half_life_ms, as_of_ms, known)
    rule: dict[tuple[int, int], float] = {}
    for event in events:
        for lag, (item, time_ms) in enumerate(reversed(event.before[-2:])):
            if item != event.item and event.time_ms - time_ms < 3_600_000:
                weight = 2.0 ** ((event.time_ms - as_of_ms) / half_life_ms) / (lag + 1)
                rule[item, event.item] = rule.get((item, event.item), 0.0) + weight

    def scores(event: Event) -> Scores:
        newest = [item for item, _ in reversed(event.before[-2:])]
        found: Scores = {}
        for item in range(1, known + 1):
            said = sum(rule.get((one, item), 0.0) * weight for one, weight in zip(newest, (1.0, 0.5), strict=False))
            found[item] = (said or None, clicks[item])
        return found

    return scores


def item_knn(setting: dict[str, Any], events: list[Event], as_of_ms: int, known: int) -> Scorer:
    half_life_ms, shrinkage = setting["half_life_ms"], setting.get("shrinkage", 100.0)
    clicks = fading(events, half_life_ms, as_of_ms, known)
    pairs: list[dict[int, float]] = [{} for _ in range(known + 1)]
    for event in events:
        for lag, (item, time_ms) in enumerate(reversed(event.before[-10:])):
            if item != event.item and event.time_ms - time_ms < 30 * 86_400_000:
                weight = 2.0 ** ((event.time_ms - as_of_ms) / half_life_ms) / (1 + 0.15 * lag)
                pairs[item][event.item] = pairs[item].get(event.item, 0.0) + weight
                pairs[event.item][item] = pairs[event.item].get(item, 0.0) + 0.7 * weight
    totals = [sum(row.values()) for row in pairs]

    def cosines(item: int) -> dict[int, float]:
        return {other: value / ((totals[item] * totals[other]) ** 0.5 + shrinkage) for other, value in pairs[item].items()}

    lists = [cosines(item) for item in range(known + 1)]

    def scores(event: Event) -> Scores:
        newest = [item for item, _ in reversed(event.before[-8:])]
        found: Scores = {}
        for item in range(1, known + 1):
            said = sum(lists[one].get(item, 0.0) / (1 + 0.15 * k) for k, one in enumerate(newest) if one <= known)
            found[item] = (said or None, clicks[item])
        return found

    return scores


def session_knn(setting: dict[str, Any], events: list[Event], as_of_ms: int, known: int) -> Scorer:
    clicks = fading(events, setting["half_life_ms"], as_of_ms, known)
    sessions: list[list[int]] = []
    running: dict[int, list[int]] = {}
    for event in events:
        if event.session_position == 0:
            running[event.user] = []
            sessions.append(running[event.user])
        running[event.user].append(event.item)

    def scores(event: Event) -> Scores:
        length = min(event.session_position, 10)
        newest = [item for item, _ in reversed(event.before)][:length]
        looked_at = {
            item: set([number for number, one in enumerate(sessions) if item in one][-setting["sessions"] :]) for item in newest
        }
        seen = set().union(*looked_at.values())
        shared = {n: [k for k, item in enumerate(newest) if n in looked_at[item] and newest.index(item) == k] for n in seen}
        alike = {n: sum(length - k for k in places) for n, places in shared.items()}
        said: dict[int, float] = {}
        for n in sorted(seen, key=lambda n: (-alike[n], -n))[: setting["neighbours"]]:
            for item in set(sessions[n]):
                said[item] = said.get(item, 0.0) + alike[n] * (10 - shared[n][0])
        return {item: (said.get(item), clicks[item]) for item in range(1, known + 1)}

    return scores


def switch(setting: dict[str, Any], events: list[Event], as_of_ms: int, known: int) -> Scorer:
    popular = window_popularity(setting, events, as_of_ms, known)
    rule = sequential_rule(setting, events, as_of_ms, known)
    return lambda event: (popular if event.session_position == 0 else rule)(event)


SLOW_MODELS: dict[str, Callable[[dict[str, Any], list[Event], int, int], Scorer]] = {
    "window_popularity": window_popularity,
    "decayed_popularity": decayed_popularity,
    "sequential_rule": sequential_rule,
    "item_knn": item_knn,
    "session_knn": session_knn,
    "switch": switch,
}
