"""What mkdocs does beyond its own: pages that live elsewhere in the repository, and comments left out.

Pages link to files of the repository as GitHub shows them (`../benchmarks/RESULTS.md`). Of those, Markdown files named
in PAGES are pages of the site as well; any other file that is linked to is put beside the pages as it is.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

PAGES = {
    "benchmarks/RESULTS.md": "results.md",
    "deploy/README.md": "deploy.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages that live outside of docs/, and their names in the site."""

_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
_ROOT_PROMPT = re.compile(r'^<span class="gp"># </span>.*$', re.MULTILINE)
_TAG = re.compile(r"<[^>]+>")
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere, and the files that any page links to."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    for file in list(files.documentation_pages()):
        source = _source(file.src_uri)
        for target in _targets((ROOT / source).read_text(), source):
            if _page(target) is None and files.get_file_from_path(f"files/{target}") is None:
                files.append(File.generated(config, f"files/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links lead to where the site has what they name; comments go, with the blocks that only tests execute."""
    source = _source(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = _resolved(match[2], source)
        place = _page(target) or f"files/{target}"
        return f"{match[1]}{place}{match[3]}" if (ROOT / target).exists() else match[0]

    return _LINK.sub(moved, _COMMENT.sub("", markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A comment in the output of a console block is output: the highlighter takes its `#` for a prompt."""
    return _ROOT_PROMPT.sub(lambda line: f'<span class="go">{_TAG.sub("", line[0])}</span>', html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme's search dialog gets the name that it lacks, which screen readers announce."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"', 1)


def _source(page: str) -> str:
    """Where a page of the site lives in the repository."""
    return _SOURCES.get(page, f"docs/{page}")


def _resolved(link: str, source: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return f"{target}/README.md" if (ROOT / target / "README.md").is_file() and target != "." else target


def _page(target: str) -> str | None:
    """What the site calls a file of the repository that it has as such: a page, or a file in docs/."""
    return PAGES.get(target) or (os.path.relpath(target, "docs") if target.startswith("docs/") else None)


def _targets(markdown: str, source: str) -> set[str]:
    """The files of the repository that a page links to."""
    links = {_resolved(match[2], source) for match in _LINK.finditer(markdown)}
    return {link for link in links if not link.startswith("..") and (ROOT / link).is_file()}
