"""The `dynmm pretrain` command."""

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dynmm_core.console import print_json, print_table
from dynmm_core.errors import UserError


def pretrain(
    data: Path,
    *,
    out: Path,
    profile: Literal["paper", "demo"] = "paper",
    seed: int = 0,
    threads: int = 2,
    device: str = "cpu",
    context: bool = True,
    costly: Annotated[bool, Parameter(negative="")] = False,
    text: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train the frozen base on the first 70 % of a prepared log and choose what depends on data.

    Parameters
    ----------
    data
        A folder written by `dynmm data prepare`.
    out
        The bundle's folder; must not exist.
    profile
        paper: d = 256, 2 layers, 50 items of history; demo: small and quick.
    seed
        Names every random draw.
    threads
        CPU threads; part of what makes two runs equal bit for bit.
    device
        cpu or cuda.
    context
        Let the log's further columns with 2 to 63 values, the first six of them, describe a request, such as region or device;
        one that the item decides is left out. What is not known before the click must not be among them: take such a column
        out of extra_columns in the log's dataset.toml, or leave context out altogether.
    costly
        Choose settings for fine_tune, periodic_retrain and lightgcn, too, which a replay needs to run them: 21 more trials,
        each of which trains over the tail.
    text
        Encode titles, categories and descriptions of the log's items, for the alignment and reconstruction losses of a protocol.
    json
        Print one JSON document instead of tables.
    """
    from pydantic import ValidationError

    from dynmm_core.adapt.pretrain import PretrainSettings
    from dynmm_core.adapt.pretrain import pretrain as run
    from dynmm_core.datasets.prepared import PreparedLog

    begun = time.monotonic()
    try:
        settings = PretrainSettings(
            profile=profile, seed=seed, threads=threads, device=device, context=context, costly=costly, text=text
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{first['loc'][0]}: {first['input']}: {first['msg']}") from error
    bundle = run(PreparedLog.open(data), out, settings)
    seconds = round(time.monotonic() - begun, 1)
    if json:
        choices = bundle.choices.model_dump()
        chosen = {"choices": choices, **({"costly": bundle.costly} if costly else {}), "context": list(bundle.context.values)}
        print_json({"bundle": str(out), "hash": bundle.hash, **chosen, "trials": bundle.trials, "seconds": seconds})
        return
    rows = [[name, str(value)] for name, value in (bundle.choices.model_dump() | bundle.costly).items()]
    rows += [["context", ", ".join(bundle.context.values) or "none"]]
    rows += [["trials", str(len(bundle.trials))], ["hash", bundle.hash[:16]], ["seconds", str(seconds)], ["bundle", str(out)]]
    print_table(["chosen on the tail", "value"], rows, title=f"Bundle for {bundle.dataset}")
