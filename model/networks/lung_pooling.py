"""Layers that pool features over the lungs alone."""

from __future__ import annotations

from typing import Any

import keras

# Below this mean share of lung over a picture nothing is divided by it: a picture without lungs pools over nothing.
_LEAST_SHARE = 1e-3


@keras.saving.register_keras_serializable("pneumolens")
class FilmChannel(keras.layers.Layer):  # type: ignore[misc]
    """One channel of a picture: (N, rows, columns, channels) to (N, rows, columns, 1)."""

    def __init__(self, channel: int, **others: Any) -> None:
        super().__init__(**others)
        self.channel = channel

    def call(self, pictures: Any) -> Any:
        """Return the channel."""
        return pictures[..., self.channel : self.channel + 1]

    def get_config(self) -> dict[str, Any]:
        """Return the configuration."""
        return {**super().get_config(), "channel": self.channel}


@keras.saving.register_keras_serializable("pneumolens")
class OnFinerGrid(keras.layers.Layer):  # type: ignore[misc]
    """A coarse feature map on the grid of a finer one that it was reduced from by an unpadded 3 × 3 window of stride 2.

    Cell j of the coarse map is centred on cell 2 j + 1 of the finer one; between them it is interpolated linearly, and
    the outermost cells are repeated.
    """

    def call(self, maps: list[Any]) -> Any:
        """Return the coarse map of [coarse, fine] with the rows and columns of the fine one."""
        coarse, fine = maps
        # Products with small matrices: repeating cells has a gradient that takes longer than the whole network's.
        down, across = (
            _interpolation(keras.ops.shape(coarse)[axis], keras.ops.shape(fine)[axis], coarse.dtype) for axis in (1, 2)
        )
        return keras.ops.einsum("sj,nrjc->nrsc", across, keras.ops.einsum("ri,nijc->nrjc", down, coarse))

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[Any, ...]:
        """Return the shape of the result."""
        coarse, fine = input_shape
        return (*fine[:3], coarse[3])


def _interpolation(coarse: Any, fine: Any, dtype: str) -> Any:
    """Return the weight of each of `coarse` cells at each of `fine` cells: (fine, coarse), each row summing to 1."""
    cells = keras.ops.cast(keras.ops.arange(coarse), "float32")
    position = (keras.ops.cast(keras.ops.arange(fine), "float32") - 1) / 2
    position = keras.ops.clip(position, 0, keras.ops.cast(coarse, "float32") - 1)
    weights = keras.ops.maximum(1 - keras.ops.abs(position[:, None] - cells[None]), 0)
    return keras.ops.cast(weights, dtype)


@keras.saving.register_keras_serializable("pneumolens")
class OverLungs(keras.layers.Layer):  # type: ignore[misc]
    """Features weighted by the lungs: their mean over all cells is the mean over the lungs.

    References
    ----------
    Zhou et al. 2016, https://arxiv.org/abs/1512.04150, for the map of a head that is linear on the mean.
    """

    def call(self, maps: list[Any]) -> Any:
        """Return features (N, rows, columns, channels) times share of lung (N, rows, columns, 1) over its mean."""
        features, share = maps
        mean = keras.ops.mean(share, axis=(1, 2), keepdims=True)
        return features * (share / keras.ops.maximum(mean, _LEAST_SHARE * 255))

    def compute_output_shape(self, input_shape: list[Any]) -> Any:
        """Return the shape of the features."""
        return input_shape[0]
