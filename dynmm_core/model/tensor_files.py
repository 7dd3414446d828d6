"""Learned state as files of safetensors: weights and the moments of their optimiser."""

from collections.abc import Mapping

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer

from dynmm_core.model.devices import fetch


def save_files(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, bytes]:
    """Return the bytes of each file; a device is waited for once for all of them."""
    found = fetch({(file, name): tensor for file, tensors in files.items() for name, tensor in tensors.items()})
    return {file: save_tensors({name: found[file, name] for name in tensors}) for file, tensors in files.items()}


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the weights by name; one that is shared stands there once."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(weights[name])


def moments_of(optimiser: Optimizer) -> dict[str, Tensor]:
    """Return what the optimiser remembers of each weight, by the weight's number and the name of the moment."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{name}": value for index, moments in state.items() for name, value in moments.items()}


def put_moments(optimiser: Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Set what :func:`moments_of` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
