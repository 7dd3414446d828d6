"""The least that a stage must move: every input read once and every output written once, over the bandwidth of a copy."""

import torch

from benchmarks.adapt.clock import StageClock
from dynmm_core.adapt.laps import Stage
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.scoring import NEGATIVES
from dynmm_core.adapt.slide_ranking import HEAD_EXAMPLES
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.head import REQUEST_STATE_DIM

_FLOAT, _HALF = 4, 2
_COPIED_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}
_COPIES = 5
_KEPT = 4  # tensors that an update reads and writes per weight: raw, averaged, two moments


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by the fastest of some copies of one large tensor, by the clock of the stages."""
    source = torch.ones(_COPIED_BYTES[device.type] // _FLOAT, device=device)
    target = torch.empty_like(source)
    clock, best = StageClock(device), float("inf")
    for _ in range(_COPIES):
        clock.start()
        target.copy_(source)
        clock.lap("refresh")
        best = min(best, clock.seconds["refresh"])
    return 2 * source.numel() * _FLOAT / best


def floor_bytes(loop: AdaptLoop, events: float, active: float, rows: float) -> dict[Stage, float]:
    """Bytes of a slide with so many events, refreshed items and committed rows, in the types that they are stored in."""
    d, adapter, head = loop.base.latent_dim, loop.learners.adapter, loop.learners.head
    item, user = (2 * d + ITEM_SUMMARY_DIM) * _FLOAT, (2 * d + USER_SUMMARY_DIM) * _FLOAT
    settings = adapter.settings
    steps = min(settings.max_steps, -(-int(events) // settings.batch_size))
    new = int(min(events, HEAD_EXAMPLES))
    examples = new + head.settings.steps(new) * head.settings.rehearsed_per_step
    example = (1 + NEGATIVES) * (head.head.weight.numel() * _HALF + _FLOAT) + REQUEST_STATE_DIM * _FLOAT
    update = events * (user + item) + steps * settings.negatives * item + examples * example
    update += 2 * _KEPT * _FLOAT * (_weights(adapter.adapter) + _weights(head.head))
    refresh = active * (item + d * _FLOAT) + _FLOAT * _weights(adapter.serving.item)
    return {"update": update, "refresh": refresh, "commit": 2 * rows * d * _FLOAT}


def _weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
