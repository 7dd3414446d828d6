"""The simple models by name, and how to build each from its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dynmm_core.baselines.contract import TriedModel
from dynmm_core.baselines.decayed_popularity import DecayedPopularity, DecayedPopularitySettings
from dynmm_core.baselines.item_knn import ItemKnn, ItemKnnSettings
from dynmm_core.baselines.sequential_rule import SequentialRule, SequentialRuleSettings
from dynmm_core.baselines.session_knn import SessionKnn, SessionKnnSettings
from dynmm_core.baselines.switch import Switch, SwitchSettings
from dynmm_core.baselines.window_popularity import WindowPopularity, WindowPopularitySettings
from dynmm_core.errors import UserError


@dataclass(frozen=True)
class SimpleModel:
    """A model's settings class, and the model that is built from one or several of them."""

    settings: type[Any]
    model: Callable[..., TriedModel]


SIMPLE_MODELS: dict[str, SimpleModel] = {
    "window_popularity": SimpleModel(WindowPopularitySettings, WindowPopularity),
    "decayed_popularity": SimpleModel(DecayedPopularitySettings, DecayedPopularity),
    "sequential_rule": SimpleModel(SequentialRuleSettings, SequentialRule),
    "item_knn": SimpleModel(ItemKnnSettings, ItemKnn),
    "session_knn": SimpleModel(SessionKnnSettings, SessionKnn),
    "switch": SimpleModel(SwitchSettings, Switch),
}


def build_model(name: str, *settings: Mapping[str, Any]) -> TriedModel:
    """Build a simple model from its settings; several of them are tried side by side, the first one is what it is alone.

    Raises:
        UserError: no such model, or a setting that it does not have or lacks.
    """
    if name not in SIMPLE_MODELS:
        raise UserError(f"models: {name} is no simple model; choose from {', '.join(SIMPLE_MODELS)}")
    simple = SIMPLE_MODELS[name]
    return simple.model(*(_settings(name, simple, one) for one in settings))


def _settings(name: str, simple: SimpleModel, values: Mapping[str, Any]) -> Any:
    known = [field.name for field in fields(simple.settings)]
    try:
        return simple.settings(**values)
    except TypeError as error:
        raise UserError(f"{name}: settings {sorted(values)} do not fit; it has {', '.join(known)}") from error


def model_names() -> Sequence[str]:
    """Names of all simple models."""
    return tuple(SIMPLE_MODELS)
