"""The Kubernetes manifests: valid, and any unknown key refused; token, unprivileged users, secrets from outside."""

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.manifests import DEPLOY, ROOT, load, strict, with_unknown_keys

RESOURCES = ["RayCluster", "RayJob"]
FREE = frozenset({"labels", "matchLabels", "rayStartParams"})
KUBERNETES = "1.33"


def manifest(kind: str) -> Any:
    return load(f"kuberay/{kind.lower()}.yaml")


def cluster_of(document: Any) -> Any:
    return document["spec"].get("rayClusterSpec", document["spec"])


def templates(document: Any) -> list[Any]:
    """The head's pod template, then the workers'."""
    cluster = cluster_of(document)
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


@cache
def own_schema() -> Any:
    return jsonschema.Draft202012Validator(yaml.safe_load((ROOT / "tests" / "schemas" / "kuberay.yaml").read_text()))


def check(document: Any) -> None:
    """Raise where KubeRay's part or a pod is not valid, or has an unknown key."""
    own_schema().validate(document)
    options = cluster_of(document)["autoscalerOptions"]
    for template in templates(document):
        pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
        parts = {"resources": options["resources"], "securityContext": options["securityContext"]}
        pod["spec"]["containers"].append({"name": "autoscaler", **parts})
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", RESOURCES)
def test_valid(kind: str) -> None:
    check(manifest(kind))


@pytest.mark.slow
def test_unknown_keys_are_refused_everywhere() -> None:
    free = FREE | {"limits", "requests"}
    accepted = []
    for where, changed in with_unknown_keys(manifest("RayJob"), free):
        try:
            check(changed)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
            continue
        accepted.append(where)
    assert not accepted


@pytest.mark.parametrize("kind", RESOURCES)
def test_kuberays_own_definitions_agree(kind: str) -> None:
    """Not part of this repository: a megabyte each. From KubeRay's ray-operator/config/crd/bases."""
    folder = Path(os.environ.get("LONGTAIL_KUBERAY_CRDS", ROOT.parent / "shared" / "reference" / "kuberay"))
    path = folder / f"ray.io_{kind.lower()}s.yaml"
    if not path.exists():
        pytest.skip(f"{path} is missing; LONGTAIL_KUBERAY_CRDS names another folder")
    definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    version = next(version for version in definition["spec"]["versions"] if version["name"] == "v1")
    validator = jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))
    validator.validate(manifest(kind))
    free = FREE | {"metadata"}  # the resource's own is Kubernetes' business
    assert [where for where, changed in with_unknown_keys(manifest(kind), free) if validator.is_valid(changed)] == []


def test_the_network_policy_covers_every_pod() -> None:
    policy = load("kuberay/networkpolicy.yaml")
    kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    for kind in RESOURCES:
        for template in templates(manifest(kind)):
            assert chosen <= template["metadata"]["labels"].items()
    outside = [rule for rule in policy["spec"]["ingress"] if "namespaceSelector" in rule["from"][0]]
    assert [port["port"] for rule in outside for port in rule["ports"]] == [8265, 8080]


@pytest.mark.parametrize("kind", RESOURCES)
def test_closed_to_others_and_unprivileged(kind: str) -> None:
    cluster = cluster_of(manifest(kind))
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"].get("dashboard-host") != "0.0.0.0"  # noqa: S104 - refused
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    for template in templates(manifest(kind)):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        for container in [*pod["initContainers"], *pod["containers"]]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert [list(source) for source in container["envFrom"]] == [["secretRef"]]
            assert "env" not in container
            assert container["resources"]["limits"] == container["resources"]["requests"]
        for container in pod["containers"]:
            assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]  # noqa: S108
        assert next(volume for volume in pod["volumes"] if volume["name"] == "shm")["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("kind", RESOURCES)
def test_the_head_trains_nothing_and_workers_come_and_go(kind: str) -> None:
    cluster = cluster_of(manifest(kind))
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"] is True
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["minReplicas"] == 0 < workers["maxReplicas"]
    assert "nvidia.com/gpu" in workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert {toleration["key"] for toleration in workers["template"]["spec"]["tolerations"]} > {"nvidia.com/gpu"}


def test_job_and_cluster_differ_in_where_the_dashboard_listens_and_in_the_campaign_file() -> None:
    """`longtail submit` sends the file: a cluster that stays must start without its ConfigMap."""
    job, cluster = cluster_of(manifest("RayJob")), cluster_of(manifest("RayCluster"))
    assert cluster["headGroupSpec"]["rayStartParams"].pop("dashboard-host") == "127.0.0.1"
    pod = job["headGroupSpec"]["template"]["spec"]
    for parts in (pod["volumes"], pod["containers"][0]["volumeMounts"]):
        parts.remove(next(part for part in parts if part["name"] == "campaign"))
    assert job == cluster


def test_a_job_cleans_up_and_a_mistake_is_not_tried_again() -> None:
    """Neither does a job that hangs keep its GPUs for ever."""
    spec = manifest("RayJob")["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] == 0, "KubeRay makes a new cluster also for exit code 2"
    assert 0 < spec["activeDeadlineSeconds"] <= 7 * 24 * 3600
    mount = next(
        mount
        for mount in templates(manifest("RayJob"))[0]["spec"]["containers"][0]["volumeMounts"]
        if mount["name"] == "campaign"
    )
    assert f"{mount['mountPath']}/campaign.yaml" in spec["entrypoint"]


@pytest.mark.parametrize("kind", RESOURCES)
def test_the_data_are_brought_to_every_node_before_ray_starts(kind: str) -> None:
    for template in templates(manifest(kind)):
        pod = template["spec"]
        mounts = [mount for container in pod["containers"] for mount in container["volumeMounts"]]
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
        (fetch,) = pod["initContainers"]
        assert fetch["command"][2:] == ["DATA", "/home/ray/data"]
        script = Path(fetch["command"][1]).relative_to("/home/ray/longtail")
        assert (ROOT / script).is_file()
        assert {"name": "data", "mountPath": "/home/ray/data"} in fetch["volumeMounts"]
        (container,) = pod["containers"]
        assert {"name": "data", "mountPath": "/home/ray/data", "readOnly": True} in container["volumeMounts"]
        assert {"name": "data", "emptyDir": {}} in pod["volumes"]


@pytest.mark.parametrize("kind", RESOURCES)
def test_the_number_of_workers_is_one_word(kind: str) -> None:
    text = (DEPLOY / "kuberay" / f"{kind.lower()}.yaml").read_text()
    assert "maxReplicas: WORKERS" in text
    assert ("--workers WORKERS" in text) == (kind == "RayJob")


def test_one_image() -> None:
    names = {
        line.split("image:")[1].split("}")[0].strip()
        for path in DEPLOY.rglob("*.yaml")
        for line in path.read_text().splitlines()
        if " image:" in line
    }
    assert names == {"REGISTRY/longtail:0.1.0"}
