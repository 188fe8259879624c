"""Links that are signed again every night, rows without ids, columns that change: the same work under other names."""

import pytest
import support
from support import rows, statuses, submits

from batch.core.config import Reading
from batch.core.models import Problem
from batch.planning import planner
from batch.planning import validate as validation
from batch.planning.validate import validate

S3 = "https://bucket.s3.amazonaws.com"
pytestmark = pytest.mark.usefixtures("quick_polls")


def aws(name, night, extra=""):
    return (
        f"{S3}/{name}.png?{extra}X-Amz-Date={night}&X-Amz-Credential=A%2F{night}&X-Amz-Signature={night:032x}"
    )


def plain(name, night, extra=""):
    return f"https://h/{name}.png?{extra}pass={night}"


def lines(night, link, count=2, **more):
    """Return rows without ids."""
    return [
        {"image_1": link("chair", night), "image_2": link("oak", night), "prompt": f"oak {n}", "seed": n}
        | more
        for n in range(count)
    ]


@pytest.fixture
def night(hosted, command, pairs, out):
    """Run a night's manifest; gives (exit code, submits of that night, ids, what was told on stderr)."""

    def run(manifest_lines, *options):
        before = submits(hosted)
        code, _, told = command("run", pairs(manifest_lines), "--out", out, "-q", *options)
        ids = [row["id"] for row in support.report(out)] if (out / "report.csv").exists() else []
        return code, submits(hosted) - before, ids, told

    return run


# -- known signatures -------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("more", [{}, {"seed": -1}, {"id": "chair", "seed": 1}, {"note": "x"}],
                         ids=["no id", "any seed", "an id", "own column"])  # fmt: skip
def test_a_new_signature_is_the_same_work(night, out, more):
    count = 1 if "id" in more else 2
    first = night(lines(1, aws, count, **more))
    assert first[:2] == (0, count)
    images = support.files_in(out / "images")
    for number in (2, 3):
        code, sent, ids, told = night(lines(number, aws, count, **more))
        assert (code, sent, ids, told) == (0, 0, first[2], "")
    assert support.files_in(out / "images") == images


def test_what_is_sent_carries_the_signature_of_tonight(hosted, night):
    hosted.settings(blocked_words=["oak 1"])
    assert night(lines(1, aws))[:2] == (1, 2)
    hosted.settings(blocked_words=[])
    assert night(lines(2, aws), "--retry-failed")[:2] == (0, 1)
    body = hosted.stats()["jobs"][-1]["body"]
    assert (body["prompt"], body["image_1"]) == ("oak 1", aws("chair", 2))


@pytest.mark.slow
def test_a_link_in_a_column_of_its_own_is_the_same_work(night):
    """The image comes from a template: the id is made of the column that holds the link."""
    first = night([{"image_1": "{url}", "image_2": support.TEXTURE, "prompt": "oak", "url": aws("chair", 1)}])
    assert first[:2] == (0, 1)
    again = night([{"image_1": "{url}", "image_2": support.TEXTURE, "prompt": "oak", "url": aws("chair", 2)}])
    assert again[:3] == (0, 0, first[2])


@pytest.mark.slow
def test_another_image_under_the_same_signature_is_other_work(night):
    assert night(lines(1, aws))[:2] == (0, 2)
    other = [line | {"image_1": aws("mug", 1)} for line in lines(1, aws)]
    assert night([*lines(1, aws), *other])[:2] == (0, 2)
    version = [line | {"image_1": aws("chair", 1, "versionId=7&")} for line in lines(1, aws)]
    assert night([*lines(1, aws), *other, *version])[:2] == (0, 2)


def test_one_image_twice_under_two_signatures_is_paid_once_and_both_rows_have_it(night, out):
    twice = [*lines(1, aws, 1), *lines(2, aws, 1)]
    code, sent, ids, _ = night(twice)
    assert (code, sent, len(set(ids)), statuses(out)) == (0, 1, 2, {"saved": 2})
    code, sent, again, _ = night([*lines(3, aws, 1), *lines(4, aws, 1)])
    assert (code, sent, again) == (0, 0, ids)


# -- signatures that nobody knows -------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "more", [{}, {"seed": -1}, {"id": "chair", "seed": 1}], ids=["no id", "any seed", "an id"]
)
def test_another_query_is_left_out_and_the_way_out_named(
    hosted, command, pairs, night, out, more, monkeypatch
):
    monkeypatch.setenv("TEXBATCH_YES", "1")
    count = 1 if "id" in more else 2
    first = night(lines(1, plain, count, **more))
    for number in (2, 3):
        code, sent, ids, told = night(lines(number, plain, count, **more))
        assert (code, sent, ids) == (1, 0, first[2])
        assert "left out, would be paid again: " in told
        assert "its image was paid for under another URL query" in told
    assert statuses(out) == {"saved": count}
    warned = command("plan", pairs(lines(3, plain, count, **more)), "--out", out)[2]
    assert warned.count("--ignore-url-query") == 1
    assert night(lines(3, plain, count, **more), "--ignore-url-query")[:3] == (0, 0, first[2])
    assert night(lines(4, plain, count, **more), "--ignore-url-query")[:3] == (0, 0, first[2])


def test_a_typed_yes_pays_for_it_once(night):
    first = night(lines(1, plain))
    assert night(lines(2, plain), "--yes")[:3] == (0, 2, first[2])
    assert night(lines(2, plain))[:2] == (0, 0)


@pytest.mark.slow
def test_a_query_that_comes_or_goes_is_another_query(night):
    def bare(name, _night):
        return f"https://h/{name}.png"

    assert night(lines(1, plain))[:2] == (0, 2)
    assert night(lines(1, bare))[:2] == (1, 0)
    assert night(lines(1, bare), "--yes")[:2] == (0, 2)
    assert night(lines(2, plain))[:2] == (1, 0)


@pytest.mark.slow
def test_new_rows_are_sent_beside_those_left_out(night):
    assert night(lines(1, plain, 2))[:2] == (0, 2)
    code, sent, ids, _ = night(lines(2, plain, 4))  # oak 2 and oak 3 are new
    assert (code, sent, len(ids)) == (1, 2, 4)


@pytest.mark.quick(1)
@pytest.mark.parametrize("more", [{}, {"id": True}], ids=["no ids", "ids"])
def test_a_query_that_chooses_the_image_is_other_work(night, more):
    """?id=17: the paid row stands in the manifest still, so a row with another query is another image."""

    def catalog(*numbers):
        return [
            {"image_1": f"https://h/image?id={n}", "image_2": support.TEXTURE, "prompt": "oak"}
            | ({"id": f"p{n}"} if more else {})
            for n in numbers
        ]

    assert night(catalog(1, 2))[:2] == (0, 2)
    code, sent, _, told = night(catalog(1, 2, 3, 4))
    assert (code, sent, told) == (0, 2, "")


@pytest.fixture
def yes(monkeypatch):
    """Say yes as a job file does: to rows that were edited, never to the same work."""
    monkeypatch.setenv("TEXBATCH_YES", "1")


def of_products(night, *names, link=plain, **more):
    """Return rows whose ids are their numbers, so that a row put in or taken out gives the later ones other ids."""
    return [
        {"id": str(n), "image_1": link(name, night), "image_2": support.TEXTURE, "prompt": f"oak {name}", "seed": 1} | more
        for n, name in enumerate(names, start=1)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.usefixtures("yes")
@pytest.mark.parametrize("renamed", [False, True])
def test_another_query_that_never_arrived_is_asked_for_once_more(hosted, night, out, renamed):
    """Its yes was for the submit that was lost; the history shows that it never arrived only after the plan was made."""
    assert night(lines(1, plain, 1, id="a"))[:2] == (0, 1)
    hosted.faults(
        [{"call": "submit", "action": "reset_before"}, {"call": "history", "action": "status", "status": 503}]
    )
    queried = lines(2, plain, 1, id="b" if renamed else "a")
    assert night(queried, "--yes", "--settle", "0s")[0] == 4  # the history is down
    hosted.faults([])
    for _ in range(2):
        code, sent, _, told = night(queried, "--settle", "0s")
        assert (code, sent) == (1, 0)
        assert "paid for under another URL query" in told
    assert night(queried, "--yes")[:2] == (0, 1)
    assert statuses(out) == {"saved": 1}


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.usefixtures("yes")
@pytest.mark.parametrize("left", [("b", "c"), ("c", "a", "b"), ("a", "x", "b", "c")])
def test_links_signed_again_whose_rows_have_other_ids_are_left_out(night, left):
    """It is the same work under another id, not an edit."""
    assert night(of_products(1, "a", "b", "c"))[:2] == (0, 3)
    for later in (2, 3):
        code, sent, ids, told = night(of_products(later, *left))
        assert (code, sent, len(ids)) == (1, int("x" in left and later == 2), len(left))
        assert "paid for under another URL query" in told
    assert night(of_products(4, *left), "--ignore-url-query")[:2] == (0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("yes")
def test_a_link_signed_again_in_a_row_that_was_renamed_is_left_out(night):
    assert night(of_products(1, "a", "b"))[:2] == (0, 2)
    renamed = [line | {"id": f"p{line['id']}"} for line in of_products(2, "a", "b")]
    assert night(renamed)[:2] == (1, 0)
    assert night(renamed, "--ignore-url-query")[:2] == (0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("yes")
def test_a_row_that_is_edited_back_under_a_link_signed_again_is_left_out(night):
    assert night(of_products(1, "a", "b"))[:2] == (0, 2)
    assert night(of_products(1, "a", "b", prompt="pine"))[:2] == (0, 2)
    assert night(of_products(2, "a", "b"))[:2] == (1, 0)
    assert night(of_products(2, "a", "b"), "--yes")[:2] == (0, 2)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("more", [{}, {"id": True}], ids=["no ids", "ids"])
def test_a_row_that_was_left_out_is_left_out_of_a_retry_too(hosted, command, night, out, more):
    """It waits for a yes, whatever the way it is asked for."""

    def products(number):
        return [line | ({"id": f"{number}-{line['seed']}"} if more else {}) for line in lines(number, plain)]

    assert night(products(1))[:2] == (0, 2)
    code, sent, ids, _ = night([line | {"sku": 1} for line in products(2)])
    assert (code, sent) == (1, 0)
    for words in (["--status", "pending"], [out / "report.csv"], ["--only", ids[0], "--status", "pending"]):
        command("retry", out, *words)
        assert submits(hosted) == 2, words
    assert command("retry", out, "--status", "pending", "--yes")[0] == 0
    assert submits(hosted) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("yes")
def test_a_new_product_is_sent_where_queries_choose_the_image_although_another_one_left(night):
    def catalog(*numbers):
        return [
            {"id": f"p{n}", "image_1": f"https://h/image?id={n}", "image_2": support.TEXTURE, "prompt": "oak"}
            for n in numbers
        ]

    assert night(catalog(1, 2, 3))[:2] == (0, 3)
    assert night(catalog(1, 2))[:2] == (0, 0)
    assert night(catalog(1, 2, 4))[:2] == (0, 1)


def test_rows_that_trade_their_queries_pay_nothing(night):
    def row(name, number):
        return {
            "id": name,
            "image_1": f"https://h/image?id={number}",
            "image_2": support.TEXTURE,
            "prompt": "oak",
        }

    assert night([row("a", 1), row("b", 2)])[:2] == (0, 2)
    assert night([row("a", 2), row("b", 1)])[:2] == (0, 0)


@pytest.mark.slow
def test_images_that_are_one_only_because_queries_are_ignored_are_named(hosted, command, pairs, out):
    several = [
        line | {"image_1": f"https://h/image?id={n}", "prompt": "oak", "seed": 1}
        for n, line in enumerate(rows(3))
    ]
    for line in several[1:]:
        del line["id"]
    several[1]["id"] = several[2]["id"] = ""
    for words in (["plan"], ["run"], ["run"]):
        code, _, told = command(*words, pairs(several), "--out", out, "--ignore-url-query")
        assert (code, told.count("differs from 'row-0' (row 2) only in the query of a URL")) == (0, 2), told
    assert (submits(hosted), statuses(out)) == (1, {"saved": 3})


def test_an_option_that_is_given_or_left_out_later_pays_nothing(night):
    first = night(lines(1, plain), "--ignore-url-query")
    assert night(lines(1, plain))[:3] == (0, 0, first[2])
    assert night(lines(1, plain), "--ignore-url-query")[:3] == (0, 0, first[2])
    assert night(lines(2, plain))[:2] == (1, 0)


# -- columns that ask for nothing -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", [1, -1])
def test_an_unrelated_column_makes_no_second_copy(night, out, seed):
    def stock(*numbers):
        return [
            {
                "image_1": support.PRODUCT,
                "image_2": support.TEXTURE,
                "prompt": "oak",
                "seed": seed,
                "stock": number,
            }
            for number in numbers
        ]

    first = night(stock(5, 6))
    images = support.files_in(out / "images")
    for numbers in ((4, 6), (3, 5), (6, 5)):
        code, sent, ids, _ = night(stock(*numbers))
        assert (code, sent, set(ids)) == (0, 0, set(first[2]))
        assert [row["stock"] for row in support.report(out)] == [str(number) for number in numbers]
        assert support.files_in(out / "images") == images


@pytest.mark.slow
def test_a_second_manifest_says_how_many_rows_leave(hosted, command, pairs, out):
    assert command("run", pairs(3), "--out", out)[0] == 0
    other = pairs(rows(3, first=2), "other.csv")
    for words in (["plan"], ["run"]):
        told = command(*words, other, "--out", out)[2]
        assert "2 of the 3 rows of the manifest before are not in this one: they leave the report" in told
    assert "leave the report" not in command("run", other, "--out", out)[2]


# -- cells that an earlier version read otherwise ---------------------------------------------------------------------


@pytest.fixture
def reads_otherwise(monkeypatch):
    """Let a prompt that begins with `new:` or `shown:` be one that the version before read as `old:`.

    A line with `new:` has a problem, unless it was paid for.
    """
    opened = planner.open_manifest

    def reopened(path, *reading, **options):
        manifest = opened(path, *reading, **options)
        read = manifest.rows

        def rows_of():
            for row in read():
                word = "" if isinstance(row, Problem) else row.cells["prompt"].partition(":")[0]
                if word in {"new", "shown"}:
                    before = {"prompt": row.cells["prompt"].replace(word, "old", 1)}
                    fault = Problem(str(path), row.number, "prompt", "was read otherwise.", "Write it so.")
                    yield row._replace(formerly=before, unless_paid=(fault,) if word == "new" else ())
                else:
                    yield row

        monkeypatch.setattr(manifest, "rows", rows_of, raising=False)
        return manifest

    for module in (planner, validation):
        monkeypatch.setattr(module, "open_manifest", reopened)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "more", [{}, {"seed": -1}, {"id": "chair", "seed": 1}], ids=["no id", "any seed", "an id"]
)
def test_a_row_stays_as_it_was_read_when_it_was_paid(hosted, command, pairs, out, request, more):
    before = [lines(1, aws, 1, **more)[0] | {"prompt": f"{word}: oak"} for word in ("old", "fine")]
    if "id" in more:
        before[1]["id"] = "fine"
    assert command("run", pairs(before), "--out", out)[0] == 0
    paid = support.report(out)
    request.getfixturevalue("reads_otherwise")
    now = pairs([line | {"prompt": line["prompt"].replace("old:", "new:")} for line in before])
    assert (
        "read otherwise by an earlier version of texbatch, which paid for it: 1 row"
        in command("plan", now, "--out", out)[2]
    )
    code, _, told = command("run", now, "--out", out)
    assert (code, submits(hosted), told.count("read otherwise by an earlier version")) == (0, 2, 1), told
    assert [(row["id"], row["prompt"]) for row in support.report(out)] == [
        (row["id"], row["prompt"]) for row in paid
    ]
    code, _, told = command("run", now, "--out", out)
    assert (code, submits(hosted), told.count("read otherwise by an earlier version")) == (0, 2, 0)


@pytest.mark.slow
def test_a_redone_row_stays_as_it_was_read_when_it_was_paid(hosted, command, pairs, out, request):
    before = lines(1, aws, 1, id="chair", seed=1)[0] | {"prompt": "old: oak"}
    assert command("run", pairs([before]), "--out", out)[0] == 0
    assert command("retry", out, "--only", "chair", "--seed", "+1", "--yes")[0] == 0
    request.getfixturevalue("reads_otherwise")
    code, _, told = command("run", pairs([before | {"prompt": "new: oak"}]), "--out", out)
    assert (code, submits(hosted), told.count("read otherwise by an earlier version")) == (0, 2, 1), told
    (row,) = support.report(out)
    assert (row["prompt"], row["seed"], row["manifest_seed"]) == ("old: oak", "2", "1")


def test_a_row_that_was_not_paid_is_read_as_today(hosted, command, pairs, out, reads_otherwise):
    line = lines(1, aws, 1)[0] | {"prompt": "new: oak"}
    code, _, told = command("run", pairs([line]), "--out", out)
    assert (code, submits(hosted), "was read otherwise" in told) == (2, 0, True)
    assert [problem.reason for problem in validate(pairs([line]), Reading()).errors] == [
        "was read otherwise."
    ]


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("ids", [("x", "y"), ("", "")], ids=["ids", "no ids"])
def test_a_row_read_as_today_stays_so_beside_one_that_says_what_was_read_before(
    hosted, command, pairs, out, reads_otherwise, ids
):
    """The other row says in so many words what the earlier version would have read here: it is another row."""
    twins = [
        lines(1, aws, 1)[0] | {"id": row_id, "prompt": f"{word}: oak"}
        for row_id, word in zip(ids, ("shown", "old"), strict=True)
    ]
    for manifest_lines, paid in ((twins[:1], 1), (twins, 2), (twins, 2)):
        assert command("run", pairs(manifest_lines), "--out", out, "--yes")[0] == 0
        assert submits(hosted) == paid
    assert [row["prompt"] for row in support.report(out)] == ["shown: oak", "old: oak"]


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", [1, -1])
def test_a_drawn_seed_goes_out_with_the_link_of_tonight(hosted, night, seed):
    hosted.settings(blocked_words=["oak 0"])
    assert night(lines(1, aws, 1, seed=seed))[:2] == (1, 1)
    hosted.settings(blocked_words=[])
    assert night(lines(2, aws, 1, seed=seed), "--retry-failed")[:2] == (0, 1)
    first, second = (job["body"] for job in hosted.stats()["jobs"])
    assert (second["image_1"], second["seed"]) == (aws("chair", 2), first["seed"])


@pytest.mark.slow
def test_a_new_product_without_an_id_is_sent_where_queries_choose_the_image(hosted, command, pairs, out):
    """One paid product leaves and another comes: the third still stands, so the query is what names a product."""

    def catalog(*numbers):
        lines = support.rows(1, image_1="") * len(numbers)
        return pairs(
            [
                {name: value for name, value in line.items() if name != "id"}
                | {"image_1": f"https://shop.example/image.php?id={number}"}
                for line, number in zip(lines, numbers, strict=True)
            ]
        )

    assert command("run", catalog(1, 2, 3), "--out", out)[0] == 0
    code, _, told = command("run", catalog(2, 3, 4), "--out", out)
    assert (code, support.submits(hosted)) == (0, 4), told
