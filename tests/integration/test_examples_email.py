"""`email.send` against a real SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default

import pytest
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session

from portico.examples.email_handler import EmailHandler
from portico.examples.smtp_mailer import SmtpMailer
from portico.examples.smtp_settings import SmtpSettings
from portico.exceptions import ExternalServiceError, NonRetryableError, ValidationError
from tests.support.jobs import make_job


class Mailbox:
    """Takes every message, unless it has another reply for its recipient."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.replies: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.recipients += envelope.rcpt_tos
        self.messages.append(BytesParser(EmailMessage, policy=default).parsebytes(envelope.content))
        return "250 OK"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def settings(mailbox: Mailbox) -> AsyncIterator[SmtpSettings]:
    controller = UnthreadedController(mailbox, "127.0.0.1", 0, loop=asyncio.get_running_loop())
    server = await controller._create_server()
    port = server.sockets[0].getsockname()[1]
    yield SmtpSettings(host="127.0.0.1", port=port, sender="jobs@example.com", admin="ops@x.org")
    server.close()
    await server.wait_closed()


@pytest.fixture
def handler(settings: SmtpSettings) -> EmailHandler:
    return EmailHandler(SmtpMailer(settings))


LETTER = {"recipient": "ada@example.com", "subject": "Grüße 🎉", "body": "Größe\n.\nend\n"}


async def test_a_message_arrives_as_it_was_written(handler: EmailHandler, mailbox: Mailbox) -> None:
    job = make_job(payload=LETTER)

    result = await handler.handle(job)

    assert result.success
    [message] = mailbox.messages
    assert message["To"] == "ada@example.com"
    assert message["From"] == "jobs@example.com"
    assert message["Subject"] == "Grüße 🎉"
    assert message["Message-ID"] == f"<{job.id}@example.com>"
    assert message.get_content().replace("\r\n", "\n") == "Größe\n.\nend\n"


async def test_a_template_arrives_filled(handler: EmailHandler, mailbox: Mailbox) -> None:
    variables = {"name": "Ada", "url": "https://example.com"}
    payload = {"recipient": "a@b.org", "template_id": "welcome", "variables": variables}

    result = await handler.handle(make_job(payload=payload))

    assert result.success
    assert mailbox.messages[0]["Subject"] == "Welcome, Ada"
    assert "https://example.com" in mailbox.messages[0].get_content()


@pytest.mark.parametrize(
    "field", [{"template_id": "nope"}, {"template_id": "welcome", "variables": {"name": "Ada"}}]
)
async def test_a_template_that_cannot_be_filled_is_final(
    handler: EmailHandler, mailbox: Mailbox, field: dict[str, object]
) -> None:
    result = await handler.handle(make_job(payload={"recipient": "a@b.org", **field}))

    assert isinstance(result.error, ValidationError)
    assert mailbox.messages == []


@pytest.mark.parametrize(
    "payload",
    [
        {**LETTER, "subject": "Hi\r\nBcc: eve@example.com"},
        {**LETTER, "subject": "Hi\nBcc: eve@example.com"},
        {**LETTER, "recipient": "ada@example.com\r\nBcc: eve@example.com"},
        {**LETTER, "recipient": "ada@example.com, eve@example.com"},
        {**LETTER, "recipient": "Ada <ada@example.com>"},
        {**LETTER, "recipient": "ada"},
        {**LETTER, "recipient": "@"},
        {**LETTER, "recipient": "a@b@c"},
    ],
)
async def test_nothing_in_a_payload_can_add_a_header_or_a_recipient(
    handler: EmailHandler, mailbox: Mailbox, payload: dict[str, str]
) -> None:
    result = await handler.handle(make_job(payload=payload))

    assert not result.success
    assert isinstance(result.error, ValidationError)
    assert mailbox.messages == []


async def test_a_line_break_in_a_templates_variable_cannot_add_a_header(
    handler: EmailHandler, mailbox: Mailbox
) -> None:
    variables = {"name": "Ada\r\nBcc: eve@example.com", "url": ""}
    payload = {"recipient": "a@b.org", "template_id": "welcome", "variables": variables}

    result = await handler.handle(make_job(payload=payload))

    assert isinstance(result.error, ValidationError)
    assert mailbox.messages == []


async def test_a_refused_recipient_is_final(handler: EmailHandler, mailbox: Mailbox) -> None:
    mailbox.replies["ada@example.com"] = "550 no such user"

    with pytest.raises(NonRetryableError, match="550: no such user"):
        await handler.handle(make_job(payload=LETTER))


async def test_a_busy_server_is_tried_again(handler: EmailHandler, mailbox: Mailbox) -> None:
    mailbox.replies["ada@example.com"] = "451 come back later"

    with pytest.raises(ExternalServiceError, match="451: come back later"):
        await handler.handle(make_job(payload=LETTER))


async def test_a_server_that_is_down_is_tried_again(unused_tcp_port: int) -> None:
    mailer = SmtpMailer(SmtpSettings(host="127.0.0.1", port=unused_tcp_port))

    with pytest.raises(ExternalServiceError, match=f"mail server 127.0.0.1:{unused_tcp_port}"):
        await EmailHandler(mailer).handle(make_job(payload=LETTER))


async def test_the_admin_hears_of_a_message_that_could_not_be_sent(
    handler: EmailHandler, mailbox: Mailbox
) -> None:
    job = make_job(payload=LETTER, retry_count=3, max_retries=3)

    await handler.on_failure(job, ExternalServiceError("mail server is down"))

    assert mailbox.recipients == ["ops@x.org"]
    assert "mail server is down" in mailbox.messages[0].get_content()
