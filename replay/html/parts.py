"""What a page is made of: sections of charts and tables, each chart with a table that says the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import plotly.graph_objects as go

from replay.html.palette import Look

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A table's cell: what is read, and what the column is sorted by; None sorts last, whichever way."""

    text: str
    sort: float | str | None

    @property
    def key(self) -> str | None:
        """What the page sorts by: figures to more digits than they show."""
        return (
            self.sort
            if isinstance(self.sort, str | None)
            else f"{self.sort:.15g}"
            if isinstance(self.sort, int)
            else f"{self.sort:.8g}"
        )


@dataclass(frozen=True)
class Table:
    """Rows of cells under column names; the first ``labels`` columns are text, the others are figures."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1


@dataclass(frozen=True)
class Chart:
    """Figures by the name of their button, of which the first is seen first, with the table that replaces it.

    id: unique in the page; unit: of the vertical axis; about: what is seen, in a sentence; height: in CSS pixels; small: one of
    several side by side.
    """

    id: str
    title: str
    unit: str
    about: str
    figures: Mapping[str, go.Figure]
    table: Table
    height: int = 380
    small: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading. ``absent`` says how to get what the run lacks, in place of charts and tables.

    key: what lines mean that are no models', with how they look.
    """

    id: str
    title: str
    lead: str
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    key: tuple[tuple[str, Look], ...] = ()
    absent: str | None = None
    tables_first: bool = False


def text_cell(text: str) -> Cell:
    """Return a cell of text, sorted as text."""
    return Cell(text, text)


def number_cell(value: float | None, pattern: str = "{:,.2f}", sort: float | None = None) -> Cell:
    """Return a cell of a figure, sorted by it or by ``sort``; a dash where it is unknown."""
    if value is None or not isfinite(value):
        return Cell(NOTHING, None)
    return Cell(pattern.format(value), value if sort is None else sort)


def interval_cell(value: float, low: float, high: float, scale: float = 1.0, digits: int = 2) -> Cell:
    """Return a cell of an estimate and its interval, sorted by the estimate; the interval is left out where it is unknown."""
    head = number_cell(scale * value, f"{{:,.{digits}f}}")
    if head.sort is None or not (isfinite(low) and isfinite(high)):
        return head
    return Cell(f"{head.text} [{scale * low:,.{digits}f}, {scale * high:,.{digits}f}]", head.sort)


def rows_of(rows: Sequence[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """Return rows as a table keeps them."""
    return tuple(tuple(row) for row in rows)
