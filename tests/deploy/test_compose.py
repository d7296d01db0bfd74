"""compose.yaml and the Containerfile fit together and fit the engine. No container is started here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from kafka.admin import ConfigResource, KafkaAdminClient

from api.cli.main import app
from api.settings import Environment, Settings
from api.version import VERSION
from tests.deploy.composed import DEPLOY, GIVEN, PLACEHOLDER, composed, filled, raw, services

ROOT = DEPLOY.parent
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENGINE = ("migrate", "api", "worker")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN_|KEY", re.IGNORECASE)


def mounts(service: dict[str, Any]) -> list[str]:
    """What is mounted into a service: names of volumes, and paths that begin with a dot."""
    return [str(volume).partition(":")[0] for volume in service.get("volumes", ())]


def test_every_volume_and_secret_is_declared_and_used() -> None:
    content = composed()
    used_secrets = {name for service in services().values() for name in service.get("secrets", ())}
    assert used_secrets == set(content["secrets"])
    named = {mount for service in services().values() for mount in mounts(service) if mount[0] != "."}
    assert named == set(content["volumes"])


def test_every_mounted_file_of_the_repository_is_there() -> None:
    paths = [mount for service in services().values() for mount in mounts(service) if mount[0] == "."]
    assert len(paths) >= 4
    assert [path for path in paths if not (DEPLOY / path).exists()] == []


def test_services_wait_for_services_that_can_be_waited_for() -> None:
    for service in services().values():
        waited = service.get("depends_on", {})
        for name in waited:
            assert name in services()
        for name, how in waited.items() if isinstance(waited, dict) else ():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services()[name]
            else:
                assert (how["condition"], services()[name]["restart"]) == (
                    "service_completed_successfully",
                    "no",
                )


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in services().values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secret_has_a_value_or_a_default() -> None:
    checked = []
    for service in raw()["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                checked.append(name)
                placeholder = PLACEHOLDER.fullmatch(value)
                is_required = placeholder is not None and placeholder[2] == "?"
                assert is_required or value.startswith("/run/secrets/"), name
    assert {"POSTGRES_PASSWORD_FILE", "GF_SECURITY_ADMIN_PASSWORD", "BPM_SECRETS_KEY_FILE"} <= set(checked)
    ignored = (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()
    assert {"/.env", "/secrets/"} <= set(ignored)


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_compose_refuses_without_what_an_operator_must_say(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        filled(raw(), {key: value for key, value in GIVEN.items() if key != name})


@pytest.mark.parametrize("name", ENGINE)
def test_engine_containers_run_commands_that_exist_with_settings_that_exist(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services()[name]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert service["command"][0] in commands
    environment = service["environment"]
    known = {f"BPM_{field}".upper() for field in Settings.model_fields}
    assert set(environment) <= known
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.env is Environment.PRODUCTION
    assert settings.kafka == "kafka:9092"
    assert set(service["secrets"]) == {"pgpass", "secrets_key"}


def test_ports_of_the_engine_are_those_that_are_published_and_scraped() -> None:
    assert services()["api"]["ports"] == [f"127.0.0.1:8000:{Settings.model_fields['port'].default}"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    api, worker = prometheus["scrape_configs"]
    assert api["static_configs"][0]["targets"] == ["api:8000"]
    (workers,) = worker["dns_sd_configs"]
    assert workers["names"] == ["worker"]
    assert str(workers["port"]) == services()["worker"]["environment"]["BPM_WORKER_METRICS_PORT"]
    assert {"api", "worker"} <= services().keys()
    assert [f"/etc/prometheus/{path.name}" for path in (DEPLOY / "prometheus").glob("prometheus.yaml")] == [
        option.partition("=")[2] for option in services()["prometheus"]["command"] if "config.file" in option
    ]
    assert all((DEPLOY / "prometheus" / name).is_file() for name in prometheus["rule_files"])


def test_stopping_waits_longer_than_the_engine_does() -> None:
    for name in ENGINE:
        grace_s = float(services()[name]["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings.model_fields["stop_s_max"].default


def test_image_holds_every_package_and_the_versions_agree() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", CONTAINERFILE, re.MULTILINE))
    assert copied == set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert services()["api"]["image"] == f"bpm-os-engine:{VERSION}"
    assert f"--tag bpm-os-engine:{VERSION} " in CONTAINERFILE
    python = re.search(r"^ARG PYTHON=([\d.]+)$", CONTAINERFILE, re.MULTILINE)
    assert python is not None
    assert PROJECT["project"]["requires-python"] == f">={python[1]}"
    build = services()["api"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Containerfile"
    assert 'ENTRYPOINT ["bpm"]' in CONTAINERFILE
    assert re.search(r"^USER \d+$", CONTAINERFILE, re.MULTILINE)


def test_broker_of_compose_is_of_the_version_that_is_tested() -> None:
    pom = (DEPLOY / "kafka" / "pom.xml").read_text(encoding="utf-8")
    tested = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert tested is not None
    assert services()["kafka"]["image"] == f"apache/kafka:{tested[1]}"


@pytest.mark.needs_kafka
def test_broker_knows_every_setting_that_compose_gives_it(kafka: str) -> None:
    environment = services()["kafka"]["environment"]
    beside = {"KAFKA_HEAP_OPTS"}
    wanted = {
        name.removeprefix("KAFKA_").lower().replace("_", ".")
        for name in environment
        if name.startswith("KAFKA_") and name not in beside
    }
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    known = admin.describe_configs([ConfigResource("BROKER", "1")], config_filter="all")["broker"]["1"]
    admin.close()
    assert len(wanted) > 10
    assert wanted - set(known) == set()


def test_notes_name_only_files_that_are_there() -> None:
    notes = (DEPLOY / "README.md").read_text(encoding="utf-8")
    linked = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", notes) if "://" not in link]
    assert len(linked) >= 4
    assert [link for link in linked if not (DEPLOY / Path(link)).exists()] == []
