"""Entry point of the command ``provenance``: brings the commands together."""

from provenance.cli import (  # noqa: F401 - each brings its commands
    audit_commands,
    data_commands,
    demo_command,
    duplicates_command,
    evaluate_command,
    export_commands,
    keeping_commands,
    learning_commands,
    query_commands,
    report_command,
    sensitivity_command,
    service_commands,
)
from provenance.cli.app import app, main

__all__ = ["app", "main"]
