"""Networks through ONNX Runtime: one thread, any size of input, no state from photo to photo.

docs/accuracy.md has the comparison with OpenVINO and cv2.dnn that led here. Imports nothing heavy until a network is
opened.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from faceblurd.errors import SetupError
from faceblurd.imaging.detect import weights
from faceblurd.imaging.detect.onnx_graph import prepared

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import numpy.typing as npt

_MULTIPLE = 32  # what both networks halve five times
_GRAY = 127
_FATAL = 4  # ONNX Runtime's log level: what goes wrong is raised


class Network:
    """One network, ready to run on pictures of any size."""

    def __init__(self, which: weights.Weights, *, outputs: Sequence[str], red_first: bool) -> None:
        """Load the tested weights. Raises SetupError with the remedy."""
        self._outputs, self._red_first = list(outputs), red_first
        self._session = _session(_tested(which), outputs, which)
        self._input = self._session.get_inputs()[0].name

    def run(self, bgr: npt.NDArray[Any]) -> tuple[list[npt.NDArray[Any]], int]:
        """Run on a picture (HxWx3, uint8), gray to the right and below up to a multiple of 32.

        Returns the outputs in the order asked for, and the padded width.
        """
        import numpy as np  # noqa: PLC0415 - the parent imports this package without loading numpy

        height, width = bgr.shape[:2]
        planes = np.empty((1, 3, height + -height % _MULTIPLE, width + -width % _MULTIPLE), np.float32)
        planes[:, :, height:] = planes[:, :, :, width:] = _GRAY
        for channel in range(3):
            planes[0, 2 - channel if self._red_first else channel, :height, :width] = bgr[:, :, channel]
        return self._session.run(self._outputs, {self._input: planes}), planes.shape[3]


@cache
def opened(which: weights.Weights, *, outputs: tuple[str, ...], red_first: bool) -> Network:
    """Open a network once in a process: every recipe, and the second look, run the same one. Raises SetupError."""
    return Network(which, outputs=outputs, red_first=red_first)


def _session(model: bytes, outputs: Sequence[str], which: weights.Weights) -> Any:  # noqa: ANN401 - untyped
    onnxruntime = _quiet_runtime()
    options = onnxruntime.SessionOptions()
    # The pool is the parallelism; and threads that are older than the sandbox would not be in all of it.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # made for inputs of one size
    options.log_severity_level = _FATAL
    try:
        ready = prepared(model, outputs=outputs)
        return onnxruntime.InferenceSession(ready, options, providers=["CPUExecutionProvider"])
    except (ValueError, RuntimeError) as error:  # its own exceptions are RuntimeErrors
        message = f"ONNX Runtime does not load the weights of {which.name}: {error}"
        raise SetupError(message, remedy=weights.REMEDY) from error


def _tested(which: weights.Weights) -> bytes:
    try:
        return weights.read(which)
    except weights.WeightsError as error:
        raise SetupError(str(error), remedy=weights.REMEDY) from error


def described() -> str:
    """Say which runtime, precision and instructions are in use, for people."""
    import cv2  # noqa: PLC0415 - only in workers and in `doctor`

    # OpenCV's numbers for the processor's abilities; ONNX Runtime chooses by the same, and does not tell.
    known = {"AVX-512": 256, "AVX2": 11, "NEON": 100, "SSE4.2": 7}
    best = next((name for name, number in known.items() if cv2.checkHardwareSupport(number)), "no vector instructions")
    return f"ONNX Runtime {_quiet_runtime().__version__}, float32, {best}"


def _quiet_runtime() -> ModuleType:
    """Import ONNX Runtime without its telemetry: that has a thread, which would be older than the sandbox."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read while it is imported
    import onnxruntime  # noqa: PLC0415 - only in workers and in `doctor`

    return onnxruntime  # type: ignore[no-any-return]  # it has no types
