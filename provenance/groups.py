"""From an image's name to its group: the patient, study or scanner key that makes images dependent."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from provenance.errors import SourceError, UsageError
from provenance.text import as_named, composed, name_key

GroupRule = Callable[[str], str | None]
"""From the name of an occurrence to the raw group, or ``None``. The catalog pseudonymises it."""


@dataclass(slots=True)
class GroupMatches:
    """How far a rule finds groups: the names it was asked about, those it found a group for, and the groups.

    Attributes:
        without: The first name that it found none for; empty where there is none.
    """

    names: int = 0
    matched: int = 0
    found: set[str] = field(default_factory=set)
    without: str = ""

    def ask(self, rule: GroupRule, name: str) -> str | None:
        """The group of a name by a rule, counted."""
        group = rule(name)
        self.names += 1
        if group is not None:
            self.matched += 1
            self.found.add(group)
        elif not self.without:
            self.without = name
        return group

    @property
    def groups(self) -> int:
        """How many groups were found."""
        return len(self.found)

    def __str__(self) -> str:
        first = f"; the first without a group: {self.without!r}" if self.without else ""
        groups = f"{self.groups:,} group{'' if self.groups == 1 else 's'}"
        return f"--group-from matched {self.matched:,} of {self.names:,} names, {groups}{first}"

    def require_some(self, *, force: bool) -> None:
        """Refuse a rule that finds no group for any of the names, unless that is wanted.

        Raises:
            UsageError: If names were asked about and none has a group.
        """
        if self.names and not self.matched and not force:
            raise UsageError(
                str(self), hint="mend the expression, or the names in the CSV; --force goes on without groups"
            )


def group_rule(given: str | None) -> GroupRule:
    """The rule behind ``--group-from``; ``None``: no groups.

    Else the path to a CSV file with the columns ``name`` (also without its extension) and ``group``, or a regular
    expression that is searched in the name (as names are compared: ``text.name_key``) and whose first (or
    ``group``-named) group is the key.

    Raises:
        SourceError: If the CSV can't be read or lacks a column.
        UsageError: If the expression is wrong or has no group.
    """
    if given is None:
        return lambda _name: None
    if not given.lower().endswith(".csv"):
        return _rule_of_expression(given)
    groups = _read_table(Path(given))

    def of(name: str) -> str | None:
        key = name_key(name)
        last = key.rsplit("/", 1)[-1]
        # as it is, then without its extension: the whole name before its last part
        found = (groups[each] for each in (key, last, _stem(key), _stem(last)) if each in groups)
        return next(found, None)

    return of


def _stem(name: str) -> str:
    """A name without its extension, which begins with a letter: ``1.2.840.113`` has none."""
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]{0,4}\Z", "", name)


def _rule_of_expression(given: str) -> GroupRule:
    try:
        expression = re.compile(composed(given))
    except re.error as error:
        raise UsageError(f"--group-from: {given!r} is no regular expression: {error}") from error
    if not expression.groups:
        raise UsageError(
            f"--group-from: {given!r} has no group in parentheses", hint="for example --group-from '(P[0-9]+)/'"
        )
    key = "group" if "group" in expression.groupindex else 1

    def of(name: str) -> str | None:
        # as names are compared; an expression may speak of a name's own backslashes
        found = expression.search(name_key(name)) or expression.search(composed(name))
        return found[key] if found else None

    return of


def _read_table(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # spreadsheets of many countries write semicolons, as the comma is their decimal sign
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=head.count))
            if not {"name", "group"} <= set(reader.fieldnames or ()):
                raise SourceError(f"{path} lacks a column: it needs name and group", hint="first line: name,group")
            groups: dict[str, str] = {}
            for row in reader:
                name, group = (as_named((row[column] or "").strip()) for column in ("name", "group"))
                name, group = name_key(name), composed(group)
                if name and group and groups.setdefault(name, group) != group:
                    raise SourceError(f"{path}, line {reader.line_num}: {name} has two groups", hint="one row a name")
            return groups
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error}", hint="--group-from takes a CSV file or a regex") from error
