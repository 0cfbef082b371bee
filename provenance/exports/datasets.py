"""A set or release with its embeddings, batch by batch: from the index, into Parquet, and out of Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from provenance.errors import SourceError, SpaceMismatchError, UsageError
from provenance.files import replace_file
from provenance.spaces import is_plain
from provenance.text import writable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provenance.installation import Installation
    from provenance.records import Dataset, Member
    from provenance.vocabulary import Space

ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class EmbeddingStream:
    """The images of a set or release in one space as Arrow record batches, in image_id order.

    Columns: ``image_id``, ``name`` (the smallest of its names there), ``group`` (its pseudonym, or null), ``embedding``
    (float32, parts x dimension numbers, each part of unit length). Every vector is verified by its digest. Vectors and
    names are held for one batch at a time, so that memory does not grow with their number. ``len()`` is the row count;
    each iteration starts anew over the same images.
    """

    workspace: Installation
    dataset: Dataset
    space: Space
    members: Sequence[Member]
    rows_at_once: int

    @property
    def schema(self) -> Any:
        """The ``pyarrow.Schema`` of every batch; its metadata names dataset, kind, space and shape."""
        import pyarrow as pa

        space = self.space
        of_space = {name: str(getattr(space, name)) for name in ("space_id", "backbone", "parts", "dimension")}
        metadata = {"dataset": writable(self.dataset.name), "kind": self.dataset.kind.value, **of_space}
        fields = [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("name", pa.string()),
            pa.field("group", pa.string()),
            pa.field("embedding", pa.list_(pa.float32(), space.parts * space.dimension), nullable=False),
        ]
        return pa.schema(fields, metadata=metadata)

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self.members), self.rows_at_once):
            yield self._batch(self.members[start : start + self.rows_at_once])

    def _batch(self, members: Sequence[Member]) -> Any:
        import pyarrow as pa

        from provenance.index import load_vectors

        space = self.space
        located = [(m.collection_key, m.point_id, m.vector_sha256) for m in members]
        vectors = load_vectors(self.workspace.index, located, parts=space.parts, dimension=space.dimension)
        names = self.workspace.catalog.names_of([self.dataset.dataset_id], [m.image_key for m in members])
        columns = [
            pa.array([m.image_id for m in members], pa.string()),
            pa.array([writable(names[m.image_key]) if m.image_key in names else None for m in members], pa.string()),
            pa.array([m.group_key for m in members], pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), space.parts * space.dimension),
        ]
        return pa.record_batch(columns, schema=self.schema)


def open_embeddings(
    workspace: Installation, dataset: Dataset, space: str | None = None, *, rows_at_once: int = ROWS_AT_ONCE
) -> EmbeddingStream:
    """The indexed images of a set or release, as it is now, with their vectors, to be read batch by batch.

    ``space`` is a backbone name or space id (prefix) where it is embedded in several.

    Raises:
        SpaceMismatchError: If the dataset is in several spaces and none was chosen, or not in the one chosen.
        VectorStoreError: While reading: if a stored vector is missing or damaged.
    """
    if rows_at_once < 1:
        raise UsageError(f"a batch holds 1 row or more, not {rows_at_once}")
    key, chosen = _collection(workspace, dataset, space)
    return EmbeddingStream(workspace, dataset, chosen, workspace.catalog.members(dataset.dataset_id, key), rows_at_once)


def export_dataset_parquet(workspace: Installation, dataset: Dataset, target: Path, space: str | None = None) -> int:
    """Write a set or release as Parquet, batch by batch (see ``EmbeddingStream``); gives the row count.

    Raises:
        SpaceMismatchError: If the dataset is in several spaces and none was chosen, or not in the one chosen.
        VectorStoreError: If a stored vector is missing or damaged.
        SourceError: If the file can't be written.
    """
    stream = open_embeddings(workspace, dataset, space)

    def write(file: IO[bytes]) -> int:
        import pyarrow.parquet as pq

        # float32 features neither compress nor repeat: trying costs time and gains nothing
        compression = {"image_id": "zstd", "name": "zstd", "group": "zstd", "embedding.list.element": "none"}
        with pq.ParquetWriter(file, stream.schema, compression=compression, use_dictionary=["name", "group"]) as writer:
            for batch in stream:
                writer.write_batch(batch)
        return len(stream)

    return replace_file(target, write)


def read_embeddings_parquet(source: Path, *, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Any]:
    """The Arrow record batches of a file that ``export_dataset_parquet`` wrote, one at a time.

    Raises:
        UsageError: If ``rows_at_once`` is below 1.
        SourceError: If the file can't be read, or is no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rows_at_once < 1:
        raise UsageError(f"a batch holds 1 row or more, not {rows_at_once}")
    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:  # buffered, all row groups would be read ahead
            if "embedding" not in file.schema_arrow.names:
                raise SourceError(f"{source} holds no embeddings", hint="give the Parquet file of a set or release")
            yield from file.iter_batches(batch_size=rows_at_once)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{source} can't be read as Parquet: {error}") from error


def _collection(workspace: Installation, dataset: Dataset, space: str | None) -> tuple[str, Space]:
    collections = {c.space_id: c.collection_key for c in workspace.catalog.collections_of(dataset.dataset_id)}
    if space is not None:
        chosen = workspace.catalog.space(space)
        if chosen.space_id not in collections:
            raise SpaceMismatchError(f"{dataset.kind.value} {dataset.name} is not embedded in {space}")
        return collections[chosen.space_id], chosen
    if len(collections) > 1:
        plain = [space_id for space_id in collections if is_plain(workspace.catalog.space(space_id))]
        collections = {space_id: collections[space_id] for space_id in plain} or collections
    if len(collections) != 1:
        what = "in no space" if not collections else "in several spaces"
        raise SpaceMismatchError(
            f"{dataset.kind.value} {dataset.name} is embedded {what}", hint="choose one with --space"
        )
    ((space_id, key),) = collections.items()
    return key, workspace.catalog.space(space_id)
