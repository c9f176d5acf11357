"""The examples that the description marks as bad: they run, and show what it warns of."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from tests.seed.practices import PrintingHandler, RepeatingPaymentHandler, StatefulEmailHandler
from tests.support.jobs import make_job

EmailService = Mock(return_value=AsyncMock())
TemplateService = Mock(return_value=AsyncMock())


class DependentEmailHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "email.template"

    async def handle(self, job: Job) -> JobResult:
        # Creating service instances ❌
        email_service = EmailService()
        template_service = TemplateService()
        # Hard to test, tight coupling
        template = await template_service.get(job.payload["template_id"])
        await email_service.send(template)
        return JobResult(success=True)


async def test_state_is_kept_by_each_handler_for_itself_alone() -> None:
    one, another = StatefulEmailHandler(), StatefulEmailHandler()
    for handler in (one, one, another):
        assert (await handler.handle(make_job())).success
    assert (one.sent_count, another.sent_count) == (2, 1)


async def test_what_is_printed_is_no_structured_line(capsys: pytest.CaptureFixture[str]) -> None:
    handler = PrintingHandler()
    handler.process = AsyncMock()
    job = make_job()
    assert (await handler.handle(job)).success
    assert capsys.readouterr().out == f"Processing job {job.id}\n"


async def test_a_handler_that_is_not_idempotent_pays_again_on_a_retry() -> None:
    handler = RepeatingPaymentHandler()
    handler.payment_service = AsyncMock()
    job = make_job(payload={"amount": 5})
    for _ in range(2):
        assert (await handler.handle(job)).success
    assert handler.payment_service.create_payment.await_count == 2


async def test_dependencies_made_inside_can_only_be_replaced_by_patching() -> None:
    assert (await DependentEmailHandler().handle(make_job(payload={"template_id": 7}))).success
    TemplateService.return_value.get.assert_awaited_once_with(7)
    EmailService.return_value.send.assert_awaited_once()
