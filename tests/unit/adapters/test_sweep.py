"""Finding wanted jobs behind any number of unwanted ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.adapters.job_queue._sweep import HEAD, PORTION, Candidate, Found, Mark, Sweep
from portico.ports.wanted import Wanted

FULL = Wanted(frozenset({"full"}))


class Store:
    """One queue, looked at as a store does: in portions, by marks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: list[Candidate] = []
        self.sweep = Sweep(lambda: self.now)
        self.looked_at = 0
        self._numbers = count(1)

    def add(self, job_type: str, times: int = 1, priority: int = 0) -> None:
        for _ in range(times):
            number = next(self._numbers)
            self.jobs.append(Candidate((-priority, number), job_type, number))
        self.jobs.sort(key=_mark)

    def behind(self, mark: Mark) -> list[Candidate]:
        found = [job for job in self.jobs if mark == HEAD or _mark(job) > mark][:PORTION]
        self.looked_at += len(found)
        return found

    def exchange(self, wanted: Wanted = FULL, limit: int = 10) -> tuple[list[str], bool]:
        """The types of what is leased, and whether there is more to look at."""
        leased, unseen = self.leased(wanted, limit)
        return [job.job_type for job in leased], unseen

    def leased(self, wanted: Wanted, limit: int) -> tuple[list[Candidate], bool]:
        found = self.found(wanted, limit)
        by_key = {job.key: job for job in self.jobs}
        leased = [by_key[key] for key in found.keys]
        keys = set(found.keys)
        self.jobs = [job for job in self.jobs if job.key not in keys]
        return leased, found.unseen

    def found(self, wanted: Wanted, limit: int) -> Found:
        looking, looks = self.sweep.look(wanted, limit), 1
        mark = next(looking)
        try:
            while True:
                assert looks <= 3, "the exchange is bounded"
                mark, looks = looking.send(self.behind(mark)), looks + 1
        except StopIteration as done:
            found: Found = done.value
            return found

    def until_seen(self, wanted: Wanted = FULL) -> list[str]:
        """Exchange for as long as there is more to look at."""
        types, unseen = self.exchange(wanted)
        more = types
        while unseen or len(more) == 10:
            more, unseen = self.exchange(wanted)
            types = types + more
        return types


def _mark(job: Candidate) -> Mark:
    assert job.mark is not None
    return job.mark


def test_what_is_behind_a_flood_is_found_in_bounded_steps() -> None:
    store = Store()
    store.add("full", 20 * PORTION)
    store.add("other", 3)
    assert store.until_seen() == ["other"] * 3
    assert len(store.jobs) == 20 * PORTION


def test_what_comes_in_behind_a_flood_that_was_seen_is_found_at_once() -> None:
    store = Store()
    store.add("full", 20 * PORTION)
    assert store.until_seen() == []
    store.add("other")
    store.looked_at = 0
    assert store.exchange() == (["other"], False)
    assert store.looked_at <= PORTION + 1, "and nothing is looked at again but the first ones"


def test_an_urgent_one_is_found_at_once() -> None:
    store = Store()
    store.add("full", 20 * PORTION)
    store.exchange()
    store.add("other", priority=1)
    assert store.exchange()[0] == ["other"]


def test_what_comes_in_amidst_a_flood_is_found_by_the_next_sweep() -> None:
    store = Store()
    store.add("full", 5 * PORTION, priority=2)
    store.add("full", 5 * PORTION)
    assert store.until_seen() == []
    store.add("other", priority=1)
    assert store.until_seen() == [], "it was looked through just now"
    store.now += 60.0
    assert store.until_seen() == ["other"]


def test_a_sweep_is_followed_by_a_rest_that_is_longer_than_it_took() -> None:
    store = Store()
    store.add("full", 10 * PORTION)
    _, unseen = store.exchange()
    store.now = 5.0
    while unseen:
        _, unseen = store.exchange()
    store.now = 50.0
    assert store.exchange() == ([], False)
    store.now = 60.0
    assert store.exchange() == ([], True)


def test_a_type_that_was_passed_over_is_found_where_it_begins_once_it_is_wanted() -> None:
    store = Store()
    store.add("full", 10 * PORTION)
    store.add("scarce", 3 * PORTION)
    store.add("full", 10 * PORTION)
    first = [job.key for job in store.jobs if job.job_type == "scarce"]
    none, some = FULL.within({"scarce": 0}), FULL.within({"scarce": 20})
    assert store.until_seen(none) == []
    for n in range(0, 2 * PORTION, 20):
        leased, _ = store.leased(some, 50)
        assert [job.key for job in leased] == first[n : n + 20], "in their order, at once"
        assert store.until_seen(none) == []


def test_a_damaged_row_is_given_to_whoever_can_bury_it() -> None:
    store = Store()
    damaged = Candidate(None, "full", "damaged")
    store.jobs = [Candidate((0, 1), "full", 1)]
    store.behind = lambda mark: [*store.jobs, damaged]  # type: ignore[method-assign]
    assert store.found(FULL, 10).keys == ["damaged"]


_TYPES = st.sampled_from(["a", "b", "c"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _TYPES, st.sampled_from([1, 3, 700]), st.integers(0, 2)),
        st.tuples(
            st.just("lease"),
            st.frozensets(_TYPES),
            st.booleans(),
            st.dictionaries(_TYPES, st.integers(0, 5), max_size=2),
            st.sampled_from([1, 10, 2000]),
        ),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 2.0, 100.0])),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(_STEPS)
def test_whatever_happens_only_what_is_wanted_is_leased_and_all_of_it_in_the_end(
    steps: Sequence[tuple[object, ...]],
) -> None:
    store = Store()
    for step in steps:
        match step:
            case ("add", str(kind), int(times), int(priority)):
                store.add(kind, times, priority)
            case ("wait", float(seconds)):
                store.now += seconds
            case ("lease", frozenset() as types, bool(only), dict() as room, int(limit)):
                wanted = Wanted(types, only).within(room)
                leased, _ = store.leased(wanted, limit)
                assert len(leased) <= limit
                for kind in "abc":
                    taken = sum(job.job_type == kind for job in leased)
                    assert taken <= (wanted.most.get(kind, limit) if wanted.has(kind) else 0)
    rest = Wanted(frozenset({"a"}))
    for _ in range(2):  # the end of a sweep that is under way, and a whole one
        store.until_seen(rest)
        store.now += 1e6
    assert not rest_of(store, "b", "c")
    assert set(store.until_seen(Wanted())) <= {"a"}


def rest_of(store: Store, *types: str) -> bool:
    return any(job.job_type in types for job in store.jobs)
