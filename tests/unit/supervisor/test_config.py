from __future__ import annotations

from pathlib import Path

import pytest

from portico.exceptions import ConfigurationError
from portico.supervisor.config import configure
from portico.supervisor.parsing import Unusable, duration, size
from portico.supervisor.settings import SETTINGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_nothing_given_means_a_durable_queue_and_the_bundled_examples(folder: Path) -> None:
    config = configure({}, {}, folder)
    assert config.queue_url == "sqlite:///portico.db"
    assert config.app == "portico.examples:app"
    assert config.queues == ("default",)
    assert config.concurrency == 1
    assert config.workers >= 1


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(folder: Path) -> None:
    (folder / "portico.toml").write_text('workers = 2\nconcurrency = 3\nlog-level = "debug"\n')
    environment = {"PORTICO_WORKERS": "4", "PORTICO_CONCURRENCY": "5"}
    config = configure({"workers": "6"}, environment, folder)
    assert (config.workers, config.concurrency, config.log_level) == (6, 5, "DEBUG")


def test_pyproject_is_read_where_there_is_no_file_of_our_own(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[tool.portico]\nqueues = ["high", "low"]\ndrain = true\n'
    )
    config = configure({}, {}, folder)
    assert config.queues == ("high", "low")
    assert config.drain


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "", "100000"])
def test_a_number_of_workers_that_cannot_be_is_refused(value: str, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--workers is .*: give a whole number from 1"):
        configure({"workers": value}, {}, folder)


@pytest.mark.parametrize(
    ("environment", "file", "place"),
    [
        ({"PORTICO_LEASE": "soon"}, "", "environment variable PORTICO_LEASE"),
        ({}, 'lease = "soon"', "lease in portico.toml"),
    ],
)
def test_an_error_names_the_source_of_the_value(
    environment: dict[str, str], file: str, place: str, folder: Path
) -> None:
    (folder / "portico.toml").write_text(file)
    with pytest.raises(ConfigurationError, match=f"{place} is 'soon': give seconds"):
        configure({}, environment, folder)


def test_a_misspelt_setting_in_the_file_is_refused_with_the_nearest_name(folder: Path) -> None:
    (folder / "portico.toml").write_text("wrokers = 8")
    with pytest.raises(ConfigurationError, match="'wrokers'; did you mean workers"):
        configure({}, {}, folder)


def test_a_file_that_is_no_toml_is_named(folder: Path) -> None:
    (folder / "portico.toml").write_text("workers = = 8")
    with pytest.raises(ConfigurationError, match=r"portico\.toml cannot be read"):
        configure({}, {}, folder)


@pytest.mark.parametrize("value", ["", ",", "a,b c", "ä"])
def test_queue_names_that_cannot_be_are_refused(value: str, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="--queues"):
        configure({"queues": value}, {}, folder)


def test_queues_keep_their_order_and_appear_once(folder: Path) -> None:
    assert configure({"queues": "high, low,high"}, {}, folder).queues == ("high", "low")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1.5s", 1.5), ("5m", 300), ("2h", 7200), ("250ms", 0.25),
        ("1h30m", 5400), ("1d 2h 3m 4s 5ms", 93784.005), ("90m", 5400), (" 5 m ", 300),
    ],
)  # fmt: skip
def test_durations_take_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "5x", "-5", "5m1h", "5m5m", "1e3", "٥m", "5 5m", "9" * 400, "36501d", "1h30"]
)
def test_what_is_no_duration_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(Unusable, match=r"give seconds, or numbers with|give at most 36500d"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("512M", 512 * 2**20), ("2GiB", 2 * 2**30), ("200000", 200000 * 1024)]
)
def test_sizes_take_units_and_count_kib_without_one(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["0", "none"])
def test_a_job_timeout_of_zero_means_none(text: str, folder: Path) -> None:
    assert configure({"job_timeout": text}, {}, folder).job_timeout is None


def test_every_setting_has_a_flag_a_variable_and_a_help_text() -> None:
    for setting in SETTINGS:
        assert setting.flags[0].startswith("--")
        assert setting.variable.startswith("PORTICO_")
        assert setting.help.endswith(".")


def test_a_worker_for_each_job_and_several_jobs_in_a_worker_are_not_had_together(
    folder: Path,
) -> None:
    flags = {"max_jobs_per_worker": "1", "concurrency": "4"}
    with pytest.raises(ConfigurationError, match="--concurrency is 4"):
        configure(flags, {}, folder)
    assert configure({**flags, "concurrency": "1"}, {}, folder).max_jobs_per_worker == 1
