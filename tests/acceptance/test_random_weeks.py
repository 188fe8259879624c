"""Random lives of a catalog: the same work is never paid for a second time without a person's yes.

Each question that stands between a person and a second payment is also taken out of the code, one at a time: then a life
must be found in which something is paid twice. So the lives ask what they claim to ask.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import weeks

from batch.ledger.states import Event, State

STEPS = 40
MOST_LIVES = 400
SEEDS_OF_A_MUTANT = 25


@pytest.fixture
def life(tmp_path, monkeypatch):
    """Live a life of a seed to its end."""

    def live(seed, steps=STEPS, offered=None, wanted=0, *, compares_plans=True):
        with monkeypatch.context() as patches:
            each = weeks.Life(tmp_path / str(seed), seed, patches.setattr, offered, wanted)
            each.compares_plans = compares_plans
            try:
                for _ in range(steps):
                    each.step()
            finally:
                each.close()

    return live


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_paid_twice_in_a_random_life(life, seed):
    life(seed, steps=12)


@pytest.mark.proof
def test_nothing_is_paid_twice_whatever_is_offered(life):
    """Each kind of second payment is offered ten times at least."""
    live_until(life, 10)


@pytest.mark.proof
def test_nothing_is_paid_twice_in_any_of_many_lives(life):
    """Each kind of second payment is offered fifty times at least."""
    print(live_until(life, 50))  # noqa: T201  the figures of the proof


def live_until(life, wanted):
    offered = Counter()
    seeds = iter(range(1000, 1000 + MOST_LIVES))
    while any(offered[kind] < wanted for kind in weeks.KINDS):
        life(next(seeds), offered=offered, wanted=wanted)
    return offered


# -- each question taken out ------------------------------------------------------------------------------------------------


def a_written_yes_covers_the_same_work(patch):
    from batch.cli import options  # noqa: PLC0415

    parsed = options.ParsedOptions
    patch(options, "ParsedOptions", lambda *read: parsed(*read[:4], yes_typed=True))


def what_was_paid_and_failed_is_retried_freely(patch):
    patch("batch.ledger.runs.paid", lambda job: f"({job}.job < 0)")


def another_query_is_new_work(patch):
    patch("batch.ledger.matching.WorkMatcher._mark_other_queries", lambda self: None)  # noqa: ARG005


def a_signature_is_part_of_the_work(patch):
    patch("batch.core.models.unsigned", lambda url: url)
    another_query_is_new_work(patch)  # which would leave such a row out


def an_older_folder_is_taken_as_it_is(patch):
    patch("batch.ledger.matching.WorkMatcher._by_name", lambda self: None)  # noqa: ARG005
    another_query_is_new_work(patch)  # the same


def an_interrupted_submit_is_sent_again(patch):
    def recover(ledger):
        for job in ledger.connection.execute("SELECT job FROM jobs WHERE state='sending'").fetchall():
            ledger.transition(job["job"], Event.RESTART)
        return 0

    patch("batch.ledger.ledger.Ledger.recover", recover)


def a_lost_answer_is_taken_for_absent(patch):
    from batch.execution.reconcile_rules import Absent, _Reconciliation  # noqa: PLC0415

    patch(_Reconciliation, "_claim", lambda self, submit, left: None)  # noqa: ARG005
    patch(_Reconciliation, "_judge", lambda self, submit, **_: Absent(submit.job))  # noqa: ARG005


def a_lost_answer_is_a_failed_request(patch):
    from batch.client import responses  # noqa: PLC0415
    from batch.execution import transitions  # noqa: PLC0415

    plain = transitions.submitted

    def submitted(reply, *, last):
        if isinstance(reply, responses.Unknown):
            return Event.BOUNCE, {"error_class": "lost", "error": reply.reason, "http_status": None}
        return plain(reply, last=last)

    patch(transitions, "submitted", submitted)


def any_500_is_the_vendors(patch):
    from batch.client import responses  # noqa: PLC0415

    table = [
        replace(line, when=lambda reply: reply.status == 500)
        if line.submit is responses._not_accepted
        else line
        for line in responses.RULES
    ]
    patch(responses, "RULES", tuple(table))


def the_end_of_the_ledger_is_not_missed(patch):
    patch("batch.ledger.connection.find_loss", lambda connection, mark: None)  # noqa: ARG005
    patch("batch.ledger.ledger.find_loss", lambda connection, mark: None)  # noqa: ARG005


def a_saved_image_that_is_gone_is_made_again(patch):
    from batch.ledger.ledger import Ledger  # noqa: PLC0415

    plain = Ledger.recover

    def recover(ledger):
        folder = ledger.path.parent / "images"
        for row in ledger.connection.execute(
            "SELECT DISTINCT j.job, r.kept_output FROM jobs j JOIN rows r ON r.kept_job = j.job WHERE j.state=?",
            (State.SAVED,),
        ).fetchall():
            if row["kept_output"] and not (folder / row["kept_output"]).exists():
                ledger.connection.execute("UPDATE jobs SET state='planned' WHERE job=?", (row["job"],))
        return plain(ledger)

    patch(Ledger, "recover", recover)


QUESTIONS = (
    a_written_yes_covers_the_same_work, what_was_paid_and_failed_is_retried_freely, another_query_is_new_work,
    a_signature_is_part_of_the_work, an_older_folder_is_taken_as_it_is, an_interrupted_submit_is_sent_again,
    a_lost_answer_is_taken_for_absent, a_lost_answer_is_a_failed_request, any_500_is_the_vendors,
    the_end_of_the_ledger_is_not_missed, a_saved_image_that_is_gone_is_made_again,
)  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("take_out", QUESTIONS, ids=lambda question: question.__name__)
def test_a_question_that_is_taken_out_is_missed(life, monkeypatch, take_out):
    take_out(monkeypatch.setattr)
    with pytest.raises(weeks.PaidTwice):
        live_many(life)


@pytest.mark.proof
def test_a_run_that_reverts_a_redo_is_missed(life, monkeypatch):
    monkeypatch.setattr("batch.ledger.matching.keep_work", lambda *_, **__: False)
    with pytest.raises(weeks.Reverted):
        live_many(life)


def live_many(life):
    for seed in range(SEEDS_OF_A_MUTANT):
        life(seed, wanted=10**9, compares_plans=False)
