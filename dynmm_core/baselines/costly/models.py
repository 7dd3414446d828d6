"""The costly models by name, and how to build each from its settings and the backbone that it starts from."""

from collections.abc import Mapping

from dynmm_core.baselines.contract import TriedModel
from dynmm_core.baselines.costly.fine_tune import FineTune, FineTuneSettings
from dynmm_core.baselines.costly.lightgcn import LightGcn, LightGcnSettings
from dynmm_core.baselines.costly.periodic_retrain import PeriodicRetrain, PeriodicRetrainSettings
from dynmm_core.errors import UserError
from dynmm_core.model.sasrec import SASRec

Settings = Mapping[str, float]
COSTLY_NAMES = ("fine_tune", "periodic_retrain", "lightgcn")


def build_costly(name: str, settings: Settings, backbone: SASRec, seed: int) -> TriedModel:
    """Build a costly model that starts from ``backbone``, which stays as it is; of lightgcn it decides the width.

    Raises:
        UserError: no such model, or a setting that it does not have or lacks.
    """
    if name not in COSTLY_NAMES:
        raise UserError(f"models: {name} is no costly model; choose from {', '.join(COSTLY_NAMES)}")
    try:
        if name == "fine_tune":
            return FineTune(backbone, FineTuneSettings(**settings), seed)  # type: ignore[arg-type]
        if name == "periodic_retrain":
            return PeriodicRetrain(backbone, PeriodicRetrainSettings(**settings), seed)  # type: ignore[arg-type]
        return LightGcn(backbone.hidden_dim, LightGcnSettings(**settings), seed)  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(
            f"{name}: settings {sorted(settings)} do not fit; make the bundle again with `dynmm pretrain --costly`"
        ) from error
