"""A job: cases in, one output folder out; it can be killed at any moment and run again.

Per case: the output names are taken in the journal, the case is anonymised, each image is written
and then its report, files of an earlier run with other options are removed, and the journal says
"finished". Whatever lies before that last line is done again by the next run, under the same names.

Several cases may be in work at once. Names are taken and outcomes judged in the order of the cases
all the same, so that the output is that of one process; only this module writes the journal.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from vera.batch.cases import CaseList
from vera.batch.casework import FAILED, CaseDone, CaseFailure, CaseTask, Distinct, write_failure
from vera.batch.journal import Entry, Journal, case_seed
from vera.batch.output import OutputNames, locked, remove_outputs
from vera.batch.persons import Persons, from_text, to_text
from vera.batch.plan import JobConfig, Plan, plans
from vera.batch.summary import CaseOutcome, JobSummary
from vera.batch.workers import Crew, Ticket
from vera.errors import BundleError, OutputError, ServerError, UsageError
from vera.files.write import prepare_folder, remove_leftovers
from vera.key import CaseKey

# So many failed cases in a row at the start are no bad luck with photographs.
_FAILURES_AT_START = 3


def run_job(
    crew: Crew,
    cases: CaseList,
    config: JobConfig,
    *,
    summary: JobSummary | None = None,
    finished: Callable[[CaseOutcome], None] | None = None,
    ended: Callable[[JobSummary, BaseException | None], None] | None = None,
) -> JobSummary:
    """Anonymise all cases that the output folder does not hold yet.

    A case that fails is recorded as refused with the reason ``"failed"`` and tried again by the
    next run, and the others are done, unless nothing but failures is seen.

    Args:
        crew: Does the cases.
        cases: What is to be done.
        config: How.
        summary: Is filled in, so that the caller has the counts after an interruption.
        finished: Called after each case, in their order.
        ended: Called at the end, while the folder is still held, with what broke the run off.

    Raises:
        UsageError: The request makes no sense.
        OutputError: A result or the journal cannot be written, or another job works in the folder.
            What was finished before is intact.
        EngineError: All cases failed, or the first three.
    """
    if config.secret is not None and any(case.case_id is None for case in cases.cases):
        raise UsageError(
            "With --secret every case needs an id: give --case-id for photographs, or put the "
            "photographs of each case into a folder that bears it, or into a table."
        )
    summary = summary or JobSummary()
    summary.photos, summary.skipped = cases.photo_count, cases.skipped
    summary.variants = config.settings.variants
    start = time.monotonic()
    prepare_folder(config.out)
    with locked(config.out):
        journal = Journal.open(config.out)
        summary.leftovers = remove_leftovers(config.out)
        job = _Job(crew, cases, config, journal)
        broken_off: BaseException | None = None
        try:
            for outcome in job.outcomes():
                summary.count(outcome)
                if finished is not None:
                    finished(outcome)
            summary.others = journal.others(job.known)
        except BaseException as error:
            broken_off = error
            raise
        finally:
            summary.seconds = time.monotonic() - start
            if ended is not None:
                _tell(ended, summary, broken_off)
    return summary


def _tell(
    ended: Callable[[JobSummary, BaseException | None], None],
    summary: JobSummary,
    error: BaseException | None,
) -> None:
    try:
        ended(summary, error)
    except OutputError:
        if error is None:  # else the disk that is full is the smaller news
            raise


@dataclass(frozen=True, slots=True)
class _Begun:
    """A case in work."""

    plan: Plan
    task: CaseTask
    ticket: Ticket
    stale: frozenset[str]


class _Job:
    def __init__(self, crew: Crew, cases: CaseList, config: JobConfig, journal: Journal) -> None:
        self._crew, self._cases, self._config, self._journal = crew, cases, config, journal
        self._names = OutputNames(config.out, config.names, journal.stems())
        self._persons: Persons | None = None
        self._good_before = self._good_now = False  # whether an earlier run, or this one, did any
        self._failures = 0  # as long as this run has done none
        self.known: list[str] = []  # the cases' keys in the journal

    def outcomes(self) -> Iterator[CaseOutcome]:
        """Do or resume all cases, in their order."""
        wanted = plans(self._cases, self._config, self._journal)
        if self._config.distinct is not None:
            listed = list(wanted)  # whom the folder's finished cases have must be known beforehand
            self._persons = self._given(self._config.distinct, listed)
            wanted = iter(listed)
        waiting: deque[_Begun | Plan] = deque()
        for plan in wanted:
            self.known.append(plan.key)
            waiting.append(plan if plan.resumed else self._begin(plan))
            in_work = sum(isinstance(item, _Begun) for item in waiting)
            while waiting and (in_work >= self._crew.in_flight or isinstance(waiting[0], Plan)):
                in_work -= isinstance(waiting[0], _Begun)
                yield self._outcome(waiting.popleft())
        while waiting:
            yield self._outcome(waiting.popleft())

    def _outcome(self, item: "_Begun | Plan") -> CaseOutcome:
        if isinstance(item, _Begun):
            return self._finish(item)
        self._good_before = True
        assert item.earlier is not None
        assert item.earlier.photos is not None
        earlier = item.earlier
        return CaseOutcome(item.number, item.case, item.earlier.photos, earlier.stems, resumed=True)

    def _given(self, limit: float, wanted: Iterable[Plan]) -> Persons:
        """The people of all finished cases of the folder that this run will not do again.

        Those of another bundle are left out: its embedder's numbers mean nothing to this one's.
        """
        again = {plan.key for plan in wanted if not plan.resumed}
        persons = Persons(limit)
        for entry in self._journal.finished():
            comparable = entry.persons and entry.bundle == self._config.bundle
            if comparable and entry.case not in again:
                persons.add(entry.owner or entry.case, from_text(entry.persons))
        return persons

    def _begin(self, plan: Plan) -> _Begun:
        """Take the names and hand the case in."""
        config, case = self._config, plan.case
        stems = self._stems(plan)
        self._journal.add(Entry(plan.key, plan.options, config.names, stems))
        seed = config.seed
        if self._cases.nested and seed is not None:
            seed = case_seed(seed, plan.contents)
        task = CaseTask(
            case.photos,
            case.keep,
            config.out,
            stems,
            config.format,
            config.settings,
            config.networks,
            seed,
            None if config.secret is None else CaseKey(config.secret, case.case_id or ""),
            None if config.distinct is None else Distinct(config.distinct),
        )
        stale = frozenset(self._journal.stems_of(plan.key))
        return _Begun(plan, task, self._crew.submit(task), stale)

    def _stems(self, plan: Plan) -> tuple[str, ...]:
        variants = self._config.settings.variants
        stems = None
        if plan.earlier is not None and plan.earlier.names == self._config.names:
            stems = self._names.extend(plan.earlier.stems, len(plan.case.photos), variants)
        return stems or self._names.take(plan.case, plan.number, self._cases.nested, variants)

    def _finish(self, begun: _Begun) -> CaseOutcome:
        """Wait for a case and record it."""
        plan, task, config = begun.plan, begun.task, self._config
        done = self._wait(begun)
        failure = done if isinstance(done, CaseFailure) else None
        if isinstance(done, CaseFailure):
            self._bear(done, plan)
            done = write_failure(task, done)
        else:
            self._good_now = True
        remove_outputs(config.out, begun.stale, set(done.written))
        persons = () if done.persons is None else to_text(done.persons)
        if self._persons is not None and done.persons is not None:
            self._persons.add(plan.holder, done.persons)
        # A file that could not be read may be readable next time; what failed may go well.
        failed = any(photo.reason == FAILED for photo in done.photos)
        if not failed and b"" not in plan.contents:
            entry = Entry(plan.key, plan.options, config.names, task.stems, done.photos)
            bundle = config.bundle if persons else None
            entry = replace(entry, persons=persons, bundle=bundle, owner=plan.owner)
            self._journal.add(entry)
        return CaseOutcome(
            plan.number,
            plan.case,
            done.photos,
            task.stems,
            seconds=done.seconds,
            milliseconds=done.milliseconds,
            failure=failure,
        )

    def _wait(self, begun: _Begun) -> CaseDone | CaseFailure:
        done = self._crew.wait(begun.ticket)
        if self._persons is None or isinstance(done, CaseFailure) or done.persons is None:
            return done
        holder = begun.plan.holder
        if not self._persons.taken(holder, done.persons):
            return done
        # Not told beforehand whom to avoid: which cases are finished by then would depend on the
        # number of processes.
        distinct = Distinct(self._persons.limit, self._persons.of_others(holder))
        return self._crew.wait(self._crew.submit(replace(begun.task, distinct=distinct)))

    def _bear(self, failure: CaseFailure, plan: Plan) -> None:
        """Go on after a failed case, unless it is not the case that is at fault.

        Raises:
            VeraError: The failure.
        """
        error = failure.error()
        if isinstance(error, (OutputError, ServerError)):
            raise error  # a full disk, a lost server: all further cases would fail, too
        if self._good_now:
            return
        self._failures += 1
        all_failed = not self._good_before and plan.number == len(self._cases.cases)
        if all_failed or self._failures == _FAILURES_AT_START or _at_once(error):
            raise error


def _at_once(error: Exception) -> bool:
    """Whether no photograph can be at fault."""
    return isinstance(error, (UsageError, BundleError))
