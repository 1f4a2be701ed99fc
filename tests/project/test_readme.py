"""The README's snippets work as they stand, and what it names is there. Its pages: tests/project/test_docs.py."""

import re
from pathlib import Path

import pytest

from orchestrator import run_campaign
from orchestrator.presets import preset_text
from tests.documentation import DOCS, PAGES, ROOT
from workers.campaign.yaml_io import parse_campaign
from workers.store import Store

README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo store."""
    from analysis import write_estimates

    path = tmp_path_factory.mktemp("readme")
    run_campaign(parse_campaign(preset_text("digits")), path / "demo-store", repetitions=10)
    write_estimates(Store.open(path / "demo-store"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=["queries", "notebook"])
@pytest.mark.filterwarnings("error")
def test_a_snippet_runs(snippet: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page


def test_the_pages_have_its_commands() -> None:
    """There they are carried out, with the same options."""
    pages = "\n".join((DOCS / page).read_text() for page in PAGES)
    commands = re.findall(r"^\$ (longtail \w+)(.*?)(?:  #.*)?$", README, flags=re.MULTILINE)
    assert len(commands) >= 5
    for command, words in commands:
        assert command in pages, command
        for option in re.findall(r" (--?[a-z-]+)", words):
            assert re.search(rf"{command}[^\n]* {option}\b", pages), f"{command} {option}"


def test_it_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 100


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) > 10
    for target in targets:
        assert (ROOT / target).exists(), target
