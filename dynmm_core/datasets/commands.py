"""The `dynmm data` commands: arguments in, tables or JSON out.

DuckDB and Arrow are imported when a command runs, so that the help needs neither.
"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

MinRating = Annotated[float | None, Parameter(help="Keep only rows with this rating or more; rows without one go.")]
TimeUnit = Annotated[
    Literal["ms", "s", "us"] | None,
    Parameter(help="Unit of times that are integers; milliseconds if not given."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of a table.")]


def describe(folder: Path, *, min_rating: MinRating = None, time_unit: TimeUnit = None, json: Json = False) -> None:
    """Check a folder of tables and print its figures; nothing is written.

    Parameters
    ----------
    folder
        Holds interactions.parquet or .csv and perhaps items.parquet or .csv; or a log that is
        prepared already.
    """
    from dynmm_core.datasets.checked import Options, describe_folder
    from dynmm_core.datasets.report import print_description

    print_description(describe_folder(folder, Options(time_unit, min_rating)), {}, json)


def prepare(
    folder: Path,
    /,
    *,
    out: Path,
    min_rating: MinRating = None,
    time_unit: TimeUnit = None,
    name: str | None = None,
    json: Json = False,
) -> None:
    """Check a folder of tables and write it as a prepared log: sorted, without duplicates, described by
    dataset.toml.

    Parameters
    ----------
    folder
        Holds interactions.parquet or .csv and perhaps items.parquet or .csv.
    out
        The new folder; refused if it exists.
    name
        The data set's name in reports; the folder's name if not given.
    """
    from dynmm_core.datasets.checked import Options
    from dynmm_core.datasets.prepare import prepare_folder
    from dynmm_core.datasets.report import print_description

    description, dataset = prepare_folder(folder, out, Options(time_unit, min_rating, name))
    print_description(description, {"prepared": str(out), "fingerprint": dataset.fingerprint}, json)


def fetch(
    name: Literal["ml-1m"],
    /,
    *,
    out: Path | None = None,
    archive: Path | None = None,
    json: Json = False,
) -> None:
    """Download a public data set, check it by checksum, and write it in the form that `dynmm data prepare`
    reads.

    Parameters
    ----------
    name
        Which set.
    out
        The new folder; refused if it exists. The set's name in the working folder if not given.
    archive
        The official archive as a local file, for machines without a network; checked in the same way.
    """
    from dataclasses import asdict

    from dynmm_core.console import print_json, print_table, progress
    from dynmm_core.datasets.fetch import PUBLIC_SETS, fetch_set

    with progress(f"fetching {name}", None) as bar:
        fetched = fetch_set(PUBLIC_SETS[name], out or Path(name), archive, bar.advance)
    if json:
        print_json(asdict(fetched))
    else:
        print_table(("what", "value"), [(key, str(value)) for key, value in asdict(fetched).items()], name)
