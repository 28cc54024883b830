"""compose.yaml is valid, waits for what it needs, and holds every default secret itself."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from worker.settings import catalogue, load

_ROOT = Path(__file__).parents[2]
_SCHEMA = _ROOT / "tests/support/compose-spec.json"
_TEXT = (_ROOT / "compose.yaml").read_text(encoding="utf-8")

Service = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded = yaml.safe_load(_TEXT)
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = document["services"]
    return found


def test_it_is_valid_by_the_compose_specification(document: dict[str, Any]) -> None:
    """Every key and value is one that the Compose Specification knows."""
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    # The top-level name came into the specification after this copy of it.
    without_name = {key: value for key, value in document.items() if key != "name"}
    jsonschema.Draft201909Validator(schema).validate(without_name)


def test_it_holds_the_whole_installation(services: dict[str, Service]) -> None:
    """Broker, database, object store, migration, two workers and an executor."""
    assert set(services) == {
        "rabbitmq",
        "postgres",
        "object-store",
        "migrate",
        "worker",
        "executor",
    }
    assert services["worker"]["deploy"]["replicas"] == 2


def test_every_reference_between_services_and_volumes_holds(document: dict[str, Any]) -> None:
    """Nobody depends on, mounts or connects to what is not there."""
    services: dict[str, Service] = document["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        mounted = {mount.partition(":")[0] for mount in service.get("volumes", [])}
        assert mounted <= set(document["volumes"])
    hosts = set(re.findall(r"@([\w-]+):\d+", _TEXT))
    assert hosts == {"rabbitmq", "postgres", "object-store"}


def test_who_is_waited_for_healthy_says_when_it_is(services: dict[str, Service]) -> None:
    """A condition service_healthy needs a health check on the other side."""
    waited_for = {
        name
        for service in services.values()
        for name, wait in service.get("depends_on", {}).items()
        if wait["condition"] == "service_healthy"
    }
    assert waited_for == {"rabbitmq", "postgres", "object-store"}
    assert all("healthcheck" in services[name] for name in waited_for | {"worker"})


def test_workers_start_on_a_migrated_database(services: dict[str, Service]) -> None:
    """A worker waits until the migration job has ended well."""
    condition = services["worker"]["depends_on"]["migrate"]["condition"]
    assert condition == "service_completed_successfully"


def test_every_secret_comes_from_the_environment_with_a_default_here() -> None:
    """Nobody needs a second file, and nobody must edit this one to change a password."""
    words = re.findall(r"(?:PASSWORD|_PASS|SECRET_ACCESS_KEY|SECRET_KEY): (.*)", _TEXT)
    in_addresses = re.findall(r"//(\S+?)@", _TEXT)
    assert words
    assert in_addresses
    assert all(re.fullmatch(r"\$\{\w+:-[\w-]+\}", word) for word in words)
    assert all(re.fullmatch(r"\$\{\w+:-[\w-]+\}:\$\{\w+:-[\w-]+\}", pair) for pair in in_addresses)


def test_ports_are_published_on_loopback_only(services: dict[str, Service]) -> None:
    """A laptop in a café does not offer its broker to the room."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_settings_are_settings_of_the_worker(services: dict[str, Service]) -> None:
    """Each MEERKAT_ variable is one that the worker reads, with a value that it takes."""
    environment = {
        name: re.sub(r"\$\{\w+:-([\w-]+)\}", r"\1", value)
        for name, value in services["worker"]["environment"].items()
    }
    assert set(environment) <= {setting.variable for setting in catalogue().values()}
    assert load(environment).database_url.endswith("@postgres:5432/meerkat")
