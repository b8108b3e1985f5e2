"""One HTTP request, whose answer says whether it arrived."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from mts1b_operations.monitor.sinks.sink import SinkError

TIMEOUT = 5.0
"""Seconds that a server may take to answer."""


async def post_json(url: str, document: Any) -> None:
    """POST ``document`` as JSON; raises as :func:`send`."""
    await send(url, data=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


async def send(
    url: str,
    *,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    shown: str | None = None,
) -> None:
    """Send a request; 2xx is success.

    Args:
        url: where to.
        data: the body.
        headers: of the request.
        method: of the request.
        shown: what errors call the URL, when that holds a secret.

    Raises:
        SinkError: it was refused, or nobody answers.
    """
    where = shown or url

    def sent() -> None:
        request = urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310 - configured
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
            pass

    try:
        await asyncio.to_thread(sent)
    except urllib.error.HTTPError as error:
        said = error.read(200).decode(errors="replace").strip()
        error.close()
        raise SinkError(f"{where} answers {error.code} {error.reason}{f': {said}' if said else ''}") from None
    except urllib.error.URLError as error:
        raise SinkError(f"{where} cannot be reached: {error.reason}") from None
    except (OSError, ValueError) as error:
        raise SinkError(f"{where} cannot be reached: {error}") from None
