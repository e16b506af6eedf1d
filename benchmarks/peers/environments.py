"""A virtual environment per peer in a cache folder, made with pip when it is first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DONE = "installed.txt"
INSTALL_SECONDS = 600
TOLD_CHARACTERS = 400


class UnavailableError(Exception):
    """A peer cannot be measured here, and why."""


def cache_folder() -> Path:
    """Where environments stay from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "perdure-benchmarks"


def python_of(name: str, cache: Path, base: Path | None = None) -> Path:
    """The Python of a peer's environment, made or made anew if its pins have changed.

    Args:
        base: the Python that the environment is made from; this one by default.

    Raises:
        UnavailableError: it cannot be made or its packages cannot be installed.
    """
    pins = (HERE / f"{name}.txt").read_text("utf-8")
    wanted = f"{base or sys.executable}\n{pins}"
    folder = cache / name
    python = folder / "bin" / "python"
    done = folder / DONE
    if done.is_file() and done.read_text("utf-8") == wanted and python.exists():
        return python
    print(f"installing {name} in {folder}", file=sys.stderr, flush=True)
    create = [str(base or sys.executable), "-m", "venv", "--clear", str(folder)]
    run(create, f"no environment for {name}")
    packages = str(HERE / f"{name}.txt")
    run(
        [str(python), "-m", "pip", "install", "--quiet", "-r", packages],
        f"{name} cannot be installed",
    )
    done.write_text(wanted, "utf-8")
    return python


def run(command: list[str], what: str) -> None:
    """Run it; the end of what it wrote becomes the reason if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{what}: {error}") from error
    if done.returncode:
        told = (done.stderr or done.stdout).strip()[-TOLD_CHARACTERS:]
        raise UnavailableError(f"{what}: {told}")
