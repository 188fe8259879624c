"""decisions.csv as a file: what its lines say, whatever a spreadsheet made of them, and what an edit is."""

import pytest

from batch.core.errors import ManifestError
from batch.ledger import decisions
from batch.ledger.decisions import Decision, NewDecision
from batch.ledger.states import State
from batch.output import report
from batch.output.decision_file import Edit, edit_of, is_edited, read_decisions


@pytest.fixture
def lines(tmp_path):
    """Read a file of this text (or these bytes); gives its lines."""

    def read(text, name="decisions.csv", encoding=None):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_decisions(path, encoding).lines

    return read


def problems(text, tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read_decisions(path)
    return [str(problem).partition("decisions.csv:")[2] for problem in caught.value.problems]


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "id,decision,decision_note\na,accepted,x\n",
        "\ufeffid;decision;decision_note\r\na;accepted;x\r\n;;\r\n",
        "sep=;\nid;decision;decision_note\na;accepted;x\n",
        'decision\tother\tdecision_note\tid\n ACCEPTED \ty\t" x "\ta\n',
        "id,decision,decision_note,\na,Accepted,x,\n",
        "id,decision,decision_note\ra,accepted,x\r",
    ],
    ids=["plain", "Excel", "hint", "tabs", "unnamed", "CR"],
)
def test_a_spreadsheet_may_save_it_as_it_likes(lines, text):
    [line] = lines(text)
    assert (line.id, line.decision, line.note) == ("a", Decision.ACCEPTED, "x")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_known_by_its_mark(lines, codec):
    mark = "" if codec == "utf-16" else "\ufeff"
    [line] = lines(f"{mark}id\tdecision\tdecision_note\r\nstühle\trejected\tgrößer\r\n".encode(codec))
    assert (line.id, line.note) == ("stühle", "größer")


def test_escaped_cells_are_what_they_were(lines):
    [line] = lines("id,decision,decision_note,decided_by\n'=1,rejected,'-dark,'@eva\n")
    assert (line.id, line.note, line.by) == ("=1", "-dark", "@eva")


def test_an_empty_decision_says_nothing_whatever_else_the_line_has(lines):
    assert lines("id,decision,decision_reason\na,,shape\n,,\nb,  ,ugly\n") == ()


def test_columns_that_are_not_there_are_not_said(lines):
    [line] = lines("id,decision\na,cleared\n")
    assert (line.reason, line.note, line.by, line.at, line.sha256) == (None,) * 5


def test_only_a_report_has_ids_with_doubled_braces(lines):
    [line] = lines("id,decision\n{{a}},accepted\n")
    assert line.id == "{{a}}"
    [line] = lines("id,decision,payload_key,run_id\n{{a}},accepted,k,r\n")
    assert line.id == "{a}"


def test_a_manifests_own_column_is_not_ours(lines):
    head = "id,decision,status,payload_key,run_id,texbatch_decision,decision_note"
    [line] = lines(f"{head}\na,buy,saved,k,r,rejected,x\nb,accepted,saved,k,r,,\n")
    assert (line.id, line.decision, line.note) == ("a", Decision.REJECTED, "x")


def test_the_hash_of_a_report_is_not_that_of_a_changed_file(lines):
    head = "id,decision,output_sha256,payload_key,run_id,output_state"
    changed, present = lines(f"{head}\na,accepted,ff,k,r,changed\nb,accepted,FF,k,r,present\n")
    assert (changed.sha256, present.sha256) == (None, "ff")


def test_other_columns_may_be_called_anything(lines):
    """A manifest's reader would warn of `promt`, and refuse two of one name."""
    assert len(lines("id,decision,promt,status,status\na,accepted,1,2,3\n")) == 1


def test_every_problem_is_found_at_once(tmp_path):
    text = "id,decision,decision_reason\na,good,\nb,rejected,ugly\n,accepted,\nc,accepted,\nc,accepted,\n"
    assert problems(text, tmp_path) == [
        "2:decision: 'good' is not a decision. Write accepted, rejected, cleared, or leave it empty.",
        "3:decision_reason: 'ugly' is not a reason. Known are texture, colour, shape, framing, background, artefact, other.",
        "4:id: is empty. Say which row is meant.",
        "6:id: c is on line 5 already. Leave one line for each row.",
    ]


def test_quotes_and_control_characters_are_problems_in_our_columns_alone(tmp_path, lines):
    assert problems('id,decision,decision_note\na,accepted,"x" y\n', tmp_path)[0].startswith(
        "2:decision_note: there is text"
    )
    assert problems("id,decision,decision_note\na,accepted,x\x07\n", tmp_path)[0].startswith(
        "2:decision_note: there is a control"
    )
    assert len(lines('id,decision,mine\na,accepted,"x" y\n')) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "name,decision\na,accepted\n",
            "1: there is no column id. A list of decisions has the columns id and decision.",
        ),
        (
            "id,verdict\na,accepted\n",
            "1: there is no column decision. A list of decisions has the columns id and decision.",
        ),
        ("id,decision,decision\na,x,y\n", "1:decision: is there twice. Remove one of the two."),
        ("id,decision\na\n", "2: has 1 cells, the header has 2."),
        ("", "1: the file is empty."),
    ],
)
def test_a_file_that_is_no_list_of_decisions_is_refused(tmp_path, text, problem):
    assert problems(text, tmp_path)[0].startswith(problem)


# -- what an edit is ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(book, payload):
    """A ledger with saved rows a (image aa), b (image bb) and a row c that failed."""
    book.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3"))
    for name in "ab":
        book.bring(name, State.SAVED, sha256=name * 2)
        book.keep(name)
    book.bring("c", State.FAILED)
    return book.ledger


@pytest.fixture
def decide(ledger, clock):
    """Append a decision about a row's present image, a second after the one before."""

    def append(row_id, decision, by, reason=None, note=None):
        clock.now += 1
        row = decisions.judged_rows(ledger, [row_id])[row_id]
        with ledger.atomic():
            decisions.append(
                ledger, [NewDecision(row.row, Decision(decision), reason, note, by, str(row.image))]
            )

    return append


@pytest.fixture
def edit(ledger, lines):
    """What the one line of a file asks for, in this ledger."""

    def of(text):
        [line] = lines(text)
        return edit_of(ledger, line, decisions.judged_rows(ledger, [line.id])[line.id])

    return of


ALL = "id,decision,decision_reason,decision_note,decided_by,decided_at,output_sha256\n"


def written(ledger, row_id):
    """Return the line of decisions.csv about a row, as it would be now."""
    shown = decisions.judged_rows(ledger, [row_id])[row_id]
    said = shown.shown
    return [row_id, said.decision, said.reason, said.note, said.by, said.at, shown.image or ""]


def changed(cells, **edits):
    names = ALL.strip().split(",")
    return ALL + ",".join(edits.get(name, cell) for name, cell in zip(names, cells, strict=True)) + "\n"


def test_a_line_as_it_was_written_is_not_an_edit_now_or_later(ledger, decide, edit):
    decide("a", "rejected", "anna", "shape", "too big")
    line = written(ledger, "a")
    assert edit(changed(line)) is None
    decide("a", "accepted", "otto")
    assert edit(changed(line)) is None


def test_an_edit_asks_for_what_it_says_by_whom_it_says_where_that_was_edited(ledger, decide, edit):
    decide("a", "rejected", "anna", "shape", "too big")
    line = written(ledger, "a")
    assert edit(changed(line, decision="accepted")) == Edit(Decision.ACCEPTED, "", "too big", None)
    assert edit(changed(line, decision_note="much")) == Edit(Decision.REJECTED, "shape", "much", None)
    assert edit(changed(line, decided_by="eva")) == Edit(Decision.REJECTED, "shape", "too big", "eva")
    assert edit(changed(line, decision="cleared")) == Edit(Decision.CLEARED, "", "too big", None)


def test_an_edit_of_what_was_decided_otherwise_since_is_a_conflict(ledger, decide, edit):
    decide("a", "rejected", "anna", "shape")
    line = written(ledger, "a")
    decide("a", "accepted", "otto")
    why = edit(changed(line, decision_note="mine"))
    assert why == f"otto has accepted it since ({written(ledger, 'a')[5]})"
    assert edit(ALL + "a,rejected,,,,,\n") == why  # written where nothing was decided yet
    assert edit("id,decision\na,rejected\n") == Edit(Decision.REJECTED, "", "", None)  # it does not say when


def test_a_time_that_a_spreadsheet_wrote_in_its_own_way_is_no_conflict(ledger, decide, edit):
    decide("a", "rejected", "anna")
    line = changed(written(ledger, "a"), decision="accepted", decided_at="15.01.27 08:00")
    assert edit(line) == Edit(Decision.ACCEPTED, "", "", None)


def test_an_edit_is_for_the_image_that_it_names(edit):
    assert edit("id,decision,output_sha256\na,accepted,AA\n") == Edit(Decision.ACCEPTED, "", "", None)
    assert edit("id,decision,output_sha256\na,accepted,bb\n") == "it has another image now"
    assert edit("id,decision,output_sha256\na,accepted,\n") == Edit(Decision.ACCEPTED, "", "", None)
    assert edit("id,decision\nc,accepted\n") == "it has no image: it is failed"


def test_what_texbatch_says_of_another_image_is_nobodys_edit(ledger, decide, edit):
    decide("a", "rejected", "anna", "shape")
    ledger.connection.execute("UPDATE jobs SET sha256='cc' WHERE sha256='aa'")
    line = written(ledger, "a")
    assert line[1:6] == [
        "cleared",
        "",
        "another image than the one that was rejected (shape) by anna",
        "",
        "",
    ]
    assert edit(changed(line)) is None
    assert edit(changed(line, decision="accepted")) == Edit(Decision.ACCEPTED, "", "", None)
    decide("a", "accepted", "otto")
    assert edit(changed(line)) is None


def test_a_file_is_edited_until_it_says_what_holds(ledger, decide, folder):
    report.write_report(ledger, folder)
    assert not is_edited(ledger, folder)
    decide("a", "accepted", "anna")
    assert not report.write_report(ledger, folder)
    before = folder.decisions.read_text(encoding="utf-8")
    folder.decisions.write_text(before.replace("accepted", "rejected"), encoding="utf-8")
    assert report.write_report(ledger, folder)
    folder.decisions.write_text(before.replace(",", ";"), encoding="utf-8")
    assert not report.write_report(ledger, folder)
    assert folder.decisions.read_text(encoding="utf-8") == before
    folder.decisions.unlink()
    assert not report.write_report(ledger, folder)
    assert folder.decisions.read_text(encoding="utf-8") == before
