"""Counter-based randomness: every draw is named by (seed, counter, purpose), never taken from a running generator."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, counter: int, purpose: str) -> int:
    """Return a 63-bit seed that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{seed}/{counter}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def torch_generator(seed: int, counter: int, purpose: str) -> "torch.Generator":
    """Return a CPU generator for one named draw; draws are made on the CPU for every device."""
    import torch

    generator = torch.Generator()
    generator.manual_seed(derive_seed(seed, counter, purpose))
    return generator
