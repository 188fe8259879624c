"""What every store of a ledger does: each operation, its order, its errors, and what a block that raises leaves behind."""

import itertools
from dataclasses import replace

import anyio
import pytest
from stores import STORES, payload, queued, save

from batch.core.error_classes import NO_IMAGE
from batch.core.errors import InvalidTransition, RequestIdTaken, TexbatchError
from batch.execution.dispatcher import JobQueue
from batch.ledger.states import TRANSITIONS, Event, State, next_state
from batch.ledger.store import JOBS_A_PAGE, RECENT, ExpiredJob, Outstanding, Part, Position
from batch.manifest.naming import fold_name

T = 1_800_000_000.0
SHA = "5" * 64
E, S = Event, State

WAYS = {
    S.PLANNED: [],
    S.SENDING: [(E.RESERVE, {"submitted_at": T, "estimate": 30_000, "sent": "{}", "skew": 1.5})],
}
WAYS[S.ACCEPTED] = [*WAYS[S.SENDING], (E.ACCEPT, {"request_id": "r-{job}-{attempt}"})]
WAYS[S.COMPLETED] = [*WAYS[S.ACCEPTED], (E.COMPLETE, {"output_url": "https://h/out.webp", "cost": 20_000})]
WAYS[S.SAVED] = [*WAYS[S.COMPLETED], (E.KEEP, {"sha256": "aa"})]
WAYS[S.FAILED] = [*WAYS[S.ACCEPTED], (E.FAIL, {"error_class": "job_failed", "error": "no"})]
WAYS[S.EXPIRED] = [*WAYS[S.ACCEPTED], (E.EXPIRE, {"cost": 30_000, "estimated": 30_000})]
WAYS[S.UNKNOWN] = [*WAYS[S.SENDING], (E.LOSE, {"error_class": "no_answer", "error": "cut"})]
WAYS[S.ABANDONED] = [*WAYS[S.UNKNOWN], (E.ABANDON, {})]
"""The shortest way from planned to each state."""


class Folder:
    """A store with rows, and the few steps that every test makes with it."""

    def __init__(self, kind, path):
        self.now = T
        self.kind, self.path = kind, path
        self.open()

    def open(self):
        self.bench = STORES[self.kind](lambda: self.now, self.path)
        self.store = self.bench.store
        self.store.run_id = "run-1"

    def adopt(self, *rows, only=None):
        self.bench.adopt(rows, only)
        return {task.name: task.job for task in queued(self.store, Position(Part.PLANNED))}

    def do(self, work):
        with self.store.atomic():
            return work(self.store)

    def move(self, job, event, **fields):
        return self.do(lambda store: store.transition(job, event, **fields))

    def bring(self, job, state, **fields):
        """Bring a planned job to a state; `fields` replace those of the last step."""
        for number, (event, given) in enumerate(WAYS[state], 1):
            known = {**given, **(fields if number == len(WAYS[state]) else {})}
            if "request_id" in known:
                known["request_id"] = known["request_id"].format(job=job, attempt=self.task(job).attempts)
            self.move(job, event, **known)
        return job

    def save(self, job, sha256="aa"):
        """Bring a planned job to saved, its image at its targets."""
        self.bring(job, S.COMPLETED)
        self.do(lambda store: save(store, self.task(job), sha256))
        return job

    def task(self, job, *, again=False):
        (task,) = self.store.tasks([job], again=again)
        return task

    def names(self):
        return [task.name for task in queued(self.store)]


@pytest.fixture(params=STORES)
def folder(request, tmp_path):
    made = Folder(request.param, tmp_path / "ledger.sqlite")
    yield made
    made.bench.close()


@pytest.fixture
def one(folder):
    """A folder with one planned job, and its number."""
    return folder, folder.adopt(payload("a"))["a"]


# -- transitions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_a_state_follows_the_table_and_every_other_event_changes_nothing(one, state):
    folder, job = one
    folder.bring(job, state)
    before = folder.task(job)
    assert before.state == state
    for event in Event:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(InvalidTransition, match=f"a job that is {state} cannot {event}"):
                folder.move(job, event, error="x")
    assert folder.task(job) == before


@pytest.mark.parametrize(("state", "event"), TRANSITIONS)
def test_an_event_of_the_table_leads_where_the_table_says(one, state, event):
    folder, job = one
    folder.bring(job, state)
    with folder.store.atomic():
        assert folder.store.transition(job, event) == next_state(state, event) == folder.task(job).state


def test_a_job_that_is_not_there_and_a_field_that_is_none_are_refused(one):
    folder, job = one
    with pytest.raises(InvalidTransition, match="there is no job 7"):
        folder.move(7, E.RESERVE)
    with pytest.raises(TypeError, match="colour"):
        folder.move(job, E.RESERVE, colour="red")
    assert folder.task(job).state == S.PLANNED


def test_each_reserve_is_an_attempt(one):
    folder, job = one
    for _ in range(3):
        folder.bring(job, S.SENDING)
        folder.move(job, E.BOUNCE, error="no connection")
    assert folder.task(job).attempts == 3


def test_a_request_id_is_taken_once(folder):
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"))
    folder.bring(jobs["a"], S.ACCEPTED, request_id="same")
    folder.move(jobs["a"], E.EXPIRE)
    folder.move(jobs["a"], E.RETRY)
    folder.bring(jobs["b"], S.SENDING)
    with pytest.raises(RequestIdTaken, match="same"):
        folder.move(jobs["b"], E.ACCEPT, request_id="same")
    assert folder.task(jobs["b"]).state == S.SENDING
    assert [folder.store.holds(name) for name in ("same", "other", None)] == [True, False, False]


def test_a_job_that_is_planned_again_remembers_nothing_but_its_attempts(one):
    folder, job = one
    folder.bring(job, S.FAILED)
    folder.move(job, E.RETRY)
    task = folder.task(job)
    assert (task.request_id, task.submitted_at, task.estimate, task.attempts) == (None, None, None, 1)


def test_a_throttled_job_keeps_what_it_was_expected_to_cost(one):
    folder, job = one
    folder.bring(job, S.SENDING)
    folder.move(job, E.THROTTLE, http_status=429)
    assert folder.task(job).estimate == 30_000


@pytest.mark.parametrize("ends", [E.FAIL, E.EXPIRE])
def test_a_saved_job_that_is_made_again_and_fails_is_what_it_was(one, ends):
    folder, job = one
    folder.save(job)
    before, again = folder.task(job), folder.task(job, again=True)
    folder.move(job, E.REMAKE, submitted_at=T + 9, estimate=1)
    assert [target.id for target in folder.task(job).targets] == ["a"]
    folder.move(job, E.ACCEPT, request_id="new")
    assert folder.move(job, ends, error="no") == S.SAVED
    assert folder.task(job) == replace(before, attempts=2)
    assert folder.task(job, again=True).targets == again.targets


def test_a_saved_job_that_is_made_again_has_the_new_image(one):
    folder, job = one
    folder.save(job)
    folder.move(job, E.REMAKE, submitted_at=T + 9)
    folder.move(job, E.ACCEPT, request_id="new")
    folder.move(job, E.COMPLETE, output_url="https://h/new.webp")
    folder.do(lambda store: save(store, folder.task(job), "bb"))
    task = folder.task(job)
    assert (task.sha256, task.request_id, task.targets, folder.names()) == ("bb", "new", (), [])


# -- transactions ------------------------------------------------------------------------------------------------------


class Raised(Exception):
    pass


def test_a_block_that_raises_leaves_everything_as_it_was(folder):
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"))
    before = queued(folder.store)

    def breaks(store):
        store.start_run(max_cost=None, price=None)
        store.transition(jobs["a"], E.RESERVE, submitted_at=T)
        store.place_image(folder.task(jobs["b"]), {})
        store.remember_upload(SHA, "https://h/up", T)
        store.save_observations("much")
        raise Raised

    with pytest.raises(Raised):
        folder.do(breaks)
    assert queued(folder.store) == before
    assert (folder.store.uploaded(SHA, 0.0), folder.store.observations()) == (None, None)
    assert folder.do(lambda store: store.start_run(max_cost=None, price=7)) == (0, 0)


def test_a_savepoint_that_raises_undoes_itself_and_not_what_came_before_and_after(folder):
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3"))
    with folder.store.atomic():
        for name in "abc":
            try:
                with folder.store.savepoint():
                    folder.store.transition(jobs[name], E.RESERVE)
                    folder.store.transition(jobs[name], E.KEEP if name == "b" else E.LOSE)
            except InvalidTransition:
                assert name == "b"
    assert [folder.task(job).state for job in jobs.values()] == [S.UNKNOWN, S.PLANNED, S.UNKNOWN]


@pytest.mark.anyio
async def test_tasks_share_a_store_and_each_call_is_kept_or_undone_alone(folder):
    jobs = folder.adopt(*(payload(name, prompt=name) for name in "abcd"))
    ends = {}

    async def call(ledger, name, event):
        def work(store):
            store.transition(jobs[name], E.RESERVE)
            return store.transition(jobs[name], event)

        try:
            ends[name] = await ledger.run(work)
        except InvalidTransition:
            ends[name] = None

    async with folder.bench.opened() as ledger, anyio.create_task_group() as tasks:
        for name, event in zip("abcd", [E.LOSE, E.KEEP, E.REFUSE, E.COMPLETE], strict=True):
            tasks.start_soon(call, ledger, name, event)
    assert ends == {"a": S.UNKNOWN, "b": None, "c": S.FAILED, "d": None}
    states = [task.state for task in folder.store.tasks(list(jobs.values()))]
    assert states == [S.UNKNOWN, S.PLANNED, S.FAILED, S.PLANNED]


@pytest.mark.anyio
async def test_a_cancelled_caller_does_not_undo_its_call(one):
    folder, job = one
    async with folder.bench.opened() as ledger:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ledger.run(lambda store: store.transition(job, E.RESERVE))
    assert (scope.cancelled_caught, folder.task(job).state) == (True, S.SENDING)


def test_an_answer_does_not_change_when_the_store_does(one):
    folder, job = one
    before = folder.task(job)
    folder.save(job)
    assert (before.state, before.targets[0].kept) == (S.PLANNED, None)


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_paid_work_comes_first_by_age_then_misplaced_images_then_planned_work_by_manifest(folder):
    rows = [payload(name, prompt=name) for name in ("planned-1", "young", "old", "first", "planned-2")]
    jobs = folder.adopt(*rows)
    folder.bring(jobs["young"], S.ACCEPTED)
    folder.bring(jobs["old"], S.SENDING, submitted_at=T - 500)
    folder.move(jobs["old"], E.ACCEPT, request_id="old")
    folder.save(jobs["first"])
    folder.adopt(*rows[:4], payload("second", prompt="first"), rows[4])
    assert folder.names() == ["second", "planned-1", "planned-2"]  # of this run, they are being processed
    folder.store.run_id = "run-2"
    assert folder.names() == ["old", "young", "second", "planned-1", "planned-2"]
    assert folder.store.open_jobs() == 5


@pytest.mark.parametrize("count", [JOBS_A_PAGE - 1, JOBS_A_PAGE, JOBS_A_PAGE + 1, 2 * JOBS_A_PAGE + 3])
def test_each_job_comes_once_whatever_the_page(folder, count):
    names = [f"r{number:03}" for number in range(count)]
    folder.adopt(*(payload(name, prompt=name) for name in names))
    jobs, found = JobQueue(), []
    while page := jobs.page(folder.store):
        assert len(page) <= JOBS_A_PAGE
        found += [task.name for task in page]
    assert found == names


def test_what_moves_while_the_queue_is_read_does_not_come_again(folder):
    jobs = folder.adopt(*(payload(f"r{number:03}", prompt=str(number)) for number in range(JOBS_A_PAGE + 1)))
    _, position = folder.store.next_jobs(Position())
    folder.bring(jobs["r000"], S.ACCEPTED)
    assert [task.name for task in queued(folder.store, position)] == [f"r{JOBS_A_PAGE:03}"]


def test_a_later_pass_has_the_settled_jobs_that_are_in_flight_and_what_is_planned(folder):
    jobs = folder.adopt(*(payload(name, prompt=name) for name in "abcd"))
    folder.bring(jobs["a"], S.ACCEPTED)
    folder.bring(jobs["b"], S.FAILED)
    folder.save(jobs["c"])
    queue = JobQueue(Position(Part.PLANNED), settled=[jobs["a"], jobs["b"]], remake=[jobs["c"]])
    pages = [[task.job for task in queue.page(folder.store)] for _ in range(4)]
    assert pages == [[jobs["a"]], [jobs["d"]], [jobs["c"]], []]


def test_rows_that_are_not_selected_are_not_sent_but_what_is_paid_is_processed(folder):
    rows = payload("a"), payload("b", prompt="2"), payload("c", prompt="3")
    jobs = folder.adopt(*rows)
    folder.bring(jobs["a"], S.ACCEPTED)
    folder.adopt(*rows, only=["c"])
    folder.store.run_id = "run-2"
    assert folder.names() == ["a", "c"]


def test_paid_work_that_no_row_wants_any_more_is_called_after_its_row_and_seed(folder):
    job = folder.bring(folder.adopt(payload("a"))["a"], S.ACCEPTED)
    folder.adopt(payload("a", prompt="other"))
    folder.store.run_id = "run-2"
    task = queued(folder.store)[0]
    assert (task.job, task.targets, task.name) == (job, (), "a (seed 87568756)")
    assert task.aside == "a.seed-87568756"


def test_candidates_come_after_all_rows_with_their_rows_files(folder):
    """And once, where two rows share them; not before the rows' own jobs, nor of a row whose own job failed."""
    content = f"sha256:{SHA}"
    rows = [
        payload("a", image_1=content, files={content: "/in/a.jpg"}),
        payload("b", image_1=content, files={content: "/in/a.jpg"}),
        payload("c", prompt="other"),
    ]
    seeds = itertools.count(1000)
    folder.bench.adopt(rows, None, 2, lambda: next(seeds))
    assert folder.names() == ["a", "c", "a (seed 1000)", "c (seed 1001)"]
    assert folder.store.open_jobs() == 4
    _, own, first, _ = queued(folder.store)
    assert (first.aside, first.targets, list(map(str, first.files.values()))) == (
        "a.seed-1000",
        (),
        ["/in/a.jpg"],
    )
    assert first.parameters == folder.task(1).parameters | {"seed": 1000}
    folder.move(own.job, E.SPOIL, error="unreadable")
    assert folder.names() == ["a", "a (seed 1000)"]
    folder.save(first.job)
    assert folder.names() == ["a"]
    folder.bench.adopt(rows)
    assert folder.names() == ["a"]


def test_a_job_of_two_rows_comes_once_with_both_and_its_files(folder):
    content = f"sha256:{SHA}"
    folder.adopt(
        payload("a", image_1=content, files={content: "/in/a.jpg"}),
        payload("b", image_1=content, files={content: "/in/b.jpg"}),
    )
    (task,) = queued(folder.store)
    assert [target.id for target in task.targets] == ["a", "b"]
    assert {name: str(path) for name, path in task.files.items()} == {content: "/in/b.jpg"}


def test_tasks_come_in_the_order_that_was_asked_for(folder):
    jobs = folder.adopt(*(payload(name, prompt=name) for name in "abc"))
    asked = [jobs[name] for name in "cab"]
    assert [task.job for task in folder.store.tasks(asked)] == asked
    assert folder.store.tasks([]) == []


def test_what_an_end_of_the_run_leaves_behind_is_counted(folder):
    rows = [payload(name, prompt=name) for name in "abcd"]
    jobs = folder.adopt(*rows, payload("twin", prompt="a"))
    for name in "ab":
        folder.bring(jobs[name], S.COMPLETED)
    folder.bring(jobs["c"], S.UNKNOWN)
    folder.do(lambda store: store.note_not_fetched(jobs["a"], NO_IMAGE, "HTTP 404"))
    folder.do(lambda store: store.note_not_fetched(jobs["b"], "not_fetched", "HTTP 503"))
    folder.do(lambda store: store.note_not_fetched(jobs["d"], NO_IMAGE, "it is not completed"))
    assert folder.store.outstanding() == Outstanding(in_flight=2, unknown=1, denied=1, waiting=2)


# -- images ------------------------------------------------------------------------------------------------------------


def test_a_saved_image_is_where_its_rows_wanted_it(folder):
    job = folder.save(folder.adopt(payload("a"), payload("b"))["a"], sha256="cc")
    task = folder.task(job)
    assert (task.state, task.sha256, task.sources, task.targets) == (S.SAVED, "cc", ("a.webp", "b.webp"), ())
    assert folder.names() == []


def test_the_same_image_again_is_no_transition_and_another_one_is(one):
    folder, job = one
    folder.save(job)
    folder.store.run_id = "run-2"
    for sha256 in ("aa", "bb"):
        task = folder.task(job, again=True)
        folder.do(lambda store: save(store, task, sha256))  # noqa: B023
        assert folder.task(job).sha256 == sha256


def test_a_second_row_and_a_renamed_one_find_the_image_of_the_first(folder):
    job = folder.save(folder.adopt(payload("a"))["a"])
    folder.adopt(payload("a", output="new.webp"), payload("b"))
    task = folder.task(job)
    assert [(each.id, each.output, each.kept) for each in task.targets] == [
        ("a", "new.webp", "a.webp"),
        ("b", "b.webp", None),
    ]
    assert (task.targets[0].kept_sha256, task.sources) == ("aa", ("a.webp",))
    folder.do(lambda store: store.place_image(task, {}))
    assert folder.task(job).sources == ("new.webp", "b.webp")


def test_rows_can_swap_their_names(folder):
    rows = payload("a", output="1.webp"), payload("b", output="2.webp", prompt="2")
    for job in folder.adopt(*rows).values():
        folder.save(job)
    folder.adopt(rows[0]._replace(output="2.webp"), rows[1]._replace(output="1.webp"))
    for task in queued(folder.store):
        folder.do(lambda store: store.place_image(task, {}))  # noqa: B023
    assert [task.sources for task in folder.store.tasks([1, 2])] == [("2.webp",), ("1.webp",)]


def test_an_image_that_is_in_no_file_is_not_wanted_again(folder):
    job = folder.save(folder.adopt(payload("a"))["a"])
    folder.adopt(payload("a", output="new.webp"))
    folder.do(lambda store: store.mark_nowhere(folder.task(job)))
    assert (folder.names(), folder.task(job).sources, folder.task(job).state) == ([], (), S.SAVED)


def test_an_image_under_its_own_suffix_is_where_its_row_wants_it(folder):
    job = folder.bring(folder.adopt(payload("a", output="a.jpg"))["a"], S.SAVED)
    task = folder.task(job)
    moved = replace(task.targets[0], output="a.webp", asked="a.jpg")
    folder.do(lambda store: store.place_image(replace(task, targets=(moved,)), {"a.webp": (10, 20)}))
    assert (folder.names(), folder.task(job).sources) == ([], ("a.webp",))
    folder.adopt(payload("a", output="a.webp"))
    assert folder.names() == ["a"]


def test_other_jobs_images_at_a_place_are_known_by_their_hashes(folder):
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"))
    folder.save(jobs["a"], sha256="cc")
    assert folder.store.other_hashes_at("a.webp", jobs["b"]) == ["cc"]
    assert (
        folder.store.other_hashes_at("a.webp", jobs["a"]) == folder.store.other_hashes_at("b.webp", 2) == []
    )


def test_a_name_is_free_when_no_other_row_wants_it_or_has_it(folder):
    folder.save(folder.adopt(payload("gone", output="gone.jpg"))["gone"])
    folder.adopt(payload("a", output="a.jpg"), payload("b", output="B.webp", prompt="b"))
    folder.store.note_places(fold_name)
    asked = ("a.jpg", "b.webp", "B.webp", "gone.jpg", "new.webp")
    assert [folder.store.is_name_free(name, "a") for name in asked] == [True, False, False, False, True]


def test_foreign_files_are_there_to_be_searched(folder):
    folder.bench.lists("x.webp", "deep/y.webp")
    assert folder.do(lambda store: store.files_to_search()) == ["x.webp", "deep/y.webp"]


def test_an_upload_is_known_until_it_is_too_old(folder):
    folder.do(lambda store: store.remember_upload(SHA, "https://h/1", T))
    folder.do(lambda store: store.remember_upload(SHA, "https://h/2", T + 5))
    assert [folder.store.uploaded(SHA, since) for since in (0.0, T + 4, T + 5)] == ["https://h/2"] * 2 + [
        None
    ]
    assert folder.store.uploaded("other", 0.0) is None


@pytest.mark.parametrize(
    "image", [f"sha256:{SHA}", "http://nas/a.jpg"], ids=["a file", "a link that was uploaded"]
)
@pytest.mark.parametrize(("ends", "known"), [(E.FAIL, None), (E.COMPLETE, "https://h/1")])
def test_an_upload_that_a_refused_job_was_sent_with_is_forgotten(folder, ends, known, image):
    files = {image: "/in/a.jpg"} if image.startswith("sha256:") else {}
    job = folder.adopt(payload("a", image_1=image, files=files))["a"]
    folder.do(lambda store: store.remember_upload(SHA, "https://h/1", T))
    folder.bring(job, S.SENDING, sent='{"image_1": "https://h/1"}')
    folder.move(job, E.ACCEPT, request_id="r")
    folder.move(job, ends)
    assert folder.store.uploaded(SHA, 0.0) == known


# -- what the history is asked about -----------------------------------------------------------------------------------


def test_a_lost_submit_is_known_by_its_body_and_its_times(one):
    folder, job = one
    folder.bring(job, S.SENDING, sent='{"image_1": "https://h/up"}')
    folder.now += 60
    folder.move(job, E.LOSE, error="cut")
    (lost,) = folder.store.unconfirmed()
    assert (lost.job, lost.reserved_at, lost.ended_at, lost.skew, lost.shift) == (job, T, T + 60, 1.5, 0.0)
    assert (lost.body["image_1"], lost.body["prompt"]) == ("https://h/up", payload("a").parameters["prompt"])
    assert lost.counter is not None


def test_our_requests_are_those_of_which_something_was_recorded_since(folder):
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3"))
    folder.bring(jobs["a"], S.ACCEPTED, request_id="q-a")
    folder.now += 100
    folder.bring(jobs["b"], S.ACCEPTED, request_id="q-b")
    folder.move(jobs["b"], E.EXPIRE)
    folder.move(jobs["b"], E.RETRY)
    folder.bring(jobs["c"], S.UNKNOWN)
    folder.move(jobs["c"], E.FIND_RUNNING, request_id="q-c", submitted_at=T)
    known = {
        each.request_id: (each.accepted_at, each.reserved_at, each.body is None)
        for each in folder.store.own_requests(0.0)
    }
    assert known == {"q-a": (T, T, False), "q-b": (T + 100, None, True), "q-c": (T, T, False)}
    assert [each.request_id for each in folder.store.own_requests(T + 50)] == ["q-b", "q-c"]


def test_how_often_a_job_never_arrived_is_counted_a_run(one):
    folder, job = one
    for run in ("run-1", "run-1", "run-2"):
        folder.store.run_id = run
        folder.bring(job, S.UNKNOWN)
        folder.move(job, E.ABSENT)
    assert folder.store.times_absent(job) == 1
    folder.store.run_id = "run-1"
    assert folder.store.times_absent(job) == 2


def test_expired_jobs_come_newest_first_and_none_of_the_local_service(folder):
    jobs = folder.adopt(*(payload(name, prompt=name) for name in "abc"))
    for number, job in enumerate(jobs.values()):
        folder.bring(job, S.SENDING, submitted_at=T + number)
        folder.move(job, E.ACCEPT, request_id=f"r{job}")
        folder.move(job, E.EXPIRE, cost=30_000, estimated=30_000)
    b, c = (ExpiredJob(jobs[name], f"r{jobs[name]}", 30_000, 1) for name in "bc")
    assert folder.store.expired(T, 9) == [c, b]
    assert folder.store.expired(0.0, 1) == [c]
    folder.bench.belongs_to("local")
    assert folder.store.expired(0.0, 9) == []


def test_a_bill_says_what_is_estimated_and_whether_a_cost_was_named(folder):
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"))
    folder.bring(jobs["a"], S.COMPLETED)
    folder.bring(jobs["b"], S.EXPIRED)
    billed = [folder.store.billed(jobs[name], 1) for name in "ab"]
    assert billed == [(0, True), (30_000, False)]
    assert folder.store.billed(jobs["a"], 2) == (0, False)


# -- runs --------------------------------------------------------------------------------------------------------------


def test_an_interrupted_submit_becomes_unknown_and_paid_work_stays(folder):
    jobs = folder.adopt(*(payload(str(state), prompt=str(state)) for state in State))
    for state in State:
        folder.bring(jobs[state], state)
    folder.store.run_id = "run-2"
    assert folder.do(lambda store: store.recover()) == 1
    after = {name: folder.task(job).state for name, job in jobs.items()}
    assert after == {str(state): state for state in State} | {"sending": S.UNKNOWN}
    assert folder.do(lambda store: store.recover()) == 0


def test_a_local_service_has_forgotten_what_was_under_way(folder):
    folder.bench.belongs_to("local")
    jobs = folder.adopt(*(payload(str(state), prompt=str(state)) for state in State))
    for state in State:
        folder.bring(jobs[state], state)
    folder.do(lambda store: store.remember_upload(SHA, "http://127.0.0.1/x", T))
    assert folder.do(lambda store: store.recover()) == 0
    planned = {"sending", "accepted", "completed", "unknown", "planned"}
    assert {name for name, job in jobs.items() if folder.task(job).state == S.PLANNED} == planned
    assert folder.store.uploaded(SHA, 0.0) is None


def test_the_next_job_is_expected_to_cost_as_much_as_the_dearest_of_the_last(folder):
    count = RECENT + 1
    jobs = list(folder.adopt(*(payload(f"r{n:02}", prompt=str(n)) for n in range(count))).values())
    assert folder.store.price() is None
    for job, cost in zip(jobs, [90_000, 0, 40_000, *(count - 3) * [20_000]], strict=True):
        folder.bring(job, S.COMPLETED, cost=cost)
    assert folder.store.price() == 40_000


def test_that_all_jobs_were_free_says_nothing_of_the_next(one):
    folder, job = one
    folder.bring(job, S.COMPLETED, cost=0)
    assert folder.store.price() is None


def run_began(folder, name, price=None):
    folder.store.run_id = name
    return folder.do(lambda store: store.start_run(max_cost=None, price=price))


def run_ended(folder, *, by_itself=True, restore=False):
    def end(store):
        store.finish_run(rows_saved=0, status_calls=0, http_429=0, exit_code=0)
        if by_itself:
            store.mark_ended_by_itself(restore=restore)

    folder.do(end)


@pytest.mark.parametrize("by_itself", [True, False])
def test_the_cap_of_an_interrupted_run_goes_on(one, by_itself):
    folder, job = one
    assert run_began(folder, "first") == (0, 0)
    folder.save(job)
    run_ended(folder, by_itself=by_itself)
    assert run_began(folder, "second") == (0 if by_itself else 20_000, 20_000)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_restore_takes_over_what_the_run_before_it_says(one, interrupted):
    folder, job = one
    run_began(folder, "first")
    folder.save(job)
    run_ended(folder, by_itself=not interrupted)
    run_began(folder, "restore")
    run_ended(folder, restore=True)
    assert run_began(folder, "second")[0] == (20_000 if interrupted else 0)


def test_what_is_under_way_counts_against_the_cap_and_so_does_what_has_no_bill(folder):
    jobs = folder.adopt(*(payload(name, prompt=name) for name in "abcd"))
    run_began(folder, "first")
    folder.bring(jobs["a"], S.SENDING, estimate=1_000)
    folder.bring(jobs["b"], S.SENDING, estimate=None)
    folder.move(jobs["b"], E.LOSE)
    folder.bring(jobs["c"], S.COMPLETED, cost=None)
    folder.bring(jobs["d"], S.COMPLETED, cost=500)
    assert run_began(folder, "second", price=70_000) == (1_000 + 70_000 + 30_000 + 500, 0)


def test_what_was_learned_is_there_for_the_next_run(folder):
    assert folder.store.observations() is None
    folder.do(lambda store: store.save_observations("1"))
    folder.do(lambda store: store.save_observations("2"))
    assert folder.store.observations() == "2"


# -- what survives -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_opened_again_knows_what_was_committed(tmp_path):
    folder = Folder("sqlite", tmp_path / "ledger.sqlite")
    jobs = folder.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3"))
    folder.save(jobs["a"])
    folder.bring(jobs["b"], S.ACCEPTED)
    folder.bring(jobs["c"], S.SENDING)
    run_began(folder, "run-1")
    folder.do(lambda store: store.save_observations("much"))
    with pytest.raises(TexbatchError):
        folder.move(jobs["c"], E.KEEP)
    before = folder.store.tasks([1, 2, 3]), folder.store.own_requests(0.0), folder.store.observations()
    folder.bench.close()
    folder.open()
    after = folder.store.tasks([1, 2, 3]), folder.store.own_requests(0.0), folder.store.observations()
    assert before == after
    folder.store.run_id = "run-2"
    assert folder.do(lambda store: store.recover()) == 1
    assert folder.names() == ["b"]
    folder.bench.close()
