"""A workspace: the folder that holds settings, and opens the catalog and the vector index that belong together."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from provenance.config import FULL_RANGE, NOT_FROM_A_FILE, SETTINGS_FILE, Settings, load_settings, stated_range
from provenance.errors import CatalogError, ConflictError, EmbeddingError, NotFoundError, UsageError
from provenance.files import answering, hold, readable_like, sweep, sweep_unfinished
from provenance.limits import Limits
from provenance.logs import room, step
from provenance.resources import Resource
from provenance.vocabulary import Canonical, stated_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from provenance.catalog import Catalog
    from provenance.embedding import Backbone, Executor
    from provenance.images import PreparationSettings
    from provenance.index import CollectionSpec, MomentsCache, VectorIndex
    from provenance.vocabulary import Pages, Space

CATALOG_FILE = "catalog.sqlite3"
ERASING_FILE = "erasing"
ERASURES_FILE = "erasures"
BACKUP_PREFIX, RESTORE_PREFIX, ARCHIVE_FILE, RESTORING_FILE = ".backup-", ".restore-", "archive", "restoring.json"
_log = room(__name__)

_SETTINGS_TEXT = """\
# Settings of this workspace. A flag or an environment variable PROVENANCE_<NAME> wins over a line here.
# Secrets (qdrant_api_key) and what opens closed doors (allow_insecure_index) are read from the environment only.
# catalog_url = "postgresql://user@host/provenance"
# index_url = "https://qdrant.example.org:6333"
"""


class Installation(Resource):
    """Settings, catalog and index of one installation; opens each when it is first used.

    Attributes:
        root: The folder.
        settings: What flags, environment and the workspace's file say.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings
        self._held = ExitStack()
        self._aside: dict[str, Path] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    @classmethod
    def create(cls, root: Path | str, **settings: Any) -> Self:
        """Make a workspace, or open the one that is there; given settings are written into its file.

        What is given of a backbone is checked first; one that is there may be given other settings as long as it holds
        no set and no release. Where it fails, nothing is left of it.

        Raises:
            UsageError: If ``root`` is a file or can't be written, the workspace holds something and settings are
                given, or the backbone file is a program (TorchScript), which no settings file names.
            EmbeddingError: If there is no such backbone, or a file of it can't be read or does not fit.
        """
        folder = Path(root).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, not a folder", hint="give --workspace another place")
        file, is_there = folder / SETTINGS_FILE, is_workspace(folder)
        given = {
            # paths are kept absolute: a workspace is used from many folders
            name: value.expanduser().resolve() if isinstance(value, Path) else value
            for name, value in settings.items()
            if value is not None
        }
        before = _text_without(file, given) if is_there else _SETTINGS_TEXT
        if is_there and given:
            cls._refuse_filled(folder)
        _check_settings(load_settings(folder, **given), given)
        kept = {name: value for name, value in given.items() if name not in NOT_FROM_A_FILE}
        if not given and is_there:
            return cls._upgraded(folder)
        with _written_settings(file, before + "".join(map(_toml_line, kept.items()))):
            return cls._upgraded(folder, **given)

    @classmethod
    def _upgraded(cls, folder: Path, **given: Any) -> Self:
        workspace = cls(folder, load_settings(folder, **given))
        workspace.upgrade_catalog()
        return workspace

    @classmethod
    def _refuse_filled(cls, folder: Path) -> None:
        with cls(folder, load_settings(folder)) as workspace:
            if workspace.catalog.datasets():
                raise UsageError(
                    f"{folder} is a workspace already, and holds sets or releases",
                    hint=f"for one call: --backbone; to change the default, edit {folder / SETTINGS_FILE}",
                )

    @classmethod
    def open(cls, root: Path | str, **settings: Any) -> Self:
        """Open a workspace; keyword arguments go before its file and the environment.

        Raises:
            NotFoundError: If there is none.
        """
        folder = Path(root).expanduser().resolve()
        _require_workspace(folder)
        return cls(folder, load_settings(folder, **settings))

    @classmethod
    def open_or_create(cls, root: Path | str) -> Self:
        """Open a workspace; one that is not there is made by a verb that brings something in, and refused by others."""
        folder = Path(root).expanduser().resolve()
        return cls.open(folder) if is_workspace(folder) else cls(folder, load_settings(folder))

    def make_if_missing(self, on_step: Callable[[str], None] | None = None) -> None:
        """Make what ``open_or_create`` did not find, and say so; ``UsageError`` if it can't be made."""
        if is_workspace(self.root):
            return
        self.create(self.root).close()
        if on_step is not None:
            on_step(f"new workspace: {self.root}")

    @property
    def catalog_place(self) -> str | Path:
        """Where the SQL catalog is: the URL of a database, or the file of the workspace itself."""
        return self.settings.catalog_url or self.root / CATALOG_FILE

    @property
    def index_url(self) -> str:
        """Where the vector index is."""
        return self.settings.index_url or f"local:{self.root / 'index'}"

    @property
    def exports_vectors(self) -> bool:
        """Whether the engine is in process: audits search its vectors in files alone."""
        return self.index_url.startswith(("local:", "memory:"))

    @property
    def in_flight(self) -> int:
        """How many reads of the index are worth having under way at once; a local one is not opened to say so."""
        return 1 if self.exports_vectors else self.index.in_flight

    @property
    def vector_folder(self) -> Path:
        """Cache of immutable vector files; may be deleted at any time."""
        return self._cache("vectors")

    def _cache(self, name: str) -> Path:
        """A folder for what can be made again; beside a workspace that may only be read, one that goes at the end."""
        folder = self.root / name
        if os.access(folder if folder.exists() else self.root, os.W_OK):
            return folder
        if name not in self._aside:
            aside = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="provenance-")))
            for file in folder.glob("*"):
                (aside / file.name).symlink_to(file)
            self._aside[name] = aside
        return self._aside[name]

    def require_writable(self) -> None:
        """Raise ``CatalogError`` if what is done would be lost: before anything long is begun."""
        if is_workspace(self.root):
            self.catalog.require_writable()

    @cached_property
    def catalog(self) -> Catalog:
        """The SQL catalog. The workspace's own file is made where there is none; another place is not.

        Raises:
            NotFoundError: If there is no workspace.
        """
        from provenance.catalog import Catalog

        _require_workspace(self.root)
        self._refuse_lost_catalog()
        self._held.enter_context(answering(self.root))
        self._held.enter_context(self.private_files())
        self._sweep()
        with step(_log, "open catalog", url=self.catalog_place):
            catalog = Catalog.open(self.catalog_place, create=not self.settings.catalog_url)
        if not catalog.is_read_only:
            if self.is_erasing:
                self.scrub(catalog)
            self._erase_what_others_erased(catalog)
        restoring = self.root / RESTORING_FILE
        if restoring.exists() and catalog.datasets() and hold(restoring):
            restoring.unlink()  # it came to its end, but for saying so
        return catalog

    def _erase_what_others_erased(self, catalog: Catalog) -> None:
        """What another workspace of the same catalog took out leaves the vectors that are cached in this one too."""
        file, erasures = self.root / ERASURES_FILE, catalog.erasures()
        if erasures and (not file.exists() or file.read_text() != erasures):
            self._clear_vectors(erasures)

    def clear_vectors(self) -> None:
        """Remove every cached vector file: after a forgotten image or a removed dataset none of them may stay."""
        self._clear_vectors(self.catalog.erasures())

    def _clear_vectors(self, erasures: str) -> None:
        from provenance.index import clear

        clear(self.vector_folder)
        with suppress(OSError):  # the disk is full: they are cleared again by the next opening
            (self.root / ERASURES_FILE).write_text(erasures)

    @property
    def is_erasing(self) -> bool:
        """Whether files of the catalog may still hold what was forgotten, as another process had it open."""
        return (self.root / ERASING_FILE).exists()

    def begin_erasing(self) -> None:
        """Have the next opening take what is erased now out of the files, should this process be killed before."""
        (self.root / ERASING_FILE).touch()

    def scrub(self, catalog: Catalog) -> None:
        """Take what was forgotten out of the catalog's own files, now or at the next opening that finds it alone."""
        self.begin_erasing()
        if catalog.scrub():
            (self.root / ERASING_FILE).unlink()

    def _sweep(self) -> None:
        """Take away what killed processes left half done: it holds names, paths, keys and vectors."""
        log = [f"{CATALOG_FILE}{ending}" for ending in ("", "-journal", "-wal", "-shm")]
        sweep(self.root, (BACKUP_PREFIX, RESTORE_PREFIX), (*log, ARCHIVE_FILE))
        for cache in ("vectors", "moments"):
            sweep_unfinished(self.root / cache)

    def private_files(self) -> AbstractContextManager[None]:
        """What is made in the workspace is readable by those who may read its settings, whatever the umask."""
        return readable_like(self.root / SETTINGS_FILE)

    def upgrade_catalog(self) -> tuple[str | None, str]:
        """Bring the catalog to this software's schema, an empty database too; gives the revisions before and after."""
        from provenance.catalog import upgrade

        self._refuse_lost_catalog()
        with self.private_files():
            return upgrade(self.catalog_place)

    def catalog_revisions(self) -> tuple[str | None, str]:
        """The catalog's schema revision (``None``: empty), and the one this software needs."""
        from provenance.catalog import current_revision, head_revision

        return current_revision(self.catalog_place), head_revision()

    @cached_property
    def index(self) -> VectorIndex:
        """The vector index, locked for this process and bound to the catalog.

        Raises:
            ConflictError: If one of the two belongs to another.
        """
        catalog = self.catalog  # first: a workspace never holds an index without its catalog
        with step(_log, "open index", url=self.index_url):
            index = self._open_index()
        try:
            self._bind(catalog, index)
        except BaseException:
            index.close()
            raise
        return index

    def release_index(self) -> None:
        """Let go of a local index, which others may be waiting for; it is opened again when it is next used."""
        if self.index_url.startswith("local:") and (index := self.__dict__.pop("index", None)) is not None:
            index.close()

    def mend_index_identity(self) -> bool:
        """Write the damaged identity of a local store again, from the catalog; gives whether that was needed."""
        from provenance.index import mend_identity

        bound = self.catalog.bound_store()
        if "index" in self.__dict__ or bound is None:
            return False
        timeout = self.settings.lock_timeout_seconds
        return mend_identity(self.index_url, bound, self._knows_all, lock_timeout_seconds=timeout)

    def _knows_all(self, keys: Iterable[str]) -> bool:
        """Whether all these collections are on record here."""
        catalog = self.catalog
        known = {live.collection_key for live in catalog.live_collections()} | set(catalog.dropped_collections())
        return set(keys) <= known

    def adopt_empty_index(self) -> bool:
        """Bind the catalog to the store that is there now, if it holds nothing: the one it belonged to is lost.

        Whoever calls this fills the store from what is on record. Gives whether the catalog was bound anew.
        """
        if "index" in self.__dict__:
            return False
        with self._open_index() as index:
            if self.catalog.bound_store() in (None, index.store_uuid) or index.collections():
                return False
            self.catalog.rebind_store(index.store_uuid)
        return True

    def spec_of(
        self, collection_key: str, dataset_id: str, space: Space, catalog: Catalog | None = None
    ) -> CollectionSpec:
        """A collection as the index makes it, with what an administrator of a server may know of it."""
        from provenance.index import CollectionSpec

        known = catalog or self.catalog
        dataset = known.dataset_by_id(dataset_id)
        label = {
            "software": "provenance",
            "catalog": known.catalog_uuid,
            dataset.kind.value: dataset.name if self.settings.index_names else dataset_id,
            "space": space.backbone,
            "space_id": space.space_id,
        }
        return CollectionSpec(collection_key, space.dimension, space.parts, label)

    def _open_index(self) -> VectorIndex:
        from provenance.index import open_index

        key = self.settings.qdrant_api_key
        return open_index(
            self.index_url,
            api_key=key.get_secret_value() if key else None,
            allow_insecure=self.settings.allow_insecure_index,
            lock_timeout_seconds=self.settings.lock_timeout_seconds,
            timeout_seconds=self.settings.index_timeout_seconds,
            shard_number=self.settings.shard_number,
            replication_factor=self.settings.replication_factor,
            grpc_port=self.settings.index_grpc_port,
        )

    def _bind(self, catalog: Catalog, index: VectorIndex) -> None:
        bound = catalog.bound_store()
        if bound == index.store_uuid:
            return
        held = set(index.collections())
        if bound is not None and not held:
            raise ConflictError(
                f"the vector index at {self.index_url} is new and empty, and this catalog belongs to index {bound}",
                hint=f"check the index URL, or put that index back in its place; if it is lost, `provenance reconcile"
                f"{' --adopt-index' if self.settings.index_url else ''}` makes its vectors again from the recorded "
                "sources",
            )
        # a server may hold the collections of several catalogs; a folder is one catalog's own
        if bound is None and self.exports_vectors and not self._knows_all(held):
            unknown = next(key for key in sorted(held) if not self._knows_all([key]))
            raise ConflictError(
                f"the vector index at {self.index_url} belongs to another catalog: it holds "
                f"collection {unknown}, which is not on record here",
                hint="give the catalog that it belongs to (lost? restore it from a backup), or another index URL",
            )
        catalog.bind_store(index.store_uuid)

    def _refuse_lost_catalog(self) -> None:
        """A catalog is made before its index: an index without one has lost it, and a new one would know nothing."""
        file = self.root / CATALOG_FILE
        if self.settings.catalog_url or not (self.root / "index" / "store.json").exists():
            return
        if not file.exists() or not file.stat().st_size:
            read_as_url = Path(unquote(str(file).partition("?")[0]))  # where version 0.1 wrote it
            moved = f"mv {shlex.quote(str(read_as_url))} {shlex.quote(str(file))}"
            raise CatalogError(
                f"the catalog {file} is {'empty' if file.exists() else 'gone'}, and its vector index is still there",
                hint=f"it was written beside its folder, whose name it took for a part of a URL: {moved}"
                if read_as_url != file and read_as_url.is_file()
                else "put the file back, or restore a backup into a new workspace",
            )

    @cached_property
    def moments(self) -> MomentsCache:
        """Moments of each collection; a cache that can be rebuilt."""
        from provenance.index import MomentsCache

        return MomentsCache(self._cache("moments"))

    def load_backbone(self, **overrides: Any) -> Backbone:
        """The backbone of the settings, with ``overrides`` where not ``None``.

        These are ``name``, ``backbone_file``, ``trust_backbone_file`` (of a file of the call itself, never of one that
        the settings name), ``weights``, ``match_resolution``, ``parts`` and ``on_progress``.

        Raises:
            WeightsError: If its weights can't be had; the hint names the ways out.
        """
        from provenance.embedding import load_backbone

        given = {name: value for name, value in overrides.items() if value is not None}
        chosen = {**self._default_backbone(given), **given}
        chosen["trust_backbone_file"] = "backbone_file" in given and given.get("trust_backbone_file", False)
        rule = self.canonical
        with step(_log, "load backbone") as facts:
            backbone = load_backbone(
                chosen.pop("name", None),
                weights_dir=self.settings.weights_dir,
                device=self.settings.device,
                batch_size=self.settings.batch_size,
                threads=self.settings.threads,
                **chosen,
            ).decoding(rule)
            facts.update(backbone=backbone.space.backbone, space=backbone.space.space_id)
        return backbone

    def backbone_of(self, space: Space, **choice: Any) -> Backbone:
        """The backbone whose space it is: by ``choice`` (name, backbone_file, weights), else by the space's name.

        Raises:
            EmbeddingError: If it can't be had, or another one was loaded.
        """
        choice = choice or ({} if space.is_of_file else {"name": space.whole_backbone})
        if space.is_of_file and "parts" in space.preprocessing:
            choice = {**choice, "parts": space.whole_backbone.rpartition(":")[2]}
        try:
            backbone = self.load_backbone(**choice)
        except EmbeddingError as error:
            message = f"backbone {space.backbone} can't be loaded: {error.message}"
            raise EmbeddingError(message, hint=error.hint) from error
        backbone = backbone.at_resolution(space.matched_resolution).decoding(space.canonical)
        if backbone.space.space_id != space.space_id:
            raise EmbeddingError(
                f"backbone {space.backbone} of {space.space_id[:18]} is needed, and {backbone.space.backbone} "
                f"of {backbone.space.space_id[:18]} was loaded",
                hint="give --backbone, --backbone-file or --weights, or set them for the workspace",
            )
        return backbone

    @property
    def executor(self) -> Executor:
        """What decodes and embeds."""
        from provenance.embedding import Processes

        settings = self.settings
        return Processes(settings.workers, Limits(settings.worker_memory_bytes, settings.worker_seconds))

    @property
    def canonical(self) -> Canonical:
        """The rule by which images are decoded here, one for the whole workspace: what is on record, else as stated.

        Raises:
            ConflictError: If the settings state another range than the images on record were decoded by.
        """
        stated = self.settings.stated_grey_range
        used = self.catalog.canonical() if is_workspace(self.root) else None
        if used is not None and stated is not None and used.grey_range != stated:
            by = "the range of its type" if used.grey_range is None else "{:g}:{:g}".format(*used.grey_range)
            raise ConflictError(
                f"grey of more than 8 bits is read by {by} in this workspace, not by {self.settings.grey_range}",
                hint="images that are compared are decoded by one rule: bring all of them into another workspace, made "
                f"by `provenance init --grey-range={self.settings.grey_range}`",
            )
        window = stated_window(self.settings.window)
        if used is not None and self.settings.window and used.window != window:
            raise ConflictError(
                f"grey DICOM is shown in {_of_window(used.window)} in this workspace, not in {_of_window(window)}",
                hint="images that are compared are decoded by one rule: bring all of them into another workspace, made "
                f"by `provenance init --window={self.settings.window}`",
            )
        return used or Canonical(grey_range=stated, window=window)

    def state_window(self, text: str | None) -> None:
        """States the window of DICOM for this call and those that follow; ``UsageError`` if it is none."""
        if text is None:
            return
        try:
            stated_window(text)
        except ValueError as error:
            raise UsageError(f"the window {text!r} is none", hint=str(error)) from None
        self.settings = self.settings.model_copy(update={"window": text})

    def state_grey_range(self, text: str | None) -> None:
        """States the range of grey for this call and those that follow; ``UsageError`` if it is none."""
        if text is None:
            return
        try:
            stated_range(text)
        except ValueError as error:
            raise UsageError(f"the grey range {text!r} is none", hint=str(error)) from None
        self.settings = self.settings.model_copy(update={"grey_range": text})

    def preparation(
        self, backbone: Backbone | None = None, pages: Pages | None = None, *, burned_in: bool = False
    ) -> PreparationSettings:
        """How images are prepared under the limits of the settings, for a backbone where one is given."""
        from provenance.images import PreparationSettings

        rule = self.canonical if backbone is None else backbone.space.canonical
        is_stated = rule.grey_range is not None or self.settings.grey_range == FULL_RANGE
        same: dict[str, Any] = {
            "max_pixels": self.settings.max_pixels,
            "max_file_bytes": self.settings.max_file_bytes,
            "canonical": rule,
            "takes_coarse": is_stated or rule.version == 1,
            "pages": pages,
            "burned_in": burned_in,
        }
        if backbone is None:
            return PreparationSettings(**same)
        return PreparationSettings(backbone.input_size, backbone.space.matched_resolution, **same)

    def _default_backbone(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the settings say of the backbone, as far as the call did not choose another one."""
        settings = self.settings
        if "backbone_file" in given:
            return {}
        if "name" in given:
            same = given["name"].partition("@")[0] == settings.backbone.partition("@")[0]
            return {"weights": settings.weights} if same else {}
        if settings.backbone_file:
            return {"backbone_file": settings.backbone_file}
        return {"name": settings.backbone, "weights": settings.weights}

    def close(self) -> None:
        """Release the index and the database; the workspace can be used again afterwards."""
        for name in ("index", "catalog"):
            if (resource := self.__dict__.pop(name, None)) is not None:
                resource.close()
        self._held.close()
        if self._aside:
            self._aside.clear()
            self.__dict__.pop("moments", None)


def is_workspace(folder: Path) -> bool:
    """Whether a folder holds a workspace; ``UsageError`` if that can't be told, as the folder is closed to us."""
    try:
        return (folder / SETTINGS_FILE).is_file()
    except OSError as error:
        raise UsageError(
            f"the workspace {folder} can't be entered: {error.strerror or error}", hint="check its permissions"
        ) from error


def _require_workspace(folder: Path) -> None:
    if not is_workspace(folder):
        raise NotFoundError(
            f"no workspace at {folder}",
            hint="make one with `provenance init`, or name one with --workspace or PROVENANCE_WORKSPACE",
        )


_OF_BACKBONE = ("backbone", "backbone_file", "weights")


def _check_settings(settings: Settings, given: dict[str, Any]) -> None:
    """Refuses what is given of the backbone, or of the index's place, where it can't be."""
    from provenance.index import require_index_url

    if url := given.get("index_url"):
        require_index_url(url)
    chosen = {name: given[name] for name in _OF_BACKBONE if name in given}
    if not chosen:
        return
    from provenance.embedding import check_backbone

    name = chosen.get("backbone", None if "backbone_file" in chosen else settings.backbone)
    files = {word: Path(chosen[word]) for word in ("backbone_file", "weights") if word in chosen}
    check_backbone(name, **files, weights_dir=settings.weights_dir)


def _text_without(file: Path, given: dict[str, Any]) -> str:
    """A workspace's settings less those that are given anew; another backbone takes the former one's file along."""
    names = set(given) | (set(_OF_BACKBONE) if {"backbone", "backbone_file"} & set(given) else set())
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if line.partition("=")[0].strip() not in names)


@contextmanager
def _written_settings(file: Path, text: str) -> Iterator[None]:
    """Settings that stay if what follows succeeds; otherwise those before are put back."""
    is_made = not file.parent.exists()
    before = file.read_text(encoding="utf-8") if file.exists() else None
    _write_settings(file, text)
    try:
        yield
    except BaseException:
        if before is not None:
            _write_settings(file, before)
        else:
            file.unlink(missing_ok=True)
            if is_made:
                shutil.rmtree(file.parent, ignore_errors=True)
        raise


def _write_settings(file: Path, text: str) -> None:
    """Whole or not at all: half of them would be a workspace with other settings."""
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{file.name} can't hold a name that is not Unicode: {text[error.start - 40 : error.end]!r}",
            hint="rename the file that is named by a setting, or set it by its environment variable",
        ) from error
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not any(file.parent.iterdir()):  # a folder with other things in it stays open to whom it was
            file.parent.chmod(0o700)
        unfinished.touch(0o600)
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        raise UsageError(
            f"the workspace {file.parent} can't be made: {error.strerror or error}",
            hint="give --workspace another place, or mend the permissions or the room of this one",
        ) from error


def _toml_line(setting: tuple[str, Any]) -> str:
    name, value = setting
    is_number = isinstance(value, int | float)  # true and false among them
    text = str(value).lower() if is_number else json.dumps(str(value), ensure_ascii=False)
    return f"{name} = {text}\n".replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


def _of_window(window: str) -> str:
    return f"the window {window}" if window else "each file's own window"
