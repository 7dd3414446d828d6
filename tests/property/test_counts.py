"""Order, duplicates and item counts of a slide equal their definitions, row by row."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynmm_core.events.hashing import hash64
from dynmm_core.windows.counts import COUNT_SCHEMA, sum_counts
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.open_slide import OpenSlide
from dynmm_core.windows.order import sort_canonically, stable_order
from tests.counting import bucket_counts

Row = tuple[int, str, str, str]
COLUMNS = ("event_time_ms", "event_id", "user_id", "item_id")
START_MS = 1_700_000_400_000

# Ids of less than eight bytes and more, and long ones that are alike but for their middle, their end or their length.
long_ids = st.builds(lambda middle, end: f"12345678{middle}90123456{end}", st.text("ab", max_size=3), st.sampled_from(["", "7"]))
event_ids = st.one_of(st.text(max_size=3), long_ids)
times = st.integers(0, 3 * PANE_MS).map(lambda ms: ms // 100_000 * 100_000)
users, items = (st.sampled_from([prefix + name for name in ("", "a", "b", "é")]) for prefix in "ui")


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    pool = draw(st.lists(draw(st.sampled_from([event_ids, long_ids])), min_size=1, max_size=12))
    return draw(st.lists(st.tuples(times, st.sampled_from(pool), users, items), min_size=1, max_size=40))


def as_table(rows: list[Row], start_ms: int = START_MS) -> pa.Table:
    columns = [[row[place] for row in rows] for place in range(4)]
    arrays = [pa.array([start_ms + time for time in columns[0]], pa.int64()), *(pa.array(texts) for texts in columns[1:])]
    return pa.table([*arrays, pa.array(range(len(rows)))], [*COLUMNS, "place"])


def as_rows(table: pa.Table) -> list[tuple[int | str, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@settings(max_examples=200, deadline=None)
@given(rows=logs(), cut=st.integers(0, 40), start=st.integers(0, 3))
def test_the_canonical_order_equals_its_definition_however_the_table_lies_in_memory(
    rows: list[Row], cut: int, start: int
) -> None:
    table = as_table(rows)
    lying = pa.concat_tables([table.slice(0, 0), as_table([rows[0]] * start + rows).slice(start, cut), table.slice(cut)])
    lying = lying.set_column(4, "place", table["place"])
    given_order = sorted(as_rows(table), key=lambda row: (row[0], *(str(text).encode() for text in row[1:4])))
    assert as_rows(sort_canonically(lying)) == given_order


@settings(max_examples=300, deadline=None)
@given(rows=logs(), pieces=st.lists(st.integers(1, 9), max_size=40), most=st.sampled_from([None, 1, 3, 8, 100]))
def test_a_closed_slide_has_every_event_once_in_order_and_ships_those_of_the_lowest_hashes(
    rows: list[Row], pieces: list[int], most: int | None
) -> None:
    table, slide, row = as_table(rows).drop_columns(["place"]), OpenSlide(most), 0
    ratings = pa.array([place % 3 for place in range(len(rows))])
    for piece in [*pieces, len(rows)]:
        for batch in table.append_column("rating", ratings).slice(row, piece).combine_chunks().to_batches():
            slide.add(batch, EventHashes.of(batch))
        row += piece
    closed = slide.close()

    by_hash = [(time, *(int(hash64(pa.array([text]))[0]) for text in texts)) for time, *texts in as_rows(table)]
    order = sorted(range(len(rows)), key=lambda row: (*by_hash[row], ratings[row].as_py()))
    first: dict[tuple[object, object], int] = {}
    for place in order:
        first.setdefault((rows[place][1], rows[place][2]), place)
    kept = list(first.values())
    assert closed.event_time_ms.tolist() == [START_MS + rows[place][0] for place in kept]
    assert closed.hashes.item.tolist() == [by_hash[place][3] for place in kept]
    assert closed.item_ids.take(pa.array(closed.arrived)).to_pylist() == [rows[place][3] for place in kept]
    assert closed.duplicates == len(rows) - len(kept)
    chosen = sorted(kept, key=lambda place: by_hash[place][1])[:most]
    shipped = [place for place in kept if place in chosen]
    assert closed.shipped["rating"].to_pylist() == [place % 3 for place in shipped]
    assert closed.shipped["event_id"].to_pylist() == [rows[place][1] for place in shipped]


@settings(max_examples=200, deadline=None)
@given(rows=logs(), start_ms=st.sampled_from([START_MS, 0, -(10**12), PANE_MS - 1]))
def test_counts_lie_by_pane_and_in_it_by_hash_of_the_item(rows: list[Row], start_ms: int) -> None:
    cells: dict[tuple[int, int, object], list[object]] = defaultdict(list)
    for time, _, user, item, _ in as_rows(as_table(rows, start_ms)):
        cells[int(time) // PANE_MS * PANE_MS, int(hash64(pa.array([item]))[0]), item].append(user)
    expected = [(item, pane, len(seen), len(set(seen))) for (pane, _, item), seen in sorted(cells.items())]
    found = bucket_counts(as_table(rows, start_ms))
    assert found.schema == COUNT_SCHEMA
    assert as_rows(found) == expected


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(logs(), max_size=4))
def test_counts_of_buckets_add_up_by_pane_and_item(parts: list[list[Row]]) -> None:
    tables = [bucket_counts(as_table(rows)) for rows in parts]
    sums: dict[tuple[int, bytes], list[int]] = defaultdict(lambda: [0, 0])
    for table in tables:
        for item, pane, events, users in as_rows(table):
            cell = sums[int(pane), str(item).encode()]
            cell[0] += int(events)
            cell[1] += int(users)
    expected = [(item.decode(), pane, *counted) for (pane, item), counted in sorted(sums.items())]
    assert as_rows(sum_counts(tables)) == expected


@example([2**59, 1] * 4)  # one bit too wide
@given(st.integers(0, 62).flatmap(lambda bits: st.lists(st.integers(0, 2 ** (bits + 1) - 1), max_size=40)))
def test_stable_order_is_that_of_a_stable_sort_also_where_values_are_wide(values: list[int]) -> None:
    column = np.array(values, np.int64)
    assert stable_order(column).tolist() == sorted(range(len(values)), key=values.__getitem__)
    assert column.tolist() == values
