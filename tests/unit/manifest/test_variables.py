"""Variables in a job file: a shell's meaning, nothing secret, every problem with its place and remedy."""

import pytest

from batch.core.errors import ManifestError
from batch.manifest.job_file import VariableError, expand_variables, read_job_file

ENVIRONMENT = {"HERE": "/srv", "EMPTY": "", "ODD": "${HERE}", "SEGMIND_API_KEY": "SG_key"}
ALLOWED = ("out", "max-cost", "only", "quiet", "prompt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("${HERE}/out", "/srv/out", id="set"),
        pytest.param("${HERE}${HERE}", "/srv/srv", id="twice"),
        pytest.param("${NOWHERE:-20}", "20", id="default"),
        pytest.param("${NOWHERE:-}", "", id="empty default"),
        pytest.param("${HERE:-20}", "/srv", id="default not needed"),
        pytest.param("${EMPTY:-20}", "20", id="empty counts as not set, as in a shell"),
        pytest.param("${EMPTY}", "", id="empty"),
        pytest.param("${NOWHERE:-a:-b c}", "a:-b c", id="anything may be a default"),
        pytest.param("${ODD}", "${HERE}", id="a value is not expanded again"),
        pytest.param("$${HERE}", "${HERE}", id="escaped"),
        pytest.param("$HERE costs $5 {a} $", "$HERE costs $5 {a} $", id="a lone dollar is a dollar"),
    ],
)
def test_a_variable_means_what_a_shell_means(text, expected):
    assert expected == expand_variables(text, ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        pytest.param("${NOWHERE}", "the variable NOWHERE is not set.", "${NOWHERE:-…}", id="not set"),
        pytest.param("${SEGMIND_API_KEY}", "looks like a secret", "api-key-file", id="the key"),
        pytest.param("${segmind_api_key:-x}", "looks like a secret", "api-key-file", id="in small letters"),
        pytest.param("${MY_TOKEN}", "looks like a secret", "api-key-file", id="token"),
        pytest.param("${CLIENT_SECRET}", "looks like a secret", "api-key-file", id="secret"),
        pytest.param("${DB_PASSWORD}", "looks like a secret", "api-key-file", id="password"),
        pytest.param("a ${", "names no variable", "$${", id="not closed"),
        pytest.param("${}", "names no variable", "$${", id="nothing"),
        pytest.param("${1x}", "names no variable", "$${", id="no name"),
        pytest.param("${HERE-x}", "names no variable", "$${", id="another operator"),
    ],
)
def test_what_cannot_be_filled_in_is_told_with_a_remedy(text, reason, remedy):
    with pytest.raises(VariableError) as caught:
        expand_variables(text, ENVIRONMENT)
    assert reason in str(caught.value)
    assert remedy in caught.value.remedy
    assert "SG_key" not in str(caught.value)


@pytest.mark.parametrize("name", ["KEYBOARD", "TOKENS", "SECRETARY", "MONKEY"])
def test_a_harmless_name_is_no_secret(name):
    assert expand_variables(f"${{{name}}}", {name: "x"}) == "x"


def test_every_value_of_a_job_file_may_hold_variables(job):
    path = job(
        'manifest: ${HERE}/pairs.csv\nout: "${HERE}/out"\nonly: ["${A:-a}", b]\nquiet: ${QUIET:-true}\n'
        "max-cost: ${NOWHERE:-}\nprompt: '${EMPTY}'\n",
    )
    read = read_job_file(path, ALLOWED, ENVIRONMENT)
    assert str(read.manifest) == "/srv/pairs.csv"
    assert read.options == {"out": "/srv/out", "only": ("a", "b"), "quiet": True, "prompt": ""}


def test_all_problems_are_told_with_their_lines(job):
    path = job('manifest: ${GONE}\nout: ${A_TOKEN}\nonly: [a, "${B}"]\nmaxcost: 1\nmax-cost: ${C:-1}\n')
    with pytest.raises(ManifestError) as caught:
        read_job_file(path, ALLOWED, {})
    starts = ["1:manifest: the variable GONE is not set.", "2:out: ${A_TOKEN} looks like a secret", "3:only: the variable B",
              "4:maxcost: is not an option of run. Did you mean max-cost?"]  # fmt: skip
    for start, problem in zip(starts, caught.value.problems, strict=True):
        assert str(problem).startswith(f"{path}:{start}")


def test_without_an_environment_nothing_is_set(job):
    with pytest.raises(ManifestError, match="HOME is not set"):
        read_job_file(job("manifest: ${HOME}/pairs.csv\n"), ALLOWED)
