"""Making the environment of a release from wheels that lie on this machine, without a network."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mts1b_deploy.errors import PrefixError, ReleaseFailed


def make_environment(
    directory: Path,
    wheels: Path,
    packages: Sequence[str] = (),
    *,
    requirements: Path | None = None,
    python: str = sys.executable,
) -> list[str]:
    """Make an environment in ``directory``; what was installed.

    Args:
        directory: where it is made; it must not be there yet.
        wheels: a directory with the wheels of the packages and of all that they need.
        packages: what is installed; all of this project's wheels in ``wheels`` when neither this nor ``requirements``
            says anything.
        requirements: a file of pip's; with hashes in it pip compares every wheel with them.
        python: which runs it. Everybody must be able to run it.

    Raises:
        PrefixError: ``directory`` is there.
        ReleaseFailed: the wheels are not enough; nothing is left of it.
    """
    if directory.exists():
        raise PrefixError(f"{directory} is there: a release gets a directory of its own, such as one named by its date")
    if not packages and requirements is None:
        packages = sorted({path.name.partition("-")[0] for path in wheels.glob("mts1b_*.whl")})
        if not packages:
            raise ReleaseFailed(f"{wheels} has no wheels mts1b_*.whl: name what is to be installed")
    wanted = [*packages, *(["--requirement", str(requirements)] if requirements else [])]
    try:
        _run(python, "-m", "venv", str(directory))
        own = str(directory / "bin" / "python")
        _run(own, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels), *wanted)
        return _run(own, "-m", "pip", "list", "--format=freeze", "--exclude=pip", "--exclude=setuptools").split()
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _run(*words: str) -> str:
    try:
        done = subprocess.run([*words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ReleaseFailed(f"{words[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ReleaseFailed(f"`{' '.join(words[:6])} …` failed: {' '.join(said[-3:])}")
    return done.stdout
