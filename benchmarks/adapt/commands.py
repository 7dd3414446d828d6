"""The `dynmm bench adapt` command."""

import shlex
import sys
from typing import Annotated

from cyclopts import Parameter

from benchmarks.commands import Json
from dynmm_core.errors import CheckFailed, UserError

SIZES = {"cpu": (10_000, 50_000, 100_000, 1_000_000), "cuda": (100_000, 1_000_000, 10_000_000)}


def bench_adapt(
    *,
    items: Annotated[tuple[int, ...], Parameter(negative="")] = (),
    events: int = 1_000,
    slides: int = 7,
    users: int = 20_000,
    latent_dim: int = 256,
    models: str = "adapted",
    device: str = "cpu",
    seed: int = 0,
    check: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Measure what a slide costs by stage: features, user states, ranking, update, refresh, commit.

    The loop and the store that replay and live flow run on, with a frozen base of random weights, on a seeded stream behind a
    week of its past. Medians of CPU seconds on one thread, on a GPU of wall seconds, behind a warm-up. Where there is no GPU,
    --device cuda says that nothing was measured.

    Parameters
    ----------
    items
        Size of the catalogue; repeatable. 10 thousand to a million, on a GPU 100 thousand to ten million.
    events
        Events in a slide, about.
    slides
        Slides that count.
    users
        How many there are.
    latent_dim
        Width of the latents.
    models
        Models that rank, names with commas between.
    device
        cpu or cuda.
    seed
        Names the random draws.
    check
        Exit with 3 where a bound is broken.
    """
    import torch

    from benchmarks.adapt.inputs import StreamShape
    from benchmarks.adapt.job import MODELS, Case
    from benchmarks.adapt.report import document_of, missed, print_document
    from benchmarks.adapt.run import WARMING_SLIDES, measure
    from benchmarks.origin import commit
    from dynmm_core.console import print_json, progress
    from dynmm_core.model.devices import make_repeatable, open_device
    from dynmm_core.names import choose

    if device not in SIZES:
        raise UserError(f"--device: {device} is not measured; give cpu or cuda")
    items = items or SIZES[device]
    least = {"--items": (min(items), 100), "--events": (events, 1), "--slides": (slides, 1), "--users": (users, 1),
             "--latent-dim": (latent_dim, 2), "--seed": (seed, 0)}  # fmt: skip
    for name, (value, bound) in least.items():
        if value < bound:
            raise UserError(f"{name}: {value} is too small; give {bound} or more")
    try:
        chosen = choose(models, MODELS, "model")
    except ValueError as error:
        raise UserError(f"--models: {error}") from error
    make_repeatable(1)
    missing = device == "cuda" and not torch.cuda.is_available()
    where = torch.device("cpu") if missing else open_device(device)
    shapes = [] if missing else [StreamShape(size, users, events, slides + WARMING_SLIDES) for size in sorted(items)]
    with progress("slides", len(shapes) * (slides + WARMING_SLIDES)) as bar:
        measured = [measure(Case(shape, latent_dim, chosen, where), seed, bar.advance) for shape in shapes]
    command = {"commit": commit(), "command": shlex.join(["dynmm", *sys.argv[1:]])}
    document = command | document_of(measured, latent_dim, chosen, device, seed)
    if json:
        print_json(document)
    else:
        print_document(document)
    if check and (wrong := missed(document)):
        raise CheckFailed("; ".join(wrong))
