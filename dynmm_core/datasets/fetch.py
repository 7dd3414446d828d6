"""Public data sets for users who are online: downloaded from the official place, checked, written in the
input form.
"""

import hashlib
import http.client
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import duckdb
import pyarrow.parquet as pq

from dynmm_core.datasets.folders import new_folder, refuse_existing
from dynmm_core.datasets.tables import scratch, sql_path
from dynmm_core.errors import UserError

TIMEOUT_S = 30.0
_CHUNK = 1 << 20
_LARGEST_ARCHIVE = 64 << 20
_LARGEST_MEMBER = 256 << 20


@dataclass(frozen=True)
class PublicSet:
    """Where a MovieLens archive in the `::` form lies, and the checksum that its publisher states for it."""

    name: str
    url: str
    checksum: str
    algorithm: str = "md5"
    licence: str = ""


# The publisher states an MD5 only: it guards against a broken or stale download, HTTPS against a changed one.
PUBLIC_SETS = {
    "ml-1m": PublicSet(
        name="ml-1m",
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        checksum="c4d9eecfca2ab87c1945afe126590906",
        licence="MovieLens data (GroupLens, Univ. of Minnesota): research use, cite, do not redistribute",
    ),
}


@dataclass(frozen=True)
class Fetched:
    """What was written: the folder and the rows of its two tables."""

    name: str
    out: str
    interactions: int
    items: int
    licence: str


def fetch_set(
    source: PublicSet,
    out: Path,
    archive: Path | None = None,
    advance: Callable[[int], object] = lambda size: None,
) -> Fetched:
    """Downloads `source` (or takes the local `archive`), checks it, and writes interactions and items to the
    new folder `out`.

    `advance` hears of every part in bytes. UserError when `out` exists, the network fails, or the checksum
    is another; nothing of the archive is unpacked before its checksum is known to be right.
    """
    refuse_existing(out)
    with new_folder(out) as building, TemporaryDirectory(prefix=".dynmm-fetch-", dir=out.parent) as temporary:
        local = Path(temporary) / "archive.zip"
        digest = _download(source, archive, local, advance)
        if digest != source.checksum:
            raise UserError(
                f"{archive or source.url}: {source.algorithm} = {digest} where {source.checksum} is expected;"
                " the file is broken or has been replaced, download it again"
            )
        _unpack(local, Path(temporary), str(archive or source.url))
        with scratch(Path(temporary)) as connection:
            interactions, items = _convert(connection, Path(temporary), building)
    return Fetched(source.name, str(out), interactions, items, source.licence)


def _download(source: PublicSet, archive: Path | None, target: Path, advance: Callable[[int], object]) -> str:
    """Copies the archive to `target`; returns its checksum."""
    if archive is not None:
        if not archive.is_file():
            raise UserError(f"--archive {archive}: is no file; give the downloaded zip")
        with archive.open("rb") as file:
            return _copy(file, target, source, advance)
    scheme = urlsplit(source.url).scheme
    try:
        with urlopen(source.url, timeout=TIMEOUT_S) as response:
            if urlsplit(response.geturl()).scheme != scheme:
                raise UserError(f"{source.url}: was redirected away from {scheme}; download it by hand and give --archive")
            return _copy(response, target, source, advance)
    except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{source.url}: cannot be downloaded ({reason}); connect to the network and try again,"
            " or download it elsewhere and give --archive FILE"
        ) from error


def _copy(file: BinaryIO, target: Path, source: PublicSet, advance: Callable[[int], object]) -> str:
    digest, size = hashlib.new(source.algorithm, usedforsecurity=False), 0
    with target.open("wb") as written:
        while part := file.read(_CHUNK):
            size += len(part)
            if size > _LARGEST_ARCHIVE:
                raise UserError(f"{source.url}: is larger than {_LARGEST_ARCHIVE >> 20} MiB; it cannot be {source.name}")
            digest.update(part)
            written.write(part)
            advance(len(part))
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path, origin: str) -> None:
    """Writes ratings.dat and movies.dat of the archive to `folder` as UTF-8 (they come in Latin-1)."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in ("ratings.dat", "movies.dat"):
                member = next(
                    entry for entry in packed.infolist() if re.fullmatch(rf"([^/]+/)?{re.escape(name)}", entry.filename)
                )
                if member.file_size > _LARGEST_MEMBER:
                    raise UserError(f"{origin}: {name} unpacks to {member.file_size} bytes; give the official archive")
                (folder / name).write_text(packed.read(member).decode("latin-1"), encoding="utf-8")
    except (zipfile.BadZipFile, StopIteration) as error:
        raise UserError(f"{origin}: is no archive with ratings.dat and movies.dat; give the official one") from error


def _convert(connection: duckdb.DuckDBPyConnection, unpacked: Path, building: Path) -> tuple[int, int]:
    """Writes both tables in the publisher's row order, times in ms; returns their row counts."""
    ratings = _dat(
        unpacked / "ratings.dat",
        "'user_id': 'BIGINT', 'item_id': 'BIGINT', 'rating': 'DOUBLE', 'seconds': 'BIGINT'",
    )
    movies = _dat(unpacked / "movies.dat", "'item_id': 'BIGINT', 'title': 'VARCHAR', 'genres': 'VARCHAR'")
    queries = {
        "interactions": f"SELECT user_id, item_id, seconds * 1000 AS timestamp, rating FROM {ratings}",
        "items": "SELECT item_id, title,"
        " TRY_CAST(regexp_extract(title, '\\((\\d{4})\\)\\s*$', 1) AS INTEGER) AS year,"
        f" string_split(genres, '|') AS categories FROM {movies}",
    }
    counts = []
    for name, query in queries.items():
        table = connection.sql(query).to_arrow_table()
        pq.write_table(table, building / f"{name}.parquet", compression="zstd")
        counts.append(table.num_rows)
    return counts[0], counts[1]


def _dat(path: Path, columns: str) -> str:
    return f"read_csv({sql_path(path)}, auto_detect=false, header=false, delim='::', quote='', escape='', columns={{{columns}}})"
