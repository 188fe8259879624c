"""Whatever is done to them, in whatever order: SQLite and the dictionaries give the same answers."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stores import Memory, Sqlite, payload, queued, save
from tiers import examples

from batch.core.error_classes import NO_IMAGE
from batch.core.errors import TexbatchError
from batch.ledger.states import TRANSITIONS, Event, State
from batch.ledger.store import Part, Position
from batch.manifest.naming import fold_name

ROWS = ["a", "b", "c", "d"]
PROMPTS = ["oak", "ash", "elm"]
NAMES = ["1.webp", "2.webp", "3.webp", "4.webp", "deep/5.webp"]
SHA = "5" * 64
COSTS = st.sampled_from([None, 0, 20_000, 30_000])
UPLOADED = '{"image_1": "https://files.example/up"}'

fields_of = {
    Event.RESERVE: st.fixed_dictionaries(
        {"estimate": COSTS, "sent": st.sampled_from([UPLOADED, "{}"]), "skew": st.sampled_from([None, 1.5])}
    ),
    Event.COMPLETE: st.fixed_dictionaries({"cost": COSTS, "output_url": st.just("https://h/out.webp")}),
    Event.FIND_DONE: st.fixed_dictionaries({"cost": COSTS, "billed": COSTS}),
    Event.KEEP: st.fixed_dictionaries({"sha256": st.sampled_from(["aa", "bb"])}),
    Event.EXPIRE: st.fixed_dictionaries({"cost": COSTS, "estimated": COSTS}),
    Event.FAIL: st.just({"error_class": "job_failed", "error": "no"}),
}
fields_of[Event.REMAKE] = fields_of[Event.RESERVE]
"""The fields that an event may bring, besides the times and request ids, which the machine gives."""


_E = Event
WAYS = [
    [_E.RESERVE, _E.ACCEPT, _E.COMPLETE, _E.KEEP],
    [_E.REMAKE, _E.ACCEPT, _E.FAIL],
    [_E.REMAKE, _E.LOSE, _E.ABSENT],
    [_E.RESERVE, _E.LOSE, _E.FIND_DONE, _E.KEEP],
    [_E.RESERVE, _E.THROTTLE, _E.RESERVE, _E.BOUNCE],
    [_E.RESERVE, _E.ACCEPT, _E.EXPIRE, _E.FIND_DONE],
]
"""Ways that jobs go, for the machine to begin on more often than chance would."""


class Undo(Exception):
    """What a block raises that is to be undone."""


class Twins(RuleBasedStateMachine):
    """Does everything to both stores and compares every answer after every step."""

    @initialize()
    def open(self):
        self.now = 1_800_000_000.0
        self.twins = [kind(lambda: self.now) for kind in (Sqlite, Memory)]
        self.requests = self.runs = 0
        self.seeds = 1000
        self.prompts = dict(zip(ROWS, PROMPTS, strict=False))
        for twin in self.twins:  # each work once, so that both give it the same number
            twin.adopt([self.row(*each) for each in zip(ROWS, NAMES, PROMPTS, strict=False)])
        self.begin_run(price=None)

    def both(self, do):
        """Do the same to both, each in a transaction; return the answer that both give, or the error that both raise."""
        answers = []
        for twin in self.twins:
            try:
                with twin.store.atomic():
                    answers.append((do(twin.store), None))
            except (TexbatchError, Undo) as exc:
                answers.append((type(exc), str(exc)))
        assert answers[0] == answers[1]
        return answers[0][0]

    @property
    def jobs(self):
        return len(self.twins[1].store._jobs)

    def row(self, row_id, name, prompt):
        files = {f"sha256:{SHA}": f"/in/{row_id}.jpg"}
        return payload(row_id, output=name, prompt=prompt, image_1=f"sha256:{SHA}", files=files)

    @rule(seconds=st.sampled_from([1.0, 60.0, 86_400.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(
        ids=st.permutations(ROWS),
        names=st.permutations(NAMES),
        prompts=st.lists(st.sampled_from(PROMPTS), min_size=len(ROWS), max_size=len(ROWS)),
        count=st.integers(1, len(ROWS)),
        candidates=st.integers(1, 3),
        only=st.one_of(st.none(), st.sets(st.sampled_from(ROWS))),
    )
    def adopt(self, ids, names, prompts, count, candidates, only):
        """A row that `only` leaves out asks for what it had: else the planning lets it keep that, if paid, in SQLite alone."""
        rows = []
        for row_id, name, prompt in list(zip(ids, names, prompts, strict=False))[:count]:
            if only is None or row_id in only:
                self.prompts[row_id] = prompt
            rows.append(self.row(row_id, name, self.prompts.setdefault(row_id, prompt)))
        first = self.seeds
        for twin in self.twins:
            seeds = itertools.count(first)
            twin.adopt(rows, only, candidates, lambda seeds=seeds: next(seeds))
        self.seeds = first + 100

    @rule(data=st.data(), event=st.sampled_from(Event))
    def any_event(self, data, event):
        self.move(data, data.draw(st.integers(1, self.jobs + 1)), event)

    @rule(data=st.data())
    def legal_event(self, data):
        known = self.twins[1].store._jobs
        possible = sorted(
            (job, event) for state, event in TRANSITIONS for job in known if known[job].state == state
        )
        if possible:
            self.move(data, *data.draw(st.sampled_from(possible)))

    @rule(data=st.data(), way=st.sampled_from(WAYS))
    def a_way(self, data, way):
        job = data.draw(st.integers(1, self.jobs))
        for event in way:
            self.move(data, job, event)

    def move(self, data, job, event):
        fields = data.draw(fields_of.get(event, st.just({})))
        if event in {Event.RESERVE, Event.REMAKE}:
            fields |= {"submitted_at": self.now}
        if event in {Event.FIND_RUNNING, Event.FIND_DONE, Event.FIND_FAILED, Event.ATTACH, Event.ACCEPT}:
            taken = event == Event.ACCEPT and data.draw(st.booleans())  # the service may repeat itself
            self.requests += not taken
            fields |= {"request_id": f"r{self.requests}"}
        undone = data.draw(st.integers(0, 9)) == 0

        def apply(store):
            with store.savepoint():
                state = store.transition(job, event, **fields)
                if undone:
                    raise Undo
                return state

        self.both(apply)

    @rule(data=st.data(), moved_away=st.booleans())
    def an_image_is_saved(self, data, moved_away):
        completed = [
            job for job, known in self.twins[1].store._jobs.items() if known.state in {"completed", "saved"}
        ]
        if not completed:
            return
        job, sha256 = data.draw(st.sampled_from(completed)), data.draw(st.sampled_from(["aa", "bb"]))
        again, other_format = data.draw(st.booleans()), data.draw(st.booleans())

        def put(store):
            (task,) = store.tasks([job], again=again)
            if moved_away and task.state == State.SAVED:
                return store.mark_nowhere(task)
            if other_format:
                targets = (replace(each, output=f"{each.id}.png", asked=each.output) for each in task.targets)
                task = replace(task, targets=tuple(targets))
            stamps = {each.output: (10, 20) for each in task.targets}
            return save(store, task, sha256, stamps)

        self.both(put)

    @rule(data=st.data(), error_class=st.sampled_from([NO_IMAGE, "not_fetched"]))
    def an_image_does_not_come(self, data, error_class):
        job = data.draw(st.integers(1, self.jobs))
        self.both(lambda store: store.note_not_fetched(job, error_class, "HTTP 404"))

    @rule()
    def an_image_is_uploaded(self):
        self.both(lambda store: store.remember_upload(SHA, "https://files.example/up", self.now))

    @rule(price=COSTS)
    def begin_run(self, price):
        self.runs += 1
        for twin in self.twins:
            twin.store.run_id = f"run-{self.runs}"
        self.both(lambda store: (store.recover(), store.start_run(max_cost=1_000_000, price=price)))

    @rule(restore=st.booleans(), by_itself=st.booleans())
    def end_run(self, restore, by_itself):
        def end(store):
            store.finish_run(rows_saved=1, status_calls=2, http_429=0, exit_code=0)
            if by_itself:
                store.mark_ended_by_itself(restore=restore)
            store.save_observations(f"learned in {store.run_id}")

        self.both(end)

    @rule()
    def the_local_service_starts_again(self):
        for service in ("local", "api.example"):
            for twin in self.twins:
                twin.belongs_to(service)
            self.both(lambda store: (store.recover(), store.expired(0.0, 9)))

    @invariant()
    def all_answers_are_the_same(self):
        every = range(1, self.jobs + 1)

        def ask(store):
            lost = [replace(each, counter=None) for each in store.unconfirmed()]  # a time of now
            return {
                "queue": queued(store),
                "planned": queued(store, Position(Part.PLANNED)),
                "tasks": store.tasks(list(every)),
                "again": store.tasks(list(every)[::-1], again=True),
                "counts": (store.open_jobs(), store.outstanding(), store.price()),
                "history": (lost, store.own_requests(0.0), store.own_requests(self.now - 60.0)),
                "expired": store.expired(self.now - 86_400.0, 2),
                "jobs": [
                    (store.times_absent(job), store.billed(job, 1), store.billed(job, 2)) for job in every
                ],
                "held": [store.holds(f"r{number}") for number in range(self.requests + 2)],
                "hashes": [store.other_hashes_at(name, job) for name in NAMES for job in every],
                "free": (
                    store.note_places(fold_name),
                    [store.is_name_free(name, "a") for name in (*NAMES, "a.png")],
                ),
                "uploads": [store.uploaded(SHA, since) for since in (0.0, self.now - 60.0)],
                "learned": store.observations(),
            }

        sqlite, memory = (ask(twin.store) for twin in self.twins)
        for question, answer in sqlite.items():
            assert answer == memory[question], question

    def teardown(self):
        for twin in self.twins:
            twin.close()


STEPS = {"stateful_step_count": 20, "suppress_health_check": list(HealthCheck)}

TestTwins = Twins.TestCase
TestTwins.settings = settings(**STEPS, **examples(25))


@pytest.mark.slow
class TestManyTwins(Twins.TestCase):
    settings = settings(**STEPS, **examples(300))
