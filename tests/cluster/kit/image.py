"""Makes OCI image archives without a registry or a Docker engine."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"  # Debian's busybox-static
BASH = "/bin/bash-static"  # Debian's bash-static
APPLETS = """[ awk basename cat chmod cp cut date dd df dirname echo env expr false find free grep gzip head
hostname id kill ln ls mkdir mktemp mount mv nproc paste printf ps pwd readlink realpath rm sed seq sleep sort
stat sync tail tar tee test timeout touch tr true tty uname uniq wc wget xargs yes""".split()


def layer(files):
    """A layer with {path: bytes | source Path | '-> target'}; all files are executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in (
            "bin",
            "etc",
            "tmp",
            "root",
            "proc",
            "sys",
            "dev",
            "usr",
            "usr/bin",
            "usr/local",
            "usr/local/bin",
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.mode = 0o755
            if isinstance(content, str) and content.startswith("-> "):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[3:]
                tar.addfile(entry)
                continue
            data = content.read_bytes() if isinstance(content, Path) else content
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def shell_layer(programs=None):
    """busybox and bash; programs is {name: script} for /usr/local/bin, e.g. a fake trtllm-bench."""
    files = {
        "bin/busybox": Path(BUSYBOX),
        "bin/bash": Path(BASH),
        "bin/sh": "-> bash",
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "usr/bin/env": "-> ../../bin/busybox",
    }
    files |= {f"bin/{name}": "-> busybox" for name in APPLETS}
    files |= {f"usr/local/bin/{name}": text.encode() for name, text in (programs or {}).items()}
    return layer(files)


def archive(path, name, data, command, architecture="amd64", extra_layers=()):
    """Writes an OCI archive at path with one image called name."""
    blobs = {}

    def blob(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    layers = [data, *extra_layers]
    config = blob(
        json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Cmd": command, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/root"},
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{hashlib.sha256(item).hexdigest()}" for item in layers],
                },
            }
        ).encode(),
        "application/vnd.oci.image.config.v1+json",
    )
    packed = [blob(gzip.compress(item, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for item in layers]
    manifest = blob(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": packed,
            }
        ).encode(),
        "application/vnd.oci.image.manifest.v1+json",
    )
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode(),
    }
    files |= {f"blobs/sha256/{digest}": content for digest, content in blobs.items()}
    with tarfile.open(path, "w") as tar:
        for file, content in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return manifest["digest"]
