"""Labels that carriers of logs put before each line."""

from __future__ import annotations

from collections.abc import Callable


def labelled(text: str, label: Callable[[int], str]) -> str:
    """Put a label before each line; it may differ with the line's number."""
    return "".join(f"{label(number)}{line}\n" for number, line in enumerate(text.split("\n"), start=1))


def clock(n: int) -> str:
    return f"{18 + (59 + n // 40) // 60:02}:{(59 + n // 40) % 60:02}:{n % 40:02}"


LABELS: dict[str, Callable[[int], str]] = {
    "ansible": lambda n: "node-a4x-7 | SUCCESS | (stdout) ",
    "bench's own file and line": lambda n: f"INFO {clock(n)} bench.py:{500 + n % 7}] ",
    "blanks": lambda n: "    ",
    "cat -n": lambda n: f"{n:6}\t",
    "CI of GitLab": lambda n: f"2026-01-17T{clock(n)}.418481Z 00O ",
    "CI of Jenkins": lambda n: f"[2026-01-17T{clock(n)}.{n * 7 % 1000:03}Z] ",
    "CI of Jenkins, since the start": lambda n: f"{clock(n)}  ",
    "comment of a script": lambda n: "# ",
    "containerd": lambda n: f"2026-01-17T{clock(n)}.{n}+01:00 stdout F ",
    "dmesg": lambda n: f"[{n * 7.77:12.6f}] ",
    "docker, coloured": lambda n: "\x1b[36mbench-1  |\x1b[0m ",
    "docker, two digits": lambda n: "bench-12  | ",
    "gcloud logging": lambda n: f"2026-01-17T{clock(n)}.{n}Z\t",
    "glog": lambda n: f"I0117 {clock(n)}.{n:06} {4711 + n % 3} serve.cc:{90 + n}] ",
    "grep": lambda n: f"logs/tp4=ep4/run.log:{n}:",
    "horovod": lambda n: f"Sat Jan 17 {clock(n)} 2026[1,0]<stdout>:",
    "journal": lambda n: f"Jan 17 {clock(n)} node-a4x-7 bench[{4711}]: ",
    "kubectl": lambda n: f"[pod/bench-0-7d9f8/bench] 2026-01-17T{clock(n)}.{n * 100}Z ",
    "kubectl, whole seconds": lambda n: f"2026-01-17T{clock(n)}{'' if n % 5 == 0 else f'.{n}'}Z ",
    "key and value": lambda n: f'level=info ts={1768675690 + n / 8} pod="bench=0" msg=',
    "logging": lambda n: f"2026-01-17 {clock(n)},{n % 1000:03} - INFO - ",
    "logging, only a name": lambda n: "INFO:__main__:",
    "loguru": lambda n: f"2026-01-17 {clock(n)}.{n:03} | INFO     | __main__:main:{200 + n} - ",
    "loki": lambda n: f'2026-01-17T{clock(n)}Z {{app="bench", node="a4x=7"}} ',
    "mpirun 5": lambda n: "[prterun-node-a-4711@1,0]<stdout>: ",
    "nanoseconds": lambda n: f"{1768675690418481000 + n * 1234567} ",
    "pids of another width": lambda n: f"[pid {(9, 10000)[n % 2]:>5}] ",
    "quoted": lambda n: "> ",
    "Ray": lambda n: "(BenchActor pid=4711, ip=10.128.0.7) ",
    "Ray, coloured": lambda n: "\x1b[36m(BenchActor pid=4711)\x1b[0m ",
    "rich": lambda n: f"[01/17/26 {clock(n)}] INFO     ",
    "srun": lambda n: " 3: ",
    "stern": lambda n: "bench-0-7d9f8 bench ",
    "syslog": lambda n: f"<14>1 2026-01-17T{clock(n)}.{n}Z node-a bench 4711 - - ",
    "tabs": lambda n: f"bench-0\tstdout\t{n}\t",
    "torchrun": lambda n: "[default0]:",
    "ts": lambda n: f"Jan 17 {clock(n)} ",
    "vllm": lambda n: f"(APIServer pid=1) INFO 01-17 {clock(n)} [serve.py:{512 + n}] ",
}
