"""Dead-lettering what something else than Portico has written to, by its row's number: its id may
be what is damaged."""

from __future__ import annotations

from portico.adapters.job_queue._sqlite import sound_rows
from portico.adapters.job_queue._sqlite.driver import Connection
from portico.utils.logging import get_logger

_COLUMNS = ("seq", *sound_rows.JOBS)
_NOTE = f"{sound_rows.noted('portico_jobs', _COLUMNS, 'seq')} WHERE seq = ?"
_BURY = (
    "UPDATE portico_jobs SET "
    + ", ".join(f"{name} = {value}" for name, value in sound_rows.buried().items())
    + " WHERE seq = ? RETURNING hex(id)"
)

logger = get_logger(__name__)


def bury(connection: Connection, row: int) -> None:
    """Dead-letter a damaged job, with sound values in place of the others; the row as it was is
    kept in `portico_damaged`."""
    connection.execute(_NOTE, (row,))
    found = connection.execute(_BURY, (row,)).fetchone()
    if found is None:
        return
    logger.error(
        "job_dead_lettered",
        job_id=found[0].lower(),
        row=row,
        error_type=sound_rows.ERROR_TYPE,
        error=sound_rows.ERROR,
        next="dead-lettered: something other than Portico has written to its row; as it was, it "
        "stands in the table portico_damaged",
    )
