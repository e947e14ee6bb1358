"""Store URLs: what opens, and the sentence that a mistake gets."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from rowstamp.errors import ConfigurationError
from rowstamp.store import Store
from rowstamp.stores import open_store
from rowstamp.stores.memory import MemoryStore

pytestmark = pytest.mark.once

MIB = 1024 * 1024


def bound(store: Store) -> int:
    assert isinstance(store, MemoryStore)
    return store._max_bytes


def test_a_memory_url_opens_a_memory_store_of_256_mib() -> None:
    assert bound(open_store("memory://")) == 256 * MIB


def test_each_call_opens_a_store_of_its_own() -> None:
    one, other = open_store("memory://"), open_store("memory://")
    one.put(b"e" * 16, b"blob", 10)
    assert other.read(b"e" * 16, []).entry is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("268435456", 256 * MIB),
        ("1", 1),
        ("512B", 512),
        ("256MB", 256_000_000),
        ("256mb", 256_000_000),
        ("64MiB", 64 * MIB),
        ("64mib", 64 * MIB),
        ("8 KiB", 8192),
        ("8%20kB", 8000),
        ("2GB", 2_000_000_000),
        ("1GiB", 1024 * MIB),
        ("1TB", 10**12),
        ("1TiB", 1024 * 1024 * MIB),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(text: str, size: int) -> None:
    assert bound(open_store(f"memory://?max_bytes={text}")) == size


@pytest.mark.parametrize("text", ["", "lots", "-5", "1.5GB", "1e6", "64M", "MB", "64 MiB MiB", "٣"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"memory://?max_bytes={text}")
    assert f"max_bytes={text!r}" in str(caught.value)
    assert "64MiB" in str(caught.value)


@pytest.mark.parametrize("text", ["0", "0MiB"])
def test_a_size_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"max_bytes='{text}' leaves the store no room; give a positive size"):
        open_store(f"memory://?max_bytes={text}")


def test_an_unknown_option_is_named_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'maxbytes' for a memory:// store; known .*max_bytes"):
        open_store("memory://?maxbytes=1")


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'max_bytes' is given more than once"):
        open_store("memory://?max_bytes=1MB&max_bytes=2MB")


@pytest.mark.parametrize("url", ["memory://localhost", "memory:///tmp/x", "memory:x", "memory://#x"])
def test_a_memory_store_is_nowhere(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no host, path or fragment; write memory://"):
        open_store(url)


def test_an_unknown_scheme_is_named_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store("memcached://localhost")
    message = str(caught.value)
    assert "unknown store scheme 'memcached'; available: memory://" in message
    for scheme in ("redis", "rediss", "valkey", "unix", "redis+sentinel", "redis+cluster", "lmdb"):
        assert f"{scheme}://" in message


@pytest.mark.parametrize("url", ["", "memory", "/tmp/cache"])
def test_a_url_without_a_scheme_is_told_to_have_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no scheme; begin it with one of: memory://"):
        open_store(url)


@pytest.mark.parametrize("url", [None, 5, b"memory://"])
def test_what_is_no_text_is_refused(url: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"is text like 'memory://', not {type(url).__name__}"):
        open_store(url)


def test_a_url_that_cannot_be_parsed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be parsed"):
        open_store("redis://[::1")


@pytest.mark.parametrize(
    "url",
    ["redis://:hunter2@localhost:99999", "redsi://:hunter2@localhost", "memory://u:hunter2@h", "redis://:hunter2@[::1"],
)
def test_no_message_repeats_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_package_imports_no_store() -> None:
    program = "import sys, rowstamp.stores; print(*sys.modules)"
    imported = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "rowstamp.stores" in imported
    assert not {"cachebox", "redis", "lmdb", "rowstamp.stores.memory"} & set(imported)
