"""The slides that adapt took in, kept beside the store: what a live run's topic forgets, its restart still finds."""

import errno
import fcntl
import hashlib
import json
import os
import re
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from dynmm_core.errors import UserError
from dynmm_core.store.durable import sync, whole_file
from dynmm_core.windows.slides import Slide

EVENT_COLUMNS = ("user_id", "item_id", "event_time_ms")
_ENTRIES_PER_FILE = 64
_LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # said by file systems that know none
_NAME = re.compile(r"(\d+)(?:-(\d+))?\.arrow")
# One row per slide; events and counts are Arrow streams of their own, and digest is over all that stands before it.
_SCHEMA = pa.schema([
    ("slide_start_ms", pa.int64()), ("slide_end_ms", pa.int64()), ("facts", pa.string()),
    ("events", pa.large_binary()), ("counts", pa.large_binary()), ("digest", pa.string()),
])  # fmt: skip
_WAY_OUT = "a run without its slides can only go on from its whole log: start a new one, or bring the file back from a copy"


class SlideJournal:
    """Complete slides under ``folder``, one file each and every 64 of them merged into one; a slide is whole or absent.

    Entries are written before the store's commit, so that one may lie behind the head: it is no entry until its slide
    was committed. One process writes, under :meth:`lock`. ``context``: columns of the events that are kept beside what learning
    always needs.
    """

    def __init__(self, folder: Path, context: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._columns = (*EVENT_COLUMNS, *context)
        self._singles: list[Path] = []
        self._unlock: Callable[[], object] = lambda: None

    def lock(self) -> None:
        """Keep other processes from writing, for as long as this one lives.

        The store's fencing alone would let two go on that commit equal versions, each with its own view of the files here.

        Raises:
            UserError: another process writes.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        self._unlock = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise UserError(f"journal: another process writes to {self.folder.parent}; end one of the two") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def unlock(self) -> None:
        """Let others write: this process will not, after all."""
        self._unlock()

    def begin(self, through_ms: int | None) -> None:
        """Make ready for writing: remove what lies behind ``through_ms``, the last committed slide, and left-overs.

        Raises:
            UserError: an entry is damaged, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for draft in self.folder.glob(".*.tmp"):
            draft.unlink()
        through_ms = -1 if through_ms is None else through_ms
        covered_ms, self._singles = -1, []
        for path, first_ms, last_ms in self._files():
            if first_ms > through_ms or last_ms <= covered_ms:
                path.unlink()
            elif last_ms > through_ms:
                self._cut(path, through_ms)
                # What overlaps the cut file holds no more than it, and one may bear its very name: it stays until next time.
                break
            else:
                covered_ms = last_ms
                if path.stem == str(last_ms):
                    self._singles.append(path)
        for path, first_ms, _ in self._files():
            if first_ms > through_ms:
                path.unlink()
        sync(self.folder)

    def append(self, slide: Slide) -> None:
        """Write the slide durably; the slides before it are committed by now.

        Raises:
            UserError: the disk is full.
        """
        if len(self._singles) >= _ENTRIES_PER_FILE:
            self._merge()
        path = self.folder / f"{slide.slide_end_ms}.arrow"
        with whole_file(path) as file:
            _write(file, [_entry(slide, self._columns)])
        sync(self.folder)
        self._singles.append(path)

    def read(self, through_ms: int) -> Iterator[Slide]:
        """Yield the slides up to ``through_ms`` in order; what lies behind it is no entry.

        Raises:
            UserError: a file is damaged.
        """
        newest_ms = -1
        for path, first_ms, _ in self._files():
            if first_ms > through_ms:
                return
            for slide in _read(path, newest_ms, through_ms):
                newest_ms = slide.slide_end_ms
                yield slide

    def missing(self, slide_end_ms: int) -> UserError:
        """Return the error that says that a committed slide has no entry."""
        return UserError(f"journal: {self.folder / f'{slide_end_ms}.arrow'} is missing; {_WAY_OUT}")

    def _files(self) -> list[tuple[Path, int, int]]:
        """Return (file, first and last slide_end_ms) in order; where files overlap, the one that goes on longer comes first."""
        if not self.folder.is_dir():
            return []
        names = [(path, _NAME.fullmatch(path.name)) for path in self.folder.iterdir()]
        found = [(path, int(name[1]), int(name[2] or name[1])) for path, name in names if name]
        return sorted(found, key=lambda file: (file[1], -file[2]))

    def _merge(self) -> None:
        """Put the single entries into one file: it is there, whole, before the first of them goes."""
        singles, self._singles = self._singles, []
        with whole_file(self.folder / f"{singles[0].stem}-{singles[-1].stem}.arrow") as file:
            _write(file, (batch for path in singles for batch in _batches(path)))
        sync(self.folder)
        for path in singles:
            path.unlink()

    def _cut(self, path: Path, through_ms: int) -> None:
        """Replace a merged file by one that ends at or before ``through_ms``."""
        batches = [batch for batch in _batches(path) if batch["slide_end_ms"][0].as_py() <= through_ms]
        first, last = batches[0]["slide_end_ms"][0], batches[-1]["slide_end_ms"][0]
        with whole_file(self.folder / f"{first}-{last}.arrow") as file:
            _write(file, batches)
        sync(self.folder)
        path.unlink()


def _entry(slide: Slide, columns: tuple[str, ...]) -> pa.RecordBatch:
    facts = {"duplicates": slide.duplicates, "counted": slide.counted, "resume": slide.resume, "idle_cuts": slide.idle_cuts}
    texts = (slide.slide_start_ms, slide.slide_end_ms, json.dumps(facts, sort_keys=True))
    events = slide.events.select([name for name in columns if name in slide.events.column_names])
    parts = (_to_stream(events), _to_stream(slide.counts))
    values = [*texts, *parts, _digest(*texts, *parts)]
    return pa.record_batch([pa.array([value], field.type) for value, field in zip(values, _SCHEMA, strict=True)], schema=_SCHEMA)


def _digest(start_ms: int, end_ms: int, facts: str, events: bytes, counts: bytes) -> str:
    digest = hashlib.sha256(json.dumps([start_ms, end_ms, facts, len(events)]).encode())
    digest.update(events)
    digest.update(counts)
    return digest.hexdigest()


def _write(file: BinaryIO, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> None:
    with pa.ipc.new_file(file, _SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield a file's entries, one at a time, unchecked."""
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if not reader.schema.equals(_SCHEMA):
                raise ValueError("its columns are not a journal's")
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                # A wrong offset inside would be followed out of the file.
                batch.validate(full=True)
                yield batch
    except (ValueError, pa.ArrowException, OSError) as error:
        raise UserError(f"journal: {path} cannot be read ({str(error).splitlines()[0]}); {_WAY_OUT}") from error


def _read(path: Path, after_ms: int, through_ms: int) -> Iterator[Slide]:
    for batch in _batches(path):
        values = [column[0].as_py() for column in batch.columns]
        if values[-1] != _digest(*values[:-1]):
            raise UserError(f"journal: {path} is not what it was written as; {_WAY_OUT}")
        start_ms, end_ms, facts, events, counts, _ = values
        if after_ms < end_ms <= through_ms:
            yield _slide(start_ms, end_ms, json.loads(facts), events, counts)


def _slide(start_ms: int, end_ms: int, facts: dict[str, Any], events: bytes, counts: bytes) -> Slide:
    cuts = tuple((int(partition), int(offset), int(through)) for partition, offset, through in facts["idle_cuts"])
    return Slide(
        start_ms, end_ms, _from_stream(events), _from_stream(counts), facts["duplicates"],
        counted=facts["counted"], resume=facts["resume"], idle_cuts=cuts,
    )  # fmt: skip


def _to_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _from_stream(stream: bytes) -> pa.Table:
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()
