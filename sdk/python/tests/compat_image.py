"""Makes an image of the folder MSB_IMAGE, and loads it under the names that programs for `microsandbox` use."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import tarfile
from pathlib import Path

import msb

#: The names that programs for `microsandbox` use.
REFERENCES = ("alpine", "mirror.gcr.io/library/alpine", "python")
#: Files of `alpine` that a small image may lack.
ADDED_FILES = {
    "etc/motd": "Welcome.\n",
    "etc/os-release": 'NAME="Alpine Linux"\nID=alpine\n',
}
ADDED_LINES = {
    "etc/passwd": "nobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    "etc/group": "nobody:x:65534:\n",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_layout(folder: Path, reference: str, target: Path) -> None:
    """Writes an archive with an OCI layout of one image, of the files of a folder."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if name not in ADDED_FILES and name not in ADDED_LINES:
                archive.add(path, name, recursive=False)
        for name, text in ADDED_FILES.items():
            _add(archive, name, text.encode())
        for name, line in ADDED_LINES.items():
            own = folder / name
            _add(archive, name, (own.read_text() if own.exists() else "").encode() + line.encode())
    blobs: dict[str, bytes] = {}
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
    }
    oci = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}.manifest.v1+json",
        "config": _blob(blobs, json.dumps(config).encode(), f"{oci}.config.v1+json"),
        "layers": [_blob(blobs, gzip.compress(layer.getvalue(), 1, mtime=0), f"{oci}.layer.v1.tar+gzip")],
    }
    described = _blob(blobs, json.dumps(manifest).encode(), f"{oci}.manifest.v1+json")
    described["annotations"] = {"org.opencontainers.image.ref.name": reference}
    index = {"schemaVersion": 2, "mediaType": f"{oci}.index.v1+json", "manifests": [described]}
    with tarfile.open(target, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for digest, contents in blobs.items():
            _add(archive, "blobs/" + digest.replace(":", "/"), contents)


async def load_stand_ins(folder: Path, work: Path) -> None:
    """Loads the image by all names into the state folder of MSB_HOME."""
    client = msb.Client()
    for number, reference in enumerate(REFERENCES):
        archive = work / f"stand-in-{number}.tar"
        write_layout(folder, reference, archive)
        await client.images.load(archive, name=reference)
        os.unlink(archive)


def _add(archive: tarfile.TarFile, name: str, contents: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(contents), 0o644
    archive.addfile(entry, io.BytesIO(contents))


def _digest(contents: bytes) -> str:
    return "sha256:" + hashlib.sha256(contents).hexdigest()


def _blob(blobs: dict[str, bytes], contents: bytes, media_type: str) -> dict[str, object]:
    digest = _digest(contents)
    blobs[digest] = contents
    return {"mediaType": media_type, "digest": digest, "size": len(contents)}
