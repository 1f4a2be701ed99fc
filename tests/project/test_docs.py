"""The documentation: every page does what it says, and the site is whole and needs no network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer

from orchestrator.cli.app import app
from tests.documentation import DOCS, PAGES, ROOT, Session, blocks_of, check_shown

INLINE = re.compile(r"`(longtail [a-z][^`\n]*)`")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_from_top_to_bottom(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, blocks = Session(tmp_path, monkeypatch), blocks_of(DOCS / page)
    session.work_through(blocks)
    assert session.executed == blocks
    assert len(blocks) == len(re.findall(r"^ *```", (DOCS / page).read_text(), re.MULTILINE)) // 2


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page: str) -> None:
    command = typer.main.get_command(app)
    for text in INLINE.findall((DOCS / page).read_text()):
        words = text.split()
        context = command.make_context("longtail", [*words[1:2]], resilient_parsing=True)
        found = command.get_command(context, words[1])  # type: ignore[attr-defined]
        assert found is not None, text
        found = getattr(found, "commands", {}).get("".join(words[2:3]), found)
        options = {option for param in found.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in words[2:] if word.startswith("-")} <= options, text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```bash\nls\n```\n", "one of console, python, yaml, text"),
        ("```text\n$ ls\n```\n", "belong into a console block"),
        ("```\n$ ls\n```\n", "belong into a console block"),
        ("```text\n", "never ends"),
        ("<!-- shrink: epochs=2 -->\n```console\n$ ls\n```\n", "no note that means anything: shrink"),
    ],
)
def test_no_block_is_of_an_unknown_kind(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(ValueError, match=said):
        blocks_of(tmp_path / "page.md")


ROTTEN = {
    "an option that is gone": "```console\n$ longtail init digits --colour\n```\n",
    "an exit code": "<!-- exits 2 -->\n```console\n$ true\n```\n",
    "a program": "```console\n$ ls nowhere\n```\n",
    "output that is none": "```console\n$ echo runs\nmodels\n```\n",
    "a snippet": "```python\nimport analysis\n\nanalysis.nothing\n```\n",
    "a field": "```yaml\nrecipe: {epochs: 2, batch_size: 64, speed: 3}\n```\n",
    "a field of an alternative": "```yaml\nlabel_noise: {fraction: 0.1}\n---\nlabel_noise: {fraction: 2}\n```\n",
    "a hidden block": "<!-- setup\n```console\n$ false\n```\n-->\n",
    "a test that does not": (
        "<!-- executed by tests/runners/test_jobs.py -->\n```console\n$ ray up --no-such-option\n```\n"
    ),
}


@pytest.mark.parametrize("what", ROTTEN)
def test_what_has_rotted_is_found(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text(ROTTEN[what])
    (block,) = blocks_of(tmp_path / "page.md")
    with pytest.raises(Exception, match="page.md|no attribute"):
        Session(tmp_path, monkeypatch).work_through([block])


def test_output_is_compared_by_its_words() -> None:
    check_shown("x", ["...", "│ 12 of 400 runs in /home/you/s │"], "8 of  9 runs in /tmp/x (seconds)")
    with pytest.raises(AssertionError, match="models"):
        check_shown("x", ["12 models at 3 places and nodes"], "8 of 9 runs")


class _References(HTMLParser):
    """Every address in an HTML page: what it fetches, what it links to, and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.linked.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(given["href"])
        self.fetched += [given[name] for name in ("src", "srcset", "data") if name in given and tag != "a"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it. A warning of mkdocs is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if re.match("WARNING|ERROR|Aborted", line)]
    assert (done.returncode, said) == (0, []), done.stderr
    return folder


@pytest.mark.slow
def test_the_site_needs_no_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {path.stem for path in pages} >= {Path(page).stem for page in PAGES}
    for page in pages:
        for address in _References(page).fetched:
            assert not urlsplit(address).netloc, f"{page.name} fetches {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import\s*)[\"']?(https?:)?//", style.read_text()), f"{style.name} fetches"


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: _References(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for page, references in pages.items():
        for address in {*references.linked, *references.fetched}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name} refers to {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors | {"__"}, f"{page.name} links to {address}"


def test_no_hidden_comment_is_published(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "<!-- setup" not in page.read_text(), page.name
