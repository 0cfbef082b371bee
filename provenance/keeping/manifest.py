"""What a backup's manifest may say, and whether the archive is what it says, before anything of it is unpacked."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from datetime import datetime  # noqa: TC003 - pydantic reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from provenance.catalog import head_revision
from provenance.errors import SourceError
from provenance.received import MOST_BYTES, parse_json

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_ENTRY = "manifest.json"
CATALOG_ENTRY = "catalog.sqlite3"
VECTORS_FOLDER = "vectors/"
FORMAT = "provenance-backup"
VERSION = 1
ID_BYTES = 16
# A catalog is text, ids and digests: it shrinks to a fifth or so. What shrinks a thousandfold was made to fill a disk.
_MOST_SHRUNK = 100
USE_ANOTHER = "use another backup"

_Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Stated(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class StatedCollection(_Stated):
    """The vectors of a set or release in one space."""

    key: _Key
    dataset: str
    space_id: str
    dimension: Annotated[int, Field(ge=1, le=2**20)]
    parts: Annotated[int, Field(ge=1, le=2**12)]
    count: _Count

    @property
    def size_bytes(self) -> int:
        """Of its entry: an id and a vector each."""
        return self.count * (ID_BYTES + 4 * self.parts * self.dimension)


class _StatedFile(_Stated):
    sha256: _Digest
    size_bytes: _Count


class _StatedCatalog(_Stated):
    uuid: str
    revision: str


class Manifest(_Stated):
    """A backup in words: what it holds, with the digest of each entry."""

    format: Literal["provenance-backup"]
    version: int
    software_version: Annotated[str, Field(max_length=100)]
    created_at: Annotated[datetime, Field(strict=False)]
    catalog: _StatedCatalog
    collections: tuple[StatedCollection, ...] = Field(strict=False)
    files: dict[str, _StatedFile]


def checked_manifest(archive: zipfile.ZipFile, source: Path) -> Manifest:
    """The manifest, if everything it lists is there with its size and digest and nothing else is.

    Raises:
        SourceError: If the file is no undamaged backup, or of newer software.
    """
    manifest = stated_manifest(archive, source)
    for name, stated in manifest.files.items():
        if _digest_of(archive, name) != stated.sha256:
            raise SourceError(f"{source} is damaged: {name} has another digest than its manifest", hint=USE_ANOTHER)
    return manifest


def stated_manifest(archive: zipfile.ZipFile, source: Path) -> Manifest:
    """The manifest, if the archive has the entries that it lists, each of its size; their bytes are not read.

    Raises:
        SourceError: If the file is no backup, or of newer software.
    """
    manifest = _read(archive, source)
    if manifest.version != VERSION or manifest.catalog.revision > head_revision():
        raise SourceError(f"{source} was made by newer software ({manifest.software_version})")
    if problem := _entries_differ(archive, manifest) or _sizes_differ(archive, manifest):
        raise SourceError(f"{source} is damaged: {problem}", hint=USE_ANOTHER)
    return manifest


def _read(archive: zipfile.ZipFile, source: Path) -> Manifest:
    try:
        with archive.open(MANIFEST_ENTRY) as stream:
            document = parse_json(stream.read(MOST_BYTES + 1))
    except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{source} is no backup: it has no sound manifest", hint="give a file of `backup`") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SourceError(f"{source} is no backup of provenance")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        raise SourceError(f"{source} is damaged: its manifest's {place}: {first['msg']}", hint=USE_ANOTHER) from None


def _entries_differ(archive: zipfile.ZipFile, manifest: Manifest) -> str:
    """What the archive holds beside what the manifest lists, or lacks of it; empty: nothing."""
    listed = {*manifest.files, MANIFEST_ENTRY}
    wanted = {CATALOG_ENTRY, *(VECTORS_FOLDER + each.key for each in manifest.collections)}
    if wanted != set(manifest.files):
        return f"its manifest lists other files than collections: {min(wanted ^ set(manifest.files))}"
    if sorted(archive.namelist()) != sorted(listed):
        odd = sorted(set(archive.namelist()) ^ listed) or ["an entry stands twice"]
        return f"its manifest and its content differ: {odd[0]}"
    return ""


def _sizes_differ(archive: zipfile.ZipFile, manifest: Manifest) -> str:
    """An entry that is larger than it can be, before it is read; empty: none."""
    stated = {VECTORS_FOLDER + each.key: each.size_bytes for each in manifest.collections}
    for name, file in manifest.files.items():
        entry = archive.getinfo(name)
        if entry.file_size != file.size_bytes or entry.file_size != stated.get(name, entry.file_size):
            return f"{name} has another size than its manifest"
        if entry.file_size > _MOST_SHRUNK * max(entry.compress_size, 10_000):
            return f"{name} would unpack to {entry.file_size:,} bytes out of {entry.compress_size:,}"
    return ""


def _digest_of(archive: zipfile.ZipFile, name: str) -> str:
    """The digest of an entry; empty where it can't be read to its end."""
    try:
        with archive.open(name) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return ""
