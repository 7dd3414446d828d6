"""The `dynmm simulate` command."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dynmm_core.console import print_json, print_table


def simulate(
    *,
    out: Path,
    seed: int = 0,
    events: int = 160_000,
    users: int = 10_000,
    items: int = 3_000,
    online_hours: int = 72,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a seeded stream with two known drifts, ready for `dynmm data prepare`.

    Parameters
    ----------
    out
        Folder for interactions.parquet and truth.json; must not exist.
    seed
        The same seed gives the same bytes.
    events
        Events in all; the last 30 % are the online part.
    users
        Users in all.
    items
        Items in all; a twentieth of them are born in the online part.
    online_hours
        One-hour windows of the online part, none of them empty.
    json
        Print one JSON document instead of a table.
    """
    from pydantic import ValidationError

    from dynmm_core.errors import UserError
    from simulators.output import write_stream
    from simulators.world import StreamSettings

    begun = time.monotonic()
    try:
        settings = StreamSettings(seed=seed, events=events, users=users, items=items, online_hours=online_hours)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + ("-".join(str(part) for part in first["loc"]) or "items").replace("_", "-")
        raise UserError(f"{name}: {first['msg']}") from error
    world, stream = write_stream(out, settings)
    facts = {
        "events": len(stream.user), "users": len(set(stream.user.tolist())), "items": len(set(stream.item.tolist())),
        "drifts": [drift.kind for drift in world.drifts], "seconds": round(time.monotonic() - begun, 2), "out": str(out),
    }  # fmt: skip
    if json:
        print_json(facts)
        return
    print_table(["stream", "value"], [[name, str(value)] for name, value in facts.items()])
