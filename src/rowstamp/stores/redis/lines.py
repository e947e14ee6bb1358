"""The blocking connections to one server, and how errands are run on them: one alone, or several at the same time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from rowstamp.errors import StoreError
from rowstamp.stores.redis.deadline import Deadline
from rowstamp.stores.redis.errors import FOREIGN
from rowstamp.stores.redis.plan import Plan
from rowstamp.stores.redis.reading import Reading
from rowstamp.stores.redis.sentinel import find
from rowstamp.stores.redis.talk import OUTDATED, Health, Line, Talk, ask, lead, lead_all
from rowstamp.stores.redis.trip import Answer, Errand, Node

__all__ = ["Job", "Lines", "run_together"]


class Lines:
    """The idle lines to one server, and whether it may be used; for any number of threads.

    Args:
        plan: what the store knows.
        node: the server.
    """

    def __init__(self, plan: Plan, node: Node) -> None:
        self.plan = plan
        self._node = node
        self._pid = os.getpid()
        self.idle: deque[Line] = deque()
        self.health = Health(plan.breakers)
        self.closed = False

    def run(self, errand: Errand, deadline: Deadline) -> Answer | Exception:
        """Run an errand; a line that turns out to be outdated is replaced once."""
        refusal = self.health.admit(self.probe)
        if refusal is not None:
            return refusal
        try:
            answer = self._said(errand, deadline)
        except FOREIGN as exc:
            self.health.failed(exc)
            return exc
        self.health.answered()
        return answer

    def read(self, reading: Reading) -> list[Any] | None:
        """Make reads on an idle line; ``None``, and nothing has come of it, if there is none or more than that has to be said."""
        line = None if self.health.breaker.is_open else self._idle_line()
        if line is None or not self.plan.is_settled(self._node, line.server):
            if line is not None:
                self.give(line)
            return None
        try:
            reply = ask(line.connection, reading.words)
        except BaseException as exc:
            line.connection.disconnect()
            if isinstance(exc, OUTDATED):
                self.drop()
                return None
            if isinstance(exc, FOREIGN):
                self.health.failed(exc)
            raise
        self.give(line)
        self.health.answered()
        return reading.outcomes(line.server, reply)

    def _said(self, errand: Errand, deadline: Deadline) -> Answer:
        line = self.take(deadline)
        try:
            return self._lead(line, errand, deadline)
        except OUTDATED:
            if not line.used:
                raise
        return self.said_anew(errand, deadline)

    def said_anew(self, errand: Errand, deadline: Deadline) -> Answer:
        """Run an errand on a new line, after one that was outdated."""
        self.drop()  # the others like it are of no use either
        return self._lead(self._open(deadline), errand, deadline)

    def _lead(self, line: Line, errand: Errand, deadline: Deadline) -> Answer:
        plan = self.plan
        try:
            answer = lead(line.connection, plan.talk(errand, line.server), deadline=deadline, seconds=plan.timeout)
        except BaseException:
            line.connection.disconnect()
            raise
        self.give(line)
        return answer

    # ---------------------------------------------------------------------------------------------------- lines

    def take(self, deadline: Deadline) -> Line:
        """Return a line that nobody else uses."""
        return self._idle_line() or self._open(deadline)

    def _idle_line(self) -> Line | None:
        if self._pid != os.getpid():  # after a fork the connections are the parent's
            self.idle, self._pid = deque(), os.getpid()
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def give(self, line: Line) -> None:
        """Take back a line that works."""
        line.used = True
        if not line.lasts:
            line.connection.disconnect()
            return
        self.idle.append(line)
        if self.closed:
            self.drop()

    def drop(self) -> None:
        """Close the idle lines."""
        while self.idle:
            self.idle.pop().connection.disconnect()

    def close(self) -> None:
        """Close all of them, those too that come back later."""
        self.closed = True
        self.drop()

    def probe(self) -> None:
        """Try the server in the background."""
        threading.Thread(target=self._try_server, name="rowstamp-redis-probe", daemon=True).start()

    def _try_server(self) -> None:
        try:
            line = self._open(None)
        except FOREIGN as exc:
            self.health.failed(exc)
        else:
            self.give(line)
            self.health.answered()

    def _open(self, deadline: Deadline | None) -> Line:
        plan = self.plan
        address = find(plan.route.address_of(self._node), deadline)
        connection = address.blocking(deadline)
        # One whose time was cut short for this call is of no use for the next.
        lasts = deadline is None or deadline.remaining >= plan.timeout
        try:
            connection.connect()
            server = lead(connection, plan.greet(self._node), deadline=deadline, seconds=plan.timeout)
            return Line(connection, server, lasts=lasts)
        except BaseException:
            connection.disconnect()
            raise


class Job:
    """An errand that is run together with others.

    Args:
        lines: the lines to the server that it is for.
        errand: the errand.
    """

    def __init__(self, lines: Lines, errand: Errand) -> None:
        self._lines = lines
        self._errand = errand
        self._line: Line | None = None
        self._talk: Talk | None = None
        self._outcome: Answer | Exception = StoreError("the errand was given up")
        self._admitted = False
        self._outdated = False

    def start(self, deadline: Deadline) -> Talk | None:
        """Take a line; there is nothing to lead if there is none."""
        lines = self._lines
        refusal = lines.health.admit(lines.probe)
        if refusal is not None:
            self._outcome = refusal
            return None
        self._admitted = True
        try:
            self._line = lines.take(deadline)
            self._talk = Talk(self._line.connection, lines.plan.talk(self._errand, self._line.server))
        except FOREIGN as exc:
            self._outcome = exc
            return None
        return self._talk

    def end(self) -> None:
        """Keep the outcome, and give the line back or close it."""
        line, talk = self._line, self._talk
        self._line = self._talk = None
        if line is None:
            return
        if talk is not None and talk.over and talk.error is None:
            self._outcome = talk.result
            self._lines.give(line)
            return
        line.connection.disconnect()
        if talk is not None and talk.error is not None:
            self._outcome = talk.error
        self._outdated = line.used and isinstance(self._outcome, OUTDATED)

    def outcome(self, deadline: Deadline) -> Answer | Exception:
        """Return the outcome, after another attempt if the line was outdated, and let the server's health know."""
        if self._outdated:
            try:
                self._outcome = self._lines.said_anew(self._errand, deadline)
            except FOREIGN as exc:
                self._outcome = exc
        if isinstance(self._outcome, Answer):
            self._lines.health.answered()
        elif self._admitted:
            self._lines.health.failed(self._outcome)
        return self._outcome


def run_together(jobs: Sequence[Job], deadline: Deadline, seconds: float) -> list[Answer | Exception]:
    """Run errands at the same time.

    Args:
        jobs: the errands, each to another server.
        deadline: when the call is over that they are part of.
        seconds: how long the servers may take for what is said at the same time.
    """
    try:
        talks = [talk for job in jobs if (talk := job.start(deadline))]
        lead_all(talks, deadline.within(seconds))
    finally:
        for job in jobs:
            job.end()
    return [job.outcome(deadline) for job in jobs]
