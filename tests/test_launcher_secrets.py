"""launchers/: what leaves a pod holds no secret, however its Secret ends and whoever prints it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.patience import HANG_S
from tests.test_launcher import HF, MARK, ROOT, STANDIN, Pod, deployment, results_in

LEAKY = f'''#!/usr/bin/env python3
"""trtllm-bench that tells the variables that LEAK names: in its log, in its files and to who looks at processes."""
import json, os, pathlib, runpy, sys

names = os.environ["LEAK"].split()
values = [os.environ[name] for name in names]
if "--help" in sys.argv and os.environ.get("LEAK_HELP"):
    sys.exit("no help, but " + " ".join(value.strip() for value in values))
for value in values:
    print("raw", value)
    print("stripped", value.strip(), json.dumps(value), repr(value), sep=" | ", flush=True)
commands = pathlib.Path(os.environ["COMMANDS"])
for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        with commands.open("ab") as file:
            file.write(process.read_bytes() + b"\\n")
    except OSError:
        pass
sys.argv[0] = {str(STANDIN)!r}
try:
    runpy.run_path({str(STANDIN)!r}, run_name="__main__")
finally:
    if "--report_json" in sys.argv:
        report = pathlib.Path(sys.argv[sys.argv.index("--report_json") + 1])
        told = json.loads(report.read_text())
        told["engine"]["comment"] = values + [value.strip() for value in values]
        report.write_text(json.dumps(told))
        report.with_name("requests.json").write_text(json.dumps([{{"prompt": value}} for value in values]))
'''
TOKEN = "hf_secret123"


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    made = Pod(tmp_path / "pod", deployment(concurrency=[1]))
    made.program("trtllm-bench", LEAKY)
    return made


def run(pod: Pod, secrets: Mapping[str, str], **more: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run the launcher with these variables, and return its exit code, its results and all that it printed."""
    given = {"LEAK": " ".join(secrets), "COMMANDS": str(pod.folder / "commands")} | dict(secrets) | more
    done = subprocess.run(
        pod.command(),
        env=pod.environment(**given),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
        cwd=pod.folder,
    )
    return done.returncode, results_in(done.stdout), done.stdout + done.stderr


def assert_nothing_leaves(pod: Pod, printed: str, secrets: Iterable[str]) -> None:
    files = [path for path in pod.results.rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in printed
        assert not [path for path in files if secret.encode() in path.read_bytes()]
        assert secret.encode() not in (pod.folder / "commands").read_bytes()


def assert_files_are_whole(pod: Pod) -> None:
    (done,) = pod.results.rglob("done.json")
    files = json.loads(done.read_text())["files"]
    assert {"report.json", "requests.json", "env.json", "log.txt"} <= files.keys()
    for name, about in files.items():
        content = (done.parent / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (about["size"], about["sha256"])
        if name.endswith(".json"):
            json.loads(content)


@pytest.mark.parametrize(
    "value",
    [TOKEN, f"{TOKEN}\n", f"{TOKEN}\r\n", f" \t{TOKEN}", f"\n{TOKEN} \n\n", f"\ufeff{TOKEN}\r\n"],
    ids=["plain", "LF", "CRLF", "leading blanks", "blank lines", "byte order mark"],
)
def test_the_token_never_leaves_however_its_secret_ends(pod: Pod, value: str) -> None:
    pod.program("hf", HF.replace("exit ", 'printf "%s\\n" "token is $HF_TOKEN" "$(echo $HF_TOKEN)" >&2\nexit '))
    code, results, printed = run(pod, {"HF_TOKEN": value})
    assert code == 0, printed
    assert results[0]["report"]["engine"]["comment"][1].lstrip("\ufeff") == "***"
    assert "token is " in printed and "***" in results[0]["log_tail"]
    assert_nothing_leaves(pod, printed, [TOKEN])
    assert_files_are_whole(pod)


def test_what_other_variables_have_from_secrets_never_leaves(pod: Pod) -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    secrets = {
        "NGC_API_KEY": "nvapi-1234567890\n",
        "PASSWORD": 'p@ss "w/rd\\ü+&1=',
        "KEY": key,
        "ACCOUNT": json.dumps({"private_key": key.replace("MIIE", "MIIX")}),
        "HF_TOKEN": "nvapi-1234567890-and-more",
        "HUGGING_FACE_HUB_TOKEN": "hf_another456\r\n",
    }
    code, results, printed = run(pod, secrets, SWEEP_SECRETS="NGC_API_KEY PASSWORD KEY ACCOUNT")
    assert code == 0, printed
    assert results[0]["report"]["request_info"]["num_requests"] == 8
    parts = ["nvapi", "and-more", 'p@ss "w', "p@ss", "MIIEvQ", "MIIXvQ", "hkiG9w0", "hf_another"]
    assert_nothing_leaves(pod, printed, parts)
    assert_files_are_whole(pod)


def test_a_probe_that_fails_tells_no_secret(pod: Pod) -> None:
    code, _, printed = run(pod, {"HF_TOKEN": f"{TOKEN}\n"}, LEAK_HELP="1")
    assert code == 1
    assert "no help, but ***" in printed
    assert TOKEN not in printed


def test_a_publisher_that_breaks_tells_no_secret(pod: Pod) -> None:
    breaks = f"echo \"raise ValueError('$(echo $HF_TOKEN)')\" >'{pod.files}/telemetry.py'"
    breaks_then_runs = f'case $* in *--dataset*) {breaks} ;; esac\nexec "{pod.folder}/bench" "$@"\n'
    pod.program("trtllm-bench", f"#!/bin/bash\n{breaks_then_runs}")
    pod.program("../bench", STANDIN.read_text())
    code, _, printed = run(pod, {"HF_TOKEN": f"{TOKEN}\n"})
    assert code != 0
    assert "ValueError: ***" in printed
    assert TOKEN not in printed


def test_what_an_earlier_version_left_on_the_volume_is_printed_without_the_secret(pod: Pod) -> None:
    assert run(pod, {"HF_TOKEN": "other-token"})[0] == 0
    (done,) = pod.results.rglob("done.json")
    with (done.parent / "log.txt").open("a") as log:
        log.write(f"Bearer {TOKEN}\n" * 3)
    code, results, printed = run(pod, {"HF_TOKEN": f"{TOKEN}\n"})
    assert (code, results[0]["log_tail"].count("Bearer ***")) == (0, 3), printed
    assert TOKEN not in printed


# ----------------------------------------------------------------------------------------------------------- the filter


def redacted(text: str, **secrets: str) -> str:
    """Return what `publish.py redact` passes on of a text, as the launcher calls it."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "sweep"), "SWEEP_SECRETS": " ".join(secrets)}
    done = subprocess.run(
        [sys.executable, ROOT / "launchers" / "publish.py", "redact"],
        input=text.encode(),
        env=environment | secrets,
        capture_output=True,
        timeout=HANG_S,
        check=True,
    )
    return done.stdout.decode()


SPECIAL = "a/b c+d\"e\\f'g&ü\U0001f511=%"


@pytest.mark.parametrize(
    "form",
    [
        SPECIAL,
        quote(SPECIAL),
        quote(SPECIAL, safe=""),
        quote(SPECIAL, safe="").lower(),
        quote_plus(SPECIAL),
        json.dumps(SPECIAL)[1:-1],
        json.dumps(SPECIAL, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(SPECIAL))[3:-3],
        json.dumps(SPECIAL)[1:-1].replace("/", "\\/").replace("&", "\\u0026"),
        repr(SPECIAL)[1:-1],
    ],
)
def test_a_secret_is_known_in_every_form(form: str) -> None:
    assert redacted(f"before {form} after\n", PASSWORD=SPECIAL) == "before *** after\n"


def test_secrets_that_overlap_or_begin_alike_leave_no_rest() -> None:
    secrets = {"SHORT": "abcdefgh", "LONG": "abcdefgh-ijkl", "OTHER": "fgh-ijklmnop"}
    assert redacted("abcdefgh abcdefgh-ijkl abcdefgh-ijklmnop", **secrets) == "*** *** ***"


def test_short_values_are_words() -> None:
    text = "1 true nvidia a line or of -\n"
    words = {"FLAG": "1", "ANSWER": "true", "USER": "nvidia", "LINES": "a\nline\nof\n-\n", "EMPTY": "", "BLANK": " \n"}
    assert redacted(text, **words) == text


def test_a_secret_of_short_lines_is_known_as_a_whole_and_where_a_shell_joined_it() -> None:
    assert redacted("x abc def ghi y\nabc\ndef\nghi\n", LINES="abc\ndef\r\nghi\n") == "x *** y\n***\n"


def test_a_result_stays_json() -> None:
    """Where a text that is replaced would take a quotation mark or half an escape with it."""
    secrets = {"QUOTED": '"quoted-value"', "NUMBER": "1234567890", "ESCAPED": "nine-lives"}
    result = {"a": '"quoted-value"', "b": 1234567890, "c": "1234567890", "d": "\nine-lives \\nine-lives"}
    line = redacted(f"{MARK}{json.dumps(result)}\n", **secrets)
    assert json.loads(line.removeprefix(MARK)) == {"a": "***", "b": 1234567890, "c": "***", "d": "\nine-lives \\***"}


def test_a_secret_that_sorts_before_the_asterisks_leaves_files_too(pod: Pod) -> None:
    secret = "!before-the-asterisk"
    code, _, printed = run(pod, {"PASSWORD": secret}, SWEEP_SECRETS="PASSWORD")
    assert code == 0, printed
    assert_nothing_leaves(pod, printed, [secret])
    assert_files_are_whole(pod)


def test_a_long_secret_in_a_line_without_end_leaves_no_part() -> None:
    secret = "".join(f"{number:05}" for number in range(600))
    said = redacted(f"{'x' * 100}{secret}" * 1000, KEY=secret)
    assert said == f"{'x' * 100}***" * 1000


def test_lines_are_passed_on_as_they_come_and_endless_ones_too() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "sweep"), "HF_TOKEN": TOKEN}
    command = [sys.executable, str(ROOT / "launchers" / "publish.py"), "redact"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one line\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"one line\n"
        endless = (b"x" * 1000 + TOKEN.encode()) * 3000
        out, _ = process.communicate(endless, timeout=HANG_S)
    assert out == endless.replace(TOKEN.encode(), b"***")
