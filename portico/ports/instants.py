"""Instants and delays as people give them: which are taken, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

from portico.exceptions import ValidationError

LONGEST_DELAY = timedelta(days=36_500)
"""A hundred years, so that what is due then is in time, too."""

_LATEST = datetime(2255, 1, 1, tzinfo=UTC)
"""Redis counts in floating point, and has a number for each microsecond since 1970 until June of
that year. What one store cannot hold none takes, so that jobs can move."""
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)


def as_local(value: datetime, field: str) -> datetime:
    """A datetime without a time zone as one of this machine's; any other as it is.

    A time that the clocks show twice is the first of the two, unless its `fold` is 1.

    Raises:
        ValidationError: the clocks skip it, or it is out of range.
    """
    if value.utcoffset() is not None:
        return value
    try:
        aware = value.astimezone()
        _check_shown(value, None, field)
    except ValidationError:
        raise
    except (OverflowError, ValueError, OSError) as error:
        raise _out_of_range(value, field) from error
    return aware


def checked_instant(value: object, field: str) -> datetime | None:
    """Take an aware datetime, or `None`; an instant before 1970 counts as 1970.

    Raises:
        ValidationError: naive, a time that the clocks of its zone skip, no datetime at all, or past
            the year 2254.
    """
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ValidationError(f"{field} is {value!r:.80}; give an aware datetime")
    if value.utcoffset() is None:
        raise ValidationError(
            f"{field} is {value.isoformat()} without a time zone; "
            "give an aware datetime, such as datetime.now(UTC)"
        )
    try:
        instant = value.astimezone(UTC)
        if not isinstance(value.tzinfo, timezone):  # whose clocks never change
            _check_shown(value, value.tzinfo, field)
    except OverflowError as error:
        raise _out_of_range(value, field) from error
    if instant >= _LATEST:
        raise ValidationError(f"{field} is {value.isoformat()}; give an instant before 2255")
    return max(instant, _EARLIEST)


def checked_delay(value: object, field: str) -> int:
    """Take seconds or a timedelta; in microseconds.

    Raises:
        ValidationError: it is neither, negative, or over a hundred years.
    """
    delay = value
    if isinstance(value, int | float) and not isinstance(value, bool):
        small = 0 <= value <= LONGEST_DELAY.total_seconds()  # and no NaN
        delay = timedelta(seconds=value) if small else None
    if isinstance(delay, timedelta) and timedelta(0) <= delay <= LONGEST_DELAY:
        return delay // _MICROSECOND
    raise ValidationError(
        f"{field} is {value!r:.80}; give seconds from 0 to {LONGEST_DELAY.total_seconds():.0f}, or "
        "a timedelta",
        {"field": field},
    )


def _out_of_range(value: datetime, field: str) -> ValidationError:
    return ValidationError(
        f"{field} is {value.isoformat()}; out of range, give an instant from 1970 to 2254"
    )


def _check_shown(value: datetime, zone: tzinfo | None, field: str) -> None:
    """Refuse what no clock of the zone ever shows: it would be taken an hour early or late.

    `None` is this machine's zone.
    """
    wall = value.replace(tzinfo=None)
    before, after = (_offset(wall.replace(fold=fold), zone) for fold in (0, 1))
    if after <= before:  # no change, or one by which the time comes twice
        return
    change = _change(wall - after, wall - before, zone)
    last, next_ = change + before, change + after
    name = "this machine's time zone" if zone is None else getattr(zone, "key", None) or zone
    raise ValidationError(
        f"{field} is {wall:%H:%M} on {wall.day} {wall:%B %Y}, which does not exist in {name}: "
        f"clocks go from {last:%H:%M} to {next_:%H:%M}; give {last - _MINUTE:%H:%M} or "
        f"{next_:%H:%M}",
        {"field": field},
    )


def _change(low: datetime, high: datetime, zone: tzinfo | None) -> datetime:
    """When the clocks change between two instants of UTC, to the second."""
    first = _offset_at(low, zone)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        if _offset_at(middle, zone) == first:
            low = middle
        else:
            high = middle
    return (high + _SECOND / 2).replace(microsecond=0)


def _offset(wall: datetime, zone: tzinfo | None) -> timedelta:
    if zone is not None:
        return wall.replace(tzinfo=zone).utcoffset() or timedelta(0)
    # `astimezone` of a naive one does not heed the fold.
    return wall - datetime.fromtimestamp(wall.timestamp(), UTC).replace(tzinfo=None)


def _offset_at(utc: datetime, zone: tzinfo | None) -> timedelta:
    return utc.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta(0)
