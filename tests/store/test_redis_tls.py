"""Redis over TLS, with certificates of a private authority. The Valkey of the wheel is built without TLS."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio

from rowstamp.errors import ConfigurationError
from rowstamp.stores import open_store
from rowstamp.stores.redis import AsyncRedisStore, RedisStore
from rowstamp.testing.store_harness import digest, drive, token
from tests.servers.redis import RedisServer
from tests.store.tls_support import Authority, secured

pytestmark = pytest.mark.once

E, A, ANN = digest("entry"), digest("a"), digest("ann")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[RedisServer]:
    with secured(authority, "server") as server:
        yield server


def url_of(server: RedisServer, **options: Path) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"rediss://127.0.0.1:{server._options['tls-port']}/0?{query}&timeout_ms=5000&connect_timeout_ms=5000"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_server_whose_certificate_is_trusted_is_used(
    server: RedisServer, authority: Authority, asynchronous: bool
) -> None:
    store = open_store(url_of(server, ssl_ca_certs=authority.certificate), asynchronous=asynchronous, hold_ttl=0)
    assert isinstance(store, AsyncRedisStore if asynchronous else RedisStore)
    with drive(store) as driven:
        driven.touch({A: digest("a1")})
        assert driven.read(E, [A]).stamps == (token("a1"),)
        driven.hold([A], ANN, 10)
        assert driven.release({A: digest("a2")}, ANN) == (True,)


def test_closing_does_not_wait_for_a_server_to_take_leave(server: RedisServer, authority: Authority) -> None:
    """TLS would; and where the loop ends before the server has, the socket would be left open."""

    async def use() -> None:
        store = AsyncRedisStore.of_client(redis.asyncio.Redis.from_url(location), hold_ttl=0)
        await store.touch({A: digest("a1")})
        os.kill(server.pid, signal.SIGSTOP)
        await store.aclose()

    location = f"rediss://127.0.0.1:{server._options['tls-port']}?ssl_ca_certs={authority.certificate}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            asyncio.run(use())
        finally:
            os.kill(server.pid, signal.SIGCONT)
        gc.collect()
    assert [str(each.message) for each in caught] == []


def test_a_server_of_another_authority_is_a_mistake_at_the_start(server: RedisServer, folder: Path) -> None:
    other = Authority(folder, "other")
    with pytest.raises(ConfigurationError, match=r"a certificate is not accepted: give the right ssl_ca_certs"):
        open_store(url_of(server, ssl_ca_certs=other.certificate))


def test_a_server_is_not_trusted_by_default(server: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match=r"a certificate is not accepted"):
        open_store(url_of(server))


def test_a_certificate_of_another_host_is_a_mistake_at_the_start(authority: Authority) -> None:
    with (
        secured(authority, "elsewhere", "DNS:elsewhere.example") as server,
        pytest.raises(ConfigurationError, match=r"a certificate is not accepted"),
    ):
        open_store(url_of(server, ssl_ca_certs=authority.certificate))


def test_a_server_may_ask_who_the_client_is(authority: Authority) -> None:
    certificate, key = authority.sign("client", "DNS:client")
    with secured(authority, "strict", clients="yes") as server:
        mine = {"ssl_certfile": certificate, "ssl_keyfile": key}
        store = open_store(url_of(server, ssl_ca_certs=authority.certificate, **mine), hold_ttl=0)
        store.put(E, b"blob", 10)
        assert store.read(E, []).entry == b"blob"
        store.close()
        with pytest.raises(ConfigurationError, match=r"ssl_certfile and ssl_keyfile where the server asks"):
            open_store(url_of(server, ssl_ca_certs=authority.certificate))


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_named(option: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{option}='.*/nothing.pem' is not a file"):
        open_store(f"rediss://127.0.0.1:1?{option}={tmp_path}/nothing.pem")
