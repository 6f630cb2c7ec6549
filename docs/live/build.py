"""Build the live page: ``python docs/live/build.py FOLDER``, or ``make live``.

The page is static: its own script and style, MuJoCo as WebAssembly, and the data that `export` writes. Nothing of it
comes from another host when it is shown. npm gets the packages of package-lock.json.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from export import export
from filelock import FileLock

SOURCE = Path(__file__).resolve().parent
MODULES = SOURCE / "node_modules"
WASM = MODULES / "@mujoco" / "mujoco" / "mujoco.wasm"


def build(folder: Path) -> None:
    """Write the whole page into a folder, which may exist.

    Raises:
        RuntimeError: npm is missing, or failed; the message has its own words.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    install()
    npm("run", "build", "--", f"--outdir={folder}")
    shutil.copy(SOURCE / "index.html", folder)
    shutil.copy(WASM, folder)
    export(folder / "data")


def install() -> None:
    """Get the packages of package-lock.json, unless they are there."""
    wanted = (SOURCE / "package-lock.json").read_bytes()
    stamp = MODULES / ".installed-lock.json"
    with FileLock(SOURCE / ".lock"):
        if not stamp.exists() or stamp.read_bytes() != wanted:
            # Packages need no scripts of their own here, and are not given the chance.
            npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
            stamp.write_bytes(wanted)


def npm(*arguments: str) -> None:
    """Run npm in this folder.

    Raises:
        RuntimeError: npm is missing, or failed.
    """
    command = shutil.which("npm")
    if command is None:
        raise RuntimeError("npm is not there; install Node.js 18 or newer")
    done = subprocess.run([command, *arguments], cwd=SOURCE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"npm {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    build(Path(sys.argv[1]))
