"""Checks every committed file of a store, and sets damaged ones aside so that their runs are trained again."""

from dataclasses import dataclass

from workers.errors import LongtailError
from workers.store import Store


@dataclass(frozen=True)
class Finding:
    """A file with something wrong; `moved_to` says where it is now, where it was set aside."""

    path: str
    problem: str
    moved_to: str | None = None


def verify_store(uri: str, *, repair: bool = False) -> tuple[int, list[Finding]]:
    """(files checked, findings). With `repair`, damaged results are moved to `damaged/`.

    Raises StoreError where there is no store, or where it cannot be read or (repairing) written.
    """
    store = Store.open(uri)
    findings: list[Finding] = []
    names = store.result_names()
    for name in names:
        problem = store.inspect(name)
        if problem is not None:
            moved_to = store.set_aside(name) if repair else None
            findings.append(Finding(f"{store.uri}/results/{name}", problem, moved_to))
    try:
        store.examples()
    except LongtailError as error:
        findings.append(Finding(f"{store.uri}/examples.parquet", str(error)))
    return len(names) + 1, findings
