"""A zygote that was started ahead, for a supervisor that then had no use for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portico.supervisor.privileges import DEFAULT_LIMITS
from portico.supervisor.spawning import start_zygote
from tests.support.supervisors import ROOT


@pytest.mark.parametrize("source", ["app = []", "import a_module_that_is_not_there"])
def test_a_zygote_whose_supervisor_gave_up_meanwhile_ends_without_a_word(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    os.mkfifo(tmp_path / "go")
    (tmp_path / "shop.py").write_text(f"open({str(tmp_path / 'go')!r}).close()\n{source}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    zygote = start_zygote("shop:app", DEFAULT_LIMITS)
    zygote.control.close()
    (tmp_path / "go").write_text("")  # from here on it is importing, and has nobody to tell
    _, status = os.waitpid(zygote.pid, 0)
    os.close(zygote.handle)
    assert os.waitstatus_to_exitcode(status) == 0
    assert capfd.readouterr().err == ""
