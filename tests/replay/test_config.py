"""Options merge in a fixed order, and the configuration's hash moves with every cause of a result and nothing else."""

from typing import Any

import pytest

from dynmm_core.adapt.settings import DEFAULT_MODELS
from dynmm_core.errors import UserError
from dynmm_core.model.online import OnlineOptions
from replay.config import ReplaySettings, StreamNames, environment, merge_options, resolve
from replay.splits import make_split
from tests.replay.hand_made import HOUR_MS, HandMadeLog

LOG = HandMadeLog((0, 10, HOUR_MS, 2 * HOUR_MS), cut_row=1)


BUNDLE = "b" * 64


def settings(bundle: str = BUNDLE, **options: Any) -> ReplaySettings:
    return resolve(merge_options(options, {}), make_split(LOG), bundle, 900_000)


def test_the_command_line_goes_before_the_protocol_and_that_before_the_default() -> None:
    options = merge_options({"seed": 3, "slide": None}, {"seed": 1, "slide": "15m"})

    assert (options.seed, options.slide, options.history) == (3, 900_000, "event")


def test_models_keep_one_order_whatever_order_they_are_named_in() -> None:
    assert merge_options({"models": "adapted,static"}, {}).models == ("static", "adapted")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("slide", "7m", "--slide: 7m is no multiple of 5m between 5m and 24h"),
        ("slide", "25h", "--slide: 1d 1h is no multiple"),
        ("slide", "15", "--slide: '15' is no duration"),
        ("slide", "0", "--slide: 0s is no multiple"),
        ("publish_delay", "25h", "--publish-delay: '25h'"),
        ("store_every", 0, "--store-every: 0: Input should be greater than or equal to 1"),
        ("adapter_lr", 1.5, "--adapter-lr: 1.5: Input should be less than or equal to 1"),
        ("seed", -1, "--seed: -1: Input should be greater than or equal to 0"),
        ("popularity_window", "0", "--popularity-window: 0s is no multiple"),
        ("models", "static,magic", "--models: 'magic' is no model; choose from static"),
        ("models", "static,static", "--models: 'static, static' must name each model once"),
        ("history", "none", "--history: 'none'"),
        ("max_windows", 0, "--max-windows: 0"),
        ("from_", "yesterday", "--from: 'yesterday' is no time"),
        ("device", "tpu", "--device: 'tpu'"),
        ("max_train_events", "0", "--max-train-events: '0': Input should be greater than or equal to 1, or off"),
        ("device", "tpu", "--device: 'tpu' is no device; use cpu or cuda"),
        ("max_train_events", "none", "--max-train-events: 'none'"),
        ("detectors", "adwin,ddm", "--detectors: 'ddm' is no detector; choose from adwin, page_hinkley, kswin, or off"),
        ("detectors", "adwin,off", "--detectors: 'off' is no detector"),
    ],
)
def test_a_wrong_value_is_told_with_its_option(option: str, value: object, told: str) -> None:
    with pytest.raises(UserError) as caught:
        merge_options({option: value}, {})
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_a_wrong_entry_of_a_protocol_is_told_as_such() -> None:
    with pytest.raises(UserError, match=r"^protocol: slides: is no option of replay; choose from adapter_lr"):
        merge_options({}, {"slides": "1h"})
    with pytest.raises(UserError, match=r"^protocol: slide: '1x' is no duration"):
        merge_options({}, {"slide": "1x"})
    with pytest.raises(UserError, match=r"^protocol: online.rank: is no option of replay; choose from align_weight"):
        merge_options({}, {"online": {"rank": "bpr"}})
    with pytest.raises(UserError, match=r"^protocol: online.ranking: 'hinge'"):
        merge_options({}, {"online": {"ranking": "hinge"}})


CHANGES: dict[str, Any] = {
    "seed": 1, "models": "static", "history": "version", "publish_delay": "10m", "slide": "15m", "popularity_window": "1h",
    "store_every": 1, "keep_consumed": True, "device": "cuda", "threads": 1, "adapter_lr": 0.0, "summaries": False,
    "max_train_events": "50000", "online": {"ranking": "bpr"},
}  # fmt: skip


@pytest.mark.parametrize("option", OnlineOptions.model_fields)
def test_every_option_of_online_learning_moves_the_hash(option: str) -> None:
    other: dict[str, Any] = {"ranking": "bpr", "stability_weight": 0.5}
    default = OnlineOptions.model_fields[option].default
    if isinstance(default, bool):
        other[option] = not default
    elif option not in other:
        other[option] = default / 2 if 0 < default < 1 else default + 1
    assert settings(online={option: other[option]}).config_hash != settings().config_hash


@pytest.mark.parametrize("option", CHANGES)
def test_every_option_moves_the_hash(option: str) -> None:
    assert settings(**{option: CHANGES[option]}).config_hash != settings().config_hash


def test_detectors_which_change_no_version_do_not_move_the_hash() -> None:
    assert settings(detectors="off").detectors == () and settings(detectors="off").config_hash == settings().config_hash


def test_bundle_and_range_move_the_hash() -> None:
    shorter = resolve(merge_options({}, {}), make_split(LOG, max_windows=2), BUNDLE, 900_000)

    assert settings("c" * 64).config_hash != settings().config_hash
    assert shorter.config_hash != settings().config_hash


def test_all_events_of_the_split_are_ranked_its_first_and_its_last_too() -> None:
    assert (settings().rank_from_ms, settings().rank_to_ms) == (10, 2 * HOUR_MS + 1)


def test_reading_stops_at_the_end_of_the_last_ranked_slide() -> None:
    assert settings().end_time_ms == 3 * HOUR_MS
    assert settings(slide="5m").end_time_ms == 2 * HOUR_MS + 300_000
    assert settings(slide="24h").end_time_ms == 24 * HOUR_MS


def test_naming_a_default_leaves_the_hash() -> None:
    named = settings(seed=0, slide="60m", popularity_window="15m", models=",".join(reversed(DEFAULT_MODELS)))

    assert named.config_hash == settings().config_hash


def test_the_hashes_of_published_results_stay() -> None:
    assert settings().config_hash == "7af5095fda4b19422c6f9055c5d13c4139707feb6b3ae2dc198bbfd69c1f4a9a"
    assert settings(max_train_events="off").config_hash == settings().config_hash


@pytest.mark.parametrize("stream", [StreamNames(run_name="live"), StreamNames(allowed_lateness_ms=60_000)])
def test_what_is_taken_over_from_a_recorded_run_moves_the_hash(stream: StreamNames) -> None:
    taken = resolve(merge_options({}, {}), make_split(LOG), BUNDLE, 900_000, stream)
    assert taken.config_hash != settings().config_hash


def test_the_environment_names_what_decides_bits() -> None:
    libraries = {"torch", "numpy", "pyarrow", "bytewax", "deltalake", "dynmm-stream"}
    assert {"python", "machine"} | libraries == set(environment())
