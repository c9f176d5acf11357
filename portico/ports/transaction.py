"""A transaction of the caller's, in the database that holds the jobs.

Errors of the connection itself (lost, deadlock, serialization failure) are the driver's own, as for
any other statement of that transaction: whoever began it knows how to begin it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from portico.ports.draft import Draft
from portico.ports.leasing import Inserted


class Transaction(ABC):
    """An open transaction on a connection that is awaited."""

    @abstractmethod
    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        """Store drafts in this transaction: they exist when it commits, and only then.

        Returns:
            As `JobQueueAdapter.insert`; a taken id leaves the transaction usable.

        Raises:
            ValidationError: the connection cannot be used for it: closed, without an open
                transaction, or to another database than the queue's.
            ConfigurationError: its database has no tables for jobs, or those of another release.
            QueueFullError: a queue takes no more jobs, counting those of this transaction.
        """


class SyncTransaction(ABC):
    """An open transaction on a connection with plain methods."""

    @abstractmethod
    def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        """Store drafts in this transaction, as `Transaction.insert` does."""
