"""An OCI image of this machine's own programs: bash, coreutils, Python and what they need; no registry, no download.

Files lie in the image where they lie here, so that nothing has to be relocated.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROGRAMS = """bash cat chmod cp date df dirname du env find flock grep head kill ln ls mkdir mktemp mv ps rm sed setsid
    sleep sort stat tail timeout touch tr wc""".split()
NOT_OF_PYTHON = frozenset("site test tests idlelib ensurepip lib2to3 tkinter turtledemo config".split())
FOLDERS = "tmp root proc sys dev etc usr/bin usr/lib usr/lib64 usr/local/bin".split()
ARCHITECTURE = "amd64" if platform.machine() == "x86_64" else "arm64"
MANIFEST, CONFIG, LAYER = (
    f"application/vnd.oci.image.{part}" for part in ("manifest.v1+json", "config.v1+json", "layer.v1.tar")
)


def build(path: Path, programs: Mapping[str, str]) -> None:
    """Write the layer that all images share to `path`, in about two seconds.

    Args:
        programs: texts of further programs by their path without the leading slash.
    """
    folder, python = Path(sysconfig.get_path("stdlib")), Path(sys.executable).resolve()
    library = [file for file in folder.rglob("*") if file.is_file() and not _is_left_out(file.relative_to(folder))]
    found = [Path(there) for name in PROGRAMS if (there := shutil.which(name, path="/usr/bin:/bin"))]
    binaries = [*found, python, *(file for file in library if file.suffix == ".so")]
    with tarfile.open(path, "w") as tar:
        for name in FOLDERS:
            _add(tar, name, kind=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        _add(tar, "bin", kind=tarfile.SYMTYPE, target="usr/bin")
        for name in ("lib", "lib64"):
            if Path("/", name).is_symlink():  # as on every merged /usr
                _add(tar, name, kind=tarfile.SYMTYPE, target=f"usr/{name}")
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", mode=0o644)
        _add(tar, "usr/bin/sh", kind=tarfile.SYMTYPE, target="bash")
        for name in ("python3", "python"):
            _add(tar, f"usr/local/bin/{name}", kind=tarfile.SYMTYPE, target=str(python))
        for program in found:
            _copy(tar, program.resolve(), f"usr/bin/{program.name}")
        for file in sorted({python, *library, *_libraries(binaries)}):
            _copy(tar, file.resolve(), str(file).lstrip("/"))
        for name, text in programs.items():
            _add(tar, name, text.encode())


def archive(path: Path, layer: Path, name: str, command: Iterable[str]) -> str:
    """Write an OCI archive of one image, called `name`, to `path`, and return the image's digest."""
    layer_digest = _digest(layer)
    with tarfile.open(path, "w") as tar:

        def blob(value: Mapping[str, Any], kind: str) -> dict[str, Any]:
            text = json.dumps(value).encode()
            digest = hashlib.sha256(text).hexdigest()
            _add(tar, f"blobs/sha256/{digest}", text)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(text)}

        packed = {"mediaType": LAYER, "digest": f"sha256:{layer_digest}", "size": layer.stat().st_size}
        about = {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {"Cmd": [*command], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/root"},
            "rootfs": {"type": "layers", "diff_ids": [packed["digest"]]},
        }
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob(about, CONFIG), "layers": [packed]}
        manifest = blob(content, MANIFEST)
        names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        index = manifest | {"annotations": names, "platform": {"architecture": ARCHITECTURE, "os": "linux"}}
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [index]}).encode())
        _copy(tar, layer, f"blobs/sha256/{layer_digest}")
    return str(manifest["digest"])


def _is_left_out(file: Path) -> bool:
    return file.name.startswith(("_tkinter", "_test")) or any(
        part.partition("-")[0] in NOT_OF_PYTHON for part in file.parts[:-1]
    )


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """Return the shared libraries of programs, the loader too, under the names that are asked for."""
    said = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, timeout=60, check=False
    ).stdout  # it ends with 1 for what is static
    return {Path(path) for path in re.findall(r"(/\S+) \(0x[0-9a-f]+\)", said)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(
    tar: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o755,
    target: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, target, len(content)
    tar.addfile(entry, io.BytesIO(content))


def _copy(tar: tarfile.TarFile, source: Path, name: str) -> None:
    entry = tar.gettarinfo(source, name)
    entry.uid = entry.gid = 0
    with source.open("rb") as file:
        tar.addfile(entry, file)
