"""The device that tensors lie on: the CPU by default, a GPU where there is one."""

import os

import torch

from dynmm_core.errors import UserError
from dynmm_core.names import device_name


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
