"""What is published about the data that PneumoLens knows, for cards that do not say it themselves."""

from __future__ import annotations

from types import MappingProxyType

KERMANY_KNOWN = MappingProxyType(
    {
        "source": "Guangzhou Women and Children's Medical Center: Kermany, Zhang, Goldbaum, Mendeley Data, doi "
        "10.17632/rscbjbr9sj",
        "licence": "CC BY 4.0",
        "population": "children imaged in routine care at one hospital",
        "ages": "1–5 years",
        "projections": "frontal",
        "labels": "two physicians, and a third for the evaluation set (Kermany et al. 2018, doi "
        "10.1016/j.cell.2018.02.010)",
    }
)
NIH_KNOWN = MappingProxyType(
    {
        "source": "NIH Clinical Center: ChestX-ray14, Wang et al. 2017, doi 10.1109/CVPR.2017.369",
        "licence": "free to use with attribution to the NIH Clinical Center",
        "population": "patients of one research hospital, mostly adults",
        "labels": "text-mined from the radiologists' reports",
    }
)
# Digest of the official train and val splits at 224 px and more, from which the shipped version was trained.
KERMANY_DIGESTS = frozenset({"4f7ba032e93eee96ac6112c30befe806ad6e5d517487d5868581ec29b34241c7"})
