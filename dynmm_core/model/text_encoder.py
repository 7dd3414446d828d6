"""A small frozen text encoding that needs no download: hashed words, TF-IDF, the leading directions."""

import re
import zlib

import numpy as np

BUCKETS = 1_024
TEXT_DIM = 32
_WORD = re.compile(r"\w+")


def encode_texts(texts: list[str], dim: int = TEXT_DIM) -> np.ndarray:
    """Return text vectors (n, dim) float32; a row of zeros for a text without words.

    Words are hashed into buckets, counted as 1 + log, weighed by log((1 + n) / (1 + df)) + 1, the rows normalised and cut to
    the leading right singular vectors, whose largest entry is made positive. Source: Deerwester et al., 1990, with hashing.
    """
    counts = np.zeros((len(texts), BUCKETS))
    for row, text in enumerate(texts):
        buckets = [zlib.crc32(word.encode()) % BUCKETS for word in _WORD.findall(text.lower())]
        np.add.at(counts[row], buckets, 1.0)
    present = counts > 0
    weights = np.where(present, 1.0 + np.log(np.maximum(counts, 1.0)), 0.0)
    weights *= np.log((1.0 + len(texts)) / (1.0 + present.sum(0))) + 1.0
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    _, directions = np.linalg.eigh(weights.T @ weights)
    leading = directions[:, ::-1][:, :dim]
    leading = leading * np.sign(leading[np.abs(leading).argmax(0), np.arange(dim)])
    return np.asarray(weights @ leading, np.float32)
