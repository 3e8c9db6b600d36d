"""The scenarios, in MLPerf's terms: single stream, offline, server, and a sweep over clients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

from vera.benchmark.arrivals import largest_rate, poisson
from vera.benchmark.load import Ask, Load, closed_loop, joined, open_loop
from vera.benchmark.quantiles import quantile
from vera.benchmark.record import Run, ScenarioName
from vera.benchmark.summary import summarize
from vera.benchmark.target import Answer, Query, Target

# Clients opened before an open loop: more are opened when more are on their way.
_PREPARED = 16

# The server's bound, if none is given: so many times the median latency of a lone client.
_BOUND_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked of every target.

    Attributes:
        queries: Cases per target and load.
        seconds: After which no further query of a closed loop is begun; None does all queries.
        clients: Of the sweep, ascending.
        rounds: Into how many alternating parts the loads of several targets are split.
        warmup: Uncounted queries of each target.
        rate: Arrivals a second of the server scenario; None looks for the largest that is held.
        bound_s: Its bound; None takes five times the median latency of one client.
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
    """

    targets: Sequence[Target]
    query: Callable[[int], Query]
    plan: Plan
    say: Callable[[str], None]
    asked: int = field(default=0)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

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

    def run(self, scenario: ScenarioName) -> Iterator[Run]:
        """The runs of a scenario.

        Raises:
            KeyboardInterrupt: Ctrl-C; queries on their way have ended.
        """
        match scenario:
            case "single-stream":
                yield from self._closed(scenario, 1)
            case "offline":
                yield from self._closed(scenario, max(self.plan.clients))
            case "sweep":
                for clients in self.plan.clients:
                    yield from self._closed(scenario, clients)
            case "server":
                for target in self.targets:
                    yield from self._server(target)

    def _closed(self, scenario: ScenarioName, clients: int) -> list[Run]:
        """A closed loop on every target, in alternating parts."""
        plan = self.plan
        for target in self.targets:
            target.prepare(clients)
        rounds = plan.rounds if len(self.targets) > 1 else 1
        parts: dict[str, list[Load]] = {target.name: [] for target in self.targets}
        edges = [plan.queries * i // rounds for i in range(rounds + 1)]
        for i, (first, end) in enumerate(pairwise(edges)):
            if first == end:
                continue
            # A B, then B A: what drifts while the machine warms up is shared fairly.
            for target in self.targets if i % 2 == 0 else list(reversed(self.targets)):
                part = closed_loop(
                    self._ask(target),
                    first,
                    end - first,
                    clients=clients,
                    seconds=None if plan.seconds is None else plan.seconds / rounds,
                    backoff_s=plan.backoff_s,
                )
                parts[target.name].append(part)
                self.asked += len(part.samples)
        runs = []
        for name, loads in parts.items():
            load = joined(loads)
            runs.append(summarize(name, scenario, load, clients=clients))
            self._tell(f"{scenario}, {name}, {clients} at a time", runs[-1], load)
        return runs

    def _server(self, target: Target) -> Iterator[Run]:
        """Poisson arrivals: at the rate given, or a search for the largest that holds the bound."""
        plan, tried = self.plan, list[Run]()
        target.prepare(_PREPARED)
        lone = closed_loop(
            self._ask(target),
            0,
            min(plan.queries, 16),
            clients=1,
            seconds=plan.seconds,
            backoff_s=plan.backoff_s,
        )
        self.asked += len(lone.samples)
        latencies = [one.latency_s for one in lone.samples if one.outcome == "done"]
        if not latencies:
            self.say(f"server, {target.name}: left out, a lone client got no answer")
            return
        median = float(quantile(latencies, 50))
        bound = plan.bound_s or _BOUND_FACTOR * median

        def holds(rate: float) -> bool:
            load = open_loop(self._ask(target), 0, poisson(rate, self._arrivals(rate), plan.seed))
            self.asked += len(load.samples)
            run = summarize(target.name, "server", load, rate=rate, bound_s=bound)
            self._tell(f"server, {target.name}, {rate:.3g} a second", run, load)
            tried.append(run)
            return bool(run.held)

        if plan.rate is not None:
            holds(plan.rate)
        else:
            largest_rate(holds, 1 / median, plan.trials)
        yield from sorted(tried, key=lambda run: run.rate or 0.0)

    def _tell(self, what: str, run: Run, load: Load) -> None:
        self.say(f"{what}: {_told(run)}")
        if load.failure is not None:
            self.say(f"the first failure: {load.failure}")

    def _arrivals(self, rate: float) -> int:
        """How many queries an open loop asks."""
        if self.plan.seconds is None:
            return self.plan.queries
        return max(1, min(self.plan.queries, round(rate * self.plan.seconds)))

    def _ask(self, target: Target) -> Ask:
        return partial(_asked, target, self.query)


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
