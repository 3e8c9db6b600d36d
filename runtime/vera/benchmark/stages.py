"""Where the time of one case goes, stage by stage, without a timer in the pipeline.

The engines are wrapped. Every moment of a case lies in a call of an engine or between two calls,
and which two tells the stage it belongs to: what happens between the refiner and the detector that
looks for the new face is the blending. So the stages add up to the whole case.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vera.benchmark.quantiles import Interval, mean
from vera.benchmark.target import Query
from vera.bundle import Bundle
from vera.case.case import open_case
from vera.case.pipeline import anonymize_case
from vera.contract import Layout
from vera.engines import Engines, Gradient, Tensor
from vera.files.photo import read_photo
from vera.files.write import write_image
from vera.settings import Settings

STAGES = (
    *("decode", "detect", "align", "parse", "prepare", "start", "inversion", "draw"),
    *("synthesis", "blend", "gate", "write"),
)
_FIND, _INVERT, _DRAW = "find", "invert", "draw"

# The stage of an engine, by the part of the case it runs in.
_OF_ENGINE = {
    (_FIND, "detector"): "detect",
    (_FIND, "attributes"): "align",
    (_FIND, "parser"): "parse",
    (_FIND, "embedder"): "align",
    (_INVERT, "perceptual"): "start",
    (_INVERT, "encoder"): "start",
    (_INVERT, "forward"): "inversion",
    (_INVERT, "backward"): "inversion",
    (_DRAW, "generator"): "synthesis",
    (_DRAW, "refiner"): "blend",
    (_DRAW, "guide"): "draw",
}
# The stage of what happens before an engine is called.
_BEFORE = {
    (_FIND, "detector"): "detect",
    (_FIND, "attributes"): "align",
    (_FIND, "parser"): "align",
    (_FIND, "embedder"): "parse",
    (_INVERT, "perceptual"): "prepare",
    (_INVERT, "encoder"): "start",
    (_INVERT, "forward"): "inversion",
    (_INVERT, "backward"): "inversion",
    (_DRAW, "generator"): "draw",
    (_DRAW, "refiner"): "blend",
}
# The same where the engine before tells more: fitting a generated face, laying it into the photo.
_BETWEEN = {
    ("generator", "embedder"): "synthesis",
    ("generator", "generator"): "synthesis",
    ("refiner", "detector"): "blend",
    ("embedder", "detector"): "blend",  # of a bundle without a refiner
    ("encoder", "forward"): "start",
    ("perceptual", "forward"): "start",
}


@dataclass(slots=True)
class Trace:
    """The time of one case by stage and by engine.

    Attributes:
        stages: Seconds.
        engines: Seconds in each engine.
        calls: Of each engine.
    """

    clock: Callable[[], float]
    stages: dict[str, float] = field(default_factory=dict)
    engines: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _part: str = _FIND
    _last: str = ""
    _mark: float = 0.0

    def begin(self) -> None:
        """The case begins now."""
        self._mark = self.clock()

    def called(self, name: str) -> None:
        """An engine is about to run."""
        now = self.clock()
        if name in ("perceptual", "encoder"):
            self._part = _INVERT
        elif name == "generator":
            self._part = _DRAW
        known = _BETWEEN.get((self._last, name)) if self._part != _FIND else None
        self._add(known or _BEFORE.get((self._part, name), "gate"), now)

    def returned(self, name: str) -> None:
        """It has run."""
        now = self.clock()
        self.engines[name] = self.engines.get(name, 0.0) + now - self._mark
        self.calls[name] = self.calls.get(name, 0) + 1
        self._add(_OF_ENGINE.get((self._part, name), "gate"), now)
        self._last = name

    def end(self) -> None:
        """The case is done; what came after the last engine is the gate's."""
        self._add("gate", self.clock())

    def _add(self, stage: str, now: float) -> None:
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._mark
        self._mark = now


class TracedEngines:
    """Engines whose calls are written down.

    Attributes:
        layout: Of the engines within.
    """

    def __init__(self, inner: Engines, trace: Trace) -> None:
        """Wraps engines."""
        self.layout: Layout = inner.layout
        self._inner, self._trace = inner, trace

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        """As :class:`vera.engines.Engines`."""
        self._trace.called(name)
        outputs = self._inner.run(name, **inputs)
        self._trace.returned(name)
        return outputs

    def gradient(self, *, batch: int = 1, threads: int | None = None) -> Gradient:
        """As :class:`vera.engines.Engines`."""
        return _TracedGradient(self._inner.gradient(batch=batch, threads=threads), self._trace)


class _TracedGradient:
    def __init__(self, inner: Gradient, trace: Trace) -> None:
        self._inner, self._trace = inner, trace
        self.outputs: Mapping[str, Tensor] = inner.outputs

    def forward(self, latent: Tensor) -> None:
        self._trace.called("forward")
        self._inner.forward(latent)
        self.outputs = self._inner.outputs
        self._trace.returned("forward")

    def backward(self, grads: Mapping[str, Tensor]) -> Tensor:
        self._trace.called("backward")
        grad = self._inner.backward(grads)
        self._trace.returned("backward")
        return grad


@dataclass(frozen=True, slots=True)
class StageTable:
    """Mean seconds per case.

    Attributes:
        cases: How many were measured.
        stages: By stage, in the order of :data:`STAGES`.
        total: Of the whole case, reading and writing included.
        engines: In each engine.
        calls: Of each engine, mean per case.
        step: Of one gradient step of the inversion.
        steps: Gradient steps per case.
    """

    cases: int
    stages: Mapping[str, Interval]
    total: Interval
    engines: Mapping[str, Interval]
    calls: Mapping[str, float]
    step: Interval | None
    steps: float


def measure_stages(
    queries: Sequence[Query],
    engines: Engines,
    bundle: Bundle,
    *,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> StageTable:
    """Does the cases one after the other and tells where their time went.

    Args:
        queries: Cases; the first ``warmup`` of them are done once before, uncounted.
        engines: Run the engines.
        bundle: Theirs.
        warmup: Cases that open the engines.
        clock: Tells seconds.

    Raises:
        EngineError: An engine failed.
        PhotoError: A photograph cannot be read.
    """
    for query in queries[:warmup]:
        _traced(query, engines, bundle, clock)
    return table_of([_traced(query, engines, bundle, clock) for query in queries])


def table_of(traces: Sequence[Trace]) -> StageTable:
    """The means over the traces of cases."""
    stages = {
        name: mean([trace.stages.get(name, 0.0) for trace in traces])
        for name in STAGES
        if any(name in trace.stages for trace in traces)
    }
    names = sorted({name for trace in traces for name in trace.engines})
    per_step = [
        trace.stages["inversion"] / trace.calls["backward"]
        for trace in traces
        if trace.calls.get("backward")
    ]
    return StageTable(
        cases=len(traces),
        stages=stages,
        total=mean([sum(trace.stages.values()) for trace in traces]),
        engines={n: mean([trace.engines.get(n, 0.0) for trace in traces]) for n in names},
        calls={n: sum(t.calls.get(n, 0) for t in traces) / len(traces) for n in names},
        step=mean(per_step) if per_step else None,
        steps=sum(trace.calls.get("backward", 0) for trace in traces) / len(traces),
    )


def _traced(query: Query, engines: Engines, bundle: Bundle, clock: Callable[[], float]) -> Trace:
    trace = Trace(clock)
    settings = Settings(**query.options)
    begin = clock()
    images = [read_photo(path, pixel_limit=settings.pixel_limit).image for path in query.photos]
    trace.stages["decode"] = clock() - begin
    case = open_case(images, keep=query.keep, seed=query.seed, settings=settings)
    trace.begin()
    outcomes = anonymize_case(case, TracedEngines(engines, trace), bundle, _silent)
    trace.end()
    with tempfile.TemporaryDirectory(prefix="vera-bench-") as folder:
        begin = clock()
        for number, outcome in enumerate(outcomes):
            if outcome.image is not None:
                write_image(Path(folder) / f"{number}.png", outcome.image)
        trace.stages["write"] = clock() - begin
    return trace


def _silent(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""
