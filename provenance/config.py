"""Settings: flag > environment (``PROVENANCE_*``) > ``provenance.toml`` of the workspace > default.

Built once at the edge and handed down as values; nothing below the workspace reads the environment.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from provenance.errors import UsageError
from provenance.limits import DEFAULT_MEMORY_BYTES, DEFAULT_SECONDS
from provenance.vocabulary import Search, stated_window

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS_FILE = "provenance.toml"
FULL_RANGE = "full"
SECRET_FIELDS = ("qdrant_api_key",)
# A settings file can come from somebody else: it says neither that a connection is safe nor who may have a key.
NOT_FROM_A_FILE = (*SECRET_FIELDS, "qdrant_api_key_host", "allow_insecure_index")


class Settings(BaseSettings):
    """Everything that may differ between machines. What shapes a verdict is a policy, not a setting."""

    model_config = SettingsConfigDict(env_prefix="PROVENANCE_", extra="ignore", frozen=True)

    catalog_url: str = Field("", description="SQL catalog; empty: SQLite in the workspace")
    index_url: str = Field("", description="Vector index: local:PATH, http(s)://, grpc(s)://; empty: in the workspace")
    qdrant_api_key: SecretStr | None = Field(None, description="API key of a Qdrant server (environment only)")
    qdrant_api_key_host: str = Field(
        "", description="HOST of the Qdrant server that gets the key where provenance.toml names it (environment only)"
    )
    allow_insecure_index: bool = Field(
        False, description="Accept a non-loopback Qdrant server without TLS or key (environment only)"
    )
    shard_number: int | None = Field(None, ge=1, description="Shards of a new collection on a Qdrant cluster")
    replication_factor: int | None = Field(None, ge=1, description="Replicas of a new collection on a Qdrant cluster")
    index_names: bool = Field(
        False, description="Whether a Qdrant server is told the names of sets and releases, not their ids alone"
    )
    lock_timeout_seconds: float = Field(120.0, ge=0, description="How long to wait for another process's index lock")
    index_grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port where a Qdrant server named by http(s):// takes gRPC; 0: none; empty: the next one is tried, "
        "but an API key goes there over TLS only",
    )
    index_timeout_seconds: float = Field(60.0, gt=0, description="Time limit of one request to a Qdrant server")

    backbone: str = Field("resnet50", description="Default backbone of ingest and of files given to neighbors")
    backbone_file: Path | None = Field(None, description="Default ONNX or TorchScript backbone file")
    weights: Path | None = Field(None, description="Default weights file of the backbone")
    weights_dir: Path | None = Field(None, description="Folder that is searched for weights files")
    device: str = Field("auto", description="auto, cpu or cuda")
    batch_size: int = Field(16, ge=1, le=1024, description="Images in one inference batch")
    threads: int | None = Field(None, ge=1, description="Threads of inference and of search; empty: all cores")
    workers: int = Field(2, ge=0, le=64, description="Decoding processes; 0 decodes in the main process")

    grey_range: str = Field("", description="Range of grey of more than 8 bits that declares none: LOW:HIGH, or full")
    window: str = Field("", description="Window of grey DICOM: lung, bone ..., CENTER,WIDTH, or file: each file's own")
    worker_memory_bytes: int = Field(DEFAULT_MEMORY_BYTES, ge=2**28, description="Memory that one decoder may hold")
    worker_seconds: float = Field(DEFAULT_SECONDS, gt=0, description="Computing time that one decoder has for an image")
    max_pixels: int = Field(178_956_970, ge=1, description="Largest image accepted, in pixels")
    max_file_bytes: int = Field(512 * 1024 * 1024, ge=1, description="Largest file or archive member accepted")
    search: Search = Field(
        Search.AUTO,
        description="Where audits search the vectors of a Qdrant server: in vector files that are copied here once "
        "(file), by the server (server), or in files where they fit vector_cache_bytes and half the free disk (auto)",
    )
    vector_cache_bytes: int = Field(8 * 1024**3, ge=0, description="Limit of the cached vector files of audits")

    @field_validator("backbone_file", "weights", "weights_dir", mode="before")
    @classmethod
    def _empty_path_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("grey_range")
    @classmethod
    def _range_is_one(cls, value: str) -> str:
        stated_range(value)
        return value

    @field_validator("window")
    @classmethod
    def _window_is_one(cls, value: str) -> str:
        stated_window(value)
        return value

    @property
    def stated_grey_range(self) -> tuple[float, float] | None:
        """Values that become black and white; ``None``: none is stated, or the full range of each type is."""
        return stated_range(self.grey_range)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the workspace's file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def stated_range(text: str) -> tuple[float, float] | None:
    """The two numbers of ``LOW:HIGH``; ``None`` for ``full`` and for nothing; ``ValueError`` otherwise."""
    if text in ("", FULL_RANGE):
        return None
    low, _, high = text.partition(":")
    try:
        values = float(low), float(high)
    except ValueError:
        values = 0.0, 0.0
    if not (all(map(math.isfinite, values)) and values[0] < values[1] and max(map(abs, values)) < 2**53):
        raise ValueError("give it as LOW:HIGH, such as 0:4095 or -1024:3071, or full")
    return values


def load_settings(workspace: Path, **flags: Any) -> Settings:
    """Settings of a workspace; ``flags`` that are ``None`` count as not given.

    Raises:
        UsageError: If a value is wrong; names the setting and what it may be.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    file = workspace / SETTINGS_FILE
    _refuse_unknown_names(file)

    class WorkspaceSettings(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = WorkspaceSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        shown = "hidden" if name in SECRET_FIELDS else repr(first.get("input"))
        raise UsageError(
            f"setting {name}: {first['msg']} (given: {shown})",
            hint=f"flag, environment variable PROVENANCE_{name.upper()}, or {file}",
        ) from None
    _refuse_key_for_a_host_of_the_file(settings, {**EnvSettingsSource(Settings)(), **given}, file)
    return settings


def _refuse_key_for_a_host_of_the_file(settings: Settings, trusted: Mapping[str, Any], file: Path) -> None:
    """A key of the environment goes to a host that flag or environment name, not to one that a file alone names.

    libpq sends ``PGPASSWORD`` to whatever host it is led to, so the same holds of the catalog's.
    """
    keys = (
        ("index_url", settings.qdrant_api_key, settings.qdrant_api_key_host, "PROVENANCE_QDRANT_API_KEY"),
        ("catalog_url", os.environ.get("PGPASSWORD"), os.environ.get("PGHOST", ""), "PGPASSWORD"),
    )
    for name, key, meant_for, variable in keys:
        others = sorted(_hosts(str(getattr(settings, name))) - {meant_for.lower()})
        if key and others and name not in trusted:
            host = others[0]
            wanted = "PGHOST" if variable == "PGPASSWORD" else f"{variable}_HOST"
            raise UsageError(
                f"{file} names {host} as the host of its {name}, and {variable} is not meant for it by name",
                hint=f"if it is the server that the key is for: {wanted}={host}; otherwise unset {variable}",
            )


def _hosts(url: str) -> set[str]:
    """All that a URL leads to: nodes of an index between commas, and what libpq takes there or in ``host=``."""
    if not url.lower().startswith(("http", "grpc", "postgresql")):
        return set()
    found = set()
    for one in re.sub(r"//[^/@]*@", "//", url).split(","):
        parts = urlsplit(one if "//" in one else f"//{one}")
        named = parse_qs(parts.query)
        asked = [host for name in ("host", "hostaddr") for value in named.get(name, []) for host in value.split(",")]
        found |= {parts.hostname, *(urlsplit(f"//{host}").hostname for host in asked)}
    return {host for host in found if host}


def _refuse_unknown_names(file: Path) -> None:
    if not file.is_file():
        return
    try:
        names = set(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}", hint="check its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}", hint="mend the file, or delete it") from error
    for name in sorted(names):
        if name not in Settings.model_fields:
            raise UsageError(f"{file}: unknown setting {name!r}", hint="known: " + ", ".join(Settings.model_fields))
        if name in NOT_FROM_A_FILE:
            why = "is a secret and" if name in SECRET_FIELDS else "opens what is closed, and"
            raise UsageError(
                f"{file}: {name} {why} is not read from a file",
                hint=f"set the environment variable PROVENANCE_{name.upper()}",
            )
