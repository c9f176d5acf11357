"""What the scripts met that was not as Portico wrote it, told to people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from portico.adapters.job_queue._redis.place import RedisPlace
from portico.adapters.job_queue._redis.scripts import DAMAGE
from portico.utils.logging import get_logger

_DAMAGE = DAMAGE.encode()

logger = get_logger(__name__)


def without_damage(answer: Any, place: RedisPlace) -> Any:
    """The answer of a script; what it tells of damage beside it is logged."""
    if not (isinstance(answer, list) and answer and answer[0] == _DAMAGE):
        return answer
    _, told, damage = answer
    for what, name, more in damage:
        _TELLERS[what](place, _text(name), more)
    return told


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _tell_of_kind(place: RedisPlace, name: str, kind: bytes) -> None:
    logger.error(
        "store_key_damaged",
        store=place.shown,
        key=f"{place.prefix}{name}",
        type=_text(kind),
        kept=f"{place.prefix}damaged:{name}",
        next="it is put aside under that name, and its jobs are found again as far as the other "
        "keys tell of them; something else than Portico writes to this namespace",
    )


def _tell_of_entry(place: RedisPlace, name: str, entry: bytes) -> None:
    logger.warning(
        "store_entry_dropped",
        store=place.shown,
        key=f"{place.prefix}{name}",
        entry=_text(entry),
        note="this and what is like it stands for no job; something else than Portico wrote it",
    )


def _tell_of_counts(place: RedisPlace, name: str, _: bytes) -> None:
    logger.warning(
        "store_counted_anew",
        store=place.shown,
        queue=name,
        note="the numbers of its jobs per status did not add up, or were none",
    )


def _tell_of_found(place: RedisPlace, name: str, number: bytes) -> None:
    logger.warning(
        "store_jobs_found_again",
        store=place.shown,
        queue=name,
        count=int(number),
        note="these jobs stood in no index of their queue any more, and do again: the store has "
        "lost writes, or something else than Portico wrote to it",
    )


def _tell_of_numbers(place: RedisPlace, name: str, _: bytes) -> None:
    logger.warning(
        "store_key_damaged",
        store=place.shown,
        key=f"{place.prefix}{name}",
        next="jobs are numbered on from the highest number in use",
    )


def _tell_of_job(_: RedisPlace, job_id: str, more: Sequence[bytes]) -> None:
    queue, job_type, words = map(_text, more)
    logger.error(
        "job_dead_lettered",
        job_id=UUID(job_id),
        job_type=job_type,
        queue=queue,
        error_type="RowDamaged",
        error=words,
        next="dead-lettered: it cannot be run as it is stored",
    )


_TELLERS: dict[bytes, Callable[[RedisPlace, str, Any], None]] = {
    b"kind": _tell_of_kind, b"entry": _tell_of_entry, b"counts": _tell_of_counts,
    b"found": _tell_of_found, b"seq": _tell_of_numbers, b"job": _tell_of_job,
}  # fmt: skip
