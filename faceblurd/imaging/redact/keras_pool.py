"""The average pool as Keras computes it: the engine `tensorflow`.

Imports TensorFlow at the first call only. One layer for each window and stride is kept for the life of the worker; a
layer that is called eagerly is traced for no size of face.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from faceblurd.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

_EXACT = 2**24  # up to here every integer is a float32


def pool(box: npt.NDArray[Any], *, pool_size_px: int, stride_px: int) -> npt.NDArray[Any]:
    """Pool HxW or HxWxC pixels with 'same' padding, and truncate to the type of `box`.

    On float32 where its sums are exact (8 bit and windows to 256 px), on float64 beyond: there float32 was off by two
    levels (16 bit, nearly white, window 257), and float64 can end a hair below a whole number. Means are at least
    1/window² apart from the next one, so half of that is added. Raises SetupError when TensorFlow is not installed.
    """
    largest = int(np.iinfo(box.dtype).max) * pool_size_px * pool_size_px
    exact = largest <= _EXACT
    layer = _layer(pool_size_px, stride_px, "float32" if exact else "float64")
    batch = box.reshape(1, box.shape[0], box.shape[1], -1)
    raw = np.asarray(layer(batch))[0]
    means: npt.NDArray[Any] = (raw if exact else raw + 0.5 / pool_size_px**2).astype(box.dtype)
    return means.reshape(*means.shape[:2], *box.shape[2:])


@functools.lru_cache(maxsize=256)
def _layer(pool_size_px: int, stride_px: int, dtype: str) -> Callable[[npt.NDArray[Any]], Any]:
    """Build the layer once for each window."""
    layers = _keras().layers
    layer = layers.AveragePooling2D(
        pool_size=(pool_size_px, pool_size_px), strides=(stride_px, stride_px), padding="same", dtype=dtype
    )
    return lambda batch: layer(batch.astype(dtype))


@functools.cache
def _keras() -> Any:  # noqa: ANN401 - TensorFlow has no types
    """Import TensorFlow quietly: its C++ side reads these variables while it loads."""
    if importlib.util.find_spec("tensorflow") is None:
        raise SetupError(
            "The engine 'tensorflow' needs TensorFlow, which is not installed",
            remedy="pip install 'faceblurd[tensorflow]', or set engine: opencv, which gives the same pixels",
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf  # noqa: PLC0415 - the point of this function

    with contextlib.suppress(RuntimeError):  # a plugin, or a test, has used TensorFlow before us
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf.keras
