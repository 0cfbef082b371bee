"""From an image's name to its group: the patient, study or scanner key that makes images dependent."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from provenance.errors import SourceError, UsageError

GroupRule = Callable[[str], str | None]
"""From the name of an occurrence to the raw group, or ``None``. The catalog pseudonymises it."""


def group_rule(given: str | None) -> GroupRule:
    """The rule behind ``--group-from``; ``None``: no groups.

    Else the path to a CSV file with the columns ``name`` and ``group``, or a regular expression that is searched in the
    name and whose first (or ``group``-named) group is the key.

    Raises:
        SourceError: If the CSV can't be read or lacks a column.
        UsageError: If the expression is wrong or has no group.
    """
    if given is None:
        return lambda _name: None
    if not given.lower().endswith(".csv"):
        return _rule_of_expression(given)
    groups = _read_table(Path(given))
    return lambda name: groups.get(name) or groups.get(name.rsplit("/", 1)[-1])


def _rule_of_expression(given: str) -> GroupRule:
    try:
        expression = re.compile(given)
    except re.error as error:
        raise UsageError(f"--group-from: {given!r} is no regular expression: {error}") from error
    if not expression.groups:
        raise UsageError(
            f"--group-from: {given!r} has no group in parentheses", hint="for example --group-from '(P[0-9]+)/'"
        )
    key = "group" if "group" in expression.groupindex else 1
    return lambda name: found[key] if (found := expression.search(name)) else None


def _read_table(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"name", "group"} <= set(reader.fieldnames or ()):
                raise SourceError(f"{path} lacks a column: it needs name and group", hint="first line: name,group")
            groups: dict[str, str] = {}
            for row in reader:
                name, group = (row["name"] or "").strip(), (row["group"] or "").strip()
                if name and group and groups.setdefault(name, group) != group:
                    raise SourceError(f"{path}, line {reader.line_num}: {name} has two groups", hint="one row a name")
            return groups
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error}", hint="--group-from takes a CSV file or a regex") from error
