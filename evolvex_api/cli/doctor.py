"""doctor: each dependency and each right, one line each, with what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from evolvex_api import config as configuration
from evolvex_api.cli.common import config_option
from evolvex_api.doctor import report
from evolvex_api.doctor.findings import Finding


@click.command(short_help="Check what the service depends on.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of lines.")
@click.option("--url", default="", help="The API's URL as clients use it, https too.")
@click.option("--inside", is_flag=True, hidden=True, help="Only what the service itself meets.")
@config_option
def doctor(as_json: bool, url: str, inside: bool, config_path: Path) -> None:
    """Check everything that the service depends on, as its unit sees it; run it as root.

    Exit code 1 when a check fails; 78 when there is no configuration to check with.
    """
    config = configuration.load(config_path)
    found = list(report.inside(config) if inside else report.examine(config, url))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], ensure_ascii=False))
    else:
        for finding in found:
            click.echo(_line(finding))
    if any(finding.state == "fail" for finding in found):
        raise SystemExit(1)


def _line(finding: Finding) -> str:
    fix = f" — {finding.fix}" if finding.fix else ""
    return f"{finding.state:4} {finding.name}: {finding.found}{fix}"
