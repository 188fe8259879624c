"""One table of all figures at the end of a session: what was measured, the goal, the figure here.

A test adds lines to `goals` and asserts at its end that none of them missed its goal: so all of them are told.
A goal is what we aim at; where a line has `slack`, the table still says that it was missed, and the test fails only beyond
that share more: what waits and computes at once differs from machine to machine.
At a share of their size (see tiers.py) the table says which goals were missed, and none is judged: start-up, which does not
shrink, weighs more there. What must hold at any size is asserted by the tests themselves.
Lines travel with the test reports, so they also arrive from processes of pytest-xdist.
"""

from __future__ import annotations

import os

import pytest
from tiers import SHARE

FIGURE = "figure"


class Goals:
    """The lines of one test."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self.missed: list[str] = []
        self._properties = properties

    def tell(self, what: str, here: str, goal: str = "") -> None:
        """Add a line that is not judged here."""
        self._properties.append((FIGURE, (what, goal, here)))

    def at_most(
        self, what: str, value: float, most: float, form: str = "{:.2f}", more: str = "", slack: float = 0.0
    ) -> None:
        """Add a line, and remember when the value is over its goal; `form` writes both, `more` follows the value."""
        self._judge(what, "≤", value, most, form, more, failed=value > most * (1 + slack))

    def at_least(
        self, what: str, value: float, least: float, form: str = "{:.2f}", more: str = "", slack: float = 0.0
    ) -> None:
        """Add a line, and remember when the value is under its goal."""
        self._judge(what, "≥", value, least, form, more, failed=value * (1 + slack) < least)

    def _judge(
        self, what: str, sign: str, value: float, bound: float, form: str, more: str, *, failed: bool
    ) -> None:
        goal, here = f"{sign} {form.format(bound)}", form.format(value)
        met = value <= bound if sign == "≤" else value >= bound
        if failed and SHARE >= 1:
            self.missed.append(f"{what}: {here}, goal {goal}")
        self.tell(what, f"{here}{'' if met else ' (missed)'}{f'  {more}' if more else ''}", goal)


@pytest.fixture
def goals(request: pytest.FixtureRequest) -> Goals:
    """Give a test its lines in the table; the test ends with `assert goals.missed == []`."""
    return Goals(request.node.user_properties)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    lines = [
        line
        for report in sorted(reports, key=lambda report: report.start)
        if report.when == "call"
        for name, line in report.user_properties
        if name == FIGURE
    ]
    if not lines:
        return
    load = os.getloadavg()[0]  # walls over their ideals want an idle machine; CPU and counts do not care
    at = "" if SHARE >= 1 else f", at {SHARE:g} of their size: goals are reported only"
    terminalreporter.section(f"figures, on {os.cpu_count()} cores, load {load:.1f}{at}")
    lines = [("what", "goal", "here"), *lines]
    what, goal = (max(len(line[column]) for line in lines) for column in (0, 1))
    for line in lines:
        terminalreporter.write_line(f"{line[0]:{what}} | {line[1]:{goal}} | {line[2]}")
