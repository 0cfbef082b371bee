"""Files that need no workspace: embeddings that were exported, and run files of the challenge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provenance.service import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from provenance.exports.runfile import RunFileCheck


def read_embeddings(file: str | Path, *, rows: int = 1000) -> Iterator[pd.DataFrame]:
    """Read the Parquet file of a set or release as a stream of DataFrames; columns as in ``Workspace.embeddings``.

    Args:
        file: What ``export --format parquet`` wrote.
        rows: Images of one DataFrame; no more are held at once.

    Raises:
        SourceError: If it can't be read, or is no such file.
    """
    from provenance.exports import read_embeddings_parquet

    for batch in read_embeddings_parquet(Path(file), rows_at_once=rows):
        yield frames.frame_of_batch(batch)


def check_run(file: str | Path, ids: str | Path) -> pd.DataFrame:
    """The mistakes of a challenge's run file; an empty table means that it is valid.

    Args:
        file: The run file.
        ids: Folder or archive of the images, or a text file with an id in each line.

    Returns:
        Columns ``line`` (Int64, from 1; missing where no line is at fault), ``mistake`` (category), ``message``.

    Raises:
        SourceError: If either can't be read, or no id is found.
        ConflictError: If two images would have the same id.
    """
    problems = checked_run(file, ids).problems
    return frames.frame(frames.RUN_FILE_PROBLEMS, (frames.fields_of(p, frames.RUN_FILE_PROBLEMS) for p in problems))


def checked_run(file: str | Path, ids: str | Path) -> RunFileCheck:
    """The same as ``check_run``, as values: whether it is valid, its rows, the ids, the mistakes."""
    from provenance.exports import check_run_file

    return check_run_file(Path(file), Path(ids))
