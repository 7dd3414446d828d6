"""Stretches of bytes, many at once: what text is compared, read and hashed by."""

import numpy as np


def windows(data: np.ndarray, places: np.ndarray, width: int) -> np.ndarray:
    """The ``width`` bytes of ``data`` from each place (n,) on: (n, width) uint8, not to be written to.

    They must lie within the data; a place before its first byte gives any bytes.
    """
    if len(places) > 1 and places[0] >= 0:
        step = int(places[1] - places[0])
        if places[-1] - places[0] == step * (len(places) - 1) and (np.diff(places) == step).all():
            return np.ndarray((len(places), width), np.uint8, data, int(places[0]), (step, 1))  # as they lie
    # Values of so many bytes are copied without a loop over them.
    views: np.ndarray = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
    found: np.ndarray = views[places].view(np.uint8).reshape(len(places), width)
    return found
