"""The command `medprm`: one module for each subcommand."""

from medprm_scorer.cli.app import main

__all__ = ["main"]
