"""The settings travel as JSON and refuse what they do not know, all problems at once."""

import json

import pytest

from batch.server import LocalSettings, SettingsError
from batch.server.settings import changed


def test_settings_survive_the_pipe():
    """What a subprocess reads is what the parent set, faults and tables included."""
    settings = LocalSettings(
        api_key="SG_secret",
        seed=7,
        engine="placeholder",
        spend_limit_usd=1.5,
        blocked_words=("gun", "knife"),
        history_lag_by_prompt={"late": 3.0},
        faults=({"call": "submit", "action": "reset_after", "nth": 2},),
    )
    line = settings.to_json()
    assert "\n" not in line
    assert LocalSettings.from_json(line) == settings


@pytest.mark.parametrize("text", ["", "\n", "{}"])
def test_an_empty_line_means_the_defaults(text):
    assert LocalSettings.from_json(text) == LocalSettings()


def test_the_key_is_in_no_repr_and_in_no_answer():
    settings = LocalSettings(api_key="SG_secret")
    assert "SG_secret" not in repr(settings)
    assert "SG_secret" not in json.dumps(settings.public())


def test_all_unknown_names_are_told_with_the_nearest_known_one():
    with pytest.raises(SettingsError) as caught:
        LocalSettings.from_json('{"latencys": 1, "prize_usd": 2}')
    assert str(caught.value).splitlines() == [
        "latencys: no such setting. Did you mean latency_s?",
        "prize_usd: no such setting. Did you mean price_usd?",
    ]


def test_all_values_out_of_range_are_told():
    with pytest.raises(SettingsError) as caught:
        LocalSettings(port=70_000, engine="cards", price_usd=-1.0, rate_limit=-5)
    assert str(caught.value).splitlines() == [
        "port: 70000 is out of range. Give at most 65535.",
        "price_usd: -1.0 is out of range. Give at least 0.",
        "rate_limit: -5 is out of range. Give at least 0.",
        "engine: 'cards' is not a known engine. Give one of cpu, placeholder.",
    ]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"port": "80"}, id="text for a number"),
        pytest.param({"port": 80.0}, id="a fraction for a whole number"),
        pytest.param({"workers": True}, id="a flag for a number"),
        pytest.param({"latency_s": float("nan")}, id="not a number"),
        pytest.param({"images_list": 1}, id="a number for a flag"),
        pytest.param({"blocked_words": "gun"}, id="one word for a list"),
        pytest.param({"faults": ["reset"]}, id="texts for objects"),
        pytest.param({"history_lag_by_prompt": {"late": -1}}, id="negative seconds"),
    ],
)
def test_a_value_of_another_kind_is_refused(values):
    with pytest.raises(SettingsError, match=next(iter(values))):
        LocalSettings.from_json(json.dumps(values) if "latency_s" not in values else values)


@pytest.mark.parametrize("text", ["[1]", "{", '"key"'])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(SettingsError, match="Give one JSON object"):
        LocalSettings.from_json(text)


def test_only_what_may_change_at_run_time_changes():
    """The port of a running server is what it is; its prices are not."""
    assert changed(LocalSettings(), {"price_usd": 1}, at_run_time=True).price_usd == 1
    with pytest.raises(SettingsError, match="port: cannot change while the server runs"):
        changed(LocalSettings(), {"port": 1}, at_run_time=True)
