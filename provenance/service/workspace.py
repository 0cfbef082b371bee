"""The one class that everybody calls: its verbs stand by subject in the modules beside it."""

from __future__ import annotations

from provenance.service.auditing import Auditing
from provenance.service.ingesting import Ingesting
from provenance.service.keeping import Keeping
from provenance.service.measuring import Measuring
from provenance.service.questions import Questions


class Workspace(Ingesting, Questions, Auditing, Measuring, Keeping):
    """Settings, catalog and index of one installation, and everything that is done with them.

    ``Workspace.create(folder, **settings)`` makes one, ``Workspace.open(folder, **settings)`` opens it; use it in a
    ``with`` block. Settings are those of the README's table.

    A verb's arguments are plain: names, paths, numbers, and words as the command line has them. Where ``on_progress``,
    ``on_step`` or ``stop`` is an argument, who calls it may show how far it is, and end it in between.
    """
