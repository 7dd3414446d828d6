"""Text, image and audio features of items: noisy views of the factors that the world has given them."""

import numpy as np
import pyarrow as pa

from dynmm_core.randomness import derive_seed
from simulators.names import names_of
from simulators.world import FACTORS, World

# Numbers in a vector, and the noise beside one unit of signal.
_VIEWS = {"text": (48, 0.3), "image": (64, 0.6), "audio": (32, 1.0)}


def features_table(world: World) -> pa.Table:
    """A row for each item: item_id, and a vector of float32 for text (48), image (64) and audio (32), null where it is missing.

    Each modality shows the item's factors through a map of its own, with noise: text is the clearest, audio the least clear.
    """
    settings = world.settings
    columns = {"item_id": names_of("i", np.arange(settings.items))}
    for name, (width, noise) in _VIEWS.items():
        rng = np.random.default_rng(derive_seed(settings.seed, 0, f"features/{name}"))
        view = np.tanh(world.factors @ rng.normal(0.0, FACTORS**-0.5, (FACTORS, width)))
        view = (view + noise * rng.normal(size=view.shape)).astype(np.float32)
        missing = rng.random(settings.items) < getattr(settings, f"missing_{name}")
        values = pa.array(view.reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(values, width, mask=pa.array(missing))
    return pa.table(columns)
