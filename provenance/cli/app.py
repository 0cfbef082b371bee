"""The application object, the options all commands share, and the one place where errors become text."""

from __future__ import annotations

import functools
import inspect
import io
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from provenance import logs
from provenance.errors import ProvenanceError
from provenance.text import shown_lines
from provenance.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.service import Workspace

F = TypeVar("F", bound="Callable[..., Any]")

WorkspaceAfter = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Folder of settings, catalog and index, as before the command.",
        readable=False,
        show_default=False,
    ),
]
_STDOUT = Path("-")


def _once(option: Any, value: Any, parsing: Any) -> None:
    """Takes the value of an option of which one counts: the last, but not in silence."""
    _say_twice(max(option.obj.opts, key=len), parsing.opts.get(option.dest), value)
    parsing.opts[option.dest] = value
    parsing.order.append(option.obj)


def _say_twice(name: str, before: Any, value: Any) -> None:
    if before not in (None, value):
        logs.MESSAGES.warning("%s is given twice: %s counts, %s does not", name, value, before)


class _Command(TyperCommand):
    def make_parser(self, ctx: Any) -> Any:
        return _with_options_once(super().make_parser(ctx))


def _with_options_once(parser: Any) -> Any:
    for option in (*parser._long_opt.values(), *parser._short_opt.values()):
        if option.action == "store":
            option.process = functools.partial(_once, option)
    return parser


_BY_USE = (
    *("demo", "init", "ingest", "ingest-layout", "watch", "audit", "audits", "report", "show", "history", "neighbors"),
    *("export", "check-run", "evaluate", "sensitivity", "duplicates", "sets", "releases", "embed", "sweep", "fit"),
)


class _Group(TyperGroup):
    """The commands in the order in which they are used."""

    def make_parser(self, ctx: Any) -> Any:
        return _with_options_once(super().make_parser(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        place = {name: number for number, name in enumerate(_BY_USE)}
        return sorted(super().list_commands(ctx), key=lambda name: place.get(name, len(place)))


class App(typer.Typer):
    """Commands that also take --workspace behind their name, and ``-`` as the place of their --output."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """As typer's; what is decorated stays as it is."""
        register = super().command(name, cls=_Command, **options)

        def decorate(function: F) -> F:
            register(_as_command(function))
            return function

        return decorate


def _as_command(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*, workspace_after: Path | None = None, **given: Any) -> Any:
        if workspace_after is not None:
            _say_twice("--workspace", state.given, workspace_after)
            state.workspace = workspace_after
            logs.note(_log, "command: in another workspace", workspace=workspace_after)
        from provenance.service import answering

        with answering(state.workspace):
            if given.get("output") != _STDOUT:
                return _answered(function, given)
            from provenance.cli.output import to_stdout

            with to_stdout(json=given["json"]) as place:
                return _answered(function, {**given, "output": place})

    hints = {**get_type_hints(function, include_extras=True), "workspace_after": WorkspaceAfter}
    after = inspect.Parameter("workspace_after", inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = [*inspect.signature(function).parameters.values(), after]
    call.__annotations__ = hints
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(annotation=hints[one.name]) for one in parameters]
    )
    return call


def _answered(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Calls a command, and sends its answer off: only then what it made is done with."""
    answer = function(**given)
    sys.stdout.flush()
    return answer


app = App(
    name="provenance",
    cls=_Group,
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
TrustOption = Annotated[
    bool,
    typer.Option("--trust-backbone-file", help="Run a TorchScript --backbone-file: it is a program, not data."),
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
GreyRangeOption = Annotated[
    str | None,
    typer.Option(
        "--grey-range",
        metavar="LOW:HIGH|full",
        help="Values that are black and white in images of more than 8 bits whose files do not say so, such as 0:4095 "
        "or -1024:3071; full: the whole range of the type. One for the workspace, stated before anything is in it.",
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="NAME|CENTER,WIDTH|file",
        help="What grey DICOM is shown in: lung, mediastinum, abdomen, bone or brain (CT), CENTER,WIDTH, or each "
        "file's own window. One for the workspace, stated before anything is in it.",
    ),
]
GroupByOption = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="patient|study|series",
        help="Groups by the headers of DICOM files, in place of --group-from.",
    ),
]
SlicesOption = Annotated[
    str | None,
    typer.Option(
        "--slices",
        metavar="all|middle|every:N",
        help="Slices of each DICOM series, in order of position: all, the middle one, or every Nth.",
    ),
]
BurnedInOption = Annotated[
    bool,
    typer.Option(
        "--allow-burned-in",
        help="Take DICOM whose pixels may hold a name too: annotated, secondary captures, ultrasound.",
    ),
]
PagesOption = Annotated[
    str | None,
    typer.Option(
        "--pages",
        metavar="all|first",
        help="Each page or frame of a file as an image, or the first. Without it: all of a TIFF, the first of an "
        "animation. What is left out is counted.",
    ),
]
WeightsOption = Annotated[Path | None, typer.Option("--weights", help="Weights file for the backbone.")]
RawOption = Annotated[
    bool, typer.Option("--raw", help="CSV: no apostrophe before what a spreadsheet would run as a formula.")
]
TopKOption = Annotated[int, typer.Option("--top-k", min=1, max=10_000, help="Neighbors to keep per subject.")]


@dataclass
class _State:
    workspace: Path = Path(".provenance")
    given: Path | None = None
    verbosity: int = 0


state = _State()
_log = logs.room(__name__)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"provenance {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
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
        int,
        typer.Option(
            "--verbose", "-v", count=True, help="Log to stderr; -vv in detail, with the traceback of an error."
        ),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no messages to stderr, but errors.")
    ] = False,
    log_format: Annotated[
        logs.LogFormat,
        typer.Option("--log-format", envvar="PROVENANCE_LOG_FORMAT", help="json: every line on stderr is an object."),
    ] = logs.LogFormat.TEXT,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    source = context.get_parameter_source("workspace")
    state.workspace, state.verbosity = workspace, verbose
    state.given = workspace if source is not None and source.name == "COMMANDLINE" else None
    logs.configure(verbose, log_format, quiet=quiet)
    logs.note(_log, "command: begun", command=context.invoked_subcommand, version=__version__, workspace=workspace)


def open_workspace(**settings: Any) -> Workspace:
    """The workspace of this call; ``settings`` of its flags go before its file, where they are not ``None``.

    Raises:
        NotFoundError: If there is none.
    """
    from provenance.service import Workspace

    return Workspace.open(state.workspace, **settings)


def workspace_of_call() -> Workspace:
    """The workspace of this call, there or not: a verb that brings in makes it (and says so).

    Others refuse it, but tell first what is wrong with their arguments.
    """
    from provenance.service import Workspace

    return Workspace.open_or_create(state.workspace)


def main() -> None:
    """Run the command line; every error that is meant for people ends here, as text and an exit code."""
    started = time.monotonic()
    with logs.run_of():
        try:
            _accept_any_name()
            sys.exit(app(standalone_mode=False) or 0)
        except TyperException as error:
            _say_usage(error)
            sys.exit(error.exit_code)
        except typer.Abort:
            logs.MESSAGES.info("aborted")
            sys.exit(1)
        except ProvenanceError as error:
            _say(error, error.message, error.hint)
            sys.exit(error.exit_code)
        except BrokenPipeError:
            # The reader of a pipe left: nothing to report, and nothing more to flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except Exception as error:  # noqa: BLE001  (nobody above could say anything of it)
            hint = "run it again with -vv before the command for the traceback, and report it"
            _say(error, f"this is a defect of provenance: {type(error).__name__}: {error}", hint)
            sys.exit(1)
        finally:
            logs.note(_log, "command: ended", seconds=round(time.monotonic() - started, 3))


def _accept_any_name() -> None:
    """What an output's encoding has no sign for is written as an escape, and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say_usage(error: TyperException) -> None:
    """What is wrong with the words of a call: they may be names that a shell found."""
    said = io.StringIO()
    show: Any = getattr(error, "show", None)
    if show is None:
        said.write(f"Error: {error.format_message()}\n")
    else:
        show(said)
    sys.stderr.write(shown_lines(said.getvalue()))


def _say(error: Exception, message: str, hint: str) -> None:
    """An error to stderr; with -vv its traceback before it."""
    trace = None
    if state.verbosity >= 2:
        import traceback

        trace = logs.without_secrets("".join(traceback.format_exception(error)))
    logs.note(logs.MESSAGES, message, level=logging.ERROR, hint=hint or None, traceback=trace)
