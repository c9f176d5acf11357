"""Who created a job: a UUID, or any text.

Stores keep a UUID; that of a text is made from it. The text itself travels at the beginning of the
job's metadata, where every store and every worker finds it, and no reader of metadata sees it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID, uuid5

from portico.exceptions import ValidationError
from portico.ports.job import Job

KEY = "portico.created_by"
LONGEST = 200
"""Characters."""
BEGINNING = 1400
"""Bytes at the beginning of stored metadata in which the text is."""

_OF_TEXTS = UUID("6f1c9b7e-0d4b-4a55-9d53-6a4f4ff3f0c1")
_PREFIX = b'{"portico.created_by":'
_read = json.JSONDecoder().raw_decode


def checked_creator(value: object, field: str = "created_by") -> UUID | str:
    """Take a UUID or a text; a text that is a UUID's is that UUID.

    Raises:
        ValidationError: it is neither, empty, or too long.
    """
    if isinstance(value, UUID):
        return value
    if isinstance(value, str) and 0 < len(value) <= LONGEST and _is_text(value):
        try:
            return UUID(value)
        except ValueError:
            return value
    raise ValidationError(
        f"{field} is {value!r:.80}; give a UUID, or a text of 1 to {LONGEST} characters",
        {"field": field},
    )


def id_of(creator: UUID | str) -> UUID:
    """What the stores know a creator by."""
    return creator if isinstance(creator, UUID) else uuid5(_OF_TEXTS, creator)


def with_creator(metadata: bytes, creator: UUID | str | None) -> bytes:
    """Encoded metadata as they are stored."""
    if not isinstance(creator, str):
        return metadata
    rest = metadata[1:] if metadata == b"{}" else b"," + metadata[1:]
    return _PREFIX + json.dumps(creator, ensure_ascii=False).encode() + rest


def without_creator(metadata: bytes) -> tuple[str | None, bytes]:
    """The text that was put into metadata, if any, and the metadata as they were."""
    if not metadata.startswith(_PREFIX):
        return None, metadata
    try:
        creator, _ = _read(metadata[:BEGINNING].decode("utf-8", "replace"), len(_PREFIX))
        written = _PREFIX + json.dumps(creator, ensure_ascii=False).encode()
    except ValueError:
        return None, metadata
    if not isinstance(creator, str) or not metadata.startswith(written):
        return None, metadata
    return creator, b"{" + metadata[len(written) :].removeprefix(b",")


def portable(job: Job) -> Job:
    """A job for whoever encodes and decodes it by its types: its creator is a UUID."""
    creator = job.created_by
    if not isinstance(creator, str):
        return job
    return replace(job, created_by=id_of(creator), metadata={KEY: creator, **job.metadata})


def as_given(job: Job) -> Job:
    """A portable job as it was."""
    if KEY not in job.metadata:
        return job
    metadata = dict(job.metadata)
    return replace(job, created_by=metadata.pop(KEY), metadata=metadata)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
