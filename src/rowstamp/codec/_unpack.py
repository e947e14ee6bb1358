"""MessagePack with our extensions → the Python values it was made from."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from rowstamp.codec import _drivers, _scalars, _temporal
from rowstamp.codec import _wire as wire
from rowstamp.errors import CorruptEntry

__all__ = ["ROOT", "Unpacker"]

_SCALARS: Final[dict[int, Callable[[bytes], object]]] = {**_scalars.UNPACK, **_temporal.UNPACK}


def _unpack_dict(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


_CONTAINERS: Final[dict[int, Callable[[Sequence[Any]], object]]] = {
    wire.TUPLE: tuple,
    wire.SET: set,
    wire.FROZENSET: frozenset,
    wire.DICT: _unpack_dict,
    wire.DRIVER: _drivers.rebuild,
}


class Unpacker:
    """Decodes one level of extensions; those inside them are for the next one, and the chain ends.

    A chain of decoders built once, rather than one decoder and a depth counter: an extension hook is told
    neither its depth nor its caller, and a counter would have to be per thread and reset after errors.
    """

    __slots__ = ("_inner", "items", "rows", "value")

    def __init__(self, levels: int) -> None:
        self._inner = Unpacker(levels - 1) if levels else None
        self.value = msgspec.msgpack.Decoder(Any, ext_hook=self._extension)
        self.items = msgspec.msgpack.Decoder(list[Any], ext_hook=self._extension)
        self.rows = msgspec.msgpack.Decoder(list[tuple[Any, ...]], ext_hook=self._extension)

    def _extension(self, code: int, data: memoryview) -> object:
        scalar = _SCALARS.get(code)
        if scalar is not None:
            return scalar(bytes(data))  # a copy: what is returned must not keep the whole entry alive
        container = _CONTAINERS.get(code)
        if container is None:
            raise CorruptEntry(f"unknown extension {code}")
        if self._inner is None:
            raise CorruptEntry(f"more than {wire.MAX_DEPTH} levels deep")
        return container(self._inner.items.decode(data))


ROOT: Final = Unpacker(wire.MAX_DEPTH)
