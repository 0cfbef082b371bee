"""Entry point of the command ``provenance``: brings the commands together."""

from provenance.cli import audit_commands, data_commands, demo_command, keeping_commands, query_commands
from provenance.cli.app import app, main

__all__ = ["app", "audit_commands", "data_commands", "demo_command", "keeping_commands", "main", "query_commands"]
