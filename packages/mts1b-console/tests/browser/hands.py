"""What a person does to a page, counted: a click, a chord, a text that is pasted or typed."""

from typing import Protocol

from playwright.async_api import Locator, Page

KNOWN = ".shell, .signin, main.page [role=alert]"
"""What a page shows once it knows whom it is for."""


class Visit(Protocol):
    """Opens a page of the console."""

    async def __call__(
        self,
        path: str,
        *,
        theme: str = "dark",
        width: int = 1440,
        height: int = 900,
        bypass_csp: bool = False,
        expected: str = "\0",
        until: str = KNOWN,
        alone: bool = False,
    ) -> Page:
        """The page at an address.

        Args:
            path: the address.
            theme: dark or light.
            width: of the window.
            height: of the window.
            bypass_csp: for what is put into the page from outside, such as axe.
            expected: what the browser may complain of.
            until: what is waited for.
            alone: in a browser that shares nothing with the others, and may be closed.
        """
        ...


class Hands:
    """Counts the gestures. Moving the focus with Tab is part of the typing that follows."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.gestures = 0

    async def press(self, keys: str) -> None:
        self.gestures += 1
        await self.page.keyboard.press(keys)

    async def click(self, what: Locator) -> None:
        self.gestures += 1
        await what.click()

    async def type(self, text: str, *, tab: bool = False) -> None:
        self.gestures += 1
        if tab:
            await self.page.keyboard.press("Tab")
        await self.page.keyboard.insert_text(text)
