"""The application with a database of its own, driven in one event loop without a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest_asyncio

# The application reads its settings when it is imported.
os.environ.setdefault(
    "SHOP_DATABASE", f"sqlite+aiosqlite:///{Path(tempfile.mkdtemp(prefix='rowstamp-example-')) / 'shop.db'}"
)

from examples.shop import app as application
from examples.shop.database import engine
from examples.shop.models import Base


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running() -> AsyncGenerator[None]:
    async with application.app.router.lifespan_context(application.app):
        yield
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)


@pytest_asyncio.fixture(loop_scope="session")
async def client(running: None) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client
