"""A replay that ranks with versions a day old, too: resumed, it finds them again."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dynmm_core.adapt.engine import AdaptEngine, SlideReport
from dynmm_core.windows.slides import Slide
from replay.config import merge_options
from replay.runner import Outcome, ReplayRequest, replay_log
from simulators.settings import StreamSettings
from simulators.stream import draw_stream
from simulators.world import make_world
from tests.replay.tiny import bundle_tiny, prepare_tiny

SETTINGS = StreamSettings(events=4_000, users=200, items=200, online_hours=60)
KILLED_AFTER = 7  # of ten slides: six hours each, so that the first day is over


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    drawn = draw_stream(make_world(SETTINGS))
    events: dict[str, Any] = {"timestamp": drawn.event_time_ms, "user_id": drawn.user, "item_id": drawn.item}
    bundle_tiny(prepare_tiny(folder, events), folder / "bundle", epochs=1)
    return folder


def replayed(ready: Path, out: Path) -> Outcome:
    options = merge_options({"threads": 1, "models": "adapted,adapted_day_old", "slide": "6h"}, {})
    return replay_log(ReplayRequest(data=ready / "data", bundle=ready / "bundle", out=out, options=options))


def test_a_resumed_replay_finds_the_versions_of_the_day_before_again(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = replayed(ready, tmp_path / "undisturbed")
    step, taken = AdaptEngine.on_slide, []

    def killed(engine: AdaptEngine, slide: Slide) -> SlideReport:
        if len(taken) == KILLED_AFTER:
            raise KeyboardInterrupt
        taken.append(slide.slide_end_ms)
        return step(engine, slide)

    with monkeypatch.context() as patch:
        patch.setattr(AdaptEngine, "on_slide", killed)
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            replayed(ready, tmp_path / "run")
    resumed = replayed(ready, tmp_path / "run")

    assert len(taken) == KILLED_AFTER
    one, other = (pq.read_table(outcome.run / "windows.parquet") for outcome in (undisturbed, resumed))
    assert one.equals(other)
    models = undisturbed.metrics["models"]
    assert list(models) == ["adapted_day_old", "adapted"]
    assert models["adapted_day_old"]["staleness_ms"] > models["adapted"]["staleness_ms"] + 12 * 3_600_000
    assert {(ratio.numerator, ratio.denominator) for ratio in undisturbed.ratios} == {("adapted", "adapted_day_old")}
