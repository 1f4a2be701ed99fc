"""The image, the cluster launcher's files, the policies and the guide: each valid by the rules of who reads it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from tests.manifests import DEPLOY, ROOT, load, strict, with_unknown_keys

BIN = Path(sys.executable).parent
GUIDE = (DEPLOY / "README.md").read_text()
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")
LAUNCHERS = ["aws.yaml", "gcp.yaml"]


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, arguments), comments and continuations resolved."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def test_the_image() -> None:
    done = subprocess.run([BIN / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    steps = instructions((DEPLOY / "Dockerfile").read_text())
    version = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert version is not None
    assert [arguments for name, arguments in steps if name == "FROM"] == [f"rayproject/ray:{version[1]}-py311-gpu"]
    assert [arguments for name, arguments in steps if name == "USER"] == ["1000:100"]
    assert not {"ADD", "ARG"} & {name for name, _ in steps}
    sources = [word for name, arguments in steps if name == "COPY" for word in arguments.split()[1:-1]]
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert set(sources) == kept
    assert all((ROOT / source).exists() for source in sources)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert set(built) <= set(sources)


def test_the_images_requirements_are_the_projects(tmp_path: Path) -> None:
    """The step that lists them, as it stands in the Dockerfile."""
    step = next(arguments for name, arguments in instructions((DEPLOY / "Dockerfile").read_text()) if name == "RUN")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = step.split("&&")[0].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(["/bin/bash", "-c", command], cwd=tmp_path, check=True)
    listed = (tmp_path / "requirements.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert listed == [*project["dependencies"], *extras["train"], *extras["ray"][1:]]
    assert extras["ray"][0] == "longtail[train]"


@cache
def launcher_schema() -> Any:
    import ray.autoscaler

    folder = Path(ray.autoscaler.__file__).parent
    return jsonschema.Draft7Validator(strict(json.loads((folder / "ray-schema.json").read_text())))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_launcher_takes_it(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    document = load(name)
    assert (DEPLOY / name).read_text().count("max_workers: WORKERS") == 2, "the number of workers is one word"
    launcher_schema().validate(document)
    validate_config(prepare_config(document))
    # A machine's own description is the cloud's business, and the names of types and mounted files are free.
    free = frozenset({"available_node_types", "resources", "file_mounts"})
    beyond = ("node_config",)
    changed = [
        (where, other) for where, other in with_unknown_keys(document, free) if not set(beyond) & set(where.split("."))
    ]
    assert [where for where, other in changed if launcher_schema().is_valid(other)] == []
    assert len(changed) > 5


@cache
def google_instance() -> Any:
    """Compute Engine's own description of an instance, as a schema."""
    import googleapiclient

    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((folder / "compute.v1.json").read_text())["schemas"]

    def converted(part: Any) -> Any:
        if isinstance(part, list):
            return [converted(item) for item in part]
        if not isinstance(part, dict):
            return part
        made = {key: converted(value) for key, value in part.items() if key not in ("required", "annotations")}
        if isinstance(made.get("$ref"), str):
            made["$ref"] = f"#/definitions/{made['$ref']}"
        return made

    definitions = {name: {**strict(converted(schema)), "id": None} for name, schema in schemas.items()}
    return jsonschema.Draft7Validator({"definitions": definitions, "$ref": "#/definitions/Instance"})


def test_google_cloud_knows_the_machines() -> None:
    for kind in load("gcp.yaml")["available_node_types"].values():
        google_instance().validate(kind["node_config"])
        for where, changed in with_unknown_keys(kind["node_config"], frozenset()):
            assert not google_instance().is_valid(changed), where


@pytest.mark.slow
def test_aws_knows_the_machines() -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape

    def report(machine: dict[str, Any]) -> str:
        return str(ParamValidator().validate({**machine, "MinCount": 1, "MaxCount": 1}, shape).generate_report())

    for kind in load("aws.yaml")["available_node_types"].values():
        assert report(kind["node_config"]) == ""
        for where, changed in with_unknown_keys(kind["node_config"], frozenset()):
            assert "Unknown parameter" in report(changed), where


@pytest.mark.slow
def test_rays_launcher_starts_these_machines_on_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own launcher, against a mock of EC2 and IAM: what `ray up` and then the autoscaler ask for."""
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    (tmp_path / ".ssh").mkdir()
    for name, value in {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    document = load("aws.yaml")
    region = document["provider"]["region"]
    with mock_aws():
        ec2, iam = boto3.client("ec2", region_name=region), boto3.client("iam")
        image = next(image for image in ec2.describe_images()["Images"] if image.get("RootDeviceName") == "/dev/sda1")
        for name, kind in document["available_node_types"].items():
            kind["node_config"]["ImageId"] = image["ImageId"]
            iam.create_instance_profile(InstanceProfileName=f"longtail-{name}")
        config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(document))
        assert config["available_node_types"]["worker"]["resources"]["GPU"] == 1
        config = AWSNodeProvider.bootstrap_config(config)
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for kind in config["available_node_types"].values():
            provider.create_node(kind["node_config"], {}, 1)
        machines = [machine for group in ec2.describe_instances()["Reservations"] for machine in group["Instances"]]
    started = {machine["IamInstanceProfile"]["Arn"].rpartition("/")[2]: machine for machine in machines}
    assert set(started) == {"longtail-head", "longtail-worker"}
    assert started["longtail-worker"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in started["longtail-head"]
    for machine in machines:
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        assert {"Key": "ray-cluster-name", "Value": "longtail"} in machine["Tags"], "the head's policy goes by it"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_closed_head_that_trains_nothing_and_spot_workers(name: str) -> None:
    document = load(name)
    kinds = document["available_node_types"]
    assert kinds[document["head_node_type"]]["resources"] == {"CPU": 0}
    assert (kinds["worker"]["min_workers"], kinds["worker"]["max_workers"]) == (0, document["max_workers"])
    assert "spot" in yaml.safe_dump(kinds["worker"]["node_config"]).lower()
    assert "spot" not in yaml.safe_dump(kinds["head"]["node_config"]).lower()
    (head,) = [line for line in document["head_start_ray_commands"] if "ray start" in line]
    (worker,) = [line for line in document["worker_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host 127.0.0.1" in head
    assert "--num-cpus 0" in head
    assert all(line.startswith("export RAY_AUTH_MODE=token; ulimit -n 65536;") for line in (head, worker))
    assert document["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_data_come_to_every_machine_and_the_token_is_the_users_alone(name: str) -> None:
    setup = load(name)["setup_commands"]
    assert "python ~/longtail/deploy/fetch_data.py DATA ~/data" in setup
    assert "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token" in setup


@pytest.mark.parametrize("name", LAUNCHERS)
def test_workers_and_only_they_are_watched_for_the_clouds_notice(name: str) -> None:
    document = load(name)
    watched = [line for line in document["worker_start_ray_commands"] if "spot_watch.py" in line]
    assert [re.findall(r"spot_watch.py (\w+) \$RAY_HEAD_IP:6379", line) for line in watched] == [[name.split(".")[0]]]
    assert watched[0].endswith("&"), "the launcher would wait for it"
    assert "spot_watch" not in str(document["head_start_ray_commands"])


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_launchers_commands_are_shell_and_options_of_ray(name: str) -> None:
    from ray.scripts.scripts import start

    options = {option for parameter in start.params for option in parameter.opts}
    document = load(name)
    commands = [line for key, lines in document.items() if key.endswith("_commands") for line in lines]
    commands += [
        line for kind in document["available_node_types"].values() for line in kind.get("initialization_commands", [])
    ]
    for command in commands:
        done = subprocess.run(
            [BIN / "shellcheck", "--shell", "bash", "-e", "SC2086", "-"], input=command, text=True, check=False
        )
        assert done.returncode == 0, command
        if "ray start" in command:
            given = {word for word in shlex.split(command.split("ray start")[1]) if word.startswith("--")}
            assert given <= options


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.json")), ids=lambda path: path.name)
def test_policies(path: Path) -> None:
    from moto.iam.policy_validation import IAMPolicyDocumentValidator

    if not path.name.endswith("-policy.json"):
        return
    IAMPolicyDocumentValidator(path.read_text()).validate()
    for statement in json.loads(path.read_text())["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert "*" not in actions
        if any(action.startswith(("s3:", "iam:")) for action in actions):
            assert statement["Resource"] != "*"


def test_prometheus(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "kuberay/prometheus.yml"):
        document = load(name)
        assert set(document) == {"global", "scrape_configs"}
        assert document["global"] == {"scrape_interval": "15s"}
        (job,) = document["scrape_configs"]
        assert job["job_name"] == "ray"
        assert set(job) <= {"job_name", "file_sd_configs", "kubernetes_sd_configs", "relabel_configs"}
        for rule in job.get("relabel_configs", []):
            assert set(rule) <= {"source_labels", "regex", "action", "target_label"}
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: the files were compared with what they should say")
    subprocess.run([promtool, "check", "config", DEPLOY / "prometheus.yml"], check=True, capture_output=True)


# What looks like a secret: keys and tokens of known forms, and anything given to a name that says so.
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|gh[pousr]_\w{20}|\bey[JK][\w-]{20}|"
    r"(?i:(secret|password|token)(_?(access)?_?key)?)['\"]?\s*[:=]\s*['\"]?[\w/+-]{12,}"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_and_nothing_open_to_all(path: Path) -> None:
    text = path.read_text()
    assert SECRETS.search(text) is None
    assert "0.0.0.0" not in text  # noqa: S104 - refused
    assert "RAY_AUTH_MODE=disabled" not in text


def guide_commands(word: str) -> list[list[str]]:
    """The guide's commands that start with a word, in shell words, continued lines joined."""
    blocks = "\n".join(re.findall(r"```\n(.*?)```", GUIDE, flags=re.DOTALL)).replace("\\\n", " ")
    lines = [line.split("    #")[0].removeprefix("$ ").strip() for line in blocks.splitlines()]
    return [shlex.split(line) for line in lines if line.split()[:1] == [word]]


def test_the_guide_names_every_file_and_only_those() -> None:
    named = set(re.findall(r"deploy/[\w./-]*\w", GUIDE))
    assert {str(path.relative_to(ROOT)) for path in FILES} - {"deploy/README.md"} <= named
    assert all((ROOT / name).exists() for name in named if "*" not in name)


def test_the_guides_longtail_commands_exist() -> None:
    from orchestrator.cli.app import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    entrypoint = shlex.split(load("kuberay/rayjob.yaml")["spec"]["entrypoint"])
    for words in [*guide_commands("longtail"), entrypoint]:
        options = {option for parameter in commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.slow
def test_the_guides_ray_commands_exist() -> None:
    from ray.scripts.scripts import cli

    for words in guide_commands("ray"):
        command = cli.commands[words[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_the_guide_fills_in_every_word_in_capitals(tmp_path: Path) -> None:
    """Its own `sed` command, on a copy; what it leaves must be free of words that are to be filled in."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (command,) = re.findall(r"\$ (sed -i .*?\\\n.*?)\n", GUIDE)
    subprocess.run(["/bin/bash", "-c", command], cwd=tmp_path, check=True)
    names = {"REGISTRY", "STORE", "DATA", "BUCKET", "PROJECT_ID", "AMI_ID", "WORKERS"}
    words = re.compile(rf"\b({'|'.join(names)})\b")
    before = {name for path in FILES if path.suffix in (".yaml", ".json") for name in words.findall(path.read_text())}
    assert before == names
    filled = [path for path in (tmp_path / "deploy").rglob("*") if path.suffix in (".yaml", ".json")]
    assert not [path for path in filled if words.search(path.read_text())]
    for name in LAUNCHERS:
        launcher_schema().validate(yaml.safe_load((tmp_path / "deploy" / name).read_text()))
