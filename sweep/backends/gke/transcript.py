"""The results in one pod's log, taken only where they agree with how the launcher goes through the points.

The launcher takes the points in their order, one at a time, and announces each with a SWEEP_STEP before its result. A
result that names another deployment or sweep is not taken. One that was not announced is somebody else's print, unless
its announcement was in a part of the log that rotation took, or the launcher is an older one, which announced nothing
that lay on the results volume. What comes next tells: the launcher cannot announce it, or an earlier point, afterwards,
and it does not print it while another point runs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sweep.backends import AttemptKey
from sweep.published import Published, read_result

log = logging.getLogger(__name__)


class Transcript:
    """Reads the lines of one pod, in their order; `end` is called where it has ended well."""

    def __init__(self, order: Sequence[AttemptKey], deployment_id: str, sweep_id: str) -> None:
        self._place = {key: number for number, key in enumerate(order)}
        self._ours = {"deployment": deployment_id, "sweep": sweep_id}
        self._announced: set[AttemptKey] = set()
        self._waiting: list[Published] = []

    def step(self, key: AttemptKey) -> list[Published]:
        """Take note that a point was announced, and return the results that are certain by that."""
        self._announced.add(key)
        if key not in self._place:
            return []
        waiting, self._waiting = self._waiting, []
        earlier = [result for result in waiting if self._place.get(result.key, len(self._place)) < self._place[key]]
        self._refuse([result for result in waiting if result not in earlier])
        return earlier

    def result(self, line: str) -> list[Published]:
        """Return what a SWEEP_RESULT line tells, as far as it is certain.

        Raises:
            ReportError: it is damaged.
        """
        result = read_result(line)
        stated = {"deployment": result.deployment, "sweep": result.sweep}
        if other := [name for name, ours in self._ours.items() if stated[name] not in ("", ours)]:
            log.warning("a result of %s %s is not taken", other[0], stated[other[0]])
            return []
        if result.key not in self._announced:
            self._waiting.append(result)
            return []
        waiting, self._waiting = self._waiting, []
        self._refuse(waiting)  # they came while this point ran
        return [result]

    def end(self) -> list[Published]:
        """Return the results that are certain now that the launcher went through all points and announced no others."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _refuse(self, results: Sequence[Published]) -> None:
        for result in results:
            log.warning("a result of point %s attempt %d-%d that nothing announced is not taken", *result.key)
