"""What a command costs: wall time, CPU and memory of every process that it starts, daemons included.

Ray's processes leave the tree of the command that started them. So the meter makes itself the parent of orphans
(PR_SET_CHILD_SUBREAPER): they fall to it, it sees them in /proc and reaps them at their end. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.1
PSS_EVERY = 5
"""Reading PSS makes the kernel walk page tables, so after the first ones only each fifth sample asks for it."""
PSS_AT_FIRST = 20
ORPHANS_S = 15.0
"""How long processes may outlive the command before they are killed."""
PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one command cost.

    wall_s: from its start to its own end; what outlives it is not waited for here.
    cpu_s: user and system time of all processes. Two counts are taken, that of the kernel for all reaped processes and
        the sum of the samples, and the larger is reported: the first lacks what a parent left unreaped (SIGCHLD
        ignored), the second the last tenth of a second of each process.
    cpu_by_process_s: of the samples, by the name that a process has in the end: `driver` for the command itself.
    peak_pss_mb: most memory at one time, 1e6 bytes; pages that processes share are counted once.
    """

    wall_s: float
    cpu_s: float
    peak_pss_mb: float
    cpu_by_process_s: Mapping[str, float]
    peak_processes: int
    exit_code: int
    output: str


def measure(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None, deadline_s: float = 600
) -> Cost:
    """Run a command to its end, and what it left behind to theirs.

    Raises:
        TimeoutError: the command did not end in time; it was killed.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    reaped_before, seen, peak_pss, peak_processes = _reaped_s(), dict[tuple[int, int], float](), 0, 0
    names: dict[tuple[int, int], str] = {}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=clean | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        turn, ended = 0, os.pidfd_open(process.pid)
        while process.poll() is None:
            alive = _sample(seen)
            names |= {key: _name(key[0], process.pid) for key in seen if key[0] in alive}
            peak_processes = max(peak_processes, len(alive))
            if turn < PSS_AT_FIRST or turn % PSS_EVERY == 0:
                peak_pss = max(peak_pss, sum(map(_pss_bytes, alive)))
            turn += 1
            if time.monotonic() - began > deadline_s:
                _end_all(seen, at_once=True)
                raise TimeoutError(f"{' '.join(command)} did not end in {deadline_s:.0f} s")
            select.select([ended], [], [], SAMPLE_S)
        wall_s = time.monotonic() - began
        os.close(ended)
        _end_all(seen)
        output.seek(0)
        return Cost(
            wall_s=wall_s,
            cpu_s=max(_reaped_s() - reaped_before, sum(seen.values())),
            cpu_by_process_s=_by_name(seen, names),
            peak_pss_mb=peak_pss / 1e6,
            peak_processes=peak_processes,
            exit_code=process.returncode,
            output=output.read(),
        )


def _sample(seen: dict[tuple[int, int], float]) -> list[int]:
    """Note the CPU seconds of every process below this one, and return those that live."""
    children: dict[int, list[tuple[int, int, float, bytes]]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            line = Path(entry.path, "stat").read_bytes()
        except OSError:
            continue
        words = line[line.rindex(b")") + 2 :].split()
        state, parent, started = words[0], int(words[1]), int(words[19])
        children.setdefault(parent, []).append(
            (int(entry.name), started, (int(words[11]) + int(words[12])) / TICKS, state)
        )
    alive, parents = [], [os.getpid()]
    while parents:
        for pid, started, cpu_s, state in children.get(parents.pop(), ()):
            parents.append(pid)
            seen[pid, started] = cpu_s
            if state != b"Z":
                alive.append(pid)
    return alive


def _name(pid: int, driver: int) -> str:
    if pid == driver:
        return "driver"
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode("utf-8", "replace")
    except OSError:
        return ""  # it has just ended
    return said.rpartition("/")[2]


def _by_name(seen: Mapping[tuple[int, int], float], names: Mapping[tuple[int, int], str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, cpu_s in seen.items():
        found[names.get(key, "")] = found.get(names.get(key, ""), 0.0) + cpu_s
    return found


def _pss_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # it has just ended
    return 0


def _end_all(seen: dict[tuple[int, int], float], *, at_once: bool = False) -> None:
    """Reap all processes below this one; those that do not end by themselves are killed."""
    patience = time.monotonic() + (0 if at_once else ORPHANS_S)
    while alive := _sample(seen):
        if time.monotonic() > patience:
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        _reap()
        time.sleep(SAMPLE_S)
    _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # none is left


def _reaped_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
