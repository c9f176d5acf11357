from __future__ import annotations

from benchmarks.payload import work
from benchmarks.payload.echo import pipe_bytes_per_second


def test_the_payload_is_as_large_as_one_may_be():
    drafts = work.drafts(3)

    assert {len(draft.payload) for draft in drafts} == {1024 * 1024}
    assert len({draft.id for draft in drafts}) == 3


def test_what_goes_through_the_bare_pipes_comes_back():
    assert pipe_bytes_per_second(3_000_000, messages=4, workers=2) > 0
