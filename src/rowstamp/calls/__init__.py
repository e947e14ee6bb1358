"""Answer one call from the cache, or run it, record what it depends on, and store it.

Like the protocol, the order of steps is written once, as generators: they yield what is to be done (store operations, run the
function, flush a session, wait for another's load), and ``drive`` and ``drive_async`` do it (:mod:`rowstamp.calls.steps`).
:mod:`~rowstamp.calls.answers` decides what becomes of a call, :mod:`~rowstamp.calls.lookups` knows what is stored,
:mod:`~rowstamp.calls.loads` runs and stores, :mod:`~rowstamp.calls.turns` sees that one of a fleet does so.
"""

from rowstamp.calls.answers import Calls
from rowstamp.calls.call import Call, Detach
from rowstamp.calls.steps import Steps, drive, drive_async

__all__ = ["Call", "Calls", "Detach", "Steps", "drive", "drive_async"]
