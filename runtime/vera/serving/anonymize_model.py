"""The served model ``anonymize``, as Triton's Python back end calls it; docs/protocol.md."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from vera.bundle import load_bundle
from vera.case.local import LocalCases
from vera.errors import EngineError
from vera.serving.health import Health
from vera.serving.log import write_line
from vera.serving.metrics import Metrics
from vera.serving.parameters import Parameters, read_parameters
from vera.serving.responder import BackendUtils, Responder, received
from vera.serving.service import Service
from vera.serving.stub import require_sound_tensors
from vera.versions import __version__
from vera.wire.server import Limits


def open_cases(parameters: Parameters) -> LocalCases:
    """What does the cases of a server."""
    return LocalCases(
        load_bundle(parameters.bundle),
        threads=parameters.threads,
        device=parameters.device,
        workers=parameters.slots,
        queue=parameters.queue,
    )


class TritonPythonModel:
    """A decoupled model: ``execute`` hands requests on, the answers come from other threads."""

    def __init__(
        self,
        utils: BackendUtils = None,
        opened: Callable[[Parameters], LocalCases] = open_cases,
    ) -> None:
        """Takes Triton's module when the server hands it out, or another in its place."""
        self._utils: BackendUtils = utils
        self._opened = opened
        self._service: Service | None = None
        self._limits = Limits()

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens bundle and engines.

        Raises:
            VeraError: Something cannot be used; the server does not get ready.
        """
        self._utils = self._utils or import_module("triton_python_backend_utils")
        require_sound_tensors(self._utils)
        parameters = read_parameters(args["model_config"], Path(args["model_repository"]))
        self._limits = parameters.limits
        cases = self._opened(parameters)
        health = Health(cases.bundle, cases.engines)
        metrics = Metrics(self._utils.MetricFamily)
        self._service = Service(cases, parameters, metrics, health.rows)
        bundle = cases.bundle
        write_line(
            "ready",
            vera=__version__,
            bundle=f"{bundle.name} {bundle.version}",
            slots=parameters.slots,
            queue=parameters.queue,
            device=parameters.device,
        )

    def execute(self, requests: Sequence[Any]) -> None:
        """Takes requests; returns before they are answered."""
        if self._service is None:
            raise EngineError("The model was never initialised; load it again.")
        for request in requests:
            responder = Responder(self._utils, request)
            self._service.accept(partial(received, request, self._limits), responder)

    def finalize(self) -> None:
        """Waits for the cases in work: Triton unloads the model."""
        if self._service is not None:
            write_line("closing")
            self._service.close()
            write_line("closed")
