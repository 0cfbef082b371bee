"""A workspace: the folder that holds settings, and opens the catalog and the vector index that belong together."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from provenance.config import SETTINGS_FILE, Settings, load_settings
from provenance.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from provenance.catalog import Catalog
    from provenance.embedding import Backbone
    from provenance.index import MomentsCache, VectorIndex

DEFAULT_FOLDER = ".provenance"
CATALOG_FILE = "catalog.sqlite3"

_SETTINGS_TEXT = """\
# Settings of this workspace. A flag or an environment variable PROVENANCE_<NAME> wins over a line here.
# Secrets (qdrant_api_key) are read from the environment only.
# catalog_url = "postgresql://user@host/provenance"
# index_url = "https://qdrant.example.org:6333"
"""


class Workspace(AbstractContextManager["Workspace"]):
    """Settings, catalog and index of one installation; opens each when it is first used.

    Attributes:
        root: The folder.
        settings: What flags, environment and the workspace's file say.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings

    @classmethod
    def create(cls, root: Path | str, **settings: Any) -> Workspace:
        """Make a workspace, or open the one that is there; given settings are written into its file.

        Raises:
            UsageError: If ``root`` is a file, or the workspace is there and settings are given.
        """
        folder = Path(root).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, not a folder", hint="give --workspace another place")
        file = folder / SETTINGS_FILE
        given = {name: _absolute(value) for name, value in settings.items() if value is not None}
        if file.exists() and given:
            raise UsageError(f"{folder} is a workspace already", hint=f"edit {file}")
        loaded = load_settings(folder, **given)
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(_SETTINGS_TEXT + "".join(map(_toml_line, given.items())), encoding="utf-8")
        workspace = cls(folder, loaded)
        workspace.upgrade_catalog()
        return workspace

    @classmethod
    def open(cls, root: Path | str, **settings: Any) -> Workspace:
        """Open a workspace; keyword arguments go before its file and the environment.

        Raises:
            NotFoundError: If there is none.
        """
        folder = Path(root).expanduser().resolve()
        if not (folder / SETTINGS_FILE).is_file():
            raise NotFoundError(
                f"no workspace at {folder}",
                hint="make one with `provenance init`, or name one with --workspace or PROVENANCE_WORKSPACE",
            )
        return cls(folder, load_settings(folder, **settings))

    @property
    def catalog_url(self) -> str:
        """Where the SQL catalog is."""
        return self.settings.catalog_url or f"sqlite:///{self.root / CATALOG_FILE}"

    @property
    def index_url(self) -> str:
        """Where the vector index is."""
        return self.settings.index_url or f"local:{self.root / 'index'}"

    @property
    def exports_vectors(self) -> bool:
        """Whether audits copy vectors into a local file (in-process engines), or ask the server."""
        return self.index_url.startswith(("local:", "memory:"))

    @property
    def vector_folder(self) -> Path:
        """Cache of immutable vector files; may be deleted at any time."""
        return self.root / "vectors"

    @cached_property
    def catalog(self) -> Catalog:
        """The SQL catalog. The workspace's own file is made where there is none; another place is not."""
        from provenance.catalog import Catalog

        return Catalog.open(self.catalog_url, create=not self.settings.catalog_url)

    def upgrade_catalog(self) -> tuple[str | None, str]:
        """Bring the catalog to this software's schema, an empty database too; gives the revisions before and after."""
        from provenance.catalog import upgrade

        return upgrade(self.catalog_url)

    def catalog_revisions(self) -> tuple[str | None, str]:
        """The catalog's schema revision (``None``: empty), and the one this software needs."""
        from provenance.catalog import current_revision, head_revision

        return current_revision(self.catalog_url), head_revision()

    @cached_property
    def index(self) -> VectorIndex:
        """The vector index, locked for this process and bound to the catalog."""
        from provenance.index import open_index

        key = self.settings.qdrant_api_key
        index = open_index(
            self.index_url,
            api_key=key.get_secret_value() if key else None,
            allow_insecure=self.settings.allow_insecure_index,
            lock_timeout_seconds=self.settings.lock_timeout_seconds,
            timeout_seconds=self.settings.index_timeout_seconds,
            shard_number=self.settings.shard_number,
            replication_factor=self.settings.replication_factor,
        )
        try:
            self.catalog.bind_store(index.store_uuid)
        except BaseException:
            index.close()
            raise
        return index

    @cached_property
    def moments(self) -> MomentsCache:
        """Moments of each collection; a cache that can be rebuilt."""
        from provenance.index import MomentsCache

        return MomentsCache(self.root / "moments")

    def load_backbone(self, **overrides: Any) -> Backbone:
        """The backbone of the settings, with ``overrides`` (name, backbone_file, weights) where not ``None``.

        Raises:
            WeightsError: If its weights can't be had; the hint names the ways out.
        """
        from provenance.embedding import load_backbone

        given = {name: value for name, value in overrides.items() if value is not None}
        chosen = {**self._default_backbone(given), **given}
        return load_backbone(
            chosen.pop("name", None),
            weights_dir=self.settings.weights_dir,
            device=self.settings.device,
            batch_size=self.settings.batch_size,
            threads=self.settings.threads,
            **chosen,
        )

    def _default_backbone(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the settings say of the backbone, as far as the call did not choose another one."""
        settings = self.settings
        if "backbone_file" in given:
            return {}
        if "name" in given:
            return {"weights": settings.weights} if given["name"] == settings.backbone else {}
        if settings.backbone_file:
            return {"backbone_file": settings.backbone_file}
        return {"name": settings.backbone, "weights": settings.weights}

    def close(self) -> None:
        """Release the index and the database; the workspace can be used again afterwards."""
        for name in ("index", "catalog"):
            resource = self.__dict__.pop(name, None)
            if resource is not None:
                resource.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _absolute(value: Any) -> Any:
    """Paths are kept absolute: a workspace is used from many folders."""
    return value.expanduser().resolve() if isinstance(value, Path) else value


def _toml_line(setting: tuple[str, Any]) -> str:
    name, value = setting
    if isinstance(value, bool):
        return f"{name} = {str(value).lower()}\n"
    if isinstance(value, int | float):
        return f"{name} = {value}\n"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'{name} = "{text}"\n'
