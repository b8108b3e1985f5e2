"""Environments of releases, made by pip from wheels that lie on this machine, with the hashes compared."""

import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from mts1b_deploy.errors import ReleaseFailed
from mts1b_deploy.services.environment import make_environment


def wheel(directory: Path, name: str, version: str, *needs: str) -> Path:
    """A wheel with one module and one command."""
    files = {
        f"{name}.py": f"def main():\n    print('{name} {version}')\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-{version}.dist-info/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    path = directory / f"{name}-{version}-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(text)}\n"
        archive.writestr(f"{name}-{version}.dist-info/RECORD", record)
    return path


def test_a_release_is_made_of_wheels_alone_and_one_that_is_not_what_it_should_be_leaves_nothing(tmp_path: Path):
    wheels, made = tmp_path / "wheels", tmp_path / "2026-12-01"
    wheels.mkdir()
    ours, needed = wheel(wheels, "mts1b_desk", "1.0", "itsneed"), wheel(wheels, "itsneed", "2.0")
    assert make_environment(made, wheels) == ["itsneed==2.0", "mts1b_desk==1.0"]
    assert subprocess.run([made / "bin" / "mts1b_desk"], capture_output=True, text=True).stdout == "mts1b_desk 1.0\n"

    requirements = tmp_path / "requirements.txt"
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (ours, needed)}
    requirements.write_text(f"mts1b_desk==1.0 --hash=sha256:{hashes[ours]}\nitsneed==2.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ReleaseFailed, match=r"failed: .*Expected sha256 0000"):
        make_environment(tmp_path / "other", wheels, requirements=requirements)
    needed.unlink()
    with pytest.raises(ReleaseFailed, match=r"failed: .*itsneed"):
        make_environment(tmp_path / "other", wheels)
    assert not (tmp_path / "other").exists()
