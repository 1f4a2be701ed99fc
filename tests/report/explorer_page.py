"""What tests of a report look for on its page: the list's links, the opened example, violations of axe-core's rules."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect


def picks(page: Page) -> Locator:
    """The links of the list."""
    return page.locator("#picks a")


def told(page: Page) -> Locator:
    """How many examples the list has."""
    return page.locator("#told")


def opens(page: Page, title: str) -> Locator:
    """The detail, once it shows an example."""
    expect(page.locator("#detail-title")).to_have_text(title)
    return page.get_by_role("dialog", name=title)


def addresses(links: Locator) -> list[str]:
    """Where links lead."""
    return [str(href) for href in links.evaluate_all("links => links.map((link) => link.getAttribute('href'))")]


def violations(page: Page, within: str | None = None) -> list[str]:
    """What axe-core finds wrong: its rule and the elements."""
    response: dict[str, Any] = Axe().run(page, context=within).response
    return [f"{each['id']}: {node['html'][:200]}" for each in response["violations"] for node in each["nodes"]]
