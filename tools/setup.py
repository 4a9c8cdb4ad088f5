"""`make setup`: everything a clean machine needs to run and test homing, said as it is done.

    setup.py            what all targets need
    setup.py test       also what only tests need, and is large: Chromium
    setup.py model      also what `make model` needs and nothing else does: spin, and a C compiler
    setup.py fuzz       also what `make fuzz` needs and nothing else does: atheris, and coverage

Plain Python of the system, standard library only, since it is what makes the rest. It is quick when nothing has to be
done: a stamp in the environment names the locks and the interpreter it was made from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / ".homing-setup"
SOURCES = ("sdk", "placement", "node", "gateway")
LOCKS = ("requirements.txt", "requirements-dev.txt")
FUZZ_LOCK = "tools/requirements-fuzz.txt"
PIP = (PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check")
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Package:
    """A Debian package, the program it brings, and what is lost without it."""

    name: str
    program: str
    without: str


PACKAGES = (
    Package("wrk", "wrk", "`make bench` does not run"),
    Package("iproute2", "ip", "`make chaos` leaves out faults of the network"),
    Package("nftables", "nft", "`make chaos` leaves out faults of the network"),
)
TEST_PACKAGES = (Package("chromium", "chromium", "the tests do not open the page of the tutorial"),)
MODEL_PACKAGES = (
    Package("spin", "spin", "`make model` does not run"),
    Package("build-essential", "gcc", "`make model` does not run"),
)
ETCD_PACKAGE = Package("etcd-server", "etcd", "the wheel's etcd 3.5.1 is used, which is for development only")


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def run(*command: str | Path, quiet: bool = False) -> bool:
    """Run a command from the root of the repository; its output is the user's unless `quiet`."""
    sink = subprocess.DEVNULL if quiet else None
    return (
        subprocess.run([str(part) for part in command], cwd=ROOT, stdout=sink, stderr=sink, check=False).returncode == 0
    )


def fingerprint() -> str:
    """What the environment depends on; when it changes, setup does its work again."""
    digest = hashlib.sha256(f"{sys.version} {ROOT} {os.geteuid()}\n".encode())
    for name in (*LOCKS, "pyproject.toml", "tools/setup.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def apt_install(package: str) -> bool:
    """Install a Debian package as root, reading the package lists anew only when that is what it takes."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ("apt-get", "install", "--yes", "--quiet", "--quiet", "--no-install-recommends", package)
    say(f"installing the Debian package {package}")
    return run(*install, quiet=True) or (run("apt-get", "update", "--quiet", "--quiet") and run(*install))


def make_environment() -> None:
    if PYTHON.exists():
        if run(PYTHON, "-m", "pip", "--version", quiet=True) or run(PYTHON, "-m", "ensurepip", quiet=True):
            return
        sys.exit(f"setup: {ENVIRONMENT} has no pip and cannot get one; remove it and start again")
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if not apt_install(package):
            sys.exit(f"setup: this Python cannot make environments. As root: apt-get install {package}")
    say("making .venv")
    if not run(sys.executable, "-m", "venv", ENVIRONMENT):
        sys.exit("setup: python3 -m venv failed; its message is above")


def install_dependencies() -> None:
    say("installing the locked dependencies")
    wanted = [argument for lock in LOCKS for argument in ("--requirement", lock)]
    if not run(*PIP, "--require-hashes", *wanted):
        sys.exit("setup: the dependencies could not be installed; pip's message is above")
    if not run(*PIP, "--no-deps", "--no-build-isolation", "--no-index", "--editable", "."):
        sys.exit("setup: homing itself could not be installed; pip's message is above")


def find(packages: tuple[Package, ...]) -> None:
    """Look for what comes from Debian; what is missing is installed, or named together with its price."""
    for package in packages:
        if not shutil.which(package.program, path=SYSTEM_PATH) and not apt_install(package.name):
            say(f"{package.name} is missing: {package.without}. As root: apt-get install {package.name}")


def find_programs() -> None:
    """What comes from Debian for all targets."""
    find(PACKAGES)
    # The environment knows which etcd `homing dev` would take, and whether it is one to rely on.
    check = (PYTHON, "-m", "homing.cli.etcd", "--check")
    if not run(*check, quiet=True) and not (apt_install(ETCD_PACKAGE.name) and run(*check, quiet=True)):
        say(f"no sound etcd on PATH: {ETCD_PACKAGE.without}. As root: apt-get install {ETCD_PACKAGE.name}")


def find_model_checker() -> None:
    """What comes from Debian for `make model` alone; without it there is no going on."""
    missing = [p for p in MODEL_PACKAGES if not shutil.which(p.program) and not apt_install(p.name)]
    if missing:
        names = " ".join(package.name for package in missing)
        sys.exit(f"setup: {names} is missing: {missing[0].without}. As root: apt-get install {names}")


def install_fuzzer() -> None:
    """What `make fuzz` needs alone; pip sees at once when it is there."""
    if not run(*PIP, "--require-hashes", "--requirement", FUZZ_LOCK):
        sys.exit("setup: the fuzzer could not be installed; pip's message is above")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the interpreter is whatever the machine has
        sys.exit(
            f"setup: homing needs Python 3.11 or newer, this is {sys.version.split()[0]}; try make PYTHON=python3.11"
        )
    if sys.platform != "linux":
        sys.exit("setup: homing runs on Linux: its workers live in Linux namespaces")
    wanted = fingerprint()
    if not (STAMP.exists() and STAMP.read_text() == wanted and PYTHON.exists()):
        make_environment()
        install_dependencies()
        find_programs()
        STAMP.write_text(wanted)
        say("done")
    # A cluster is many processes, and each would compile all of it anew where Python is told to keep nothing.
    run(PYTHON, "-m", "compileall", "-q", *SOURCES, quiet=True)
    if sys.argv[1:] == ["test"]:
        find(TEST_PACKAGES)
    if sys.argv[1:] == ["model"]:
        find_model_checker()
    elif sys.argv[1:] == ["fuzz"]:
        install_fuzzer()


if __name__ == "__main__":
    main()
