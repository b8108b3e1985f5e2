"""Any service that takes a request: Pushover, Telegram, Slack and their like, by a template of the request."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

from mts1b_operations.monitor.sinks.http import send
from mts1b_operations.monitor.sinks.page import Page
from mts1b_operations.monitor.sinks.sink import SinkError

Format = Literal["json", "form"]


class Template:
    """A request with words of the alert in it: ``{title}``, ``{text}``, ``{severity}`` and so on, and secrets.

    Args:
        url: where to; may hold words.
        body: names and values of the body; texts may hold words.
        form: how the body is written.
        headers: of the request; may hold words.
        secrets: by name, what reads each secret that the request may hold.
        choices: by word, other texts for its values, such as ``{"severity": {"critical": "1", "warning": "0"}}``.
    """

    def __init__(
        self,
        url: str,
        *,
        body: Mapping[str, Any],
        form: Format = "json",
        headers: Mapping[str, str] | None = None,
        secrets: Mapping[str, Callable[[], str]] | None = None,
        choices: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._url, self._body, self._form = url, body, form
        self._headers, self._secrets, self._choices = headers or {}, secrets or {}, choices or {}

    @property
    def name(self) -> str:
        """The URL as it is configured, without secrets."""
        return f"webhook {self._url}"

    async def send(self, page: Page, /) -> None:
        """Fill in the request, and send it."""
        words = page.words()
        words |= {name: options.get(words.get(name, ""), "") for name, options in self._choices.items()}
        words |= {name: read() for name, read in self._secrets.items()}
        in_url = {name: quote(value, safe=":") for name, value in words.items()}
        body = cast("dict[str, Any]", self._filled(self._body, words))
        headers = {name: str(self._filled(value, words)) for name, value in self._headers.items()}
        if self._form == "json":
            data, kind = json.dumps(body).encode(), "application/json"
        else:
            data, kind = urlencode(body).encode(), "application/x-www-form-urlencoded"
        url = str(self._filled(self._url, in_url))
        await send(url, data=data, headers={"Content-Type": kind, **headers}, shown=self._url)

    def _filled(self, value: Any, words: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            try:
                return value.format_map(words)
            except (KeyError, ValueError, IndexError) as error:
                raise SinkError(
                    f"{self.name}: {value!r} cannot be filled in ({error!r}): it may hold "
                    f"{', '.join(sorted(words))} in braces; a brace is written twice"
                ) from None
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            return {name: self._filled(each, words) for name, each in items}
        if isinstance(value, (list, tuple)):
            return [self._filled(each, words) for each in cast("list[Any]", value)]
        return value
