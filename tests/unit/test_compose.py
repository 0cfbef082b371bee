"""What ``docker-compose.yml`` promises: pinned images, nothing sent home, nothing writable but the data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from provenance.index.connection import TESTED_SERVERS

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = sorted(name for name in SERVICES if name.startswith("qdrant"))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_writes_its_volume_alone_within_a_limit(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"]
    assert re.fullmatch(r"\$\{\w+:-\d+g}", service["mem_limit"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    (volume,) = service["volumes"]
    assert volume.split(":")[0] in COMPOSE["volumes"]
    assert sum(volume in other["volumes"] for other in SERVICES.values()) == 1
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?-\w+", service["image"])  # never "latest"


def test_qdrant_is_the_tested_version_without_root_or_telemetry() -> None:
    assert len(NODES) == 4
    for name in NODES:
        service, settings = SERVICES[name], SERVICES[name]["environment"]
        version = re.fullmatch(r"qdrant/qdrant:v(\d+\.\d+)\.\d+-unprivileged", service["image"])
        assert version
        assert version[1] in TESTED_SERVERS
        assert service["cap_drop"] == ["ALL"]
        assert settings["QDRANT__TELEMETRY_DISABLED"] == "true"  # a word: a bare boolean is no variable to Compose
        assert settings["QDRANT__SERVICE__API_KEY"].startswith("${QDRANT_API_KEY:?")
        data = service["volumes"][0].split(":")[1]
        assert settings["QDRANT__STORAGE__SNAPSHOTS_PATH"].startswith(f"{data}/")
        assert settings["QDRANT_INIT_FILE_PATH"].startswith("/tmp/")
        assert service["image"] in (ROOT / "docs/servers.md").read_text("utf-8")


def test_every_variable_is_a_word_and_no_port_is_taken_twice() -> None:
    assert all(isinstance(value, str) for one in SERVICES.values() for value in one["environment"].values())
    ports = [port for one in SERVICES.values() for port in one["ports"]]
    assert len(ports) == len(set(ports))
