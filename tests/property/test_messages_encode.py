"""What is encoded and decoded again is what it was."""

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.events.encode import encode_arrow, encode_json
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages
from dynmm_core.events.schema import COLUMN_TYPES, MAX_TIME_MS, ordered_columns

ids = st.text(min_size=1, max_size=8) | st.sampled_from(["e1", '"', "\\", "\x00", "a\nb", "é", "\x7f", "\u2028"])
times = st.integers(0, MAX_TIME_MS)
further = {
    "rating": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0, 3.5, 5e-324]),
    "event": st.none() | st.text(max_size=4), "ingest_time_ms": st.none() | times, "zone": st.none() | st.text(max_size=4),
}  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    """Events with some of the columns that they may have."""
    rows = draw(st.integers(1, 20))
    values = {"event_time_ms": times, "event_id": ids, "user_id": ids, "item_id": ids}
    values.update({name: further[name] for name in sorted(draw(st.sets(st.sampled_from(sorted(further)))))})
    columns = {name: draw(st.lists(values[name], min_size=rows, max_size=rows)) for name in ordered_columns(values)}
    return pa.RecordBatch.from_pydict(
        {name: pa.array(column, COLUMN_TYPES.get(name, pa.string())) for name, column in columns.items()}
    )


@settings(max_examples=200, deadline=None)
@given(batch=batches())
def test_decoding_undoes_encoding(batch: pa.RecordBatch) -> None:
    decoded = decode_messages([encode_arrow(batch)], Origin("t", 0, [3]))
    assert decoded.events.equals(batch) and decoded.offsets.tolist() == [3] * batch.num_rows

    messages = encode_json(batch)
    assert [set(orjson.loads(message)) for message in messages] == [
        {name for name, value in row.items() if value is not None} for row in batch.to_pylist()
    ]
    present = [name for name, column in zip(batch.schema.names, batch.columns, strict=True) if column.null_count < len(column)]
    decoded = decode_messages(messages, Origin("t", 0, range(batch.num_rows)))
    assert decoded.events.equals(batch.select(present)) and decoded.bad == ()


@settings(max_examples=50, deadline=None)
@given(batch=batches(), cut=st.integers(0, 20))
def test_a_part_of_a_batch_is_encoded_as_if_it_were_whole(batch: pa.RecordBatch, cut: int) -> None:
    assert encode_json(batch) == [*encode_json(batch.slice(0, cut)), *encode_json(batch.slice(cut))]
