"""Every option of `run`: that it exists, what it changes, and who wins when several places speak."""

import pytest
import support
from support import rows, write_csv

from batch.cli.commands import texbatch
from batch.core.config import JOB_TIMEOUT_S, RETRIES, Rate
from batch.core.parameters import BY_NAME
from batch.execution.runner import RunResult
from batch.ledger.prices import LISTED
from batch.ledger.staging import Plan

SETTINGS = {
    "--retry-failed": (None, "retry_failed", True),
    "--concurrency": ("3", "concurrency", 3),
    "--rate": ("50/1m", "rate", Rate(50, 60.0)),
    "--yes": (None, "yes_to_edits", True),
    "--retries": ("7", "retries", 7),
    "--job-timeout": ("90s", "job_timeout_s", 90.0),
    "--max-cost": ("12.50", "max_cost", 12_500_000),
    "--price": ("0.03", "price", 30_000),
    "--invalid": ("skip", "invalid", "skip"),
    "--max-failures": ("20", "max_failures", 20),
    "--max-duration": ("1h30m", "max_duration_s", 5400.0),
    "--pilot": ("5", "pilot", 5),
    "--candidates": ("4", "candidates", 4),
    "--settle": ("0s", "settle_s", 0.0),
    "--grace": ("2m", "grace_s", 120.0),
    "--group-by": ("sku", "group_by", "sku"),
    "--only": ("row-1, row-0", "only", ("row-1", "row-0")),
}
READING = {
    "--ignore-url-query": (None, "ignore_url_query", True),
    "--name": ("x/{id}.{ext}", "name", "x/{id}.{ext}"),
    "--encoding": ("cp1252", "encoding", "cp1252"),
    "--sheet": ("Preise 2026", "sheet", "Preise 2026"),
    "--skip-hidden": (None, "skip_hidden", True),
    "--upload-links": ("private", "upload_links", "private"),
}
PARAMETERS = {
    "--prompt": "walnut",
    "--image-1": "https://shop.example/1.jpg",
    "--image-2": "https://shop.example/2.jpg",
    "--image-3": "https://shop.example/3.jpg",
    "--lora": "texture_apply",
    "--lora-2-url": "https://weights.example/2",
    "--lora-3-url": "https://weights.example/3",
    "--aspect-ratio": "4:5",
    "--seed": "-1",
    "--image-format": "png",
    "--quality": "007",
    "--base64": "true",
}
OTHERS = {
    "--out", "--local", "--api-key-file", "--progress", "--log-format", "--metrics-file", "--quiet", "--verbose",
    "--dry-run", "--help", "--same-account", "--column",
}  # fmt: skip
"""Each has tests of its own."""  # fmt: skip


class Caught:
    """What `run` was asked for, instead of running."""

    def __call__(self, manifest, settings, service=None, **_):
        self.manifest, self.settings, self.service = manifest, settings, service
        figures = dict.fromkeys(
            ("saved", "failed", "expired", "unknown", "pending", "abandoned", "spent_usd", "run_spent_usd", "at_risk_usd",
             "saved_by_resume_usd", "simulated"), 0,
        )  # fmt: skip
        nothing = Plan(0, 0, (), 0, 0, 0, 0, 0, LISTED.micro, LISTED.source)
        return RunResult(0, figures | {"top_errors": []}, plan=nothing)


@pytest.fixture
def caught(monkeypatch):
    catch = Caught()
    monkeypatch.setattr("batch.execution.runner.run", catch)
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_key")
    return catch


@pytest.fixture
def pairs(tmp_path):
    return write_csv(tmp_path / "pairs.csv", rows(2))


@pytest.fixture
def job(tmp_path, pairs):
    def write(**options):
        lines = [f"{name.replace('_', '-')}: {value}\n" for name, value in options.items()]
        (tmp_path / "job.yaml").write_text("manifest: pairs.csv\nout: out\n" + "".join(lines))
        return tmp_path / "job.yaml"

    return write


def long_options(command):
    return {
        name for param in texbatch.commands[command].params for name in param.opts if name.startswith("--")
    }


def test_run_has_exactly_the_documented_options():
    assert long_options("run") | {"--help"} == {*SETTINGS, *READING, *PARAMETERS, *OTHERS}


def test_retry_takes_the_options_of_run():
    """But for the two that it fixes itself, and with three of its own."""
    own = {"--status", "--rejected", "--prompt-append"}
    assert long_options("retry") == (long_options("run") - {"--out", "--retry-failed"}) | own


@pytest.mark.parametrize("option", [*SETTINGS, *READING])
def test_an_option_reaches_the_run(command, caught, pairs, option):
    text, name, value = (SETTINGS | READING)[option]
    given = [option] if text is None else [option, text]
    assert command("run", pairs, "--out", "out", *given)[0] == 0
    assert getattr(caught.settings if option in SETTINGS else caught.settings.reading, name) == value


@pytest.mark.parametrize("option", [*SETTINGS, *READING])
def test_an_option_can_come_from_the_environment(command, caught, pairs, option, monkeypatch):
    text, name, value = (SETTINGS | READING)[option]
    monkeypatch.setenv("TEXBATCH_" + option[2:].upper().replace("-", "_"), text or "1")
    assert command("run", pairs, "--out", "out")[0] == 0
    assert getattr(caught.settings if option in SETTINGS else caught.settings.reading, name) == value


@pytest.mark.parametrize("option", [*SETTINGS, *READING])
def test_an_option_can_stand_in_a_job_file(command, caught, job, option):
    text, name, value = (SETTINGS | READING)[option]
    assert (
        command("run", job(**{option[2:]: text or "true"} if option != "--name" else {"name": f'"{text}"'}))[
            0
        ]
        == 0
    )
    assert getattr(caught.settings if option in SETTINGS else caught.settings.reading, name) == value


@pytest.mark.parametrize("option", PARAMETERS)
def test_every_parameter_of_the_model_has_a_default_option(command, caught, pairs, job, option, monkeypatch):
    """As text from each place: the intake types it, once."""
    name, text = option[2:].replace("-", "_"), PARAMETERS[option]
    assert name in BY_NAME
    command("run", pairs, "--out", "out", option, text)
    assert caught.settings.reading.parameters == {name: text}
    command("run", job(**{name: text}))
    assert caught.settings.reading.parameters == {name: text}
    monkeypatch.setenv(f"TEXBATCH_{name.upper()}", text)
    command("run", pairs, "--out", "out")
    assert caught.settings.reading.parameters == {name: text}


def test_nothing_given_means_the_defaults(command, caught, pairs):
    command("run", pairs, "--out", "out")
    settings = caught.settings
    assert (settings.concurrency, settings.retries, settings.job_timeout_s) == (
        None,
        RETRIES,
        JOB_TIMEOUT_S,
    )
    assert (settings.only, settings.yes, settings.retry_failed, settings.max_cost) == ((), False, False, None)
    assert settings.reading.parameters == {}


def test_local_needs_no_key_and_asks_for_none(command, caught, pairs, monkeypatch):
    monkeypatch.delenv("SEGMIND_API_KEY")
    assert command("run", pairs, "--out", "out", "--local")[0] == 0
    assert caught.service is None


@pytest.mark.parametrize("place", ["environment", "file", "dotenv"])
def test_the_key_comes_from_one_of_three_places(command, caught, pairs, tmp_path, place, monkeypatch):
    monkeypatch.delenv("SEGMIND_API_KEY")
    args = ["run", pairs, "--out", "out"]
    if place == "environment":
        monkeypatch.setenv("SEGMIND_API_KEY", "any shape of key ")
    elif place == "file":
        (tmp_path / "key").write_text("any shape of key\n")
        args += ["--api-key-file", tmp_path / "key"]
    else:
        (tmp_path / ".env").write_text('SEGMIND_API_KEY="any shape of key"\n')
    assert command(*args)[0] == 0
    assert caught.service.api_key == "any shape of key"


def test_without_a_key_nothing_is_done_and_the_ways_are_named(command, pairs, tmp_path, monkeypatch):
    code, said, told = command("run", pairs, "--out", tmp_path / "out")
    assert (code, said) == (2, "")
    for way in ("SEGMIND_API_KEY", "--api-key-file", ".env", "--local"):
        assert way in told
    assert not (tmp_path / "out").exists()


def test_the_hosts_come_from_the_environment(command, caught, pairs, monkeypatch):
    command("run", pairs, "--out", "out")
    service = caught.service
    assert service.inference_url == "https://api.segmind.com"
    assert service.upload_url == "https://workflows-api.segmind.com"
    assert service.history_url == "https://api.spotprod.segmind.com"
    monkeypatch.setenv("SEGMIND_BASE_URL", "http://127.0.0.1:9")
    command("run", pairs, "--out", "out")
    service = caught.service
    assert {service.inference_url, service.upload_url, service.history_url} == {"http://127.0.0.1:9"}
    monkeypatch.setenv("SEGMIND_HISTORY_URL", "http://127.0.0.1:10")
    command("run", pairs, "--out", "out")
    assert (caught.service.upload_url, caught.service.history_url) == (
        "http://127.0.0.1:9",
        "http://127.0.0.1:10",
    )


# row > command line > environment > job file > manifest defaults > the model's own default
PLACES = ("row", "command line", "environment", "job file", "manifest", "model")


@pytest.mark.parametrize("winner", PLACES)
def test_the_nearer_place_wins(hosted, command, tmp_path, monkeypatch, winner):
    """Every place from the winner down says its own number; the report tells which one was sent."""
    speaking = PLACES[PLACES.index(winner) :]
    numbers = dict(zip(PLACES, ("11", "22", "33", "44", "55", str(BY_NAME["quality"].default)), strict=True))
    manifest = "defaults: {prompt: oak" + (", quality: 55" if "manifest" in speaking else "") + "}\nrows:\n"
    manifest += f"  - {{id: a, image_1: '{support.PRODUCT}', image_2: '{support.TEXTURE}'"
    manifest += (", quality: 11" if "row" in speaking else "") + "}\n"
    (tmp_path / "pairs.yaml").write_text(manifest)
    (tmp_path / "job.yaml").write_text(
        "manifest: pairs.yaml\nout: out\n" + ("quality: 44\n" if "job file" in speaking else "")
    )
    if "environment" in speaking:
        monkeypatch.setenv("TEXBATCH_QUALITY", "33")
    args = ["--quality", "22"] if "command line" in speaking else []
    assert command("run", tmp_path / "job.yaml", *args)[0] == 0
    assert support.report(tmp_path / "out")[0]["quality"] == numbers[winner]
    assert hosted.stats()["jobs"][0]["body"]["quality"] == int(numbers[winner])


def test_an_empty_cell_leaves_the_default_in_force(hosted, command, tmp_path):
    lines = [line | {"quality": quality} for line, quality in zip(rows(2), ["", "50"], strict=True)]
    assert (
        command("run", write_csv(tmp_path / "p.csv", lines), "--out", tmp_path / "out", "--quality", "20")[0]
        == 0
    )
    assert [row["quality"] for row in support.report(tmp_path / "out")] == ["20", "50"]


# -- job files --------------------------------------------------------------------------------------------------------


def test_a_job_file_is_relative_to_itself(command, caught, job, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert command("run", job(concurrency=4))[0] == 0
    assert caught.manifest == tmp_path / "pairs.csv"
    assert caught.settings.out == tmp_path / "out"
    assert caught.settings.concurrency == 4


def test_a_misspelt_key_of_a_job_file_is_an_error_with_a_suggestion(command, caught, job):
    code, _, told = command("run", job(concurency=4))
    assert code == 2
    assert "job.yaml:3:concurency" in told
    assert "Did you mean concurrency?" in told


def test_a_bad_value_in_a_job_file_names_the_file_and_the_key(command, caught, job):
    code, _, told = command("run", job(concurrency="many"))
    assert code == 2
    assert "job.yaml" in told
    assert "concurrency" in told


def test_a_flag_of_a_job_file_can_be_off(command, caught, job):
    command("run", job(yes="false"))
    assert caught.settings.yes is False


# -- bad usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["--concurrency", "0"], "concurrency", id="no slots"),
        pytest.param(["--concurrency", "many"], "concurrency", id="no number"),
        pytest.param(["--concurrency", "10001"], "auto", id="too many slots"),
        pytest.param(["--rate", "50"], "50/1m", id="a rate without a time"),
        pytest.param(["--rate", "0/1m"], "50/1m", id="a rate of nothing"),
        pytest.param(["--rate", "50/0s"], "50/1m", id="a rate in no time"),
        pytest.param(["--retries", "-1"], "retries", id="negative"),
        pytest.param(["--job-timeout", "15"], "90s, 15m or 2h", id="no unit"),
        pytest.param(["--job-timeout", "0s"], "job-timeout", id="no time"),
        pytest.param(["--max-cost", "much"], "12.50", id="no money"),
        pytest.param(["--max-failures", "0"], "max-failures", id="no failures"),
        pytest.param(["--progress", "dots"], "progress", id="no such progress"),
        pytest.param(["--quality", "101"], "quality", id="out of range"),
        pytest.param(["--aspect-ratio", "4:6"], "aspect_ratio", id="not in the list"),
        pytest.param(["--seed", "x"], "seed", id="no seed"),
        pytest.param(["--no-such-option"], "--no-such-option", id="no such option"),
        pytest.param(["--name", "{nothing}.{ext}"], "nothing", id="unknown column in the names"),
        pytest.param(["--name", "../{id}.{ext}"], "--name", id="names that leave the folder"),
        pytest.param(["--only", "row-77"], "row-77", id="no such row"),
        pytest.param(["--encoding", "klingon"], "klingon", id="no such encoding"),
        pytest.param(["--api-key-file", "missing"], "missing", id="no such key file"),
    ],
)  # fmt: skip
def test_bad_usage_is_exit_code_2_and_sends_nothing(hosted, command, pairs, tmp_path, args, said):
    code, told, why = command("run", pairs, "--out", tmp_path / "out", *args)
    assert (code, told) == (2, "")
    assert said in why
    assert "Traceback" not in why
    assert hosted.stats(jobs=False)["calls"]["submit"] == 0


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["run"], id="no manifest"),
        pytest.param(["run", "missing.csv", "--out", "out"], id="no such manifest"),
        pytest.param(["run", "pairs.csv"], id="no output folder"),
        pytest.param(["retry", "nowhere"], id="retry without a ledger"),
        pytest.param(["status", "nowhere"], id="status without a ledger"),
        pytest.param(["validate", "missing.csv"], id="validate nothing"),
        pytest.param(["plan", "missing.csv"], id="plan nothing"),
        pytest.param(["fly"], id="no such command"),
    ],
)
def test_a_command_without_what_it_needs_is_exit_code_2(hosted, command, pairs, tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    code, _, why = command(*args)
    assert code == 2
    assert "Traceback" not in why


def test_an_error_of_our_own_is_exit_code_70_with_its_traceback(command, pairs, monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_secret")

    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("batch.execution.runner.run", broken)
    code, _, why = command("run", pairs, "--out", "out")
    assert code == 70
    assert "ZeroDivisionError: ours" in why
    assert "SG_secret" not in why


@pytest.mark.parametrize("given", ["{texture}.jpg", "../t.jpg"])
def test_an_image_for_all_rows_starts_at_the_current_folder_or_at_the_job_file(
    command, caught, pairs, job, given, tmp_path, monkeypatch
):
    (tmp_path / "{here}").mkdir()
    monkeypatch.chdir(tmp_path / "{here}")
    command("run", pairs, "--out", "out", "--image-2", given)
    here = str(tmp_path / "{here}").replace("{", "{{").replace("}", "}}")
    assert caught.settings.reading.parameters == {"image_2": f"{here}/{given}"}
    command("run", job(image_2=f'"{given}"'))
    assert caught.settings.reading.parameters == {"image_2": f"{tmp_path}/{given}"}


def test_columns_come_from_the_command_line_before_the_job_file(command, caught, job):
    path = job(columns='{image_1: "Bild 1", id: SKU, quality: null}')
    assert command("run", path, "--column", "Image 1=Foto", "--column", "seed=")[0] == 0
    assert caught.settings.reading.columns == {"image_1": "Foto", "id": "SKU", "quality": "", "seed": ""}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param(["image_1"], "write PARAMETER=HEADING", id="no heading"),
        pytest.param(["imag_1=Bild"], "Did you mean image_1?", id="misspelt"),
        pytest.param(["Bild 1=image_1"], 'Did you mean --column image_1="Bild 1"?', id="the wrong way round"),
        pytest.param(["seed=A", "seed=B"], "a parameter is one column", id="two headings"),
    ],
)
def test_a_column_that_cannot_be_meant_is_an_error_with_what_to_write(command, caught, pairs, given, says):
    options = [part for text in given for part in ("--column", text)]
    code, _, why = command("run", pairs, "--out", "out", *options)
    assert (code, says in why) == (2, True)
