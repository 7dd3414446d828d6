"""The identity of a log: one hash over who did what with which item, and when."""

import hashlib

import numpy as np
import pyarrow as pa

IDENTITY_COLUMNS = ("event_id", "user_id", "item_id", "event_time_ms")


class Fingerprint:
    """SHA-256 over the identity columns in row order; how the rows are cut into batches does not matter."""

    def __init__(self) -> None:
        self._parts = {column: (hashlib.sha256(), hashlib.sha256()) for column in IDENTITY_COLUMNS}

    def update(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows; text counts as lengths and UTF-8 bytes, times as little-endian int64."""
        for column, (lengths, values) in self._parts.items():
            array = batch.column(column)
            if column == "event_time_ms":
                values.update(array.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
                continue
            _, offsets, data = array.buffers()
            bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
            lengths.update(np.diff(bounds).astype("<i4").tobytes())
            if data is not None:
                values.update(memoryview(data)[bounds[0] : bounds[-1]])

    def hexdigest(self) -> str:
        """The fingerprint of all rows taken so far."""
        whole = hashlib.sha256()
        for column, parts in self._parts.items():
            whole.update(column.encode() + b"".join(part.digest() for part in parts))
        return whole.hexdigest()
