"""What the URL of a Redis or Valkey queue says of where it is, and how it is spoken to."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection

from portico.adapters.job_queue._redis.client import RedisClient
from portico.adapters.job_queue._redis.packing import packed
from portico.adapters.job_queue._redis.place import PORT, SENTINEL_PORT, redis_place


@pytest.mark.parametrize(
    ("url", "kind", "tls", "hosts", "database"),
    [
        ("redis://h/2", "one", False, (("h", PORT),), 2),
        ("rediss://h:7/0", "one", True, (("h", 7),), 0),
        ("valkey://h", "one", False, (("h", PORT),), 0),
        ("valkey://user:word@h:7/3", "one", False, (("h", 7),), 3),
        ("valkeys://h:7/0", "one", True, (("h", 7),), 0),
        ("redis+sentinel://a,b:7/name/1", "sentinel", False, (("a", SENTINEL_PORT), ("b", 7)), 1),
        ("rediss+sentinel://a,b/name/0", "sentinel", True,
         (("a", SENTINEL_PORT), ("b", SENTINEL_PORT)), 0),
        ("redis+cluster://a,b:7", "cluster", False, (("a", PORT), ("b", 7)), 0),
        ("rediss+cluster://a:7,b:8", "cluster", True, (("a", 7), ("b", 8)), 0),
    ],
)  # fmt: skip
def test_the_scheme_says_how_many_servers_there_are_and_whether_they_speak_tls(
    url: str, kind: str, tls: bool, hosts: tuple[tuple[str, int], ...], database: int
) -> None:
    place = redis_place(url)
    assert (place.kind, place.tls, tuple(place.hosts), place.database) == (
        kind, tls, hosts, database,
    )  # fmt: skip
    if kind == "sentinel":
        assert place.service == "name"
    assert "word" not in str(place)


def connection_of(client: Any) -> Any:
    """A connection as the client would make one."""
    if hasattr(client, "nodes_manager"):
        settings = client.connection_kwargs
        return settings["connection_class"](
            host="h", port=1, **{k: v for k, v in settings.items() if k.startswith("ssl_")}
        )
    return client.connection_pool.make_connection()


@pytest.mark.parametrize("kind", ["", "+sentinel", "+cluster"])
@pytest.mark.parametrize("tls", [False, True])
async def test_every_kind_of_server_is_spoken_to_with_tls_where_the_url_says_so(
    kind: str, tls: bool
) -> None:
    path = {"": "/0", "+sentinel": "/name/0", "+cluster": ""}[kind]
    client = RedisClient(redis_place(f"redis{'s' if tls else ''}{kind}://h:1{path}"))
    made = client._made()
    connection = connection_of(made)
    assert isinstance(connection, SSLConnection) is tls
    if tls:
        assert connection.ssl_context.check_hostname is True
        assert connection.ssl_context.cert_reqs.name == "CERT_REQUIRED"
    for sentinel in client._sentinel.sentinels if client._sentinel else ():
        assert isinstance(sentinel.connection_pool.make_connection(), SSLConnection) is tls


@pytest.mark.parametrize("kind", ["", "+sentinel"])
@pytest.mark.parametrize("tls", ["", "s"])
async def test_commands_are_put_together_as_the_driver_itself_does_it(kind: str, tls: str) -> None:
    path = {"": "/0", "+sentinel": "/name/0"}[kind]
    connection = connection_of(RedisClient(redis_place(f"redis{tls}{kind}://h:1{path}"))._made())
    commands: list[tuple[Any, ...]] = [
        ("PING",), ("CLIENT SETNAME", "portico"), (b"CONFIG GET", b"x"),
        ("EVALSHA", "abc", 1, "é", b"\xff", ""),
    ]  # fmt: skip
    for command in commands:
        [wanted] = type(connection).__mro__[1].pack_command(connection, *command)
        assert connection.pack_command(*command) == packed(*command) == [wanted]
