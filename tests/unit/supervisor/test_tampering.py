from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from portico.supervisor import tampering
from portico.supervisor.tampering import Hands, is_listed, may_change, within_reach

WHO = Hands(12345, frozenset({50, 51}))


def status(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "above", "changed"),
    [
        (0o755, 0, 0, False, False),
        (0o500, 12345, 0, False, True),  # an owner can change the mode
        (0o775, 0, 50, False, True),
        (0o775, 0, 51, True, True),
        (0o775, 0, 52, False, False),
        (0o757, 0, 0, False, True),
        (0o757, 0, 50, False, False),  # of a group, others' rights are not ours
        (0o1777, 0, 0, True, False),  # nothing in it can be replaced
        (0o1777, 0, 0, False, True),  # but something be put there
        (0o1777, 12345, 0, True, True),
    ],
)
def test_who_may_change_a_file_follows_from_its_owner_and_its_mode(
    mode: int, uid: int, gid: int, above: bool, changed: bool
) -> None:
    assert may_change(status(stat.S_IFDIR | mode, uid, gid), WHO, above=above) is changed


@pytest.mark.parametrize(
    ("entries", "listed"),
    [
        ([(0x02, 6, 12345), (0x10, 7, 0)], True),
        ([(0x02, 6, 12345), (0x10, 5, 0)], False),  # the mask takes it away
        ([(0x02, 6, 54321), (0x08, 4, 50), (0x10, 7, 0)], False),
        ([(0x08, 2, 51), (0x10, 7, 0)], True),
        ([(0x01, 7, 12345), (0x04, 7, 50)], False),  # owner and group: the mode says it
        ([], False),
    ],
)
def test_an_access_list_lets_in_whom_it_names(
    entries: list[tuple[int, int, int]], listed: bool
) -> None:
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    assert is_listed(packed, WHO) is listed


def test_each_place_is_named_once_and_no_more_than_a_few(tmp_path: Path) -> None:
    own = Hands(os.geteuid() or 4711, Hands.own().groups - {0})
    folders = [tmp_path / str(number) for number in range(9)]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o777)
    reached = within_reach(own, [str(folders[0]), *map(str, folders)])
    assert len(set(reached)) == len(reached) == 3
    assert str(folders[0]) in reached


def test_a_circle_of_links_is_gone_through_once(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    within_reach(Hands(4711, frozenset()), [str(tmp_path / "a")])


def test_root_may_do_everything_anyway() -> None:
    assert within_reach(Hands(0, frozenset()), ["/"]) == []


def test_where_handlers_may_write_only_below_some_folders_all_else_is_out_of_reach(
    tmp_path: Path,
) -> None:
    who = Hands(os.geteuid() or 4711, frozenset())
    code, data = tmp_path / "code", tmp_path / "data"
    for folder in (code, data):
        folder.mkdir()
        folder.chmod(0o777)
    assert within_reach(who, [str(code)], [str(data)]) == []
    assert within_reach(who, [str(code), str(data / "new")], [str(data)]) == [str(data)]


def test_where_pyc_files_are_kept_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.pycache_prefix", "/var/cache/pyc")
    assert "/var/cache/pyc" in tampering.own_places()
