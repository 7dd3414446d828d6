"""What a person sees: results on stdout, progress and logs on stderr, silence where nobody looks."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """Progress of one piece of long work."""

    def advance(self, n: int = 1, **fields: Any) -> None:
        """Count ``n`` further units as done; ``fields`` are shown beside the bar."""


class _Silent:
    def advance(self, n: int = 1, **fields: Any) -> None:
        """Show nothing."""


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Bar]:
    """Show a progress bar on stderr while the block runs; silent when stderr is no terminal.

    Args:
        description: what is being done; total: units of work, None where nobody knows.
    """
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total, note="")

        class Shown:
            def advance(self, n: int = 1, **fields: Any) -> None:
                """Move the bar by ``n``."""
                bars.update(task, advance=n)
                if fields:
                    bars.update(task, note="  ".join(f"{name} {value}" for name, value in fields.items()))

        yield Shown()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on stdout; the first column is text, the others are figures."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Where nobody watches, there is no width to fit into, and a folded figure is of no use to a script.
    Console(width=None if sys.stdout.isatty() else 160).print(table, markup=False)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
