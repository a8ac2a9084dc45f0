"""Support for the tests of `msb.compat`: the alias `microsandbox`, a state folder, and the published package."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import uuid
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import msb
import msb.client
import msb.compat

from .compat_image import load_stand_ins

# The tests are programs for `microsandbox`, and import its name.
sys.modules["microsandbox"] = msb.compat

from microsandbox import Sandbox  # noqa: E402

#: The release whose published files are read, and the one of the judging set, which has other names for secrets.
RELEASE = "0.7.11"
OLDER_RELEASE = "0.6.14"
IMAGE = os.environ.get("MICROSANDBOX_PYTHON_INTEGRATION_IMAGE", "mirror.gcr.io/library/alpine")
#: The time for a download, in seconds.
_DOWNLOAD_TIMEOUT = 120


def published(release: str = RELEASE) -> Path:
    """Returns a folder with the Python files of the published package; skips the test if it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msb-sdk-tests"
    folder = cache / f"microsandbox-{release}"
    if not (folder / "METADATA").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory() as work:
            wheel = _download(Path(work), release)
            cache.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(dir=cache))
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith("microsandbox/") and name.endswith((".py", ".pyi")):
                        archive.extract(name, staged)
                    elif name.endswith(".dist-info/METADATA"):
                        (staged / "METADATA").write_bytes(archive.read(name))
            try:
                staged.rename(folder)
            except OSError:  # Another test was faster.
                shutil.rmtree(staged)
    return folder / "microsandbox"


#: The reasons of downloads that have failed, so that each is tried once only.
_refused: dict[str, str] = {}


def _download(folder: Path, release: str) -> Path:
    if release in _refused:
        raise unittest.SkipTest(_refused[release])
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=0"]
    # The files are the same on all platforms.
    command += ["--platform=manylinux_2_28_x86_64", "--python-version=3.12", f"--dest={folder}"]
    try:
        subprocess.run(
            [*command, f"microsandbox=={release}"], check=True, capture_output=True, timeout=_DOWNLOAD_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        _refused[release] = f"microsandbox {release} cannot be downloaded: {error}"
        raise unittest.SkipTest(_refused[release]) from None
    return next(folder.glob("*.whl"))


def published_readme() -> str:
    """Returns the README of the published package."""
    metadata = (published().parent / "METADATA").read_text(encoding="utf-8")
    return metadata.partition("\n\n")[2]


def published_module(name: str, release: str = RELEASE) -> ModuleType:
    """Imports one pure file of the published package, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"published_{release}_{name}", published(release) / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_home: tempfile.TemporaryDirectory[str] | None = None
_home_before: str | None = None


def open_home() -> None:
    """Makes a state folder with the images that the programs name, for all tests of this process."""
    global _home, _home_before
    if _home is None:
        _home_before = os.environ.get("MSB_HOME")
        _home = tempfile.TemporaryDirectory(prefix="msb-t-")
        unittest.addModuleCleanup(close_home)
        os.environ["MSB_HOME"] = f"{_home.name}/h"
        asyncio.run(load_stand_ins(Path(os.environ["MSB_IMAGE"]), Path(_home.name)))


def close_home() -> None:
    """Removes what is left in the state folder, and the folder."""
    global _home
    if _home is not None:
        asyncio.run(_remove_all())
        os.environ.pop("MSB_HOME")
        if _home_before is not None:
            os.environ["MSB_HOME"] = _home_before
        _home.cleanup()
        _home = None


async def _remove_all() -> None:
    client = msb.Client()
    for sandbox in await client.list():
        await sandbox.remove(force=True)


class CompatTest(unittest.IsolatedAsyncioTestCase):
    """A test with sandboxes, which are removed after it."""

    @classmethod
    def setUpClass(cls) -> None:
        open_home()

    def unique(self, prefix: str) -> str:
        """Returns a name that no other test uses."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        self.addAsyncCleanup(self.remove, name)
        return name

    async def create(self, prefix: str = "t", **options: Any) -> Any:
        """Creates a sandbox."""
        values = {"image": IMAGE, "cpus": 1, "memory": 512, **options}
        return await Sandbox.create(self.unique(prefix), **values)

    async def remove(self, name: str) -> None:
        """Removes a sandbox, if there is one."""
        try:
            await msb.client.default_client().remove(name, force=True)
        except msb.SandboxNotFound:
            pass
