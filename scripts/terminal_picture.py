"""`make terminal-picture`: what commands print of a real run, as the picture in the README.

A server of its own, the desk on a simulated market, then the commands; rich makes the SVG.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.server import NatsServer
from rich.console import Console
from rich.text import Text

_WIDTH: Final = 110
_FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""The page fetches nothing: the reader's own monospaced font is good enough."""


def main(target: Path) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer().start_blocking()
        try:
            environ = {name: value for name, value in os.environ.items() if not name.startswith("MTS1B_")}
            environ |= {
                "MTS1B_NATS_URL": server.url,
                "COLUMNS": str(_WIDTH),
                "HOME": folder,
                "MTS1B_CONNECT_TIMEOUT": "30",
            }
            asyncio.run(_streams(server.url))
            _run(environ, "mts1b-desk", "run", "--quotes", "3000", "--interval", "1s", "--speed", "max", "--json")
            order = asyncio.run(_filled(server.url))
            shown = [["mts1b", "order", order], ["mts1b", "lag"]]
            _draw({" ".join(words): _run(environ, *words) for words in shown}, target)
        finally:
            server.stop_blocking()


async def _streams(url: str) -> None:
    async with await connect(url, service="mts1b-deploy") as bus:
        await apply_streams(bus)


async def _filled(url: str) -> str:
    """The id of the first order that was filled."""
    async with await connect(url, service="mts1b-operations") as bus:
        history = await open_history(bus, "OMS_ORDERS")
        async for message in history.messages("mts.*.oms.orders.filled.fund.*"):
            return str(json.loads(message.wire.payload)["order_id"])
    sys.exit("the desk has filled no order")


def _run(environ: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _draw(printed: dict[str, str], target: Path) -> None:
    console = Console(record=True, width=_WIDTH, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    for command, text in printed.items():
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(text))
        console.print()
    target.write_text(_FONTS.sub("", console.export_svg(title="mts1b")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
