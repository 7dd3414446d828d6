"""How each model looks, in every report alike: a colour of the page's style sheet, and a dash where colours are near.

Colours are numbers of custom properties, ``--series-N``, which the style sheet gives for light and dark. They are steps of Okabe
and Ito's palette, moved until each stands out from the page at 3 to 1, so that colour is never all that tells two lines apart:
lines that are often seen together differ in lightness or dash, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from replay.oracle import ORACLE
from replay.results import ADAPTED, Ratio


@dataclass(frozen=True)
class Look:
    """The number of a colour and plotly's name of a dash; ``wide`` for what the page is about."""

    colour: int
    dash: str = "solid"
    wide: bool = False


_LOOKS = {
    ADAPTED: Look(0, wide=True),
    "adapted_latents": Look(1, "dash"),
    "adapted_day_old": Look(1, "dashdot"),
    ORACLE: Look(2, "dash"),
    "static": Look(3, "dot"),
    "switch": Look(4),
    "sequential_rule": Look(5),
    "session_knn": Look(6),
    "item_knn": Look(7),
    "window_popularity": Look(8),
    "decayed_popularity": Look(8, "dash"),
    "fine_tune": Look(9),
    "periodic_retrain": Look(9, "dash"),
    "lightgcn": Look(9, "dot"),
}
SIDES = {"A": Look(5, "dash"), "B": Look(0)}
_OTHERS = tuple(Look(colour, "dashdot") for colour in (1, 4, 5, 6, 7, 8, 9))


def looks(models: Sequence[str]) -> dict[str, Look]:
    """Return how each of ``models`` looks; names that are not known take what is left, in their order."""
    unknown = [model for model in models if model not in _LOOKS]
    return {model: _LOOKS[model] if model in _LOOKS else _OTHERS[unknown.index(model) % len(_OTHERS)] for model in models}


def shown_first(models: Sequence[str], ratios: Sequence[Ratio]) -> frozenset[str]:
    """Return the models that charts show before anybody chose: the adapted one, whom it is measured against, the oracle."""
    wanted = {ADAPTED, ORACLE, "static", *(ratio.denominator for ratio in ratios[:2])}
    return frozenset(wanted & set(models)) or frozenset(models[:5])
