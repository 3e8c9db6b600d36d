import threading

import pytest

from vera.errors import BusyError, CancelledError, DeadlineError, UsageError
from vera.scheduling.scheduler import Scheduler

WAIT = 30  # seconds after which a test would rather fail than hang


class Gate:
    """Work that waits until it is let go, looking at its control."""

    def __init__(self):
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def __call__(self, control):
        self.begun.release()
        while not self.go.wait(0.001):
            control.check()
        return "done"


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.go.set()


@pytest.fixture
def scheduler():
    with Scheduler(slots=2, queue=3) as made:
        yield made


def test_results_come_to_who_asked(scheduler):
    jobs = [scheduler.submit(lambda _, n=n: n * n) for n in range(5)]
    assert [job.result(WAIT) for job in jobs] == [0, 1, 4, 9, 16]


def test_cases_begin_in_the_order_in_which_they_came():
    begun = []
    with Scheduler(slots=1, queue=9) as scheduler:
        jobs = [scheduler.submit(lambda _, n=n: begun.append(n)) for n in range(8)]
        [job.result(WAIT) for job in jobs]
    assert begun == list(range(8))


def test_never_more_cases_are_in_work_than_there_are_slots(scheduler, gate):
    jobs = [scheduler.submit(gate) for _ in range(5)]
    for _ in range(2):
        assert gate.begun.acquire(timeout=WAIT)
    assert (scheduler.stats().active, scheduler.stats().queued) == (2, 3)
    assert scheduler.shared
    gate.go.set()
    assert [job.result(WAIT) for job in jobs] == ["done"] * 5


def test_a_full_queue_refuses_at_once(scheduler, gate):
    jobs = [scheduler.submit(gate) for _ in range(5)]
    for _ in range(2):
        assert gate.begun.acquire(timeout=WAIT)
    with pytest.raises(BusyError, match=r"The queue is full \(slots: 2, places to wait: 3\)"):
        scheduler.submit(gate)
    gate.go.set()
    assert [job.result(WAIT) for job in jobs] == ["done"] * 5
    assert scheduler.submit(lambda _: "again").result(WAIT) == "again"


def test_cancelled_in_the_queue_ends_at_once_and_never_begins(scheduler, gate):
    working = [scheduler.submit(gate) for _ in range(2)]
    for _ in working:
        assert gate.begun.acquire(timeout=WAIT)
    begun = []
    waiting = scheduler.submit(begun.append)
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(WAIT)
    assert scheduler.stats().queued == 0
    gate.go.set()
    [job.result(WAIT) for job in working]
    assert begun == []


def test_cancelled_in_work_ends_at_its_next_check_and_frees_its_slot(scheduler, gate):
    job = scheduler.submit(gate)
    assert gate.begun.acquire(timeout=WAIT)
    job.cancel()
    with pytest.raises(CancelledError):
        job.result(WAIT)
    assert [scheduler.submit(lambda _: 1).result(WAIT) for _ in range(3)] == [1, 1, 1]


def test_deadline_passes_in_the_queue_although_no_slot_is_free(scheduler, gate):
    working = [scheduler.submit(gate) for _ in range(2)]
    late = scheduler.submit(gate, deadline=0.02)
    with pytest.raises(DeadlineError, match="not done in its time"):
        late.result(WAIT)
    assert not any(job.done() for job in working)


def test_deadline_passes_in_work_at_the_next_check(scheduler, gate):
    with pytest.raises(DeadlineError, match="not done in its time"):
        scheduler.submit(gate, deadline=0.02).result(WAIT)


def test_later_deadline_does_not_hide_an_earlier_one(scheduler, gate):
    [scheduler.submit(gate) for _ in range(2)]
    later, sooner = scheduler.submit(gate, deadline=60), scheduler.submit(gate, deadline=0.02)
    with pytest.raises(DeadlineError):
        sooner.result(WAIT)
    assert not later.done()


def test_error_of_a_case_is_its_alone(scheduler):
    def broken(_):
        raise ValueError("odd")

    job = scheduler.submit(broken)
    with pytest.raises(ValueError, match="odd"):
        job.result(WAIT)
    assert scheduler.submit(lambda _: "well").result(WAIT) == "well"


def _refused_at_last(scheduler, gate, jobs):
    """Hands in until the scheduler is closing; what it still takes it must finish."""
    while True:
        try:
            jobs.append(scheduler.submit(gate))
        except BusyError as error:
            if "queue is full" not in str(error):
                return str(error)


def test_closing_finishes_what_was_taken_and_takes_nothing_more(gate):
    scheduler = Scheduler(slots=1, queue=4)
    jobs = [scheduler.submit(gate) for _ in range(3)]
    assert gate.begun.acquire(timeout=WAIT)
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    assert "shutting down" in _refused_at_last(scheduler, gate, jobs)
    gate.go.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert [job.result(WAIT) for job in jobs] == ["done"] * len(jobs)


def test_closing_without_draining_cancels_everything(gate):
    scheduler = Scheduler(slots=1, queue=4)
    jobs = [scheduler.submit(gate) for _ in range(3)]
    assert gate.begun.acquire(timeout=WAIT)
    scheduler.close(drain=False)
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result(WAIT)


def test_case_of_the_caller_s_own_thread_takes_a_slot_too(gate):
    with Scheduler(slots=1, queue=4) as scheduler:
        ran = threading.Thread(target=scheduler.run, args=(gate,))
        ran.start()
        assert gate.begun.acquire(timeout=WAIT)
        job = scheduler.submit(lambda _: "after")
        assert scheduler.stats().queued == 1
        gate.go.set()
        assert job.result(WAIT) == "after"
        ran.join(WAIT)


def test_case_of_the_caller_s_own_thread_waits_its_turn_and_is_done_when_closing(gate):
    scheduler, order = Scheduler(slots=1, queue=4), []
    first = scheduler.submit(gate)
    assert gate.begun.acquire(timeout=WAIT)
    ran = threading.Thread(target=scheduler.run, args=(lambda _: order.append("own"),))
    ran.start()
    while scheduler.stats().queued == 0:
        pass
    last = scheduler.submit(lambda _: order.append("last"))
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    gate.go.set()
    closing.join(WAIT)
    ran.join(WAIT)
    assert (first.result(WAIT), last.result(WAIT), order) == ("done", None, ["own", "last"])


def test_times_tell_waiting_from_working(gate):
    with Scheduler(slots=1, queue=4) as scheduler:
        first = scheduler.submit(gate)
        assert gate.begun.acquire(timeout=WAIT)
        second = scheduler.submit(gate)
        gate.go.set()
        second.result(WAIT)
        assert second.times.queue_s > 0
        assert first.times.work_s > 0


def test_result_that_is_not_there_in_time_leaves_the_case_in_work(scheduler, gate):
    job = scheduler.submit(gate)
    with pytest.raises(DeadlineError, match="still in work"):
        job.result(0.01)
    gate.go.set()
    assert job.result(WAIT) == "done"


@pytest.mark.parametrize(("slots", "queue", "word"), [(0, 1, "workers"), (1, -1, "queue")])
def test_numbers_that_make_no_sense_are_refused(slots, queue, word):
    with pytest.raises(UsageError, match=word):
        Scheduler(slots, queue)
