"""A server, the proxy before it, and a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rowstamp.testing.servers import ValkeyServer
from tests.faults.proxy import Proxy


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"{tmp_path}/shop.db"
