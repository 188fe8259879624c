"""As fast as the account allows, by itself; what was learned is there for the next run of the folder."""

import time

import pytest
from click.testing import CliRunner
from support import go

from batch.cli.commands import texbatch
from batch.core.config import Rate
from batch.ledger.ledger import Ledger
from batch.pacing.limiter import RateGate
from batch.pacing.observations import Observations
from batch.pacing.poll_schedule import PollSchedules
from batch.server import LocalApi


def learned(out):
    with Ledger.read(out / "ledger.sqlite") as ledger:
        return Observations.from_json(ledger.observations())


def moments(api):
    return sorted(job["accepted_at"] for job in api.stats()["jobs"])


@pytest.fixture
def crowd():
    """A service that works on as many jobs at once as it is given."""
    with LocalApi(engine="placeholder", workers=1000) as api:
        yield api


@pytest.mark.slow
def test_by_itself_more_jobs_are_in_flight_than_anybody_would_have_asked_for(crowd, pairs, out):
    crowd.settings(latency="fixed", latency_s=2.0)
    assert go(crowd, pairs(60), out).exit_code == 0
    assert crowd.stats(jobs=False)["most_in_flight"] > 20  # 60, on a machine with nothing else to do


@pytest.mark.slow
def test_a_run_writes_down_the_limit_and_the_job_times_it_met(crowd, pairs, out, waits):
    waits(reset_margin_s=0.05)
    crowd.settings(rate_limit=10, rate_window_s=1.0, latency="fixed", latency_s=0.2)
    began = time.time()
    assert go(crowd, pairs(30), out).exit_code == 0
    found = learned(out)
    assert 60 < found.limit < 1300  # 600, told by resets in whole seconds
    assert began < found.limit_at <= time.time()
    assert found.gets_at is None
    ((size, times),) = found.times.items()
    assert size == "match_input_image"
    assert len(times) == 30
    assert min(times) >= 0.2


@pytest.mark.slow
def test_that_gets_count_is_written_down_and_the_next_run_begins_with_it(api, pairs, out, monkeypatch, waits):
    waits(reset_margin_s=0.02)
    api.settings(rate_limit=12, rate_window_s=0.5, rate_counts="all", latency_s=0.0)
    assert go(api, pairs(7), out).exit_code == 0
    assert learned(out).gets_at is not None
    gates, init = [], RateGate.__init__
    monkeypatch.setattr(
        RateGate,
        "__init__",
        lambda self, *args: init(self, *args) or gates.append((self, self.counts_gets, self.limit)),
    )
    assert go(api, pairs(2, "more.csv", first=20), out).exit_code == 0
    ((_, counts_gets, limit),) = gates
    assert counts_gets
    assert limit is not None


@pytest.mark.slow
def test_the_next_run_begins_with_the_job_times_of_the_last(crowd, pairs, out, monkeypatch):
    """So it does not begin to guess again."""
    crowd.settings(latency="fixed", latency_s=0.3)
    assert go(crowd, pairs(20), out).exit_code == 0
    ((size, times),) = learned(out).times.items()
    begins, init = [], PollSchedules.__init__
    monkeypatch.setattr(
        PollSchedules,
        "__init__",
        lambda self, *args, **kept: (
            init(self, *args, **kept) or begins.append((self.times, self.by_size[size].gap(0.0, 0)))
        ),
    )
    assert go(crowd, pairs(20, "more.csv", first=100), out).exit_code == 0
    ((known, first_gap),) = begins
    assert known == {size: times}
    # When a quick job is done, not after the fixed time of a first run.
    assert min(times) * 0.5 < first_gap <= max(times)
    assert len(learned(out).times[size]) == 40


def test_a_given_rate_is_kept(api, pairs, out):
    assert go(api, pairs(9), out, rate=Rate(3, 0.5)).exit_code == 0
    times = moments(api)
    assert (
        times[-1] - times[0] > 0.8
    )  # three windows, of which the first is a moment; a busy machine only adds
    assert api.stats(jobs=False)["answers"].get("submit 429") is None


def test_plan_tells_the_time_at_the_published_limits_then_at_the_one_that_was_met(api, pairs, out, waits):
    waits(reset_margin_s=0.05)
    manifest = pairs(600)

    def told(*more):
        found = CliRunner().invoke(
            texbatch, ["plan", str(manifest), "--out", str(out), "--price", "0.03", *more]
        )
        assert found.exit_code == 0, found.output
        return next(line for line in found.output.splitlines() if line.startswith("Takes"))

    assert told() == (
        "Takes 1 h 46 min … 2 h 11 min (Free, 5 requests a minute), 9 min 41 s … 12 min 57 s (Pro, 50); "
        "give your account's limit with --rate."
    )
    assert told("--rate", "100/1m") == "Takes 4 min 21 s … 6 min 25 s."
    api.settings(rate_limit=10, rate_window_s=1.0, latency_s=0.2)
    assert go(api, pairs(14, "more.csv", first=1000), out).exit_code == 0
    assert "Free" not in told()


def test_a_folder_without_a_run_begins_with_nothing_learned(tmp_path):
    with Ledger.create_or_open(tmp_path / "ledger.sqlite") as ledger:
        assert Observations.from_json(ledger.observations()).times == {}
        ledger.set_meta("learned", "{torn")
        assert Observations.from_json(ledger.observations()).limit is None
