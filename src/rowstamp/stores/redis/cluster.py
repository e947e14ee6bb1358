"""Which server of a cluster has which key, and where a cluster is.

**Keys are scattered** over all slots, as their digests fall, so that a busy table does not make a busy node. A read then concerns
as many nodes as its keys fall on, at most one for each key, and asks them at the same time. What was rejected: one hash tag
for a namespace, which is one node for all that it reads; whoever wants just that writes ``prefix={shop}``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from rowstamp.errors import ConfigurationError, StoreError
from rowstamp.stores.redis.address import OPTIONS, Address, split_hosts
from rowstamp.stores.redis.sentinel import SentinelAddress
from rowstamp.stores.redis.server import UnusableServer
from rowstamp.stores.redis.trip import Answer, Errand, Node

__all__ = ["CLUSTER_OPTIONS", "Alone", "ClusterAddress", "Slots", "route_to"]

CLUSTER_OPTIONS: Final = (*OPTIONS, "tls", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
REFRESH_SECONDS: Final = 0.1
"""How often a map that is known to be wrong is asked for again, at most."""

_SLOTS: Final = 16384
_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """A cluster, by some of its nodes.

    Attributes:
        seeds: nodes to ask for the others.
        each: how to connect to a node, but for its host and port.
    """

    seeds: tuple[Node, ...]
    each: Address

    @property
    def prefix(self) -> str:
        """How every key begins."""
        return self.each.prefix

    @property
    def timeout_ms(self) -> float:
        """How long one round trip may take."""
        return self.each.timeout_ms

    @property
    def connect_timeout_ms(self) -> float:
        """How long making a connection may take."""
        return self.each.connect_timeout_ms

    def __str__(self) -> str:
        return f"the cluster of {', '.join(map(str, self.seeds))}"

    def of(self, node: Node) -> Address:
        """Return the address of one node."""
        return replace(self.each, options={**self.each.options, "host": node.host, "port": node.port})

    @classmethod
    def of_url(cls, parts: SplitResult, options: Mapping[str, str]) -> ClusterAddress:
        """Return the address in ``redis+cluster://user:password@host:port,host:port``.

        Raises:
            ConfigurationError: a part of it makes no sense.
        """
        userinfo, _, hosts = parts.netloc.rpartition("@")
        if parts.path.strip("/") not in {"", "0"}:
            raise ConfigurationError("a cluster has no numbered databases: leave out the path of the store URL")
        tls = options.get("tls", "0")
        if tls not in {"0", "1"}:
            raise ConfigurationError(f"tls={tls!r} is neither 0 nor 1")
        files = [name for name in options if name.startswith("ssl_")]
        if files and tls == "0":
            raise ConfigurationError(f"{files[0]} is for a cluster that speaks TLS: add tls=1 to the store URL")
        scheme = "rediss" if tls == "1" else "redis"
        common = {name: value for name, value in options.items() if name != "tls"}
        each = Address.of_url(urlsplit(f"{scheme}://{userinfo}{userinfo and '@'}node"), common)
        return cls(tuple(Node(*seed) for seed in split_hosts(hosts, _PORT, "nodes")), each)


class Slots:
    """The map of a cluster: which node has which slot; a :class:`~rowstamp.stores.redis.trip.Route`.

    It is asked for when nothing is known, and again after a redirection or when a node did not answer. Meanwhile each
    redirection is remembered by itself. A map that is wrong costs time and nothing else: no node answers for a slot it does not have.

    Attributes:
        nodes: the nodes that have slots, as far as is known.
    """

    in_cluster = True

    def __init__(self, address: ClusterAddress) -> None:
        self._address = address
        self._owners: list[Node] | None = None
        self.nodes: frozenset[Node] = frozenset()
        self._suspects: set[Node] = set()
        self._wrong = True
        self._next_survey = 0.0

    def node_of(self, key: bytes) -> Node:
        """See :meth:`rowstamp.stores.redis.trip.Route.node_of`."""
        if self._owners is None:
            raise StoreError("no node of the cluster could be asked for the others")
        return self._owners[key_slot(key)]

    def address_of(self, node: Node) -> Address:
        """Return how to connect to a node."""
        return self._address.of(node)

    def marker(self, node: Node, prefix: bytes) -> Callable[[bytes], bytes] | None:
        """Return what makes a key of a node's own, for its mark (see ``server.py``); nothing while there is no map.

        Clients whose maps differ may find different keys: then one of them waits without need.
        """
        owners = self._owners
        if owners is None:
            return None

        def mark(digest: bytes) -> bytes:
            if node not in owners:  # a node that is about to get its first slot
                return prefix + digest
            tags = (b"{%d}" % number for number in count())
            return prefix + next(tag for tag in tags if owners[key_slot(tag)] == node) + digest

        return mark

    def failed(self, node: Node) -> None:
        """See :meth:`rowstamp.stores.redis.trip.Route.failed`."""
        self._suspects.add(node)
        self._wrong = True

    def moved(self, told: AskError, by: Node) -> Node:
        """See :meth:`rowstamp.stores.redis.trip.Route.moved`."""
        # A node that does not know its own name leaves the host out.
        node = Node(told.host or by.host, told.port)
        if isinstance(told, MovedError):
            self._wrong = True
            if self._owners is not None:
                self._owners[told.slot_id] = node
                self.nodes |= {node}
        return node

    def survey(self, now: float) -> Generator[list[Errand], list[Answer | Exception], None]:
        """See :meth:`rowstamp.stores.redis.trip.Route.survey`. One client at a time asks one node; the others use what there is."""
        if not self._wrong:
            return
        if self._owners is None:
            yield from self._first_survey()
        elif now >= self._next_survey:
            self._next_survey = now + REFRESH_SECONDS
            yield from self._ask(next(iter(self._candidates())))

    def _first_survey(self) -> Generator[list[Errand], list[Answer | Exception], None]:
        failure: Exception | None = None
        for node in self._candidates():
            failure = yield from self._ask(node)
            if failure is None:
                return
            if isinstance(failure, ResponseError | UnusableServer):
                break  # it is there and refuses: the others will, too
        raise failure or StoreError("the cluster has no node")

    def _candidates(self) -> list[Node]:
        known = dict.fromkeys((*sorted(self.nodes), *self._address.seeds))
        if self._suspects.issuperset(known):
            self._suspects.clear()
        return sorted(known, key=lambda node: node in self._suspects)

    def _ask(self, node: Node) -> Generator[list[Errand], list[Answer | Exception], Exception | None]:
        (answer,) = yield [Errand(node, words=[("CLUSTER", "SLOTS")])]
        if isinstance(answer, Exception):
            self._suspects.add(node)
            return answer
        (reply,) = answer.replies
        if isinstance(reply, Exception):
            return reply
        owners = _owners(reply, node)
        if owners is None:
            self._suspects.add(node)
            return StoreError("the cluster does not serve all of its slots")
        self._owners = owners
        self.nodes = frozenset(owners)
        self._suspects.clear()
        self._wrong = False
        return None


def _owners(reply: Any, by: Node) -> list[Node] | None:
    """The primary of each slot from the reply to ``CLUSTER SLOTS``, or ``None`` if a slot has none."""
    owners: list[Node | None] = [None] * _SLOTS
    for first, last, primary, *_ in reply:
        host = bytes(primary[0] or b"").decode()
        node = Node(host if host not in {"", "?"} else by.host, int(primary[1]))
        owners[first : last + 1] = [node] * (last + 1 - first)
    found = [node for node in owners if node is not None]
    return found if len(found) == _SLOTS else None


class Alone:
    """A server on its own, directly or behind Sentinel: it has every key; a :class:`~rowstamp.stores.redis.trip.Route`."""

    in_cluster = False
    _NODE: Final = Node("", 0)

    def __init__(self, address: Address | SentinelAddress) -> None:
        self._address = address
        self.nodes = frozenset({self._NODE})

    def node_of(self, key: bytes) -> Node:  # noqa: ARG002
        """See :meth:`rowstamp.stores.redis.trip.Route.node_of`."""
        return self._NODE

    def address_of(self, node: Node) -> Address | SentinelAddress:  # noqa: ARG002
        """Return how to connect to it."""
        return self._address

    def marker(self, node: Node, prefix: bytes) -> Callable[[bytes], bytes]:  # noqa: ARG002
        """Return what makes the key of its mark."""
        return lambda digest: prefix + digest

    def failed(self, node: Node) -> None:
        """See :meth:`rowstamp.stores.redis.trip.Route.failed`."""

    def moved(self, told: AskError, by: Node) -> Node:  # noqa: ARG002
        """See :meth:`rowstamp.stores.redis.trip.Route.moved`."""
        raise told

    def survey(self, now: float) -> Generator[list[Errand], list[Answer | Exception], None]:  # noqa: ARG002
        """See :meth:`rowstamp.stores.redis.trip.Route.survey`: there is nothing to ask for."""
        yield from ()


def route_to(address: Address | SentinelAddress | ClusterAddress) -> Alone | Slots:
    """Return the route to whatever is at an address."""
    return Slots(address) if isinstance(address, ClusterAddress) else Alone(address)
