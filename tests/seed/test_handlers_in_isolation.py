"""The five handlers of the description, and its best practices, without a queue."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock, call
from uuid import uuid4

import pytest

from portico.exceptions import DatabaseError, ResourceNotFoundError, ValidationError
from tests.seed import faq, handlers, practices
from tests.support.jobs import make_job

EMAIL = {"recipient": "ada@example.com", "subject": "Hello", "body": "Dear Ada"}
REPORT = {"report_type": "sales", "start_date": "2026-01-01", "end_date": "2026-01-31"}
HOOK = {"url": "https://hooks.example.com/1", "payload": {"event": "created"}}


class DataImportJobHandler(handlers.DataImportJobHandler):
    def __init__(self, import_service, storage_service):
        super().__init__(import_service, storage_service)
        self.notify_import_failure = AsyncMock()


class ReportJobHandler(handlers.ReportJobHandler):
    def __init__(self, report_service, file_storage):
        super().__init__(report_service, file_storage)
        self.notification_service = AsyncMock()


class ValidatingPaymentHandler(practices.ValidatingPaymentHandler):
    def __init__(self):
        self.process_payment = AsyncMock(return_value={"paid": True})


class ReturningPaymentHandler(practices.ReturningPaymentHandler):
    def __init__(self, user):
        self.get_user = AsyncMock(return_value=user)
        self.process_payment = AsyncMock(return_value={"paid": True})


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    """The webhook handler's own back-off would take three seconds."""
    slept = AsyncMock()
    monkeypatch.setattr(handlers.asyncio, "sleep", slept)
    return slept


@pytest.fixture
def importing():
    return DataImportJobHandler(AsyncMock(), AsyncMock())


async def test_email_goes_out_by_template_when_the_payload_names_one():
    service = AsyncMock()
    handler = handlers.EmailJobHandler(service)
    payload = {**EMAIL, "template_id": "welcome", "variables": {"name": "Ada"}}

    result = await handler.handle(make_job(payload=payload))

    assert result.result_data["recipient"] == "ada@example.com"
    service.send_templated_email.assert_awaited_once_with(
        to="ada@example.com", template_id="welcome", variables={"name": "Ada"}
    )
    service.send_email.assert_not_called()


@pytest.mark.parametrize(("retry_count", "alerts"), [(0, 0), (2, 0), (3, 1)])
async def test_email_alerts_the_admin_only_when_retries_are_spent(retry_count, alerts):
    service = AsyncMock()
    job = make_job(payload=EMAIL, retry_count=retry_count)

    await handlers.EmailJobHandler(service).on_failure(job, Exception("SMTP error"))

    assert service.send_admin_alert.await_count == alerts


async def test_import_stores_what_it_fetched_and_parsed(importing):
    importing.import_service.parse_data.return_value = ["a", "b", "c"]
    importing.storage_service.store_import.return_value = SimpleNamespace(id=7)
    job = make_job(payload={"source_url": "s3://data.csv", "user_id": "u1"}, metadata={"tag": "x"})

    result = await importing.handle(job)

    assert result.success
    assert result.result_data["records_imported"] == 3
    assert result.result_data["import_id"] == "7"
    importing.storage_service.store_import.assert_awaited_once_with(
        data=["a", "b", "c"], user_id="u1", metadata={"tag": "x"}
    )


async def test_import_without_a_source_returns_a_validation_error(importing):
    result = await importing.handle(make_job(payload={}))

    assert not result.success
    assert isinstance(result.error, ValidationError)
    assert str(result.error) == "source_url is required"
    importing.import_service.fetch_data.assert_not_called()


async def test_import_returns_an_unexpected_error_as_a_failure(importing):
    importing.import_service.fetch_data.side_effect = OSError("unreachable")

    result = await importing.handle(make_job(payload={"source_url": "s3://data.csv"}))

    assert isinstance(result.error, OSError)


async def test_failed_import_cleans_up_and_tells_the_user(importing):
    job = make_job(payload={"source_url": "s3://x", "user_id": "u1"}, metadata={"import_id": "7"})
    error = OSError("unreachable")

    await importing.on_failure(job, error)

    importing.storage_service.cleanup_failed_import.assert_awaited_once_with("7")
    importing.notify_import_failure.assert_awaited_once_with("u1", "s3://x", error)


async def test_report_is_generated_and_stored():
    handler = ReportJobHandler(AsyncMock(), AsyncMock())
    handler.report_service.generate_report.return_value = b"%PDF"
    handler.file_storage.store_report.return_value = "reports/1.pdf"

    result = await handler.handle(make_job(payload={**REPORT, "user_id": "u1"}))

    assert result.result_data["file_path"] == "reports/1.pdf"
    assert result.result_data["size_bytes"] == 4
    handler.file_storage.store_report.assert_awaited_once_with(
        data=b"%PDF", filename="sales_2026-01-01_2026-01-31.pdf", user_id="u1"
    )


@pytest.mark.parametrize(("retry_count", "told"), [(0, 0), (3, 1)])
async def test_failed_report_notifies_the_user_at_the_end(retry_count, told):
    handler = ReportJobHandler(AsyncMock(), AsyncMock())
    job = make_job(payload={**REPORT, "user_id": "u1"}, retry_count=retry_count)

    await handler.on_failure(job, Exception("no data"))

    assert handler.notification_service.send_notification.await_count == told


async def test_report_without_a_user_fails_with_the_missing_key():
    result = await ReportJobHandler(AsyncMock(), AsyncMock()).handle(make_job(payload=REPORT))

    assert not result.success
    assert isinstance(result.error, KeyError)


@pytest.mark.parametrize(("status", "success"), [(200, True), (404, False)])
async def test_webhook_is_done_after_any_answer_below_500(status, success):
    client = AsyncMock()
    client.post.return_value = Mock(status_code=status, text="x" * 2000)

    result = await handlers.WebhookJobHandler(client).handle(make_job(payload=HOOK))

    assert result.success is success
    assert result.result_data == {"status_code": status, "response": "x" * 1000}
    client.post.assert_awaited_once_with(HOOK["url"], json={"event": "created"}, timeout=30)


async def test_webhook_tries_again_after_server_errors_and_exceptions(no_backoff):
    client = AsyncMock()
    client.post.side_effect = [Mock(status_code=503), OSError(), Mock(status_code=204, text="")]

    result = await handlers.WebhookJobHandler(client).handle(make_job(payload=HOOK))

    assert result.success
    assert no_backoff.await_args_list == [call(1), call(2)]


async def test_webhook_gives_up_after_three_attempts():
    client = AsyncMock()
    client.post.return_value = Mock(status_code=500)
    handler = handlers.WebhookJobHandler(client)

    result = await handler.handle(make_job(payload=HOOK))
    await handler.on_failure(make_job(payload=HOOK), result.error)

    assert not result.success
    assert result.result_data == {"attempts": 3}
    assert client.post.await_count == 3


@pytest.mark.parametrize(
    ("payload", "message"),
    [({}, "user_id required"), ({"user_id": "u1", "amount": -1}, "amount must be positive")],
)
async def test_early_validation_costs_no_expensive_work(payload, message):
    handler = ValidatingPaymentHandler()

    result = await handler.handle(make_job(payload=payload))

    assert isinstance(result.error, ValidationError)
    assert str(result.error) == message
    handler.process_payment.assert_not_called()


async def test_valid_payment_is_processed():
    result = await ValidatingPaymentHandler().handle(
        make_job(payload={"user_id": "u1", "amount": 5})
    )

    assert result.result_data == {"paid": True}


@pytest.mark.parametrize(
    ("user", "error"),
    [(None, ResourceNotFoundError), (SimpleNamespace(balance=1), ValidationError)],
)
async def test_expected_failures_are_returned(user, error):
    result = await ReturningPaymentHandler(user).handle(
        make_job(payload={"user_id": "u1", "amount": 5})
    )

    assert isinstance(result.error, error)
    assert result.result_data == {}


async def test_database_error_is_raised_again():
    handler = ReturningPaymentHandler(None)
    handler.get_user.side_effect = DatabaseError("connection reset")

    with pytest.raises(DatabaseError, match="connection reset"):
        await handler.handle(make_job(payload={"user_id": "u1", "amount": 5}))


async def test_injected_services_are_used():
    handler = practices.InjectedEmailHandler(AsyncMock(), AsyncMock(), AsyncMock())
    handler.template_service.get.return_value = "Dear …"

    result = await handler.handle(make_job(payload={"template_id": "welcome"}))

    assert result.success
    handler.email_service.send.assert_awaited_once_with("Dear …")
    handler.audit_service.log.assert_awaited_once_with("email_sent")


async def test_stateless_handler_takes_everything_from_the_payload():
    handler = practices.StatelessEmailHandler(AsyncMock())

    await handler.handle(make_job(payload={"recipient": "a@example.com"}))
    await handler.handle(make_job(payload={"recipient": "b@example.com"}))

    assert handler.email_service.send.await_args_list == [
        call("a@example.com"),
        call("b@example.com"),
    ]


@pytest.mark.parametrize("kind", ["email", "sms", "push"])
async def test_one_handler_may_choose_by_payload(kind):
    handler = faq.NotificationHandler()
    for name in ("email", "sms", "push"):
        setattr(handler, f"send_{name}", AsyncMock(return_value=name))

    assert await handler.handle(make_job(payload={"type": kind})) == kind


async def test_session_comes_from_the_injected_factory():
    session = AsyncMock()
    factory = Mock(return_value=AsyncMock(__aenter__=AsyncMock(return_value=session)))

    result = await faq.DataHandler(factory).handle(make_job())

    assert result.success
    session.commit.assert_awaited_once_with()


async def test_user_context_comes_from_the_injected_service():
    handler = faq.UserActionHandler(AsyncMock(), AsyncMock())
    handler.user_service.get_user.return_value = "Ada"
    handler.action_service.perform_action.return_value = {"done": True}

    result = await handler.handle(make_job(payload={"user_id": "u1", "action": "wave"}))

    assert result.result_data == {"done": True}
    handler.action_service.perform_action.assert_awaited_once_with("Ada", "wave")


async def test_copy_of_a_job_may_be_handed_to_on_failure():
    service = AsyncMock()
    job = make_job(id=uuid4(), payload=EMAIL)

    await handlers.EmailJobHandler(service).on_failure(
        replace(job, retry_count=job.max_retries), Exception("SMTP error")
    )

    service.send_admin_alert.assert_awaited_once_with(
        subject="Email Job Failed", body="Failed to send email after 3 retries"
    )
