"""Ray's folder: closed to others, held by a lock for as long as its driver lives, and removed by whoever comes next."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.driver import rayfolder

ROOT = Path(__file__).parent.parent
HOLD = "from sweep.driver import rayfolder; print(rayfolder.make(), flush=True); input()"
MAKE_AND_END = "import os; from sweep.driver import rayfolder; print(rayfolder.make(), flush=True); os._exit(0)"


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that is short enough to be used."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield Path(folder)
    shutil.rmtree(folder)


def folders(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def python(program: str, *before: str) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(program: str, *before: str) -> Path:
    with python(program, *before) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
    return Path(line.strip())


def test_it_is_closed_to_others_and_gone_when_it_is_removed(base: Path) -> None:
    folder = rayfolder.make()
    assert folder.parent == base and folder.name.startswith(f"sweep-ray-{os.getpid()}-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / rayfolder.OF_RAY).chmod(0o777)  # as Ray does
    (folder / rayfolder.OF_RAY / "session_latest").symlink_to("session_1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    rayfolder.remove(folder)
    assert folders(base) == []


def test_a_socket_s_path_has_room_for_what_ray_adds(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = Path("/tmp/" + "x" * (rayfolder.LONGEST_BASE - len("/tmp/")))
    longest.mkdir(exist_ok=True)
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(longest))
        folder = rayfolder.make()
        assert folder.parent == longest
        of_ray = f"session_2026-11-26_04-00-00_123456_{2**22}/sockets/plasma_store"
        longest_pid = folder.name.replace(str(os.getpid()), str(2**22))
        assert len(f"{longest}/{longest_pid}/{rayfolder.OF_RAY}/{of_ray}") <= 107
        rayfolder.remove(folder)
        monkeypatch.setattr(tempfile, "tempdir", f"{longest}x")
        folder = rayfolder.make()
        assert folder.parent == Path("/tmp")
        rayfolder.remove(folder)
    finally:
        shutil.rmtree(longest)


def test_a_second_driver_leaves_the_folder_of_the_first_alone_and_removes_it_when_that_is_dead(base: Path) -> None:
    with python(HOLD) as first:
        assert first.stdout is not None
        held = Path(first.stdout.readline().strip())
        second = rayfolder.make()
        assert held.is_dir() and (held / rayfolder.OF_RAY).is_dir()
        first.kill()
        first.wait()
        third = rayfolder.make()
        assert not held.exists()
        for folder in (second, third):
            assert folder.is_dir()
            rayfolder.remove(folder)
    assert folders(base) == []


def test_processes_that_do_not_see_each_other_leave_each_other_s_folders_alone(base: Path) -> None:
    """As two containers that share /tmp: to the second, no process of the first one's number exists."""
    apart = ("unshare", "-pf", "--mount-proc")
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs a process namespace of its own")
    folder = rayfolder.make()
    other = ended(MAKE_AND_END, *apart)
    assert folder.is_dir() and (folder / rayfolder.OF_RAY).is_dir()
    assert other.is_dir()
    with python(HOLD, *apart) as third:
        assert third.stdout is not None
        held = Path(third.stdout.readline().strip())
        assert held.is_dir() and not other.exists(), "the lock of the second was free"
        last = rayfolder.make()
        assert held.is_dir()
        third.kill()
    for each in (folder, last):
        rayfolder.remove(each)


def test_a_child_that_outlives_the_driver_does_not_hold_its_lock(base: Path) -> None:
    child = "import subprocess; subprocess.Popen(['cat'], close_fds=False)"  # it ends with our end of its stdin
    with python(MAKE_AND_END.replace("os._exit", f"{child}; os._exit")) as driver:
        assert driver.stdout is not None
        left = Path(driver.stdout.readline().strip())
        driver.wait()
        assert left.is_dir()
        rayfolder.remove(rayfolder.make())
        assert not left.exists()


def test_links_and_folders_of_others_are_left_alone_and_cost_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = base / "precious"
    precious.mkdir()
    (precious / rayfolder.LOCK).touch()
    (precious / "file").write_text("")
    (precious / rayfolder.OF_RAY).mkdir()
    (base / "sweep-ray-1-link").symlink_to(precious)
    (base / "sweep-ray-2-old").mkdir()
    (base / "sweep-ray-2-old" / "session_latest").mkdir()
    os.mkfifo(base / "sweep-ray-3-fifo")
    (base / "sweep-ray-4-lock").mkdir()
    (base / "sweep-ray-4-lock" / rayfolder.LOCK).symlink_to(precious / "file")
    (base / "sweep-ray-5-fifo").mkdir()
    os.mkfifo(base / "sweep-ray-5-fifo" / rayfolder.LOCK)
    if os.geteuid() == 0:
        (base / "sweep-ray-6-other").mkdir()
        (base / "sweep-ray-6-other" / rayfolder.LOCK).touch()
        os.chown(base / "sweep-ray-6-other", 65534, 65534)
    before = set(folders(base))
    waits: list[float] = []
    monkeypatch.setattr(rayfolder.time, "sleep", waits.append)
    rayfolder.remove(rayfolder.make())
    assert before - set(folders(base)) <= {"sweep-ray-5-fifo"}  # ours by its owner and its lock
    assert sorted(path.name for path in precious.iterdir()) == ["file", rayfolder.LOCK, rayfolder.OF_RAY]
    assert waits == []


def test_what_was_removed_in_half_is_removed_by_the_next(base: Path) -> None:
    left = ended(MAKE_AND_END)
    shutil.rmtree(left / rayfolder.OF_RAY)
    rayfolder.remove(rayfolder.make())
    assert folders(base) == []
