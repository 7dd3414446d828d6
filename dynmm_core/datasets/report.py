"""A description printed: as a table with its warnings below, or as JSON."""

from dataclasses import asdict

from dynmm_core.console import print_json, print_table
from dynmm_core.datasets.checked import Description
from dynmm_core.datasets.description import HourFigures
from dynmm_core.times import format_time


def print_description(description: Description, further: dict[str, str], as_json: bool) -> None:
    """Prints the description and the `further` entries to stdout."""
    if as_json:
        print_json({**asdict(description), **further})
        return
    rows = [*_log_lines(description), *_checks(description), *_columns(description), *further.items()]
    print_table(("what", "value"), rows, description.name)
    for warning in description.warnings:
        print(f"warning: {warning}")


def _log_lines(description: Description) -> list[tuple[str, str]]:
    figures = description.figures
    return [
        ("rows", f"{figures.rows:,}"),
        ("users", f"{figures.users:,}"),
        ("items", f"{figures.items:,}"),
        ("first event", format_time(figures.first_event_time_ms)),
        ("last event", format_time(figures.last_event_time_ms)),
        ("time granularity", figures.granularity),
        ("times at midnight UTC", f"{figures.midnight_share:.2%}"),
        ("rows that share their time", f"{figures.tie_share:.2%}"),
        ("... with the same user", f"{figures.user_tie_share:.2%}"),
        *_hour_lines("", figures.hours),
        ("online from (last 30 %)", format_time(figures.cut_time_ms)),
        ("online rows", f"{figures.online_rows:,}"),
        *_hour_lines("online ", figures.online_hours),
    ]


def _hour_lines(prefix: str, hours: HourFigures) -> list[tuple[str, str]]:
    return [
        (f"{prefix}hours, non-empty", f"{hours.non_empty:,} of {hours.all:,}"),
        (
            f"{prefix}events per hour, non-empty",
            f"median {hours.median_non_empty:,.5g}, p95 {hours.p95_non_empty:,.5g}",
        ),
        (f"{prefix}events per hour, all", f"median {hours.median_all:,.5g}, p95 {hours.p95_all:,.5g}"),
    ]


def _checks(description: Description) -> list[tuple[str, str]]:
    drops = description.drops
    if drops is None:
        return []
    return [
        ("rows read", f"{drops.rows_read:,}"),
        ("duplicates dropped", f"{drops.duplicates:,}"),
        ("ratings absent or NaN", f"{drops.missing_ratings:,}"),
        ("dropped for lack of a rating", f"{drops.without_rating:,}"),
        ("dropped below --min-rating", f"{drops.below_min_rating:,}"),
        ("rows earlier than the row before", f"{drops.out_of_order:,}"),
    ]


def _columns(description: Description) -> list[tuple[str, str]]:
    lines = [
        ("event ids", "from the table" if description.has_event_ids else "row numbers"),
        ("optional columns", ", ".join(description.optional_columns) or "none"),
        ("further columns", ", ".join(description.extra_columns) or "none"),
    ]
    items = description.item_table
    if items is None:
        return [*lines, ("items table", "none")]
    return [
        *lines,
        ("items table", f"{items.rows:,} rows, {items.duplicates:,} repeated ids dropped"),
        ("items of the log without a row", f"{items.log_items_without_row:,}"),
    ]
