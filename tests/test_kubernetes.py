"""The manifests of deploy/kubernetes: valid by Kubernetes' own schemas, closed, and in step with the program."""

import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from flows.config import load
from flows.machines import read_place

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS: dict[str, dict[str, Any]] = {
    found["kind"]: found
    for name in KUSTOMIZATION["resources"]
    if (found := yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))
}
POD = MANIFESTS["StatefulSet"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
INDEX, *FROM_SECRETS = CONTAINER["env"]
SECRETS = {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in FROM_SECRETS}
CHANNELS = {"slack-webhook-url", "pagerduty-routing-key"}
PORTS = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}


@pytest.mark.parametrize("version", ["1.29", "1.34"])
@pytest.mark.parametrize("kind", sorted(MANIFESTS))
def test_every_manifest_is_valid_by_the_schema_of_its_kind(kind, version):
    kubernetes_validate.validate(MANIFESTS[kind], version, strict=True)


def test_a_misspelt_key_is_not_valid():
    broken = MANIFESTS["StatefulSet"] | {"spec": MANIFESTS["StatefulSet"]["spec"] | {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.34", strict=True)


def test_every_manifest_is_listed():
    found = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == found
    assert len(MANIFESTS) == len(found)


def test_the_configuration_is_one_that_the_program_takes(tmp_path, monkeypatch):
    text = MANIFESTS["ConfigMap"]["data"]["monitor.toml"]
    for name in SECRETS:
        monkeypatch.setenv(name, "https://hooks.slack.com/services/T/B/X" if name.startswith("SLACK") else "a" * 32)
    (tmp_path / "monitor.toml").write_text(text)
    config = load(tmp_path / "monitor.toml")
    mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"]}
    assert Path(config.engine.directory).parent == Path(mounts["state"])  # nobody but root may change the root's mode
    assert CONTAINER["args"][:3] == ["run", "--config", f"{mounts['configuration']}/monitor.toml"]
    assert config.observe.address == ("0.0.0.0", PORTS["observe"])
    assert {name for name in SECRETS if f'"env:{name}"' in text} == set(SECRETS)
    assert text.count('"env:') == len(SECRETS)
    assert tomllib.loads(text)["input"]["kafka"]["client"]["security.protocol"] == "SASL_SSL"


def test_the_probes_ask_for_progress_and_a_start_has_the_time_that_it_may_take():
    probes = {name: CONTAINER[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths = {name: (each["httpGet"]["path"], each["httpGet"]["port"]) for name, each in probes.items()}
    assert paths == {
        "startupProbe": ("/livez", "observe"),
        "livenessProbe": ("/livez", "observe"),
        "readinessProbe": ("/readyz", "observe"),
    }
    start = probes["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] > 120


def test_each_pod_is_the_machine_of_its_number_and_finds_the_others_by_name_before_they_are_ready(tmp_path, monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "https://hooks.slack.com/services/T/B/X" if name.startswith("SLACK") else "a" * 32)
    for name, text in MANIFESTS["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text)
    stateful, service = MANIFESTS["StatefulSet"], MANIFESTS["Service"]
    spec, subdomain = stateful["spec"], service["metadata"]["name"]
    assert CONTAINER["args"][3:] == ["--addresses", "/etc/edgewatch/machines", "--process-id", f"$({INDEX['name']})"]
    assert INDEX["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    places = [read_place(tmp_path / "machines", index, load(tmp_path / "monitor.toml")) for index in range(spec["replicas"])]
    hosts = [f"{stateful['metadata']['name']}-{index}.{subdomain}" for index in range(spec["replicas"])]
    assert [(each.host, each.port) for each in places[0].engines] == [(host, PORTS["engine"]) for host in hosts]
    assert (places[1].door.host, places[1].door.port) == (hosts[0], PORTS["door"])
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert {each["port"] for each in service["spec"]["ports"]} == set(PORTS.values())
    assert (spec["podManagementPolicy"], spec["updateStrategy"]) == ("Parallel", {"type": "OnDelete"})


def test_the_pods_reach_each_other_and_nobody_else_reaches_them_but_prometheus():
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    own = [{"podSelector": {"matchLabels": POD["metadata"]["labels"]}}]
    between = {PORTS["engine"], PORTS["door"]}
    inward = {str(each["from"]): {port["port"] for port in each["ports"]} for each in policy["ingress"]}
    assert inward.pop(str(own)) == between
    assert list(inward.values()) == [{PORTS["observe"]}]
    assert [{port["port"] for port in each["ports"]} for each in policy["egress"] if each["to"] == own] == [between]


def test_the_pod_is_closed_and_alone_on_its_volume():
    spec = MANIFESTS["StatefulSet"]["spec"]
    assert spec["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert POD["spec"]["securityContext"]["runAsNonRoot"]
    assert f"--uid {POD['spec']['securityContext']['runAsUser']} " in (ROOT / "deploy" / "Dockerfile").read_text()
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not POD["spec"]["automountServiceAccountToken"]
    assert set(CONTAINER["resources"]) == {"requests", "limits"}


def test_all_parts_select_the_pod():
    labels = POD["metadata"]["labels"]
    selectors = [
        MANIFESTS["StatefulSet"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        MANIFESTS["Service"]["spec"]["selector"],
    ]
    assert selectors == [labels] * 4
    assert MANIFESTS["Service"]["metadata"]["name"] == MANIFESTS["StatefulSet"]["spec"]["serviceName"]


def test_no_manifest_holds_a_secret():
    assert "Secret" not in MANIFESTS
    assert all(set(each) == {"name", "valueFrom"} for each in CONTAINER["env"])
    assert set(SECRETS.values()) == {"machine-token", "kafka-password", "clickhouse-password", *CHANNELS}
