"""Every broken store is found out, by each of the tests that `CAUGHT_BY` names for it.

A mutant that nothing catches any more means that a rule was lost: bring it back, or write another
one in `portico/testing/contract/more_rules.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from portico.adapters.job_queue import DatabaseJobQueueAdapter, MemoryJobQueueAdapter
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Transition
from portico.testing.contract.history_rules import HistoryRules
from portico.testing.contract.leasing_rules import LeasingRules
from portico.testing.contract.more_rules import MoreRules
from portico.testing.contract.nine_method_rules import NineMethodRules
from portico.testing.contract.queue_support import LEASE_SECONDS, Clocks
from portico.testing.contract.record_rules import RecordRules
from portico.testing.contract.state_table_rules import StateTableRules
from portico.testing.contract.wanted_rules import WantedRules
from tests.contract.model_stores import MemoryStore, SqliteStore
from tests.contract.test_queue_model import machine_on
from tests.mutants import mutants

LEASING, TABLE, NINE = LeasingRules(), StateTableRules(), NineMethodRules()
RECORDS, MORE, HISTORY, WANTED = RecordRules(), MoreRules(), HistoryRules(), WantedRules()

Mutant = type[JobQueueAdapter]
Catcher = Callable[..., Any]


def model(mutant: Mutant, histories: int = 300) -> None:
    """Random histories, always the same ones."""
    base = SqliteStore if issubclass(mutant, DatabaseJobQueueAdapter) else MemoryStore
    few = settings(
        max_examples=histories,
        stateful_step_count=40,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=True,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    store_of = type("MutantStore", (base,), {"adapter": mutant})
    run_state_machine_as_test(machine_on(store_of), settings=few)


CAUGHT_BY: dict[Mutant, list[Catcher]] = {
    mutants.LeasesWhatIsNotWanted: [
        WANTED.test_only_the_wanted_types_are_leased_in_their_order,
        WANTED.test_all_but_the_unwanted_types_are_leased,
    ],
    mutants.CountsNoneOfAType: [WANTED.test_no_more_of_a_type_are_leased_than_are_wanted],
    mutants.CountsATypePerQueue: [
        WANTED.test_how_many_of_a_type_are_wanted_holds_for_all_queues_together,
    ],
    mutants.LeavesTheWantedOutInstead: [
        WANTED.test_only_the_wanted_types_are_leased_in_their_order,
        WANTED.test_due_jobs_of_a_wanted_type_are_found_behind_unwanted_ones,
    ],
    mutants.SendsTheUnwantedBack: [
        WANTED.test_what_is_not_wanted_is_not_touched_and_keeps_its_place,
    ],
    mutants.AcknowledgedById: [
        model,
        LEASING.test_a_stale_token_changes_nothing,
        LEASING.test_another_ending_of_an_ended_attempt_is_lost,
        NINE.test_acknowledge_and_reject_change_nothing_unless_the_job_is_running,
    ],
    mutants.AcknowledgedByState: [
        model,
        LEASING.test_a_stale_token_changes_nothing,
        LEASING.test_a_token_of_the_right_attempt_needs_the_right_random_part,
    ],
    mutants.AcknowledgedByAFormerHolder: [LEASING.test_a_stale_token_changes_nothing],
    mutants.UnguardedRescue: [model, MORE.test_recovery_leaves_what_has_ended_alone],
    mutants.RenewedById: [
        model,
        MORE.test_an_attempt_that_was_given_up_cannot_keep_the_next_one_alive,
    ],
    mutants.PoppedWithoutLease: [model, MORE.test_a_job_leased_and_not_settled_is_still_there],
    mutants.ClaimedInTwoSteps: [model, MORE.test_two_consumers_that_exchange_at_once_share_nothing],
    mutants.TokenIsTheAttempt: [
        model,
        LEASING.test_a_token_begins_with_the_attempt_and_is_new_every_time,
        MORE.test_a_store_that_lost_a_lease_gives_out_another_token_for_the_same_attempt,
    ],
    mutants.LeasesByWallClock: [model, LEASING.test_a_wall_clock_that_jumps_ends_no_lease],
    mutants.SwallowedError: [
        model,
        NINE.test_acknowledge_completes_a_running_job,
        TABLE.test_complete_stores_the_result,
    ],
    mutants.ForgetsOrphans: [model],
    mutants.FailsOnPrune: [model, MORE.test_recovery_leaves_what_has_ended_alone],
    mutants.RetryingIsNotLeasable: [
        model,
        NINE.test_reject_gives_the_job_another_attempt,
        TABLE.test_retry_waits_for_its_delay,
    ],
    mutants.PriorityIgnored: [
        model,
        NINE.test_dequeue_takes_the_highest_priority_then_the_oldest,
        LEASING.test_leases_come_in_the_order_of_priority_then_due_instant_then_age,
    ],
    mutants.DueTimeIgnored: [
        model,
        NINE.test_a_scheduled_job_is_not_leased_before_its_time,
        NINE.test_reject_delays_the_next_attempt,
    ],
    mutants.ReleaseIsCharged: [model, TABLE.test_release_charges_nothing],
    mutants.RunningIsCancelled: [model, NINE.test_cancel_leaves_other_jobs_alone],
    mutants.DeadOneTooEarly: [
        model,
        NINE.test_a_job_that_always_fails_runs_once_more_than_it_may_retry,
        TABLE.test_retry_dead_letters_when_no_retry_is_left,
    ],
    mutants.RedriveKeepsCounters: [
        model,
        TABLE.test_redrive_starts_afresh_and_keeps_the_last_error,
    ],
    mutants.PurgesWhatWaits: [
        model,
        RECORDS.test_purge_removes_terminal_jobs_and_nothing_else,
        MORE.test_purge_without_a_filter_leaves_jobs_that_wait_or_run,
    ],
    mutants.RemembersNoExpiry: [
        model,
        HISTORY.test_an_expired_lease_is_remembered_with_who_held_it,
    ],
    mutants.ForgetsOnRedrive: [model, HISTORY.test_a_redrive_keeps_the_history],
    mutants.KeepsHistoriesOfPurgedJobs: [
        HISTORY.test_a_purge_takes_the_history_of_that_job_with_it,
    ],
    mutants.KeepsEveryAttempt: [HISTORY.test_a_history_keeps_the_newest_attempts],
    mutants.StoresWhatItIsTold: [HISTORY.test_evidence_that_cannot_be_is_left_out],
    mutants.TellsOfCancelsAtRenewalOnly: [
        LEASING.test_whoever_waits_for_requests_to_stop_is_told_of_one_that_comes,
    ],
}
"""Which tests find which mutant."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "test_release_charges_nothing": {"max_retries": 3},
    "test_redrive_starts_afresh_and_keeps_the_last_error": {"transition": Transition.FAIL},
}
"""One case of the tests that have several."""

PAIRS = [(mutant, catcher) for mutant, catchers in CAUGHT_BY.items() for catcher in catchers]


async def follow(rule: Catcher, adapter: Mutant, folder: Path) -> None:
    """Run one rule of the contract on a store of this kind."""
    clocks = Clocks()
    known = {"clock": clocks.wall, "monotonic": clocks.monotonic}
    made = 0

    def make() -> JobQueueAdapter:
        nonlocal made
        made += 1
        place = [] if issubclass(adapter, MemoryJobQueueAdapter) else [f"sqlite:///{folder}/{made}"]
        return adapter(*place, LEASE_SECONDS, **known)

    queue = make()
    await queue.initialize()
    offered = {"queue": queue, "clocks": clocks, "another_queue": make}
    wanted = rule.__code__.co_varnames[: rule.__code__.co_argcount]
    fixtures = {name: value for name, value in offered.items() if name in wanted}
    try:
        async with asyncio.timeout(5):
            await rule(**fixtures, **PARAMETERS.get(rule.__name__, {}))
    finally:
        await queue.close()


@pytest.mark.parametrize(
    ("mutant", "catcher"), PAIRS, ids=[f"{m.__name__}-{c.__name__}" for m, c in PAIRS]
)
def test_a_broken_store_is_found_out(mutant: Mutant, catcher: Catcher, tmp_path: Path) -> None:
    # The second is what `[lease] = ...` raises, the third SQLite's, the last pytest's own failure.
    with pytest.raises((AssertionError, ValueError, OverflowError, pytest.fail.Exception)):
        if catcher is model:
            model(mutant)
        else:
            asyncio.run(follow(catcher, mutant, tmp_path))


@pytest.mark.parametrize(
    "catcher", [c for c in dict.fromkeys(c for _, c in PAIRS) if c is not model],
    ids=lambda c: c.__name__,
)  # fmt: skip
def test_what_finds_a_broken_store_out_has_nothing_against_a_sound_one(
    catcher: Catcher, tmp_path: Path
) -> None:
    asyncio.run(follow(catcher, MemoryJobQueueAdapter, tmp_path))


def test_the_model_has_nothing_against_a_sound_store() -> None:
    model(MemoryJobQueueAdapter, 50)
