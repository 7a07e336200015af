"""The table of metrics: what each is called, its unit, which way is better, what it means, and how it can mislead.

`score` has a column for each that is measured on frames; a judged one has a column a judge, called `id_source.dlib`. What each is
computed from stands with its function; docs/metrics.md says the same at more length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "one", "none"]
"""Which way a figure gets better; one: the nearer to 1, twice as much being as bad as half; none: it says what was done, not how
well."""
Of = Literal["frame", "sample", "track", "protocol"]
"""What a figure belongs to: every frame, frames spread over a track, a whole track, or only a protocol's pairs."""
GROUPS = ("identity", "attributes", "appearance", "time")


@dataclass(frozen=True)
class Metric:
    """One metric. step: a difference that somebody who looks for it begins to see (of |log2| where better is one).

    judged: it has a figure for each judge, or each feature network.
    """

    name: str
    title: str
    group: str
    unit: str
    better: Better
    of: Of
    step: float
    about: str
    trap: str
    decimals: int = 2
    judged: bool = False


METRICS: tuple[Metric, ...] = (
    Metric(
        "id_source", "like the source", "identity", "cosine", "higher", "frame", 0.08,
        "How much the judge takes the swapped face for the source person's.",
        "A judge that was in a loss flatters; every judge has a scale of its own. Pasting the source's photo wins.",
        judged=True,
    ),
    Metric(
        "id_target", "like the target", "identity", "cosine", "lower", "sample", 0.08,
        "How much the judge still sees the target's person.",
        "Two people who look alike share it without any fault of the swap.",
        judged=True,
    ),
    Metric(
        "id_gap", "swap gap", "identity", "cosine", "higher", "sample", 0.08,
        "Likeness to the source less likeness to the target: above 0 the source wins.",
        "Blind to how good either likeness is.",
        judged=True,
    ),
    Metric(
        "id_bare", "like the source, without hair", "identity", "cosine", "higher", "sample", 0.08,
        "The same with everything outside the face's oval hidden in both pictures.",
        "Judges weren't trained on faces without hair: compare it with itself only.",
        judged=True,
    ),
    Metric(
        "id_steady", "the same person throughout", "identity", "cosine", "higher", "frame", 0.05,
        "Likeness of a frame to the mean of its track.",
        "A turned head lowers it in any clip, swapped or not.",
        judged=True,
    ),
    Metric(
        "top1", "found first", "identity", "share", "higher", "protocol", 0.02,
        "How often the source is the nearest of everybody in the gallery.",
        "Means nothing without the gallery's size; nobody but the source may be there twice.",
        judged=True,
    ),
    Metric(
        "top5", "found among five", "identity", "share", "higher", "protocol", 0.02,
        "How often the source is among the five nearest.", "As top1; in a small gallery it is always 1.",
        judged=True,
    ),
    Metric(
        "pose", "head pose", "attributes", "degrees", "lower", "frame", 1.5,
        "Angle between the target's head and the swapped one.",
        "Copying the target scores 0; so it does for every figure of this group.",
    ),
    Metric(
        "expression", "expression", "attributes", "0..1", "lower", "frame", 0.02,
        "Mean difference of the 52 blendshapes.", "No paper's expression error is on this scale.", decimals=3,
    ),
    Metric(
        "gaze", "gaze", "attributes", "degrees", "lower", "frame", 4.0,
        "Angle between the lines of sight.", "Means little for small faces; shut eyes give none.", decimals=1,
    ),
    Metric(
        "eyes", "eye openness", "attributes", "ratio", "lower", "frame", 0.04,
        "Difference of how far the lids are apart, beside the eye's width.", "Eyes of another shape differ at rest.",
        decimals=3,
    ),
    Metric(
        "mouth", "mouth openness", "attributes", "ratio", "lower", "frame", 0.04,
        "Difference of how far the lips are apart, beside the mouth's width.", "Lips of another shape differ at rest.",
        decimals=3,
    ),
    Metric(
        "shape", "landmarks' shape", "attributes", "% of eye distance", "lower", "frame", 1.0,
        "How far 68 landmarks lie from the target's, after taking off place, size and roll.",
        "A source with another skull ought to differ: 0 is not the goal.",
    ),
    Metric(
        "placement", "landmarks' place", "attributes", "% of eye distance", "lower", "frame", 1.0,
        "How far 68 landmarks lie from the target's, as they are.", "As shape; holds the landmark network's noise.",
    ),
    Metric(
        "change", "what was changed", "appearance", "grey levels", "none", "frame", 3.0,
        "Difference to the target inside the face, less that round it (90th percentiles). Below 3 the face was left as it was.",
        "Says that something was done, not that it was done well.", decimals=1,
    ),
    Metric(
        "seam", "visible edge", "appearance", "ratio", "lower", "frame", 0.25,
        "Steps along the edge of what was changed, beside the target's own at that place: 1 is no more edge than before.",
        "A hand before the face has edges too; blurring hides them.",
    ),
    Metric(
        "colour_gap", "colour gap", "appearance", "ΔE", "lower", "frame", 1.2,
        "Colour difference of face and neck, forehead and ears, less what the target had.",
        "Nothing to compare with where hair and collar hide all skin.", decimals=1,
    ),
    Metric(
        "light_gap", "light gap", "appearance", "degrees", "lower", "frame", 10.0,
        "Angle between where the light comes from in the swapped and the target face.",
        "In flat light the direction means nothing.", decimals=0,
    ),
    Metric(
        "sharpness", "sharpness", "appearance", "ratio", "one", "frame", 0.2,
        "Fine detail beside the target's: below 1 is softer.", "Make-up, stubble and pores of the source count as detail.",
    ),
    Metric(
        "grain", "grain", "appearance", "ratio", "one", "frame", 0.5,
        "Noise beside the target's: below 1 is cleaner.", "After strong compression hardly any noise is left to compare.",
    ),
    Metric(
        "psnr", "PSNR", "appearance", "dB", "higher", "protocol", 0.5,
        "Squared error to the target, of self-swaps only.", "Prefers blur; between two people it means nothing.",
    ),
    Metric(
        "ssim", "SSIM", "appearance", "0..1", "higher", "protocol", 0.01,
        "Structural similarity to the target, of self-swaps only.", "As PSNR.", decimals=3,
    ),
    Metric(
        "ms_ssim", "MS-SSIM", "appearance", "0..1", "higher", "protocol", 0.01,
        "Structural similarity over five scales, of self-swaps only.", "As PSNR.", decimals=3,
    ),
    Metric(
        "perceptual", "perceptual distance", "appearance", "distance", "none", "sample", 0.02,
        "Distance of features to the target's: lower is better for self-swaps, and only for them.",
        "Figures of two networks don't compare, nor with published LPIPS unless the name says so.",
        decimals=3, judged=True,
    ),
    Metric(
        "kid", "KID", "appearance", "distance", "lower", "protocol", 0.001,
        "Distance of two sets of faces as a feature network sees them, without bias from their size.",
        "Copying the target wins; figures of two networks don't compare.", decimals=4, judged=True,
    ),
    Metric(
        "fid", "FID", "appearance", "distance", "lower", "protocol", 1.0,
        "The same by mean and covariance.", "Larger for fewer pictures: read KID for small sets.",
        decimals=1, judged=True,
    ),
    Metric(
        "flicker", "flicker", "time", "grey levels", "lower", "frame", 1.0,
        "Warping error from the frame before, less the target's own: 0 is as steady as it was.",
        "A still or a blurred face can't flicker.",
    ),
    Metric(
        "tof", "motion", "time", "pixels of 256", "lower", "frame", 0.5,
        "Difference of how the swapped and the target face move from the frame before.",
        "On flat skin neither flow is known.",
    ),
    Metric(
        "jitter", "landmark jitter", "time", "% of eye distance", "lower", "frame", 1.0,
        "Second difference in time of the swapped landmarks less the target's.",
        "Holds the landmark network's own noise, about the same for every system.",
    ),
    Metric(
        "jump", "out of place", "time", "% of eye distance", "lower", "frame", 0.8,
        "How far the landmarks leave the place beside the target's that they keep in the frames around.",
        "A place that is wrong throughout gives 0: read placement.",
    ),
    Metric(
        "flicker_ratio", "flicker ratio", "time", "ratio", "lower", "track", 0.1,
        "Warping error of the whole track over the target's own: 1 is as steady as it was (flicker_dis).",
        "Compares with itself only: in a still clip the target's own is next to nothing.",
    ),
    Metric(
        "id_spread", "identity spread", "time", "cosine", "lower", "track", 0.02,
        "Standard deviation of id_steady over the track.", "Turned heads spread in any clip.", decimals=3, judged=True,
    ),
    Metric(
        "dropouts", "missed frames", "time", "%", "lower", "track", 1.0,
        "Frames in which the target shows the face and the swap left it, or shows none.",
        "A system that swaps anything never drops out: read the rest.", decimals=1,
    ),
)  # fmt: skip
SHORT = {
    "degrees": "°", "% of eye distance": " %", "%": " %", "grey levels": " levels", "ΔE": " ΔE", "pixels of 256": " px",
    "dB": " dB",
}  # fmt: skip
"""Units as they stand behind a figure."""
BY_NAME = {metric.name: metric for metric in METRICS}


def of_column(column: str) -> Metric:
    """The metric of a column: `id_source.dlib` is `id_source`, judged by dlib. Raises KeyError for another name."""
    return BY_NAME[column.split(".")[0]]


def title(column: str) -> str:
    """What to call a column: its metric's title, and who judged."""
    judge = column.partition(".")[2]
    return of_column(column).title + (f" ({judge})" if judge else "")


def figure(column: str, value: float) -> str:
    """A figure with its unit: '1.14°', '0.60'."""
    metric = of_column(column)
    said = f"{value:.{metric.decimals}f}"
    return f"{said.removeprefix('-') if float(said) == 0 else said}{SHORT.get(metric.unit, '')}"


def octaves(value: float) -> float:
    """A ratio in doublings: 0 is equal, 1 twice as much, -1 half."""
    return math.log2(max(value, 1e-3))


def group(name: str) -> Iterator[Metric]:
    """The metrics of one of `GROUPS`, in order."""
    return (metric for metric in METRICS if metric.group == name)
