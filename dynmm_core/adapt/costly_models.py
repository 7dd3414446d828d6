"""The costly models of a run: from the bundle that tuned them, or a clear refusal."""

from collections.abc import Sequence

from dynmm_core.adapt.settings import COSTLY_MODELS
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle


def check_costly(bundle: Bundle, models: Sequence[str]) -> list[str]:
    """Return those of ``models`` that are costly.

    Raises:
        UserError: the bundle has no settings for one of them.
    """
    costly: list[str] = [name for name in models if name in COSTLY_MODELS]
    missing = [name for name in costly if name not in bundle.costly]
    if missing:
        raise UserError(
            f"models: {bundle.path} has no settings for {', '.join(missing)}; make a bundle that has with"
            " `dynmm pretrain DATA --out BUNDLE --costly`, or leave them out of --models"
        )
    return costly
