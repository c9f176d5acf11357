"""Where log lines get to: two places at once, other handlers, and never nowhere."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.exceptions import ConfigurationError
from portico.utils.logging import (
    bind_context,
    clear_context,
    configure_logging,
    get_logger,
    log_context,
    replace_console_handlers,
    reset_logging,
)

logger = get_logger("acme.imports")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    reset_logging()
    clear_context()


@pytest.fixture
def out() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(log_format="json", stream=stream)
    return stream


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_both_writes_to_standard_output_and_to_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "app.log"
    path.write_text("what was there\n")
    configure_logging(log_output="both", log_file_path=path)
    logger.info("imported", rows=3)
    reset_logging()
    shown = capfd.readouterr().out
    assert "acme.imports: imported rows=3" in shown
    assert path.read_text() == "what was there\n" + shown


def test_both_needs_a_path_for_its_file() -> None:
    with pytest.raises(ConfigurationError, match="log_output is 'both' and log_file_path is empty"):
        configure_logging(log_output="both")


def test_colors_are_for_the_terminal_of_both_and_not_for_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("portico.utils.log_output.os.isatty", lambda descriptor: True)
    configure_logging(log_output="both", log_file_path=tmp_path / "app.log")
    logger.info("imported")
    reset_logging()
    assert "\x1b[32mINFO" in capfd.readouterr().out
    assert "\x1b" not in (tmp_path / "app.log").read_text()


def test_a_full_disk_of_both_keeps_no_line_from_standard_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logging(log_output="both", log_file_path="/dev/full")
    logger.info("first")
    logger.info("second")
    reset_logging()
    shown = capfd.readouterr().out
    assert "first" in shown
    assert "second lost_lines=1" in shown


def log_past_pytest(text: str, value: object) -> None:
    """Log without pytest's own handlers, which raise for a broken call."""
    root = logging.getLogger()
    with pytest.MonkeyPatch.context() as patch:
        ours = [h for h in root.handlers if type(h).__module__.startswith("portico.")]
        patch.setattr(root, "handlers", ours)
        logging.getLogger("acme").error(text, value)


@pytest.mark.parametrize("configured", [True, False])
def test_handlers_of_the_standard_library_see_records_of_our_loggers(
    caplog: pytest.LogCaptureFixture, configured: bool
) -> None:
    if configured:
        configure_logging(stream=io.StringIO())
    bind_context(job_id=7)
    with caplog.at_level(logging.INFO):
        logger.info("imported", rows=3, password="hidden")
        logger.debug("too quiet")
        try:
            raise ValueError("bad row")
        except ValueError:
            logger.exception("it broke")
    first, second = [r for r in caplog.records if r.name == "acme.imports"]
    assert (first.levelname, second.levelname) == ("INFO", "ERROR")
    assert first.getMessage().startswith("imported rows=3")
    assert "job_id=7" in first.getMessage()
    assert "hidden" not in caplog.text
    assert "ValueError: bad row" in caplog.text


def test_what_standard_handlers_see_can_be_encoded(caplog: pytest.LogCaptureFixture) -> None:
    configure_logging(stream=io.StringIO())
    logger.warning("half a pair: \ud800", name="\udcff.csv")
    assert caplog.messages[0].startswith(r"half a pair: \ud800 name=")
    assert caplog.text.encode()


def test_a_record_that_standard_handlers_see_is_written_once(
    out: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    logger.info("imported")
    logging.getLogger("acme").info("standard")
    assert [line["event"] for line in lines(out.getvalue())] == ["imported", "standard"]


def test_a_log_call_whose_arguments_do_not_fit_is_written_as_it_is_with_its_place(
    out: io.StringIO,
) -> None:
    with log_context(job_id=7):
        log_past_pytest("import of %s failed: %s", "sales.csv")
    (line,) = lines(out.getvalue())
    assert line["event"] == "import of %s failed: %s ('sales.csv',)"
    assert line["job_id"] == 7
    assert "not enough arguments" in str(line["log_call_broken"])
    assert Path(__file__).name in str(line["log_call_broken"])


def test_a_log_call_whose_value_raises_is_written_with_its_place(out: io.StringIO) -> None:
    class Evil:
        def __str__(self) -> str:
            raise RuntimeError("evil")

        __repr__ = __str__

    log_past_pytest("import of %s failed", Evil())
    (line,) = lines(out.getvalue())
    assert str(line["event"]).startswith("import of %s failed")
    assert "RuntimeError: evil" in str(line["log_call_broken"])


@pytest.fixture
def acme() -> Iterator[logging.Logger]:
    """A logger with handlers of its own, as an application configures it."""
    found = logging.getLogger("acme")
    yield found
    found.handlers.clear()
    found.propagate = True


def test_a_handler_of_the_application_for_the_console_doubles_no_line(
    out: io.StringIO, acme: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    mine, sub = logging.StreamHandler(sys.stderr), logging.StreamHandler(sys.stdout)
    root.addHandler(mine)
    acme.addHandler(sub)
    try:
        replace_console_handlers()
        logging.getLogger("acme.rows").warning("row 3 is bad")
    finally:
        root.removeHandler(mine)
    assert capfd.readouterr() == ("", "")
    assert [line["event"] for line in lines(out.getvalue())] == ["row 3 is bad"]


def test_handlers_that_write_elsewhere_or_do_not_propagate_stay(
    out: io.StringIO,
    acme: logging.Logger,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = logging.FileHandler(tmp_path / "acme.log")
    acme.addHandler(file)
    alone = logging.getLogger("acme.alone")
    alone.addHandler(console := logging.StreamHandler(sys.stderr))
    alone.propagate = False
    try:
        replace_console_handlers()
        alone.warning("mine alone")
        acme.warning("into the file")
    finally:
        alone.removeHandler(console)
        alone.propagate = True
        file.close()
    assert capfd.readouterr().err == "mine alone\n"
    assert (tmp_path / "acme.log").read_text() == "into the file\n"
    assert [line["event"] for line in lines(out.getvalue())] == ["into the file"]
