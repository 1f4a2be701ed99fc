"""Campaign files: what is read, what is refused and how, and what the identity covers."""

import os
import re
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.presets import NAMES, preset_text
from tests.conftest import small_campaign
from workers.campaign.campaign import PPM, Campaign, ratio_to_ppm
from workers.campaign.dataset_spec import TorchvisionData
from workers.campaign.model_spec import MLP
from workers.campaign.score_column import UNNAMED
from workers.campaign.yaml_io import (
    MAX_BYTES,
    check_campaign,
    dump_campaign,
    parse_campaign,
    read_campaign,
    with_repetitions,
)
from workers.errors import CampaignError

GOOD = """
dataset: {name: digits}
model: {name: mlp, hidden: [8]}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, weight_decay: 5e-4}}
subsets: {ratios: [0.7], repetitions: 3}
"""


def refused(text: str) -> list[str]:
    with pytest.raises(CampaignError) as caught:
        parse_campaign(textwrap.dedent(text), "file")
    return str(caught.value).splitlines()


def with_recipe(recipe: str) -> str:
    return f"recipe: {recipe}\nsubsets: {{ratios: [0.5], repetitions: 1}}"


def test_reads_numbers_in_scientific_notation_as_numbers() -> None:
    assert parse_campaign(GOOD).recipe.optimizer.weight_decay == 5e-4


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_valid_and_survive_a_round_trip(name: str) -> None:
    campaign = parse_campaign(preset_text(name), name)
    assert parse_campaign(dump_campaign(campaign)) == campaign


def test_the_published_recipe_is_the_preset() -> None:
    campaign = parse_campaign(preset_text("mnist-cscore"))
    assert campaign.model == MLP(hidden=(512, 256))
    assert campaign.subsets.ratios == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert (campaign.subsets.repetitions, campaign.recipe.epochs, campaign.recipe.batch_size) == (200, 10, 128)
    assert campaign.recipe.initialization.weights == "glorot-normal"
    assert campaign.recipe.initialization.bias_std == 0.01


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "dataset: {name: minst}",
            "file: dataset.name: must be digits, mnist, .* got 'minst' \\(did you mean mnist\\?\\)",
        ),
        ("dataset: mnist", "file: dataset: must be a mapping with a name .*, got 'mnist'"),
        (
            "model: {name: mlp, hiden: [1]}",
            "file: model.hiden: unknown field \\(did you mean hidden\\?\\), got \\[1\\]",
        ),
        ("model: {name: mlp, hidden: [0]}", "file: model.hidden.0: must be greater than or equal to 1, got 0"),
        ("model: {name: 'a b:c'}", "file: model.name: must be package.module:function, got 'a b:c'"),
        (
            "record: {epochs: sometimes}",
            "file: record.epochs: must be 'final' or 'all' or must be a valid integer, got 'some",
        ),
        ("label_noise: {fraction: .nan}", "file: label_noise.fraction: must be a finite number, got nan"),
        ("label_noise: {fraction: 2020-01-01}", "file: label_noise.fraction: must be a valid number, got '2020-01-01'"),
        ("nonsense: 1", "file: nonsense: unknown field \\(allowed: name, dataset, model, .*\\), got 1"),
    ],
)
def test_a_mistake_names_field_given_and_allowed(text: str, line: str) -> None:
    lines = refused(f"{text}\n{with_recipe('{epochs: 2, batch_size: 4}')}")
    assert len(lines) == 1
    assert re.match(line, lines[0]), lines[0]


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        ("{epochs: yes, batch_size: 1}", "file: recipe.epochs: must be a valid integer, got True"),
        ("{epochs: '3', batch_size: 1}", "file: recipe.epochs: must be a valid integer, got '3'"),
        ("{epochs: 1.5, batch_size: 1}", "file: recipe.epochs: must be a valid integer, got 1.5"),
        ("{epochs: 3}", "file: recipe.batch_size: is required"),
        (
            "{epochs: 3, batch_size: 1, optimizer: {momentum: 0.5}}",
            "file: recipe.optimizer.name: is required: sgd, adam, adamw, muon",
        ),
        (
            "{epochs: 3, batch_size: 1, optimizer: {name: sgd, momentum: 0, nesterov: true}}",
            "file: recipe.optimizer: nesterov needs a momentum greater than 0, "
            "got {'name': 'sgd', 'momentum': 0, 'nesterov': True}",
        ),
        (
            "{epochs: 3, batch_size: 1, schedule: {name: triangular, peak_epoch: 4}}",
            "file: recipe: schedule.peak_epoch must be at most epochs (3), got 4.0",
        ),
        (
            "{epochs: 3, batch_size: 1, schedule: {name: step, milestones: [3]}}",
            "file: recipe: schedule.milestones must be under epochs (3), got [3]",
        ),
    ],
)
def test_a_mistake_in_the_recipe(recipe: str, line: str) -> None:
    assert refused(with_recipe(recipe)) == [line]


@pytest.mark.parametrize("ratio", ["0", "-0.5", "1.01", "0.12345678", "1e300"])
def test_ratios_are_whole_parts_per_million(ratio: str) -> None:
    lines = refused(f"recipe: {{epochs: 1, batch_size: 1}}\nsubsets: {{ratios: [{ratio}], repetitions: 1}}")
    assert len(lines) == 1
    assert lines[0].startswith("file: subsets.ratios.0: must be greater than 0, at most 1, with at most 6 decimals")


def test_every_mistake_has_its_line() -> None:
    lines = refused(
        """
        dataset: {name: minst}
        recipe: {epochs: 0, batchsize: 3, batch_size: 2}
        subsets: {ratios: [0.5, 0.5], repetitions: 1}
        """
    )
    assert [line.split(": ")[1] for line in lines] == [
        "dataset.name",
        "recipe.epochs",
        "recipe.batchsize",
        "subsets.ratios",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "is not valid YAML"),
        ("a: 1\na: 2", "'a' is given twice"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("[" * 3000, "is not valid YAML"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("!!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("a: \x07", "is not valid YAML"),
    ],
)
def test_what_is_no_campaign_is_refused_in_one_line(text: str, reason: str) -> None:
    lines = refused(text)
    assert len(lines) == 1
    assert reason in lines[0]


@pytest.mark.slow
@given(st.text(max_size=200))
def test_no_text_can_raise_anything_else(text: str) -> None:
    with pytest.raises(CampaignError):
        parse_campaign(text)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner)
)
FIELDS = ("dataset", "model", "recipe", "label_noise", "image_noise", "subsets", "record")


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(FIELDS), documents))
def test_no_document_can_raise_anything_else(document: dict[str, object]) -> None:
    with pytest.raises(CampaignError):
        check_campaign(document)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe9\xff")
    (tmp_path / "huge").write_bytes(b" " * (MAX_BYTES + 1))
    for name, reason in [
        ("missing", "No such file"),
        ("latin", "not UTF-8"),
        ("huge", "larger than"),
        (".", "directory"),
    ]:
        with pytest.raises(CampaignError, match=reason):
            read_campaign(tmp_path / name)


def test_identity_covers_the_science_only(small: Campaign) -> None:
    base = small.identity("data")
    assert base != small.identity("other data")
    same = [
        with_repetitions(small, 1000),
        small_campaign(subsets={"ratios": [0.9], "repetitions": 1, "seed": 5}),
        check_campaign(small.model_dump(mode="json")),
    ]
    assert {campaign.identity("data") for campaign in same} == {base}
    others = [
        small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": 3, "seed": 6}),
        small_campaign(recipe={"epochs": 3, "batch_size": 256}),
        small_campaign(model={"name": "mlp", "hidden": [9]}),
        small_campaign(label_noise={"fraction": 0.1}),
        small_campaign(record={"epochs": "all"}),
    ]
    assert len({campaign.identity("data") for campaign in others} | {base}) == len(others) + 1


def test_identities_never_change() -> None:
    """Stores would be orphaned. A new field needs a default that means what was done before there was the field."""
    mnist = parse_campaign(preset_text("mnist-cscore"))
    assert mnist.identity("0" * 64) == "27f69a0d5f9dcb60f3aa8ae681ea60330d41af14afd9ba4781c2610ec18bc5f0"
    plain = mnist.model_copy(update={"recipe": mnist.recipe.model_copy(update={"precision": "float32"})})
    assert plain.identity("0" * 64) == "6ceb5f3a446dd02e6d39befeb4e2d1c1c0a9f11de7c1f9179fb66074cd064c15"
    left_out = mnist.model_copy(update={"recipe": mnist.recipe.model_copy(update={"precision": None})})
    assert left_out.identity("0" * 64) == plain.identity("0" * 64), "its default was float32 before"


def test_identity_leaves_out_where_the_data_lie() -> None:
    here, there = (small_campaign(dataset={"name": "mnist", "root": root}) for root in ("a", "b"))
    assert here.identity("x") == there.identity("x")
    data = here.with_absolute_paths().dataset
    assert isinstance(data, TorchvisionData) and data.root == f"{os.getcwd()}/a"


@pytest.mark.parametrize(
    ("dataset", "fields"),
    [
        ({"name": "mnist"}, ["root"]),
        ({"name": "emnist"}, ["root"]),
        ({"name": "image-folder"}, ["root"]),
        ({"name": "parquet"}, ["train", "test"]),
    ],
)
def test_paths_in_a_campaign_file_are_relative_to_the_file(
    dataset: dict[str, str], fields: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/you")
    for place, found in {
        "a/b": f"{tmp_path}/a/b",
        "/a": "/a",
        "~/a": "/home/you/a",
        "s3://bucket/a": "s3://bucket/a",
    }.items():
        subsets = {"design": "explicit", "drop": ["lowest"], "ratios": [0.5], "repetitions": 1}
        campaign = small_campaign(
            dataset={**dataset, **dict.fromkeys(fields, place)},
            subsets={**subsets, "scores": {"file": place, "column": "score"}},
        )
        (tmp_path / "c.yaml").write_text(dump_campaign(campaign))
        monkeypatch.chdir("/")
        for name in (tmp_path / "c.yaml", os.path.relpath(tmp_path / "c.yaml", "/")):
            read = read_campaign(name)
            assert [getattr(read.dataset, field) for field in fields] == [found] * len(fields)
            assert read.subsets.columns[UNNAMED].file == found
        assert parse_campaign(dump_campaign(campaign)) == campaign  # no file, so they stay
        back = read.with_paths_relative_to(tmp_path)
        assert [getattr(back.dataset, field) for field in fields] == [place if place == "a/b" else found] * len(fields)


def test_a_campaign_from_a_pipe_has_paths_of_the_current_folder(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, dump_campaign(small_campaign(dataset={"name": "mnist", "root": "a"})).encode())
    os.close(write)
    try:
        data = read_campaign(f"/dev/fd/{read}").dataset
        assert isinstance(data, TorchvisionData) and data.root == f"{os.getcwd()}/a"
    finally:
        os.close(read)


def test_what_would_never_end_is_no_campaign_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.yaml").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a named pipe"), ("link.yaml", "a device")):
        with pytest.raises(CampaignError, match=rf"{name}: must be a file, or a pipe as /dev/stdin, got {kind}$"):
            read_campaign(tmp_path / name)


def test_a_campaign_is_frozen(small: Campaign) -> None:
    with pytest.raises(ValidationError):
        small.recipe.epochs = 3  # type: ignore[misc]


def test_recorded_epochs() -> None:
    def recorded(rule: object) -> tuple[int, ...]:
        return small_campaign(recipe={"epochs": 5, "batch_size": 1}, record={"epochs": rule}).recorded_epochs()

    assert recorded("final") == (5,)
    assert recorded("all") == (1, 2, 3, 4, 5)
    assert recorded(2) == (2, 4, 5)
    assert recorded(9) == (5,)


@given(st.integers(1, PPM))
def test_parts_per_million_is_exact(ratio_ppm: int) -> None:
    assert ratio_to_ppm(ratio_ppm / PPM) == ratio_ppm
