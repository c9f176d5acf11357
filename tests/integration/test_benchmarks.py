"""The harness itself, with so few jobs that its figures mean nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest


def run_benchmark(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_limits_are_measured_and_written_down(tmp_path):
    report = tmp_path / "limits.json"

    shown = run_benchmark("limits", "--runs", 1, "--directory", tmp_path, "--json", report)

    assert "SQLite" in shown
    written = json.loads(report.read_text())
    assert all(rate > 0 for rates in written["rates"].values() for rate in rates)
    assert written["versions"]["portico-jobs"]
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_limits_of_chosen_queues_are_measured_alone(tmp_path, postgres, redis):
    report = tmp_path / "limits.json"
    queues = [word for server in (postgres, redis) for word in ("--queue", server.url())]

    run_benchmark("limits", *queues, "--runs", 1, "--directory", tmp_path, "--json", report)

    rates = json.loads(report.read_text())["rates"]
    assert [name.partition(",")[0] for name in rates] == ["PostgreSQL", "Redis"]
    assert all(rate > 0 for measured in rates.values() for rate in measured)
    assert tables(postgres) == "0"
    assert keys(redis) == []


def tables(server):
    """How many schemas and tables of benchmarks there are."""
    return server.run(
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'bench%') "
        "+ (SELECT count(*) FROM pg_class WHERE relname LIKE 'bench%')"
    )


def keys(server):
    """The keys of benchmarks that there are."""
    return [key for key in server.run("KEYS", "*bench*").split("\n") if key]


@pytest.mark.parametrize("command", ["throughput", "limits", "soak"])
def test_a_queue_on_several_servers_is_refused_with_what_to_give_instead(command):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", command, "--queue", "redis+cluster://:secret@a,b"],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "leads to several servers" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.servers
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_throughput_on_a_server_is_measured_next_to_its_limit(tmp_path, request, kind):
    server, report = request.getfixturevalue(kind), tmp_path / "throughput.json"

    run_benchmark(
        "throughput", "--queue", server.url(), "--jobs", 2000, "--runs", 1, "--json", report
    )

    written = json.loads(report.read_text())
    assert [sample["jobs"] for sample in written["samples"]] == [2000]
    assert written["limit"]["name"].lower().startswith(kind)
    assert len(written["ratios"]) == 1
    assert (tables(server) == "0") if kind == "postgres" else (keys(server) == [])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("queue", ["memory", "sqlite"])
def test_throughput_is_measured_next_to_its_limit(tmp_path, queue):
    file, report = tmp_path / "bench.db", tmp_path / "throughput.json"
    url = "memory://" if queue == "memory" else f"sqlite:///{file}"

    shown = run_benchmark(
        "throughput", "--queue", url, "--jobs", 2000, "--runs", 1, "--json", report
    )

    assert "ratio to the raw limit" in shown
    written = json.loads(report.read_text())
    assert [sample["jobs"] for sample in written["samples"]] == [2000]
    assert len(written["ratios"]) == 1
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.timeout(300)
def test_file_that_exists_is_left_alone(tmp_path):
    file = tmp_path / "precious.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE precious (x)")
    before = file.read_bytes()

    run_benchmark("throughput", "--queue", f"sqlite:///{file}", "--jobs", 5000, "--runs", 1)

    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.timeout(300)
def test_a_large_store_is_measured_beside_a_small_one(tmp_path):
    report = tmp_path / "scale.json"
    few, many = ("--few", 10_000), ("--rows", 12_000)
    url = f"sqlite:///{tmp_path / 'bench.db'}"

    shown = run_benchmark(
        "scale", "--queue", url, *few, *many, "--jobs", 10_000, "--runs", 2, "--json", report
    )

    assert "ratio to 10,000 of each" in shown
    written = json.loads(report.read_text())
    assert {size: len(rates) for size, rates in written["rates"].items()} == {
        "10000": 2,
        "12000": 2,
    }
    assert len(written["ratios"]) == 2
    assert list(tmp_path.iterdir()) == [report]


SCENARIOS = {
    "fairness": ["--jobs", 20, "--long", 0.02],
    "latency": ["--jobs", 5, "--idle-seconds", 0.5, "--idle-workers", 2],
    "footprint": ["--workers", 2, "--kills", 1],
    "scaling": ["--seconds", 0.3, "--milliseconds", 10],
    "storm": ["--jobs", 200, "--milliseconds", 1],
    "payload": ["--jobs", 10],
    "enqueue": ["--jobs", 5000],
    "guard": ["--where", "crowded"],
    "workloads": ["--reports", 1, "--chunks", 2, "--no-peer"],
}
QUEUES = {"fairness", "latency", "scaling", "storm", "enqueue"}
FOLDERS = {"payload", "guard", "workloads"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_prints_a_table_and_writes_its_samples(tmp_path, name):
    report = tmp_path / "report.json"
    arguments = [*SCENARIOS[name], "--runs", 1, "--json", report]
    if name in QUEUES:
        arguments += ["--queue", f"sqlite:///{tmp_path / 'bench.db'}"]
    if name in FOLDERS:
        arguments += ["--directory", tmp_path]

    shown = run_benchmark(name, *arguments)

    assert "goal" in shown or "ratio" in shown or "median" in shown
    assert json.loads(report.read_text())["benchmark"] == name
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_measured_can_be_drawn(tmp_path):
    contents = {
        "throughput": {"benchmark": "throughput", "queue": "sqlite://", "ratios": [0.5, 0.6]},
        "fairness": {"benchmark": "fairness", "waits": [{"a": [0.0, 0.5], "b": [0.001, 0.4]}]},
        "latency": {
            "benchmark": "latency", "queue": "redis://", "fields": ["sent", "started"],
            "runs": [[[1.0, 1.003], [2.0, 2.004]]],
        },
        "scaling": {
            "benchmark": "scaling",
            "runs": [
                {"milliseconds": 10, "sequential": 9, "plain": {"1": 9}, "portico": {"2": 17}},
            ],
        },
        "peers": [{"system": "Portico", "store": "SQLite", "rate": 4e4}],
    }  # fmt: skip
    files = [tmp_path / f"{name}.json" for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_text(json.dumps(content))

    run_benchmark("plot", *files, "--out", tmp_path / "figures")

    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in contents for kind in ("png", "svg")}
