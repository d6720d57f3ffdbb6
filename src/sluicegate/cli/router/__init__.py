"""`sluicegate router`: fit, evaluate and explain routers; learn from corrections; detect drift."""

import typer

from sluicegate.cli.router.drift import drift
from sluicegate.cli.router.explain import explain
from sluicegate.cli.router.fit import fit
from sluicegate.cli.router.grade import grade
from sluicegate.cli.router.refit import refit
from sluicegate.cli.router.report import report
from sluicegate.cli.router.threshold import threshold

__all__ = ["app"]

app = typer.Typer(help="Fit, evaluate and explain routers.", no_args_is_help=True)
for command in (fit, report, grade, explain, threshold, refit, drift):
    app.command()(command)
