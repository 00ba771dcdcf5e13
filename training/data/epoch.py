"""The order of an epoch: which radiographs are drawn, and when, so that neither class nor source dominates.

Where a dataset has several sources, each with its own share of pneumonia, a classifier can learn the source instead of
the lungs. The same ratio of the classes is therefore drawn from every source that has both.

>>> drawn_counts(np.array([0, 0, 0, 1, 0, 1, 1, 1]), 1.5, np.array([0, 0, 0, 0, 1, 1, 1, 1])).tolist()
[[1, 1], [1, 1]]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int_]
NO_SOURCES: Ints = np.zeros(0, np.int_)


def epoch_order(labels: Ints, max_ratio: float, rng: np.random.Generator, sources: Ints = NO_SOURCES) -> Ints:
    """Draw one epoch.

    Of one source: all samples of the smaller class, and a random part of the larger one, in random order. Of several:
    as `drawn_counts` says, with every source and class spread evenly over the epoch, so that each batch has its share.

    Parameters
    ----------
    labels
        (n,), int in {0, 1}.
    max_ratio
        Largest ratio of the larger to the smaller class, at least 1.
    rng
        Generator of the draw, which changes from epoch to epoch.
    sources
        (n,), int: the source of each sample; empty for one source.

    Returns
    -------
    npt.NDArray[np.int_]
        (m,), indices in random order.
    """
    if not _is_balanced_by_source(labels, sources):
        by_class = [np.flatnonzero(labels == label) for label in (0, 1)]
        smaller = min(len(members) for members in by_class)
        limit = max(1, int(smaller * max_ratio))
        drawn = [rng.permutation(members)[:limit] for members in by_class]
        return rng.permutation(np.concatenate(drawn))
    indices, places = [], []
    for source, counts in zip(np.unique(sources), drawn_counts(labels, max_ratio, sources), strict=True):
        for label, n in enumerate(counts):
            members = rng.permutation(np.flatnonzero((sources == source) & (labels == label)))[:n]
            indices.append(members)
            places.append((np.arange(n) + rng.random(n)) / max(1, n))
    return np.concatenate(indices)[np.argsort(np.concatenate(places), kind="stable")]


def drawn_counts(labels: Ints, max_ratio: float, sources: Ints = NO_SOURCES) -> Ints:
    """Return how many samples an epoch draws.

    Every source with both classes gives the same ratio of them: that of all such sources together, within `max_ratio`.
    Sources with one class give what keeps the ratio of the whole epoch within it.

    Parameters
    ----------
    labels, max_ratio, sources
        As in `epoch_order`.

    Returns
    -------
    ndarray
        (sources, 2), int: of each source, in the order of `numpy.unique`, NORMAL and PNEUMONIA.
    """
    if not _is_balanced_by_source(labels, sources):
        counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
        return np.asarray(np.minimum(counts, max(1, int(counts.min() * max_ratio)))[None], np.int_)
    counts = np.array([[((sources == s) & (labels == label)).sum() for label in (0, 1)] for s in np.unique(sources)])
    both = counts.min(axis=1) > 0
    normal, pneumonia = counts[both].sum(axis=0)
    ratio = float(np.clip(pneumonia / normal, 1 / max_ratio, max_ratio))
    drawn = np.zeros_like(counts)
    drawn[both, 0] = np.maximum(1, np.minimum(counts[both, 0], counts[both, 1] / ratio))
    drawn[both, 1] = np.maximum(1, np.minimum(counts[both, 1], counts[both, 0] * ratio))
    for label in (0, 1):
        alone = np.flatnonzero(~both & (counts[:, label] > 0))
        room = max(0, int(max_ratio * drawn[:, 1 - label].sum()) - int(drawn[:, label].sum()))
        available = counts[alone, label].sum()
        if available:
            drawn[alone, label] = counts[alone, label] * min(1.0, room / available)
    return np.asarray(drawn, np.int_)


def _is_balanced_by_source(labels: Ints, sources: Ints) -> bool:
    """Whether there are several sources, and one of them at least has both classes."""
    found = np.unique(sources)
    return len(found) > 1 and any(len(np.unique(labels[sources == source])) == 2 for source in found)
