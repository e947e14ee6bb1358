"""Tools for testing rowstamp, its stores and applications that use it.

This package imports nothing by itself: the names below come from its submodules when they are first asked for, so that a
program which only starts a private server (`rowstamp.testing.servers`) needs neither pytest nor a driver.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rowstamp.testing.store_harness import BlockingStore as BlockingStore
    from rowstamp.testing.store_harness import FakeClock as FakeClock
    from rowstamp.testing.store_machine import store_state_machine as store_state_machine
    from rowstamp.testing.store_suite import StoreSuite as StoreSuite

__all__ = ["BlockingStore", "FakeClock", "StoreSuite", "store_state_machine"]

_HOMES: Final = {
    "BlockingStore": "store_harness",
    "FakeClock": "store_harness",
    "StoreSuite": "store_suite",
    "store_state_machine": "store_machine",
}
_WITH_ASSERTS: Final = tuple(f"{__name__}.{module}" for module in ("store_suite", "store_flows", "store_machine"))


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if home == "store_suite":
        _explain_asserts()
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def _explain_asserts() -> None:
    """Ask pytest to show the values in a failed assert of the shipped suite, as it does in test files."""
    import sys

    import pytest

    pytest.register_assert_rewrite(*(module for module in _WITH_ASSERTS if module not in sys.modules))
