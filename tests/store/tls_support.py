"""A private authority, and Redis servers with certificates of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from rowstamp.testing.servers import free_port
from tests.servers.redis import RedisServer, make_redis_server
from tests.servers.support import find_program

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        self._program = find_program("openssl", remedy="apt-get install openssl")
        self._folder = folder
        self._name = name
        self.certificate = folder / f"{name}.crt"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", folder / f"{name}.key", "-out", self.certificate, "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def sign(self, name: str, alternative: str) -> tuple[Path, Path]:
        """Return a certificate and its key."""
        certificate, key, request = (self._folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", key, "-out", request, "-subj", f"/CN={name}",
        )  # fmt: skip
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n")
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._folder / f"{self._name}.key",
            "-CAcreateserial", "-days", "2", "-out", certificate, "-extfile", extensions,
        )  # fmt: skip
        return certificate, key

    def _openssl(self, *words: str | Path) -> None:
        subprocess.run([self._program, *words], check=True, capture_output=True)


def secured(
    authority: Authority,
    name: str,
    alternative: str = "IP:127.0.0.1",
    clients: str = "no",
    more: Mapping[str, str] = NOTHING,
) -> RedisServer:
    """Return a server that speaks TLS on a port of its own, not started yet."""
    certificate, key = authority.sign(name, alternative)
    return make_redis_server({
        **more,
        "tls-port": str(free_port()),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority.certificate),
        "tls-auth-clients": clients,
    })  # fmt: skip
