"""Fixtures for private servers, one pytest plugin each; `tests/conftest.py` registers them.

Every server is started by the first test that asks for it and stopped at the end of the session. With pytest-xdist each
worker has its own: they start in half a second or less, and sharing would need a lock and a way to tell who is last.
"""
