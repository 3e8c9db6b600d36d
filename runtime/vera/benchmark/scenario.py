"""The scenarios, in MLPerf's terms: single stream, offline, server, and a sweep over clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

from vera.benchmark.arrivals import largest_rate, poisson
from vera.benchmark.load import MOST_IN_FLIGHT, Load, closed_loop, joined, open_loop
from vera.benchmark.quantiles import quantile
from vera.benchmark.record import Run, ScenarioName
from vera.benchmark.summary import summarize
from vera.benchmark.target import Answer, Query, Target

# The server's bound, if none is given: so many times the median latency of a lone client.
_BOUND_FACTOR = 5.0
_LONE = 16  # queries of that client

# What a client asks in a closed loop: at least so many queries in all, and so many in each part of
# a load that is split. With fewer, nearly all of them find a target that fills up or runs empty.
_ASKED_EACH = 2
_ASKED_EACH_PART = 4

# Cases at a time of a warm-up, by slot: so many that the queue is used, too.
_WARM = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked of every target.

    Attributes:
        queries: Cases per target and load; more where each client would ask less than twice.
        seconds: After which no further query of a closed loop is begun; None does all queries.
        clients: Of the sweep, ascending.
        rounds: Into how many alternating parts the loads of several targets are split at most; a
            client asks at least four queries in each.
        warmup: Uncounted queries of each target, before as many at once as a load asks; 0: neither.
        rate: Arrivals a second of the server scenario; None looks for the largest that is held.
        bound_s: Its bound; None takes five times the median latency of one client of the first
            target.
        trials: Rates tried in the search.
        seed: Of the arrivals.
        backoff_s: How long a client of a closed loop waits that was not answered.
    """

    queries: int = 32
    seconds: float | None = None
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)
    rounds: int = 4
    warmup: int = 2
    rate: float | None = None
    bound_s: float | None = None
    trials: int = 6
    seed: int = 0
    backoff_s: float = 0.2


@dataclass(slots=True)
class Bench:
    """Runs scenarios on targets.

    Attributes:
        targets: What is measured; loads alternate between them.
        query: The query of a number; targets get the same numbers.
        plan: How much is asked.
        say: Takes lines of progress.
        asked: How many queries were asked so far, warm-up included.
        versions: By target, the libraries it works with, as its reports told at the warm-up.
        runs: What was found so far.
    """

    targets: Sequence[Target]
    query: Callable[[int], Query]
    plan: Plan
    say: Callable[[str], None]
    asked: int = field(default=0)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    _warm: dict[str, int] = field(default_factory=dict)  # how many at a time each target has done

    def warm_up(self) -> None:
        """Opens what opens at first use.

        Raises:
            VeraError: A target cannot do a query.
        """
        for target in self.targets:
            for number in range(self.plan.warmup):
                answer = target.ask(self.query(number))
                self.versions[target.name] = dict(answer.versions)
                self.asked += 1

    def run(self, scenario: ScenarioName) -> None:
        """Adds the runs of a scenario, each when it is finished.

        Raises:
            KeyboardInterrupt: Ctrl-C; queries on their way have ended.
        """
        match scenario:
            case "single-stream":
                self._closed(scenario, 1)
            case "offline":
                self._closed(scenario, max(self.plan.clients))
            case "sweep":
                for clients in self.plan.clients:
                    self._closed(scenario, clients)
            case "server":
                self._arrivals()

    def _closed(self, scenario: ScenarioName, clients: int) -> None:
        """A closed loop on every target, in alternating parts."""
        plan = self.plan
        queries = max(plan.queries, _ASKED_EACH * clients)
        if queries > plan.queries:
            self.say(f"note: {clients} at a time ask {queries} queries, two each at least")
        for target in self.targets:
            self._prepare(target, clients)
        rounds = min(plan.rounds, max(1, queries // (_ASKED_EACH_PART * clients)))
        rounds = rounds if len(self.targets) > 1 else 1
        seconds = None if plan.seconds is None else plan.seconds / rounds
        parts: dict[str, list[Load]] = {target.name: [] for target in self.targets}
        for i, (first, end) in enumerate(
            pairwise(queries * edge // rounds for edge in range(rounds + 1))
        ):
            # A B, then B A: what drifts while the machine warms up is shared fairly.
            for target in self.targets if i % 2 == 0 else list(reversed(self.targets)):
                parts[target.name].append(self._ask(target, first, end, clients, seconds))
        for name, loads in parts.items():
            load = joined(loads)
            run = summarize(name, scenario, load, clients=clients)
            self._found(f"{scenario}, {name}, {clients} at a time", run, load)
            if not run.steady:
                self.say(
                    "note: its throughput counts the time in which not all clients were busy; "
                    "give more --queries, or more --seconds"
                )

    def _arrivals(self) -> None:
        """Poisson arrivals on every target, which are all held to one bound."""
        bound = self.plan.bound_s
        for target in self.targets:
            self._prepare(target, min(self.plan.queries, MOST_IN_FLIGHT))
            lone = self._ask(target, 0, min(self.plan.queries, _LONE), 1, self.plan.seconds)
            latencies = [one.latency_s for one in lone.samples if one.outcome == "done"]
            if not latencies:
                self.say(f"server, {target.name}: left out, a lone client got no answer")
                continue
            median = float(quantile(latencies, 50))
            bound = bound or _BOUND_FACTOR * median
            holds = partial(self._holds, target, bound)
            if self.plan.rate is not None:
                holds(self.plan.rate)
            else:
                largest_rate(holds, 1 / median, self.plan.trials)

    def _holds(self, target: Target, bound_s: float, rate: float) -> bool:
        """Whether a target answers in time what arrives at a rate."""
        plan, count = self.plan, self.plan.queries
        if plan.seconds is not None:
            count = max(1, min(count, round(rate * plan.seconds)))
        load = open_loop(partial(_asked, target, self.query), 0, poisson(rate, count, plan.seed))
        self.asked += len(load.samples)
        run = summarize(target.name, "server", load, rate=rate, bound_s=bound_s)
        self._found(f"server, {target.name}, {rate:.3g} a second", run, load)
        return bool(run.held)

    def _prepare(self, target: Target, clients: int) -> None:
        """Opens clients, and what a target opens when it first does several cases at a time."""
        target.prepare(clients)
        together = min(clients, _WARM * target.slots)
        if self.plan.warmup and together > self._warm.get(target.name, 1):
            self._ask(target, 0, together, together, None)
            self._warm[target.name] = together

    def _ask(
        self, target: Target, first: int, end: int, clients: int, seconds: float | None
    ) -> Load:
        """So many clients ask the queries from ``first`` to before ``end``."""
        load = closed_loop(
            partial(_asked, target, self.query),
            first,
            end - first,
            clients=clients,
            seconds=seconds,
            backoff_s=self.plan.backoff_s,
        )
        self.asked += len(load.samples)
        return load

    def _found(self, what: str, run: Run, load: Load) -> None:
        self.runs.append(run)
        self.say(f"{what}: {_told(run)}")
        if load.failure is not None:
            self.say(f"the first failure: {load.failure}")


def _asked(target: Target, query: Callable[[int], Query], number: int) -> Answer:
    return target.ask(query(number))


def queries_over(photos: Sequence[Query], seed: int) -> Callable[[int], Query]:
    """The query of a number: photographs in turn, every time with another seed."""
    return lambda number: replace(photos[number % len(photos)], seed=seed + number)


def best_rates(runs: Sequence[Run]) -> dict[str, float | None]:
    """Per target of the server scenario the largest rate at which the bound was held."""
    found: dict[str, float | None] = {}
    for run in runs:
        if run.scenario == "server":
            best = found.get(run.target)
            held = run.rate if run.held else None
            found[run.target] = max((r for r in (best, held) if r is not None), default=None)
    return found


def _told(run: Run) -> str:
    middle = run.latency.get("p50")
    latency = "no answer" if middle is None else f"median {middle.value:.3g} s"
    lost = run.rejected + run.expired + run.failed
    return (
        f"{run.completed} of {run.queries}, {latency}, {run.throughput.value * 60:.3g} a minute"
        + (f", {lost} not answered" if lost else "")
    )
