"""Handlers that do real work, and the app that the supervisor runs when it is given no other.

Nothing heavy is imported here: pandas, matplotlib and httpx are imported by the handlers that
need them, or ahead of the first worker by `preload`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module

from portico.examples.data_import_handler import DataImportHandler
from portico.examples.dead_letter_handler import DeadLetterHandler
from portico.examples.echo_handler import EchoHandler
from portico.examples.email_handler import EmailHandler
from portico.examples.http_sender import HttpSender
from portico.examples.report_files import ReportFiles
from portico.examples.report_handler import ReportHandler
from portico.examples.smtp_mailer import SmtpMailer
from portico.examples.smtp_settings import SmtpSettings
from portico.examples.webhook_handler import WebhookHandler
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import WorkerContext

HEAVY = (
    "portico.examples.reports.summary",
    "portico.examples.reports.page",
    "portico.examples.reports.pdf",
    "matplotlib.backends.backend_svg",
    "httpx",
)


@asynccontextmanager
async def app(context: WorkerContext) -> AsyncIterator[list[JobHandler]]:
    """Build the handlers on the worker's own loop; what they share is closed with the worker."""
    async with HttpSender() as http:
        yield [
            EchoHandler(),
            DataImportHandler(context.job_creator, http),
            ReportHandler(ReportFiles()),
            EmailHandler(SmtpMailer(SmtpSettings.from_environment())),
            WebhookHandler(http),
            DeadLetterHandler(context.job_queue),
        ]


def preload() -> None:
    """Import the heavy libraries, as far as they are installed, in the process that forks workers.

    Each worker then has them at once and shares their memory. Starts no thread and opens no
    socket: the linear algebra library, which would start threads, is told not to, for here the
    processes are the parallelism.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in HEAVY:
        with suppress(ModuleNotFoundError):
            import_module(name)
