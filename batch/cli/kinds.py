"""What an option's value may be: times, money, rates and numbers, each told clearly when it is wrong."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from batch.config import MOST_IN_FLIGHT, Rate
from batch.errors import UsageError
from batch.times import duration, rate

MICRO = 1_000_000
MOST_USD = 1_000_000_000


class Duration(click.ParamType[float]):
    """A time like 90s, 15m or 2h, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        try:
            return duration(str(value))
        except UsageError as exc:
            self.fail(str(exc), param, ctx)


class Money(click.ParamType[int]):
    """An amount in USD, in micro-dollars."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return micro-dollars."""
        if isinstance(value, int):
            return value
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)
        if not (amount.is_finite() and 0 <= amount <= MOST_USD):
            self.fail(f"{value!r} is no amount. Write dollars like 12.50.", param, ctx)
        return int(amount * MICRO)


class InFlight(click.ParamType[int]):
    """A number of jobs in flight, or auto, which is 0 here."""

    name = "n|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; 0 for auto."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if text == "auto":
            return 0
        if not text.isdecimal() or not 1 <= int(text) <= MOST_IN_FLIGHT:
            self.fail(f"{text!r} is neither auto nor a number 1 … {MOST_IN_FLIGHT}.", param, ctx)
        return int(text)


class Submits(click.ParamType[Rate]):
    """A rate like 50/1m."""

    name = "n/time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        """Return the rate."""
        if isinstance(value, Rate):
            return value
        try:
            return Rate(*rate(str(value)))
        except UsageError as exc:
            self.fail(str(exc), param, ctx)


class Failures(click.ParamType[tuple[int | None, float | None]]):
    """A number of rows like 20, or a share of the ended ones like 5%."""

    name = "n|p%"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, float | None]:
        """Return a number and None, or None and a share of 1."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        number = text.removesuffix("%")
        if not number.isdecimal() or int(number) < 1 or (text.endswith("%") and int(number) > 100):
            self.fail(f"{text!r} is neither a number of rows like 20 nor a share like 5%.", param, ctx)
        return (None, int(number) / 100) if text.endswith("%") else (int(number), None)
