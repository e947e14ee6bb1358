"""What both directions agree on: extension codes, the depth limit, the native encoder."""

from typing import Any, Final

import msgspec

__all__ = ["MAX_DEPTH", "encode_native", "type_name"]

# The numbers are part of the stored format: never reuse or renumber one, add at the end.
TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
DICT: Final = 4  # keys that MessagePack maps cannot hold exactly; flat key, value, key, value
DRIVER: Final = 5  # a type of a database driver, see _drivers
BIG_INT: Final = 10
SURROGATES: Final = 11  # text that UTF-8 refuses
BYTEARRAY: Final = 12
MEMORYVIEW: Final = 13
DECIMAL: Final = 14
DATETIME: Final = 15
DATE: Final = 16
TIME: Final = 17
TIMEDELTA: Final = 18
UUID: Final = 19
ENUM: Final = 20
IPV4_ADDRESS: Final = 21
IPV6_ADDRESS: Final = 22
IPV4_INTERFACE: Final = 23
IPV6_INTERFACE: Final = 24
IPV4_NETWORK: Final = 25
IPV6_NETWORK: Final = 26
NAN: Final = 27  # only in canonical encodings: one NaN, whatever its bits

# Each level of extension nesting costs a few interpreter frames when it is read back, and the reader may
# already stand deep in a web framework's stack: 64 levels fit there, and no result row comes near.
MAX_DEPTH: Final = 64

# No enc_hook on purpose: what the type scan let through by mistake must fail, not be converted.
encode_native: Final = msgspec.msgpack.Encoder().encode


def type_name(kind: type[Any]) -> str:
    """The name of a type as messages show it: `module.qualname`, builtins bare."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
