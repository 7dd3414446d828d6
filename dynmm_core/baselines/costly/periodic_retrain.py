"""Periodic retraining: once a day the backbone is trained again, from where it stood, on the log of the last days."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts
from dynmm_core.baselines.costly.event_window import Daily, EventWindow
from dynmm_core.baselines.costly.sequence_model import SequenceModel, all_finite
from dynmm_core.evidence.recents import Recents
from dynmm_core.model.pretraining import BackboneTrainer, Sequences, TrainingSettings
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import derive_seed
from dynmm_core.times import DAY_MS

TRAINING = TrainingSettings(learning_rate=1e-3, warm_up_steps=10)


@dataclass(frozen=True)
class PeriodicRetrainSettings:
    """days: of the log that are trained on; epochs: passes over them; half_life_ms: of the popularity that ranks where there
    is no history."""

    days: int
    epochs: int
    half_life_ms: int


class PeriodicRetrain(SequenceModel):
    """Trains at the end of the first slide of each day of event time; in between only histories and new items move on."""

    def __init__(self, backbone: SASRec, settings: PeriodicRetrainSettings, seed: int) -> None:
        super().__init__(backbone, settings.half_life_ms, seed)
        self.settings = settings
        self.retrained_at_ms: list[int] = []
        self._window = EventWindow(settings.days * DAY_MS)
        self._daily = Daily()

    def begin(self, as_of_ms: int) -> None:
        """From here on the backbone is retrained."""
        super().begin(as_of_ms)
        self._daily.begin(as_of_ms)

    def take_in(self, facts: Facts, before: Recents) -> None:
        """Keep the slide, and train where a day has begun."""
        self._window.observe(facts)
        if self._daily.due(facts.slide_end_ms):
            self._retrain(facts.slide_end_ms)

    def _retrain(self, slide_end_ms: int) -> None:
        self.retrained_at_ms.append(slide_end_ms)
        sequences = Sequences.from_events(*self._window.events())
        if not (np.diff(sequences.starts) >= 2).any():
            return
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        trainer = BackboneTrainer(self.model, sequences, TRAINING, derive_seed(self.seed, slide_end_ms, "retrain"))
        for epoch in range(self.settings.epochs):
            trainer.run_epoch(epoch, lambda _: 1.0, lambda _: None)
        trainer.optimiser.zero_grad(set_to_none=True)
        if not all_finite(self.model):
            self.model.load_state_dict(before)
