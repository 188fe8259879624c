"""Which call a fault hits is decided purely; a fault that makes no sense is refused with its place."""

import pytest

from batch.server.settings import SettingsError
from batch.server.simulation.fault_plan import FaultPlan
from batch.server.simulation.faults import read_faults
from batch.server.simulation.latency import SeededRandom


def plan(*faults, seed=1):
    return FaultPlan(read_faults(faults), SeededRandom(seed))


def hits(faults, calls, call="submit", prompt="chair"):
    """Return the numbers of those of `calls` calls that are hit."""
    return [n for n in range(1, calls + 1) if faults.select(call, lambda: prompt) is not None]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param({}, [1, 2, 3, 4, 5, 6], id="always"),
        pytest.param({"nth": 2}, [2], id="the second"),
        pytest.param({"nth": [2, 5]}, [2, 5], id="the second and the fifth"),
        pytest.param({"first": 3}, [1, 2, 3], id="the first three"),
        pytest.param({"nth": [2, 5], "first": 3}, [2], id="both must hold"),
        pytest.param({"probability": 0}, [], id="never by chance"),
        pytest.param({"probability": 1}, [1, 2, 3, 4, 5, 6], id="always by chance"),
        pytest.param({"prompt": "hai"}, [1, 2, 3, 4, 5, 6], id="a part of the prompt"),
        pytest.param({"prompt": "sofa"}, [], id="another prompt"),
    ],
)
def test_a_fault_hits_the_calls_its_rules_name(rule, expected):
    assert hits(plan({"call": "submit", "action": "reset_after", **rule}), 6) == expected


def test_counting_is_by_prompt_where_a_prompt_is_given():
    """ "The first call for the sofa", whatever came before it."""
    faults = plan({"call": "submit", "action": "reset_after", "prompt": "sofa", "first": 1})
    assert [faults.select("submit", lambda p=p: p) is not None for p in ("chair", "sofa", "sofa")] == [
        False,
        True,
        False,
    ]


def test_chance_repeats_under_a_seed_and_has_its_rate():
    rule = {"call": "status", "action": "status", "status": 503, "probability": 0.25}
    one, same, other = (hits(plan(rule, seed=s), 2000, "status") for s in (1, 1, 2))
    assert one == same != other
    assert 400 < len(one) < 600  # 500 expected, standard deviation 19


def test_other_kinds_of_call_are_not_hit_and_the_prompt_is_not_asked():
    def prompt():
        raise AssertionError

    assert plan({"call": "submit", "action": "reset_after", "prompt": "x"}).select("status", prompt) is None
    assert plan({"call": "status", "action": "empty"}).select("status", prompt) is not None


def test_the_first_fault_wins_and_both_count():
    faults = plan(
        {"call": "submit", "action": "reset_before", "nth": 1},
        {"call": "submit", "action": "reset_after", "first": 2},
    )
    chosen = [faults.select("submit", str) for _ in range(3)]
    assert [fault.action if fault else None for fault in chosen] == ["reset_before", "reset_after", None]


@pytest.mark.parametrize(
    ("action", "more", "handled"),
    [
        ("reset_before", {}, False),
        ("reset_after", {}, True),
        ("reset_after", {"handled": False}, False),
        ("half_head", {}, True),
        ("fin_after", {}, True),
        ("no_answer", {}, True),
        ("no_answer", {"handled": False}, False),
        ("status", {"status": 503}, False),
        ("status", {"status": 502, "handled": True}, True),
        ("garbage", {}, True),
    ],
)
def test_whether_a_faulted_call_is_handled_is_explicit(action, more, handled):
    (fault,) = read_faults([{"call": "submit", "action": action, **more}])
    assert fault.handled is handled


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("reset", "faults[0]: not an object."),
        ({"call": "submit"}, "faults[0].action: missing."),
        ({"call": "post", "action": "empty"}, "faults[0].call: 'post' is not known. Give 'submit', 'status'"),
        ({"call": "submit", "action": "empty", "time": 3}, "faults[0].time: no such field."),
        (
            {"call": "submit", "action": "empty", "nth": 0},
            "faults[0].nth[0]: 0 is out of range. Give at least 1.",
        ),
        (
            {"call": "submit", "action": "empty", "probability": 2},
            "faults[0].probability: 2 is out of range. Give at most 1.",
        ),
        ({"call": "upload", "action": "empty", "prompt": "x"}, "upload calls have no prompt."),
        ({"call": "submit", "action": "reset_before", "handled": True}, "take reset_after"),
        ({"call": "submit", "action": "truncated", "handled": False}, "always handled"),
        ({"call": "submit", "action": "delay"}, "delay needs before_s or after_s"),
        ({"call": "submit", "action": "status"}, "either a status or a text"),
        ({"call": "submit", "action": "status", "text": "teapot"}, "Give rate_limit, "),
        ({"call": "submit", "action": "empty", "first": None}, "null is not valid"),
        ({"call": "submit", "action": "empty", "status": 99}, "Give at least 200."),
        ({"call": "submit", "action": "empty", "headers": {"Date": "x"}}, "none of which the server writes"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_its_place(item, message):
    with pytest.raises(SettingsError) as caught:
        read_faults([item])
    assert message in str(caught.value)


def test_all_problems_of_all_faults_are_told():
    with pytest.raises(SettingsError) as caught:
        read_faults([{"call": "x", "action": "y"}, {"call": "submit", "action": "delay"}])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "faults[0].call",
        "faults[0].action",
        "faults[1]",
    ]
