"""The tests. A package, so that an installed one that happens to be named `tests` does not shadow it."""
