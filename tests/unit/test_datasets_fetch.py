"""Fetching a public set: checked before it is unpacked, refused whole when anything is wrong. No network."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.fetch import PUBLIC_SETS, PublicSet, fetch_set
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.errors import UserError

RATINGS = "2::10::5::978300760\n1::20::3::978302109\n1::10::1::978300760\n"
MOVIES = '10::Misérables, Les (1995)::Drama|Musical\n20::"Quoted": it\'s (1968)::Comedy\n30::No Year::Drama\n'


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "small.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("ml-1m/README", "licence")
        packed.writestr("ml-1m/ratings.dat", RATINGS.encode("latin-1"))
        packed.writestr("ml-1m/movies.dat", MOVIES.encode("latin-1"))
    return path


@pytest.fixture
def source(archive: Path) -> PublicSet:
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    return PublicSet("small", archive.as_uri(), digest)


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    """A web server on loopback that serves the archive."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def assert_left_nothing(tmp_path: Path) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


def test_the_official_source_is_https_with_its_published_checksum() -> None:
    official = PUBLIC_SETS["ml-1m"]
    assert official.url == "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
    assert (official.algorithm, official.checksum) == ("md5", "c4d9eecfca2ab87c1945afe126590906")


def test_both_tables_are_written_in_the_input_form(tmp_path: Path, source: PublicSet) -> None:
    heard: list[int] = []
    fetched = fetch_set(source, tmp_path / "out", advance=heard.append)
    assert (fetched.interactions, fetched.items) == (3, 3)
    assert sum(heard) == (tmp_path / "served" / "small.zip").stat().st_size
    assert pq.read_table(tmp_path / "out" / "interactions.parquet").to_pydict() == {
        "user_id": [2, 1, 1],
        "item_id": [10, 20, 10],
        "timestamp": [978300760000, 978302109000, 978300760000],
        "rating": [5.0, 3.0, 1.0],
    }
    assert pq.read_table(tmp_path / "out" / "items.parquet").to_pydict() == {
        "item_id": [10, 20, 30],
        "title": ["Misérables, Les (1995)", '"Quoted": it\'s (1968)', "No Year"],
        "year": [1995, 1968, None],
        "categories": [["Drama", "Musical"], ["Comedy"], ["Drama"]],
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "served"]


def test_what_was_fetched_can_be_prepared(tmp_path: Path, source: PublicSet) -> None:
    fetch_set(source, tmp_path / "out")
    description, dataset = prepare_folder(tmp_path / "out", tmp_path / "data", Options(min_rating=3))
    assert (dataset.rows, dataset.name) == (2, "out")
    assert description.item_table is not None
    assert description.item_table.log_items_without_row == 0


def test_a_web_server_and_a_local_archive_give_the_same(tmp_path: Path, source: PublicSet, server: str, archive: Path) -> None:
    fetch_set(replace(source, url=f"{server}/small.zip"), tmp_path / "web")
    fetch_set(replace(source, url="https://nowhere.invalid/x.zip"), tmp_path / "local", archive=archive)
    for name in ("interactions.parquet", "items.parquet"):
        assert (tmp_path / "web" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_another_checksum_is_refused_before_anything_is_unpacked(
    tmp_path: Path, source: PublicSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpacked(*_: object) -> None:
        raise AssertionError("unpacked an unchecked archive")

    monkeypatch.setattr("dynmm_core.datasets.fetch._unpack", unpacked)
    with pytest.raises(UserError, match=f"md5 = {source.checksum} where {'0' * 32} is expected.*again"):
        fetch_set(replace(source, checksum="0" * 32), tmp_path / "out")
    assert_left_nothing(tmp_path)


def test_offline_names_the_way_out(tmp_path: Path, source: PublicSet, server: str) -> None:
    port = int(server.rsplit(":", 1)[1])
    for url in (
        f"http://127.0.0.1:{port}/missing.zip",
        "http://127.0.0.1:1/x.zip",
        (tmp_path / "no.zip").as_uri(),
    ):
        with pytest.raises(UserError, match=r"cannot be downloaded.*--archive FILE"):
            fetch_set(replace(source, url=url), tmp_path / "out")
    assert_left_nothing(tmp_path)


def test_a_broken_connection_is_refused(tmp_path: Path, source: PublicSet, archive: Path) -> None:
    class Breaking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(archive.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            with pytest.raises(UserError, match=r"cannot be downloaded|is expected"):
                fetch_set(
                    replace(source, url=f"http://127.0.0.1:{running.server_address[1]}/", checksum="0"),
                    tmp_path / "out",
                )
        finally:
            running.shutdown()
            thread.join()
    assert_left_nothing(tmp_path)


def test_an_archive_without_the_tables_is_refused(tmp_path: Path, source: PublicSet, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../ratings.dat", RATINGS)
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(UserError, match="no archive with ratings"):
        fetch_set(replace(source, checksum=digest), tmp_path / "out")
    assert_left_nothing(tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, source: PublicSet, archive: Path) -> None:
    archive.write_bytes(b"<html>not found</html>")
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(UserError, match="no archive"):
        fetch_set(replace(source, checksum=digest), tmp_path / "out")
    assert_left_nothing(tmp_path)


def test_an_endless_download_is_cut_off(tmp_path: Path, source: PublicSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynmm_core.datasets.fetch._LARGEST_ARCHIVE", 10)
    with pytest.raises(UserError, match="larger than"):
        fetch_set(source, tmp_path / "out")
    assert_left_nothing(tmp_path)


def test_a_set_is_never_written_over(tmp_path: Path, source: PublicSet) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        fetch_set(source, tmp_path / "out")
