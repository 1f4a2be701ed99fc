"""The report: one file that a browser opens from disk, whatever the store holds, with what is missing said."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis import EstimateError
from analysis.report import find
from analysis.report.history import learning_history
from orchestrator import run_campaign
from orchestrator.cli.commands import report as command
from orchestrator.report import Report, explorer, write_report
from orchestrator.report.encoding import column
from orchestrator.report.inputs import Inputs
from orchestrator.report.pictures import Pictures
from orchestrator.store_ops.import_runs import import_heldout
from tests.command import call
from tests.conftest import small_campaign
from tests.learning_runs import learning_runs
from tests.store.test_import_runs import LABEL, TEST_LABEL, exact_runs, published, save
from tests.synthetic import Labelled, Runs, make_stores, random_runs
from tests.user_code import HOSTILE
from workers.datasets import Dataset, load_dataset
from workers.errors import LongtailError, StoreError
from workers.store import Failure, Store
from workers.store.schema import PRESENTED

SECTIONS = [
    *("findings", "campaign", "distributions", "learned", "classes"),
    *("memorized", "influence", "regular", "suspects", "explorer"),
]
NAMES = [HOSTILE, '"><img src=x onerror=alert(2)>', "$x_1$ & {{ 7 * 7 }}"]
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """A page: the elements' ids, addresses, images and texts; fails where tags are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._open: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [each for each in [found.get("id")] if each]
        self.addresses += [value for name in ("src", "href", "xlink:href", "action") if (value := found.get(name))]
        self.images += [found] if tag == "img" else []
        if tag not in VOID:
            self._open.append((tag, found.get("id") or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, name = self._open[-1] if self._open else ("", "")
        if tag == "script":
            self.scripts[name] = data
        else:
            self.text += data

    @property
    def words(self) -> str:
        """Its text with single blanks."""
        return " ".join(self.text.split())

    @property
    def data(self) -> dict[str, Any]:
        """What the explorer works on."""
        found: dict[str, Any] = json.loads(self.scripts["data"])
        return found


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Report]:
    """Ten runs on digits, at two ratios, all of them recorded in full, with label noise; and their report."""
    folder = tmp_path_factory.mktemp("digits")
    campaign = small_campaign(
        recipe={"epochs": 3, "batch_size": 128},
        name="Digits with <noise>",
        subsets={"ratios": [0.5, 0.8], "repetitions": 5, "seed": 5},
        label_noise={"fraction": 0.1},
        record={"epochs": "all", "presentations": True, "probabilities": True},
    )
    run_campaign(campaign, folder / "s")
    store = Store.open(folder / "s")
    return store, write_report(store, folder / "report.html")


@pytest.mark.slow
def test_report_stands_by_itself(digits: tuple[Store, Report]) -> None:
    _, report = digits
    page = Page(report.path)
    assert report.missing == {}
    assert report.size == report.path.stat().st_size < 3_000_000
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert "where" not in page.ids and "Where memorization is" not in page.words  # a store without probes
    assert len(set(page.ids)) == len(page.ids)
    anchors = {address[1:] for address in page.addresses if address.startswith("#") and "=" not in address}
    assert anchors <= set(page.ids)
    assert {address for address in page.addresses if not address.startswith(("#", "data:"))} == set()
    # Nothing else that a browser could fetch either, in styles or figures.
    written = report.path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in written and "https:" not in written and "@import" not in written
    assert [path.name for path in report.path.parent.iterdir() if path.is_file()] == ["report.html"]


def test_report_tells_what_was_run_and_how_precisely(digits: tuple[Store, Report]) -> None:
    _, report = digits
    words = Page(report.path).words
    for text in (
        "Digits with <noise>",
        "digits: 1,437 training and 360 test examples of 10 classes",
        "3 epochs of minibatches of 128, SGD with momentum 0.9",
        "10.0% of the training labels were replaced",
        "5 of 5",
        "No shard failed",
        "memorization at ratio 0.5",
        "18 bins of equal width",
        "ranked by loss",
    ):
        assert text in words
    assert "by Longtail 0.1.0: longtail report s -o report.html" in words
    assert str(report.path.parent) not in report.path.read_text()  # no folder of this machine


def test_images_are_those_of_the_examples(digits: tuple[Store, Report]) -> None:
    _, report = digits
    data = load_dataset(small_campaign().dataset)
    page = Page(report.path)
    assert len(page.images) > 200
    for image in page.images:
        match = re.match(r"(training|test) example (\d+), labelled \d", image["alt"] or "")
        assert match
        images = data.train_images if match[1] == "training" else data.test_images
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode((image["src"] or "").split(",")[1]))))
        expected = np.clip((images[int(match[2]), 0] * (255 / data.white)).round(), 0, 255)
        np.testing.assert_array_equal(pixels, expected)


def test_explorer_has_every_example(digits: tuple[Store, Report]) -> None:
    store, report = digits
    page = Page(report.path)
    train = page.data["train"]
    assert isinstance(train, dict)
    ids = np.frombuffer(base64.b64decode(train["ids"]), "<i4")
    given = np.frombuffer(base64.b64decode(train["given"]), "<i4")
    np.testing.assert_array_equal(ids, np.arange(store.header.num_train))
    np.testing.assert_array_equal(given, store.given_labels())
    mem = decoded(scores_by_key(page.data)["mem"]["value"])
    assert len(mem) == len(ids) and (np.abs(mem[~np.isnan(mem)]) <= 1).all()
    sheet = Image.open(io.BytesIO(base64.b64decode(page.scripts["sheet-train-0"])))
    assert sheet.size == (16 * 8, 4 * 8)
    second = Pictures(load_dataset(small_campaign().dataset)).uri("train", 17).split(",")[1]
    tile = np.asarray(sheet)[8:16, 8:16]  # example 17: second row, second column
    np.testing.assert_array_equal(tile, np.asarray(Image.open(io.BytesIO(base64.b64decode(second)))))


def scores_by_key(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores of the training examples."""
    return {score["key"]: score for score in data["train"]["scores"]}


def decoded(written: dict[str, Any]) -> np.ndarray:
    """The values of an explorer's column, as the page's script reads them."""
    kind, none = ("<i4", -(2**31)) if written["wide"] else ("<i2", -(2**15))
    raw = np.frombuffer(base64.b64decode(written["values"]), kind)
    values = raw.astype(float) * max(1, round(written["step"])) / max(1, round(1 / written["step"]))
    return np.where(raw == none, np.nan, values)


@pytest.mark.slow
def test_a_filter_of_the_explorer_selects_what_the_counts_do(tmp_path: Path) -> None:
    """Also of a value that lies within 1/10,000 of the limit."""
    runs = {0.5: random_runs(np.random.default_rng(0), 180, 60, 1, 0.5)}
    found = find(make_stores(tmp_path / "s", runs))
    assert found.mem is not None
    scores = scores_by_key(explorer.explorer_of(found, Inputs()).data)
    for name, frame in (("mem", found.mem), ("cscore", found.cscore)):
        assert frame is not None
        values = frame[name].to_numpy()
        for bar in {0.25, *np.round(values, 4), *np.round(values, 2)}:
            np.testing.assert_array_equal(decoded(scores[name]["value"]) >= bar, values >= bar)
            np.testing.assert_array_equal(decoded(scores[name]["value"]) <= bar, values <= bar)


@pytest.mark.parametrize("step", [1e-9, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("largest", [0.0, 1.0, 3.2767, 3.28, 327.67, 327.69, 1000.0, 65_536.5, 100_000.0, 1e9, 1e15])
def test_an_explorers_column_cuts_no_value(largest: float, step: float) -> None:
    values = np.array([largest, -largest, largest / 3, 0.25, np.nan])
    written = column(values, step)
    assert written["step"] == step or 10 * largest / written["step"] > 2e9  # no coarser than it must be
    np.testing.assert_allclose(decoded(written), values, rtol=0, atol=0.5001 * written["step"])
    assert np.isnan(decoded(column(np.full(3, np.nan)))).all()


def test_a_neighbour_is_marked_where_its_pair_is_a_discovery(tmp_path: Path) -> None:
    """Test example 0 is right where training example 0 was trained on, and only there."""
    runs = random_runs(np.random.default_rng(0), 60, 20, 3, 0.5)
    runs.test[:, 0] = runs.subsets[:, 0]
    top = explorer.explorer_of(find(make_stores(tmp_path / "s", {0.5: runs})), Inputs()).data["top"]
    tests, examples = (np.frombuffer(base64.b64decode(top[name]), "<i4") for name in ("test_example_id", "example_id"))
    discoveries = np.flatnonzero(np.frombuffer(base64.b64decode(top["discovery"]), "u1"))
    assert [(tests[place], examples[place]) for place in discoveries] == [(0, 0)]


def test_examples_without_images_have_features(tmp_path: Path) -> None:
    train = np.linspace(-7, 1234, 40, dtype=np.float32).reshape(2, 20)
    data = Dataset(train, np.array([0, 1]), np.zeros((1, 20), dtype=np.float32), np.array([0]), ("a", "b"))
    found = find(make_stores(tmp_path / "s", {0.5: random_runs(np.random.default_rng(0), 6, 2, 1)}))
    features = explorer.explorer_of(found, Inputs(without_images=data)).data["train"]["features"]
    assert len(features) == 12
    np.testing.assert_allclose(decoded(features[3]), data.train_images[:, 3], atol=0.06)


def test_late_epochs_and_many_runs_are_shown_as_they_are(tmp_path: Path) -> None:
    """Learned at epoch 400 of 400: the explorer once said 327.67."""
    right = np.zeros((2, 400, 3), bool)
    right[:, 399, 0] = right[:, ::2, 1] = True
    shape = (2, 3)
    presented = dict(zip(PRESENTED, (np.ones_like(right), right), strict=True))
    runs = Runs(np.ones(shape, bool), np.ones(shape, bool), np.ones((2, 1), bool), presented=presented)
    found = find(make_stores(tmp_path / "s", {1.0: runs}))
    scores = scores_by_key(explorer.explorer_of(found, Inputs()).data)
    np.testing.assert_allclose(decoded(scores["first_learned"]["value"]), [400, 1, np.nan])
    np.testing.assert_allclose(decoded(scores["forgetting"]["value"]), [0, 200, 0])
    assert (decoded(scores["forgetting"]["high"]) > decoded(scores["forgetting"]["value"]) + 1).all()


@pytest.mark.slow
def test_equal_stores_give_equal_pages(
    digits: tuple[Store, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = digits
    written = []
    for day in (0, 0, 86_400):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(day))
        written.append(write_report(store, tmp_path / "report.html").path.read_bytes())
    assert written[0] == written[1] == written[2].replace(b"1970-01-02", b"1970-01-01")


@pytest.mark.slow
def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    campaign = small_campaign(
        dataset={"name": "user_code:coloured", "options": {"names": NAMES}},
        recipe={"epochs": 1, "batch_size": 16},
        subsets={"ratios": [0.5], "repetitions": 4, "seed": 1},
    )
    run_campaign(campaign, tmp_path / "s")
    store = Store.open(tmp_path / "s")
    store.record_failure(Failure("r500000-000004-000008", 2, f"boom {HOSTILE}", "traceback"))
    report = write_report(store, tmp_path / "r.html")
    page, written = Page(report.path), report.path.read_text()
    assert HOSTILE not in written and "<img src=x" not in written and "{{ 7 * 7 }}" in page.words
    assert page.words.count(f"boom {HOSTILE}") == 1
    assert "1 shard failed" in page.words
    assert page.tags.count("script") == 1 + 1 + 2  # data, code, a sheet for each split
    assert page.data["classes"] == NAMES
    assert "Not shown. The campaign records neither presentations" in page.words


@pytest.mark.slow
def test_unfinished_campaign(tmp_path: Path) -> None:
    run_campaign(small_campaign(subsets={"ratios": [0.6], "repetitions": 1, "seed": 5}), tmp_path / "s")
    store = Store.open(tmp_path / "s")
    store.add_target(small_campaign(subsets={"ratios": [0.6, 0.9], "repetitions": 40, "seed": 5}).subsets)
    page = Page(write_report(store, tmp_path / "r.html").path)
    assert "So far no example was held out by some runs and trained on by others." in page.words
    assert "1 of 40" in page.words and "0 of 40" in page.words
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS


@pytest.mark.slow
def test_every_run_on_all_examples(tmp_path: Path) -> None:
    campaign = small_campaign(subsets={"ratios": [1.0], "repetitions": 2, "seed": 5}, record={"presentations": True})
    run_campaign(campaign, tmp_path / "s")
    report = write_report(Store.open(tmp_path / "s"), tmp_path / "r.html")
    page = Page(report.path)
    assert set(report.missing) == {"mem", "cscore", "profiles", "influence"}
    assert "none was held out" in page.words
    assert "Learning curve of all examples" in page.words and "ranked by accuracy" in page.words


@pytest.mark.slow
def test_data_that_are_not_here(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    labels = Labelled(*(random.integers(0, 2, count).tolist() for count in (30, 30, 3)))
    runs = {ratio: learning_runs(random, 6, 30, 3, ratio) for ratio in (0.4, 0.8)}
    report = write_report(make_stores(tmp_path / "s", runs, labels), tmp_path / "r.html")
    page = Page(report.path)
    assert list(report.missing) == ["images"]
    assert "could not be loaded here, so examples are shown by their ids" in page.words
    assert page.images == [] and page.data["image"] is None
    assert "Consistency profiles" in page.words


@pytest.mark.slow
def test_command_writes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_stores(tmp_path / "s", {0.7: random_runs(np.random.default_rng(0), 4, 20, 3)})
    command.report(store.uri, tmp_path / "r.html")
    told = capsys.readouterr()
    assert told.out == f"report: {tmp_path / 'r.html'} (0.2 MB)\n"
    assert "note: no images: The data set could not be loaded" in told.err
    before = (tmp_path / "r.html").read_bytes()
    with pytest.raises(EstimateError, match=r"ratio must be one of 0.7, got 0.3$"):
        command.report(store.uri, tmp_path / "r.html", 0.3)
    command.report(store.uri, tmp_path / "again.html", 7 * 0.1)  # is 0.7000000000000001
    assert (tmp_path / "again.html").read_bytes().replace(b"again.html --ratio 0.7", b"r.html") == before
    (tmp_path / "again.html").unlink()
    with pytest.raises(LongtailError, match="cannot be written: there is no folder"):
        command.report(store.uri, tmp_path / "no" / "r.html")
    with pytest.raises(StoreError, match="is not a Longtail store"):
        command.report(str(tmp_path), tmp_path / "r.html")
    (tmp_path / "d.html").mkdir()
    with pytest.raises(LongtailError, match=r"d\.html: cannot be written: is a folder$"):
        command.report(store.uri, tmp_path / "d.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.html", "r.html", "s"]
    assert (tmp_path / "r.html").read_bytes() == before


def test_nothing_is_written_of_what_cannot_be_read(tmp_path: Path) -> None:
    store = make_stores(tmp_path / "s", {0.7: random_runs(np.random.default_rng(0), 4, 20, 3)})
    result = next((tmp_path / "s" / "results").iterdir())
    whole = result.read_bytes()
    for content, message in ((whole[:500], "is damaged: is not a whole Parquet file"), (None, "has no committed run")):
        result.write_bytes(content) if content else result.unlink()
        with pytest.raises(LongtailError, match=message):
            command.report(store.uri, tmp_path / "r.html")
    with pytest.raises(LongtailError, match="cannot be written: File name too long"):
        command.report(store.uri, tmp_path / f"{'x' * 260}.html")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_learning_history_is_the_share_of_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    runs = learning_runs(random, 7, 20, 9, 0.6, diverged=(2,))
    labels = Labelled(*(random.integers(0, 2, count).tolist() for count in (20, 20, 3)))
    store = make_stores(tmp_path / "s", {0.6: runs}, labels)
    ids = np.array([3, 11, 19])
    kept = [k for k in range(7) if k != 2]
    evaluated = [*(train for train, _ in runs.earlier), runs.train]
    for at in ("presentations", "evaluations", "heldout"):
        history = learning_history(store, at, 0.6, ids, 5)
        assert history.epochs.tolist() == [1, 3, 5, 7, 9]
        for place, i in enumerate(ids):
            for slot, epoch in enumerate(history.epochs):
                bits = []
                for k in kept:
                    if at == "presentations":
                        if runs.presented[PRESENTED[0]][k, epoch - 1, i]:
                            bits.append(runs.presented[PRESENTED[1]][k, epoch - 1, i])
                    elif runs.subsets[k, i] == (at == "evaluations"):
                        bits.append(evaluated[epoch - 1][k, i])
                share = history.share[place, slot]
                assert np.isnan(share) if not bits else share == np.mean(bits)


def test_mistake_in_the_command_is_a_line(tmp_path: Path) -> None:
    told = call("report", tmp_path, "-o", "r.pdf")
    assert told == (2, "", "error: --output: must end with .html, got 'r.pdf'\n")


@pytest.mark.slow
def test_of_a_large_set_the_top_is_explored(digits: tuple[Store, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = digits
    monkeypatch.setattr(explorer, "MAX_EXAMPLES", 300)
    found = find(store)
    top = explorer.explorer_of(found, Inputs(Pictures(load_dataset(small_campaign().dataset))))
    train, test = (np.frombuffer(base64.b64decode(top.data[split]["ids"]), "<i4") for split in ("train", "test"))
    names = [*(f"train-{sheet}" for sheet in range(4)), "test-0", "test-1"]
    assert (len(train), len(test), [name for name, _ in top.sheets]) == (200, 100, names)
    assert found.suspects is not None and found.mem is not None
    assert found.suspects["example_id"][0] in train and found.mem["mem"].idxmax() in train
    assert top.note == "Of this large data set the top 200 training and 100 test examples."


@pytest.mark.slow
def test_explicit_subsets_have_a_removal_curve(tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("score\n" + "\n".join(map(str, range(1437))))
    subsets = {
        "design": "explicit",
        "ratios": [0.5, 0.9],
        "repetitions": 2,
        "scores": {"file": str(scores), "column": "score"},
        "drop": ["lowest", "random"],
    }
    run_campaign(small_campaign(subsets=subsets), tmp_path / "s")
    report = write_report(Store.open(tmp_path / "s"), tmp_path / "r.html")
    page = Page(report.path)
    assert list(report.missing) == ["subsets"]
    assert "Removal against random" in page.words and "lowest" in page.words and "explicit, not random" in page.words


@pytest.mark.slow
def test_imported_runs_have_no_images(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    runs = exact_runs(random, 6, 0.7)
    for k in range(6):
        save(tmp_path / "cifar10-tiny" / "0.7" / str(k), published(runs, k, random))
    labels = tmp_path / "labels.npz"
    np.savez(labels, train=LABEL, test=TEST_LABEL.astype(np.uint8))
    import_heldout(tmp_path / "cifar10-tiny", tmp_path / "s", labels)
    report = write_report(Store.open(tmp_path / "s"), tmp_path / "r.html")
    page = Page(report.path)
    assert {"images", "learning", "forgetting", "history"} <= set(report.missing)
    assert "imported (cifar10-tiny)" in page.words and page.images == []
    assert page.words.count("no. ") > 20
