"""Drift detection beside the loop: what a slide says is judged once the slide was ranked, and travels with its version."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dynmm_core.adapt.activity import FrozenActivity
from dynmm_core.adapt.drift_facts import past_facts, slide_facts, with_ranking
from dynmm_core.adapt.loop import StepResult
from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.metrics.drift.facts import SlideFacts
from dynmm_core.metrics.drift.watch import ALARMS, FACTS, DriftWatch, Watched
from dynmm_core.model.bundle import CutState
from dynmm_core.randomness import derive_seed


class DriftDetection:
    """The detectors of one run; without any, all of this does nothing.

    Their state is not kept: it follows from the week before the cut and from the facts in the versions' metrics, which a
    restarted run is given again one by one.
    """

    def __init__(self, settings: AdaptSettings) -> None:
        self._slide_ms, self._served = settings.slide_ms, settings.served
        self._watch = DriftWatch(settings.detectors, partial(derive_seed, settings.seed)) if settings.detectors else None

    def begin(self, cut: CutState, start_ms: int) -> None:
        """Take in the week before the first slide, which starts at ``start_ms``: what it says is nobody's alarm."""
        if self._watch is not None:
            for facts in past_facts(cut, start_ms, self._slide_ms):
                self._watch.observe(facts)

    def again(self, metrics: Mapping[str, Any]) -> None:
        """Take in a slide that was judged before, by the metrics of its version."""
        if self._watch is not None and FACTS in metrics:
            self._watch.observe(SlideFacts.from_json(metrics[FACTS]))

    def facts(self, slide: SlideEvents, activity: FrozenActivity) -> SlideFacts | None:
        """Return what a slide says, before it is taken in; ``activity`` is of the end of the slide before."""
        return None if self._watch is None else slide_facts(slide, activity, self._slide_ms)

    def judge(self, facts: SlideFacts | None, result: StepResult) -> tuple[Watched, dict[str, Any]]:
        """Have a slide judged with its ranking; return what came of it, and what travels with the version."""
        if self._watch is None or facts is None:
            return Watched(), {}
        facts = with_ranking(facts, result.windows, self._served, result.candidates_hit)
        watched = self._watch.observe(facts)
        told: dict[str, Any] = {FACTS: facts.to_json()}
        if watched.alarms:
            told[ALARMS] = [alarm.to_json() for alarm in watched.alarms]
        return watched, told
