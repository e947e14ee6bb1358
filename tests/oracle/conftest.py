import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("tests.oracle.figures"):
        config.pluginmanager.import_plugin("tests.oracle.figures")
