"""ntfy: a push message to a phone, by ntfy.sh or a server of one's own."""

from collections.abc import Callable

from mts1b_operations.monitor.sinks.http import send
from mts1b_operations.monitor.sinks.page import Page


class Ntfy:
    """A topic of an ntfy server.

    Args:
        url: of the topic, such as ``https://ntfy.sh/my-desk``.
        token: reads the access token, when the topic needs one.
    """

    def __init__(self, url: str, token: Callable[[], str] | None = None) -> None:
        self._url = url
        self._token = token

    @property
    def name(self) -> str:
        """The topic's URL."""
        return f"ntfy {self._url}"

    async def send(self, page: Page, /) -> None:
        """Publish; urgent when it is critical."""
        urgent, tag = ("urgent", "rotating_light") if page.is_critical else ("default", "warning")
        if page.status == "cleared":
            urgent, tag = "low", "white_check_mark"
        title = page.title.encode("ascii", "replace").decode()
        headers = {"Title": title, "Priority": urgent, "Tags": tag}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        await send(self._url, data=page.text.encode(), headers=headers)
