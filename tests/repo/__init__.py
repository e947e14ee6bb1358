"""Tests of the repository itself: what it names, how it is cut, and what an import costs."""
