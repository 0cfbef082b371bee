"""The application object, the options all commands share, and the one place where errors become text."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenance.errors import ProvenanceError
from provenance.version import __version__

if TYPE_CHECKING:
    from provenance.embedding import Backbone
    from provenance.service import Workspace

app = typer.Typer(
    name="provenance",
    help="Audit whether generated medical images give away the real images they were trained on.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
SpaceOption = Annotated[
    str | None, typer.Option("--space", help="Backbone name or space id (prefix) where there are several.")
]
BackboneOption = Annotated[str | None, typer.Option("--backbone", help="Backbone by name, such as resnet50.")]
BackboneFileOption = Annotated[
    Path | None, typer.Option("--backbone-file", help="ONNX or TorchScript file to use as the backbone.")
]
MatchResolutionOption = Annotated[
    str | None,
    typer.Option(
        "--match-resolution",
        metavar="RELEASE",
        help="Bring every image to this release's native resolution first: a space of its own.",
    ),
]
PartsOption = Annotated[
    str | None,
    typer.Option("--parts", help="Local space of a backbone file: map/7 (a grid of cells), tokens or all-tokens."),
]
WeightsOption = Annotated[Path | None, typer.Option("--weights", help="Weights file for the backbone.")]
TopKOption = Annotated[int, typer.Option("--top-k", min=1, help="Neighbors to keep per subject.")]


@dataclass
class _State:
    workspace: Path = Path(".provenance")
    verbosity: int = 0


state = _State()


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"provenance {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace",
            "-w",
            envvar="PROVENANCE_WORKSPACE",
            help="Folder of settings, catalog and index.",
            readable=False,  # what can't be entered is told with a hint
        ),
    ] = Path(".provenance"),
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="-vv shows the traceback of an error.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    state.workspace, state.verbosity = workspace, verbose


def open_workspace(**settings: Any) -> Workspace:
    """The workspace of this call.

    Raises:
        NotFoundError: If there is none.
    """
    from provenance.service import Workspace

    return Workspace.open(state.workspace, **settings)


def open_or_create_workspace(**settings: Any) -> Workspace:
    """The workspace of this call, made where there is none yet (and said so)."""
    from provenance.cli.output import message
    from provenance.installation import is_workspace
    from provenance.service import Workspace

    if not is_workspace(state.workspace):
        Workspace.create(state.workspace).close()
        message(f"new workspace: {state.workspace.resolve()}")
    return Workspace.open(state.workspace, **settings)


def load_backbone(workspace: Workspace, *, match_resolution: str | None = None, **choice: Any) -> Backbone:
    """The chosen backbone, at a release's resolution; a download of its weights says how far it is, each tenth."""
    from provenance.cli.output import message
    from provenance.spaces import resolution_of_release

    said = 0

    def on_progress(done: int, total: int | None) -> None:
        nonlocal said
        if total and done * 10 // total > said:
            said = done * 10 // total
            message(f"downloading weights: {said * 10} % of {total / 1e6:.0f} MB")

    resolution = resolution_of_release(workspace.catalog, match_resolution) if match_resolution else None
    return workspace.load_backbone(**choice, match_resolution=resolution, on_progress=on_progress)


def main() -> None:
    """Run the command line; every error that is meant for people ends here, as text and an exit code."""
    try:
        app()
    except ProvenanceError as error:
        if state.verbosity >= 2:
            import traceback

            traceback.print_exc()
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe left: nothing to report, and nothing more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if state.verbosity >= 2:
            raise
        sys.stderr.write(f"error: this is a defect of provenance: {type(error).__name__}: {error}\n")
        sys.stderr.write("hint: run it again with -vv before the command for the traceback, and report it\n")
        sys.exit(1)
