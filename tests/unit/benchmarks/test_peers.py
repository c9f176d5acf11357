"""The comparison with other systems: its meter, counts of jobs and table; one system for real."""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks.peers import catalogue, meter, table
from benchmarks.peers.apps import noop_job
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.command import peers
from benchmarks.peers.run import PeerSample
from benchmarks.peers.table import Result

SLOW = Peer("slow", "Slow", "redis", "slow_app", 12.0)
FAST = Peer("fast", "Fast", "redis", "fast_app", 4_321.0)
PORTICO = next(peer for peer in PEERS if peer.key == "portico-redis")


def sample(rate, *, jobs=100, executed=None):
    return PeerSample(
        jobs=jobs, executed=executed or jobs, rate=rate, enqueue_rate=2 * rate, start=0.5
    )


def result(peer, *rates, failure=""):
    samples = [rate and sample(rate) for rate in rates]
    about = {"versions": {peer.name: "1.2", "redis": "9"}, "processes": "2, of some sort"}
    return Result(peer, 100, about, samples, failure)


def shown(results):
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table.table("title", results))
    return captured.get()


def counting(times):
    for _ in range(times):
        noop_job.done()


def test_the_payload_has_120_bytes_and_is_never_the_same_object():
    first, second = noop_job.payload(), noop_job.payload()

    assert len(json.dumps(first, separators=(",", ":"))) == 120
    assert first["data"] is not second["data"]


def test_the_meter_adds_up_what_processes_and_threads_count(monkeypatch):
    context = multiprocessing.get_context("spawn")
    with meter.Meter() as counted:
        monkeypatch.setenv("BENCH_TALLY", str(counted.path))
        threads = [threading.Thread(target=counting, args=(500,)) for _ in range(2)]
        processes = [context.Process(target=counting, args=(300,)) for _ in range(2)]
        for one in (*threads, *processes):
            one.start()
        for one in (*threads, *processes):
            one.join()

        assert counted.read() == 1600
        assert counted.path.stat().st_size == 3 * 8


def test_the_meter_rates_from_the_first_tenth_to_the_last_job():
    seen = iter([(0.0, 0), (1.0, 10), (1.5, 10), (2.0, 60), (3.0, 100)])
    now = 0.0

    def read():
        nonlocal now
        now, done = next(seen)
        return done

    timeline = meter.watch(read, 100, check=lambda _: None, clock=lambda: now)

    assert timeline.rate() == pytest.approx(90 / 2)
    assert timeline.marks == [(1.0, 10), (2.0, 60), (3.0, 100)]


def test_the_meter_gives_up_when_the_check_does():
    def check(done):
        raise RuntimeError(f"{done} done")

    with pytest.raises(RuntimeError, match="7 done"):
        meter.watch(lambda: 7, 100, check=check)


@pytest.mark.parametrize(
    ("peer", "most", "jobs"),
    [(FAST, None, 21_600), (FAST, 2_000, 2_000), (SLOW, None, 200), (SLOW, 2_000, 200)],
)
def test_a_run_has_some_seconds_of_work_but_never_few_jobs(peer, most, jobs):
    assert catalogue.jobs_of(peer, most) == jobs


def test_systems_are_chosen_by_key_or_by_its_beginning():
    assert catalogue.named(()) == PEERS
    assert [peer.key for peer in catalogue.named(("rq", "Celery"))] == ["celery", "rq", "rq-fork"]
    with pytest.raises(ValueError, match="portico-redis"):
        catalogue.named(("portico-oracle",))


def test_every_system_has_an_app_and_something_to_be_compared_with():
    from benchmarks.peers.run import APPS

    assert all((APPS / f"{peer.app}.py").exists() for peer in PEERS)
    assert {peer.store for peer in PEERS} == {peer.store for peer in PEERS if peer.is_portico}
    assert len({peer.key for peer in PEERS}) == len(PEERS)


def test_the_ratio_is_that_of_the_same_round():
    results = [result(PORTICO, 300.0, 800.0, 500.0), result(FAST, 100.0, None, 250.0)]

    assert table.ratios(results) == {"fast": [3.0, 2.0]}


def test_there_is_no_ratio_without_portico_on_the_same_store():
    assert table.ratios([result(FAST, 100.0)]) == {}


def test_the_table_has_the_median_the_spread_and_the_ratio_of_each_system():
    said = shown([result(PORTICO, 8000.0, 9000.0, 7000.0), result(FAST, 1000.0, 1500.0, 2000.0)])

    assert "1.2" in said
    assert "2, of some sort" in said
    assert said.splitlines()[-2].split()[-4:] == ["3,000", "1,500", "1,000-2,000", "6.00"]


def test_a_system_that_failed_is_in_the_table_with_the_reason_below():
    results = [result(PORTICO, 800.0), result(FAST, failure="not installed: no network")]

    assert "failed" in shown(results)
    assert table.remarks(results) == ["fast: failed in round 1: not installed: no network"]


def test_jobs_that_ran_twice_are_told():
    found = result(FAST)
    found.samples = [sample(10.0, executed=103)]

    assert table.remarks([found]) == ["fast: 3 of 100 jobs ran twice"]


def test_what_is_written_down_has_every_sample_and_setting():
    found = result(FAST, 10.0)
    found.about = {**found.about, "settings": {"prefetch": 64}}

    written = json.loads(json.dumps(found.written()))

    assert written["settings"] == {"prefetch": 64}
    assert written["jobs"] == 100
    assert written["samples"][0]["rate"] == 10.0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the meter is for POSIX")
def test_the_executor_of_the_standard_library_does_all_jobs(tmp_path):
    path = tmp_path / "peers.json"
    options = [
        "--only",
        "executor",
        "--jobs",
        "2000",
        "--runs",
        "1",
        "--cache",
        str(tmp_path / "c"),
    ]

    done = CliRunner().invoke(peers, [*options, "--json", str(path)])

    assert done.exit_code == 0, done.output
    assert "ProcessPoolExecutor" in done.output
    (system,) = json.loads(path.read_text())["systems"]
    (measured,) = system["samples"]
    assert (measured["jobs"], measured["executed"], system["failure"]) == (2000, 2000, "")
    assert measured["rate"] > 0


@pytest.mark.slow
def test_a_system_that_cannot_be_run_does_not_stop_the_others(tmp_path, monkeypatch):
    broken = Peer("broken", "Broken", "memory", "absent_app", 100.0)
    monkeypatch.setattr(catalogue, "PEERS", (broken, *catalogue.named(("executor",))))

    done = CliRunner().invoke(
        peers, ["--jobs", "500", "--runs", "1", "--cache", str(tmp_path / "c")]
    )

    assert done.exit_code == 0, done.output
    assert "broken: failed in round 1: describe: ModuleNotFoundError" in done.output
    assert "executor: failed" not in done.output
