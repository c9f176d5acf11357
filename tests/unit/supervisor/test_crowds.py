"""The file by which a supervisor tells of which job types as many run as may."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portico.supervisor.crowds import Board, crowds
from portico.supervisor.trouble import Notice, troubles

URL = "redis://:canary@host:6379/0"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    return tmp_path / f"portico-{os.geteuid()}"


def test_what_is_told_is_found_by_the_store_and_goes_when_it_is_over(folder: Path) -> None:
    board, of_another = Board(URL), Board("redis://host:6379/1")
    board.put({"report": 4, "mail": 1})
    [found] = crowds(URL)
    assert found.lines == [
        f"mail: as many run as may in supervisor {os.getpid()} (max_running 1)",
        f"report: as many run as may in supervisor {os.getpid()} (max_running 4)",
    ]
    assert found.of("other") is None
    assert crowds("redis://host:6379/1") == []
    assert "canary" not in next(folder.iterdir()).read_text()
    board.put({})
    assert crowds(URL) == []
    assert list(folder.iterdir()) == []
    of_another.put({})


def test_it_stands_beside_what_is_told_of_a_store() -> None:
    board, notice = Board(URL), Notice(URL)
    board.put({"report": 4})
    notice.put(seconds=0.0, said="away", waiting=0)
    assert len(crowds(URL)) == len(troubles(URL)) == 1
    notice.clear()
    assert len(crowds(URL)) == 1
    board.put({})
