"""kafka-compose.yml and its Dockerfile: whole, closed to other machines, and in step with the program."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import load
from tests.runs import edgewatch

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "kafka-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITOR = ROOT / "deploy" / "compose" / "monitor.toml"

# Keys of the compose specification that the file uses; a misspelt one is refused by docker only when it runs.
KNOWN = {
    "build",
    "cap_drop",
    "command",
    "depends_on",
    "entrypoint",
    "environment",
    "healthcheck",
    "image",
    "init",
    "ports",
    "profiles",
    "read_only",
    "restart",
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "ulimits",
    "volumes",
}


def mounts(service: dict[str, Any]) -> list[list[str]]:
    return [volume.split(":") for volume in service.get("volumes", ())]


def given(service: dict[str, Any]) -> dict[str, str]:
    """Give a service's environment where nothing is set outside."""
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in service["environment"].items()}


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"kafka", "topics", "clickhouse", "edgewatch", "dashboard", "grafana", "traffic"}
    assert set(COMPOSE) == {"name", "services", "volumes"}
    assert {key for service in SERVICES.values() for key in service} - KNOWN == set()


def test_traffic_dashboard_and_grafana_come_only_when_asked_for() -> None:
    asked = {"traffic": ["demo"], "dashboard": ["full"], "grafana": ["full"]}
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == asked


def test_every_image_is_pinned_by_tag_and_the_broker_is_the_tests_own() -> None:
    images = {service["image"] for service in SERVICES.values()}
    assert [image for image in images if not re.fullmatch(r"[a-z/-]+:[a-z0-9.-]+", image) or "latest" in image] == []
    pom = (ROOT / "tests" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == f"apache/kafka:{version[1]}"


def test_every_port_is_bound_to_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports == [f"127.0.0.1:{port}:{port}" for port in (9092, 8123, 8710, 3000)]


def test_every_mounted_file_exists_and_every_volume_is_declared() -> None:
    sources = [mount[0] for service in SERVICES.values() for mount in mounts(service)]
    assert [each for each in sources if each.startswith(".") and not (ROOT / each).exists()] == []
    assert {each for each in sources if not each.startswith(".")} == set(COMPOSE["volumes"])


def test_every_service_that_is_waited_for_can_become_ready() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            healthy = wanted == {"condition": "service_healthy"} and "healthcheck" in SERVICES[name]
            done = wanted == {"condition": "service_completed_successfully"} and "restart" not in SERVICES[name]
            assert healthy or done, name


@pytest.mark.parametrize("name", ["edgewatch", "dashboard", "traffic"])
def test_our_containers_have_few_rights(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}


def test_the_configuration_is_valid_and_asks_for_what_the_services_give(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given(SERVICES["edgewatch"]).items():
        monkeypatch.setenv(name, value)
    config = load(MONITOR)
    assert config.kafka is not None
    assert config.clickhouse is not None
    created = re.findall(r"[a-z]+\.[a-z_]+(?= |;)", SERVICES["topics"]["command"][0].split("do\n")[0])
    assert sorted(config.kafka.topics) == sorted(created) == ["app.performance", "logpush.http_requests"]
    assert f"INSIDE://{config.kafka.brokers[0]}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert config.clickhouse.user == SERVICES["clickhouse"]["environment"]["CLICKHOUSE_USER"]
    assert config.clickhouse.password == "edgewatch"
    assert [mount[1] for mount in mounts(SERVICES["edgewatch"])] == ["/etc/edgewatch/monitor.toml", "/state"]
    assert config.engine.directory == "/state"


@pytest.mark.slow
def test_every_command_is_one_of_the_program_and_its_configuration_passes_the_check(tmp_path: Path) -> None:
    for name in ("edgewatch", "dashboard", "traffic"):
        command, *options = SERVICES[name]["command"]
        shown = edgewatch(command, "--help")
        assert shown.returncode == 0, shown.stderr
        named = [each for each in options if each.startswith("-")]
        assert [each for each in named if not re.search(rf"(?<!\S){each}\b", shown.stdout)] == []
    checked = edgewatch("check", "-c", MONITOR, **given(SERVICES["dashboard"]))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_dashboard_is_let_to_listen_for_the_port_as_its_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given(SERVICES["dashboard"]).items():
        monkeypatch.setenv(name, value)
    options = dataclasses.replace(load(MONITOR).dashboard, listen=SERVICES["dashboard"]["command"][-1])
    assert list(options.problems()) == []
    assert [each for _, each in dataclasses.replace(options, token="").problems()] != []
    assert SERVICES["dashboard"]["volumes"] == SERVICES["edgewatch"]["volumes"]


def test_grafana_gets_its_source_its_dashboards_and_the_password_of_the_tables() -> None:
    service = SERVICES["grafana"]
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/clickhouse.yml").read_text())["datasources"][0]
    asked = set(re.findall(r"\$\{(\w+)\}", yaml.safe_dump(source)))
    values = given(service)
    assert asked <= values.keys()
    assert values["CLICKHOUSE_HOST"] in SERVICES
    assert values["GF_INSTALL_PLUGINS"].split()[0] == source["type"]
    mounted = {target: ROOT / path for path, target, *_ in mounts(service)}
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/edgewatch.yml").read_text())["providers"][0]
    assert list(mounted[provider["options"]["path"]].glob("*.json"))
    assert mounted["/etc/grafana/provisioning"] == ROOT / "deploy/grafana/provisioning"


def test_the_channels_in_its_comments_are_valid_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, comment = MONITOR.read_text(encoding="utf-8").split("#\n", 1)
    path = tmp_path / "monitor.toml"
    path.write_text(head + re.sub(r"^# ?", "", comment, flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "planted")
    monkeypatch.setenv("EDGEWATCH_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "http://127.0.0.1/hook")
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", "0" * 32)
    assert set(load(path).channels) == {"console", "slack", "pagerduty"}


def test_the_image_holds_what_the_package_is_built_from() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {*project["tool"]["setuptools"]["packages"], project["project"]["readme"]}
    needed |= {path.rpartition("/")[0] for paths in project["tool"]["setuptools"]["data-files"].values() for path in paths}
    needed |= {"pyproject.toml", "constraints.txt", *project["project"]["license-files"]}
    assert set(copied) == needed
    allowed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert {line[1:] for line in allowed if line.startswith("!")} == needed
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_runs_as_nobody_special() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "USER 10001" in lines
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} == {"python:3.12-slim-bookworm"}
