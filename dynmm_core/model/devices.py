"""The device that tensors lie on: the CPU by default, a GPU where there is one; and how tensors come there and back."""

import os
from collections.abc import Hashable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from dynmm_core.errors import UserError
from dynmm_core.names import device_name

K = TypeVar("K", bound=Hashable)
_CPU = torch.device("cpu")


def open_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        UserError: there is no such device here.
    """
    try:
        device = torch.device(device_name(name))
    except ValueError as error:
        raise UserError(f"--device: {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device: {name} is not there; use cpu, or install a torch that sees the GPU")
    if device.type == "cuda":
        # Deterministic matrix products on a GPU need a workspace of fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return device


def make_repeatable(threads: int) -> None:
    """Set, for this process, what two runs on one machine need to be equal bit for bit: the CPU threads, kernels that repeat."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # A help against reading what was never written, at the cost of writing everything twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return ``tensor`` on ``device``; the host goes on while it is copied, and the device's work behind it finds it there."""
    if tensor.device != _CPU:
        return tensor.to(device)
    # From memory that may be paged out, the driver copies when it likes, and may wait for the device first.
    source = tensor.pin_memory() if device.type == "cuda" else tensor
    return source.to(device, non_blocking=True)


def fetch(tensors: Mapping[K, Tensor]) -> dict[K, Tensor]:
    """Return ``tensors`` on the host, contiguous; those on a device come in one copy, which is waited for once.

    One that lies on the host already, and is contiguous, is returned itself.
    """
    found = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    away = [name for name, tensor in found.items() if tensor.device != _CPU]
    if not away:
        return found
    # The widest type first: a piece of the copy must begin at a multiple of its width.
    away.sort(key=lambda name: -found[name].element_size())
    pieces = [found[name].flatten().view(torch.uint8) for name in away]
    copied = torch.split(torch.cat(pieces).cpu(), [len(piece) for piece in pieces])
    whole = {name: piece.view(found[name].dtype).view(found[name].shape) for name, piece in zip(away, copied, strict=True)}
    return {name: whole.get(name, tensor) for name, tensor in found.items()}
