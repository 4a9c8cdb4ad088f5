"""Packages made for a test, in a folder where pip looks for them instead of in a registry."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def looking_in(folder: Path) -> dict[str, str]:
    """The variables that have pip look in a folder, and nowhere else."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_NO_CACHE_DIR": "1"}


def wheel(folder: Path, name: str, files: Mapping[str, str], needs: str = "") -> None:
    """Version 1.0 of a package: files by path, and what it needs."""
    about = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (f"Requires-Dist: {needs}\n" if needs else "")
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    whole = {**files, f"{about}/METADATA": metadata, f"{about}/WHEEL": kind}
    whole[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*whole, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in whole.items():
            archive.writestr(path, text)


def source(folder: Path, name: str, ran: Path) -> Path:
    """Version 1.0 of a package as its source, whose build leaves the file `ran` behind."""
    build = f"open({str(ran)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name={name!r}, version='1.0')\n"
    files = {"setup.py": build, "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    path = folder / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inside, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0/{inside}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path
