"""A run's money: what is set aside, given back, billed; the cap in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batch.core.errors import BudgetExceeded
from batch.execution.transitions import Budget
from batch.ledger.states import Event

GIVEN_BACK = [Event.THROTTLE, Event.BOUNCE, Event.REFUSE, Event.FAIL, Event.FIND_FAILED, Event.ABSENT]
STAYS = [
    Event.RESERVE,
    Event.ACCEPT,
    Event.LOSE,
    Event.FIND_RUNNING,
    Event.KEEP,
    Event.UNUSABLE,
    Event.EXPIRE,
]
BILLED = [Event.COMPLETE, Event.FIND_DONE]
prices = st.integers(0, 100_000)


class Money(RuleBasedStateMachine):
    """One run's jobs in any order: `open` holds what was set aside for each, `billed` what the service named."""

    def __init__(self):
        super().__init__()
        self.cap, self.before = 1_000_000, 120_000
        self.open = []
        self.billed = self.risen = 0
        self.budget = Budget(self.cap, 30_000, self.before)

    @rule()
    def reserve(self):
        known, committed = self.budget.price, self.budget.committed
        try:
            self.open.append(self.budget.reserve())
        except BudgetExceeded:
            assert committed + known > self.cap
            assert self.budget.committed == committed
        else:
            assert self.budget.committed <= self.cap

    @precondition(lambda self: self.open)
    @rule(event=st.sampled_from(GIVEN_BACK))
    def was_not_billed(self, event):
        self.budget.on_transition(event, self.open.pop(), None)

    @precondition(lambda self: self.open)
    @rule(event=st.sampled_from(BILLED), cost=prices)
    def was_billed(self, event, cost):
        estimate = self.open.pop()
        self.billed += cost
        self.risen += max(cost - estimate, 0)
        self.budget.on_transition(event, estimate, cost)
        assert self.budget.price >= cost  # what costs more is set aside from now on

    @precondition(lambda self: self.open)
    @rule(event=st.sampled_from(STAYS))
    def is_still_open(self, event):
        self.budget.on_transition(event, self.open[-1], None)

    @invariant()
    def what_is_committed_is_billed_or_open(self):
        assert self.budget.committed == self.before + self.billed + sum(self.open)

    @invariant()
    def the_cap_is_passed_by_a_risen_price_only(self):
        assert self.budget.committed <= self.cap + self.risen


TestMoney = Money.TestCase


@given(st.integers(0, 1_000_000), st.integers(1, 100_000))
def test_as_many_jobs_fit_as_the_cap_pays_for(cap, price):
    """cap // price jobs, then no other."""
    budget = Budget(cap, price)
    for _ in range(min(cap // price, 50)):
        assert budget.reserve() == price
    if cap // price <= 50:
        with pytest.raises(BudgetExceeded):
            budget.reserve()


def test_a_job_without_a_named_cost_keeps_what_was_set_aside():
    budget = Budget(100_000, 30_000)
    budget.on_transition(Event.COMPLETE, budget.reserve(), None)
    assert budget.committed == 30_000


def test_a_local_picture_made_again_gives_nothing_back_that_this_run_did_not_set_aside():
    """Its first making belongs to an earlier run; giving its price back would let the cap be passed."""
    budget = Budget(90_000, 30_000)
    budget.on_transition(Event.RESTART, 30_000, None)
    assert budget.committed == 0


def test_without_a_cap_everything_may_be_spent_and_a_higher_bill_is_set_aside_from_then_on():
    budget = Budget(None, 10_000)
    assert [budget.reserve() for _ in range(1000)] == [10_000] * 1000
    budget.on_transition(Event.COMPLETE, 10_000, 20_000)
    assert (budget.committed, budget.reserve()) == (1000 * 10_000 + 10_000, 20_000)


def test_the_refusal_says_what_is_spent_what_is_asked_and_what_to_do():
    budget = Budget(1_000_000, 30_000, 990_000)
    with pytest.raises(BudgetExceeded, match=r"--max-cost \$1.00: \$0.99 .*\$0.0300.*Raise it") as reached:
        budget.reserve()
    assert reached.value.exit_code == 8
    assert repr(budget) == "<Budget 990000/1000000 micro-dollars>"
