"""CPU seconds go to the innermost block, and to every model that needed them."""

import pytest

from dynmm_core.adapt.cpu_meter import ADAPTER, HEAD, REFRESH, STATES, CpuMeter, by_model, ranking_by_model


def test_a_block_inside_a_block_counts_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0])
    monkeypatch.setattr("dynmm_core.adapt.cpu_meter.time.process_time", lambda: next(clock))
    meter = CpuMeter()
    with meter.on("outer"):
        with meter.on("inner"):
            pass
        with meter.on("inner"):
            pass
    with meter.on("outer"):
        pass
    # outer: 0 to 1, 3 to 6, 10 to 15, 21 to 28; inner: 1 to 3, 6 to 10.
    assert meter.take() == {"outer": 16.0, "inner": 6.0} and meter.take() == {}


def test_a_block_that_fails_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 5.0, 6.0])
    monkeypatch.setattr("dynmm_core.adapt.cpu_meter.time.process_time", lambda: next(clock))
    meter = CpuMeter()
    with pytest.raises(ValueError, match="no"), meter.on("one"):
        raise ValueError("no")
    with meter.on("two"):
        pass
    assert meter.take() == {"one": 2.0, "two": 1.0}


def test_what_the_adapted_models_share_counts_for_each() -> None:
    spent = {ADAPTER: 1.0, HEAD: 2.0, REFRESH: 4.0, "fine_tune": 8.0}
    models = ("static", "fine_tune", "lightgcn", "adapted_latents", "adapted")
    assert list(by_model(spent, models).values()) == [0.0, 8.0, 0.0, 5.0, 7.0]


def test_the_states_of_users_count_for_every_model_that_asks_with_them() -> None:
    spent = {STATES: 1.0, "fine_tune": 8.0, "adapted": 2.0, "adapted_day_old": 4.0}
    models = ("static", "item_knn", "fine_tune", "adapted_latents", "adapted_day_old", "adapted")
    assert list(ranking_by_model(spent, models).values()) == [1.0, 0.0, 8.0, 1.0, 5.0, 3.0]
