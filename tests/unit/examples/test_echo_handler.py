from __future__ import annotations

from portico.examples.echo_handler import EchoHandler
from tests.support.jobs import make_job


async def test_echo_returns_its_payload() -> None:
    handler = EchoHandler()

    result = await handler.handle(make_job(payload={"answer": 42}))

    assert handler.job_type == "system.echo"
    assert result.success
    assert result.result_data == {"answer": 42}
