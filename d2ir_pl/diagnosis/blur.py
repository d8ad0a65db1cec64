"""Whether a photo is blurred, and by what."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from d2ir_pl.diagnosis.blur_kinds import kinds_of_blur
from d2ir_pl.diagnosis.blurred_edges import (
    BLURRED,
    NO_GAUSSIAN,
    SHARP,
    SURELY,
    blurred_by_edges,
)
from d2ir_pl.diagnosis.finding import Finding
from d2ir_pl.diagnosis.measurements import ELONGATED, Measurements
from d2ir_pl.estimators.widths import SHARP_WIDTH
from d2ir_pl.restoration.construction import Settings

SHARP_JPEG_WIDTH = 0.85
"""Width in pixels of a blur that the coefficients of sharp JPEGs stay below."""
NOISE_OF_COEFFICIENTS, LOUD_WIDTH = 7.0, 0.85
"""Noise in grey levels above which the coefficients of a JPEG do not tell whether it is blurred,
and the width in pixels that the spectrum of a sharp one with so much noise stays below."""
TRUSTED = 0.75
"""Share of the width in its coefficients that the spectrum of a JPEG has to show to be believed."""
MAX_RATIO = 1.5
"""Ratio of the two widths above which a blur counts as stronger in one direction."""
SHAKEN = 500.0
"""Value of `Measurements.shaken` above which the kernel of the edges is believed."""
FAITHFUL, LITTLE = 97, 2.0
"""Quality of a JPEG, and noise in grey levels up to which its spectrum is believed where it shows
`TRUSTED` of what its coefficients do."""
CAUTIOUS = 0.9
"""Share that is undone of the width that the spectrum of a WebP file shows, or the coefficients of
a JPEG without edges: a blur that is taken for wider than it was costs more than one that is taken
for narrower."""
LESS_IN_NOISE = 1 / 20
"""How much less of its width the edges of a blurred JPEG show for each grey level of noise."""
SHOWN_BY_EDGES = 1.15
"""Width of the blur of a JPEG, in units of that of its edges, where there is no noise."""
COMBINED, WEIGHT, WIDEST = 0.95, 0.6, 1.1
"""Share that is undone of the mean of what edges and coefficients of a JPEG show, the exponent of
the coefficients in it, and their largest ratio: smooth scenes have coefficients of wider blurs, and
no edge is sharper than the blur has left it."""
DIRECTED, MOST_DIRECTED = 93, 3.5
"""Quality of a noisy JPEG from which its spectrum shows a direction, and the largest ratio of two
widths that is no artefact: without noise, rounding empties the spectrum of other qualities more in
one direction than in another."""
GAUSSIAN = 0.9
"""Share of the width of the edges from which the coefficients of a JPEG show a Gaussian: shakes
leave fine detail along their path, and with it coefficients of narrow blurs."""
OF_EDGES, RADIUS_OF_EDGES = 1.1, 2.0
"""Width of a Gaussian, and radius of a disk, that are undone, in units of the width of the edges:
nine tenths of what they are on blurred photographs."""
SPECTRUM_SHOWS = 0.6
"""Share of the width of the edges that the spectrum has to show to be believed in its place."""
GRAINY = "no blur to undo: it is a little soft, and its grain would be amplified"
"""What is said of a photo that is perhaps blurred where it would do harm to undo that."""
OUT_OF_FOCUS, SMALLEST_DISK = 0.7, 2.5
"""Probability from which a blur counts as that of a disk, and the radius in pixels below which it
is hardly another one than a Gaussian."""
LONG = 0.3
"""Probability from which a blur that is wider in one direction may count as a shake, and another
one is compared with one."""
ASKED = 0.2
"""Probability of a shake from which a photo that is no JPEG is compared with one, if its spectrum
does not show a Gaussian of two widths: Gaussians win the contest between kernels."""
NOISE_OF_KINDS = 5.0
"""Noise in grey levels above which the edges of a compressed photo do not tell the kind of a blur:
two thirds of Gaussians in noise of 13 look like shakes, whose kernels cannot be found in it."""
HIDDEN_JPEG, HIDDEN_NOISE = 5.0, 2.5
"""Unevenness of the finest frequencies that tells a JPEG off its grid, of which no coefficient is
known, and the noise of their band in grey levels, half of that before the compression, above which
it counts as noisy."""
UNSURE = (
    "blur: shaken, out of focus or soft, which its edges do not tell; the shape that leads to the "
    "best image is taken"
)
"""What is said of a photo whose kind of blur is open."""
CLEARLY_SOFT = 0.6
"""Probability of a Gaussian up to which a blurred JPEG is compared with other shapes."""
UNSURE_WIDTH = 0.8
"""Width of edges in pixels above which kinds are compared by what they lead to: the shape of a
narrower blur changes little."""


@dataclass(frozen=True)
class _Evidence:
    """What the measurements of a blur say together.

    Attributes:
        edges: probability that the photo is blurred, by its edges.
        is_jpeg: whether compression has shaped its spectrum.
        faithful: whether the spectrum of a JPEG is about that of the photo before it.
        loud: whether there is so much noise in a JPEG that its coefficients tell nothing: those of
            blurs of 1.0 and 1.6 pixels look sharp then, and others blurred.
        coefficients: whether the coefficients of a JPEG show a blur, and its spectrum is not that
            of the photo, or shows less.
    """

    edges: float
    is_jpeg: bool
    faithful: bool
    loud: bool
    coefficients: bool

    @classmethod
    def of(cls, seen: Measurements) -> _Evidence:
        is_jpeg = seen.jpeg_width > 0
        faithful = is_jpeg and seen.quality >= FAITHFUL and seen.jpeg_noise <= LITTLE
        believed = faithful and seen.width >= TRUSTED * seen.jpeg_width
        loud = is_jpeg and seen.jpeg_noise > NOISE_OF_COEFFICIENTS
        hidden = seen.jpeg_width > SHARP_JPEG_WIDTH and not believed and not loud
        return cls(blurred_by_edges(seen), is_jpeg or bool(seen.codec), faithful, loud, hidden)

    def shown(self, seen: Measurements) -> bool:
        """Whether the spectrum or the coefficients show a blur."""
        return self.coefficients or seen.width > (LOUD_WIDTH if self.loud else SHARP_WIDTH)

    def confidence(self, seen: Measurements) -> float:
        """Probability that the photo is blurred, by everything; 0 if it counts as sharp."""
        shown = self.shown(seen)
        # Rounding by WebP, AVIF or HEIC looks like a blur to the spectrum, and not to the edges.
        told = shown and not seen.codec and (self.edges > SHARP or not seen.edges.count)
        if self.edges > BLURRED or told:
            return max(self.edges, BLURRED) if shown else self.edges
        return 0.0


def blur(seen: Measurements) -> Finding:
    """Judge the blur by the edges, the spectrum and, of a JPEG, the coefficients.

    Edges tell whether there is one: they outlast noise, sharpening and compression. The spectrum
    tells its width and direction where noise is white and nothing was compressed; that of a JPEG
    misses most of a blur, unless its quality is among the best. Its coefficients do not, but they
    show no direction. A width that stage 1 would not read off the spectrum again is handed on as
    known. Trails of lights tell a shake. Where the kind is unsure, a contest between kernels
    decides (`kernel_contest.py`), which has Gaussians, disks and straight motions as well.
    """
    if seen.trails:
        return Finding(
            f"blur: shaken; {seen.trails} lights have left trails of one shape",
            "blind_deblur_kernel",
            confidence=BLURRED,
        )
    evidence = _Evidence.of(seen)
    confidence = evidence.confidence(seen)
    if not confidence:
        return Finding("no blur: its sharpest edges are as sharp as its pixels allow")
    hidden = not evidence.shown(seen) and evidence.edges < SURELY
    if _is_loud(seen):
        return Finding(GRAINY) if hidden else _soft(seen, evidence, confidence)
    soft, defocus, shaken = kinds_of_blur(seen)
    gaussian = _is_gaussian(seen)
    confirmed = seen.shape.elongated < ELONGATED or (shaken > LONG and seen.shaken > SHAKEN)
    if shaken > max(soft, defocus) and confirmed and not gaussian:
        return Finding(
            "blur: shaken; the camera moved, or what it looks at; edges are smeared along a path",
            "blind_deblur_kernel",
            confidence=confidence * shaken,
        )
    radius = round(RADIUS_OF_EDGES * seen.edges.typical, 2)
    if defocus > OUT_OF_FOCUS and radius > SMALLEST_DISK:
        sentence, known = "blur: out of focus; points have become disks", {}
        # Where a JPEG was compressed once and measured as a whole, stage 1 reads it better.
        if seen.jpeg_width == 0 or seen.earlier or seen.subject:
            sentence, known = f"{sentence} of about {radius:.1f} pixels radius", {"radius": radius}
        return Finding(sentence, "deblur_defocus", known, confidence=confidence * defocus)
    likeliest = shaken > max(soft, defocus)
    perhaps = shaken > LONG and (likeliest or seen.shape.elongated < ELONGATED)
    round_ = seen.widths[0] <= MAX_RATIO * seen.widths[1] and not evidence.is_jpeg
    perhaps = perhaps or (hidden and soft < NO_GAUSSIAN) or (shaken > ASKED and round_)
    wide = seen.edges.typical > UNSURE_WIDTH or likeliest
    if perhaps and wide and not seen.codec and not gaussian:
        return Finding(
            UNSURE, "blind_deblur_kernel", confidence=confidence * max(soft, defocus, shaken)
        )
    if hidden:
        return Finding(GRAINY)
    return _soft(seen, evidence, confidence)


def compared(seen: Measurements, found: Finding) -> Finding:
    """The finding on the blur of a photo, to be compared with other shapes if it is a doubtful one.

    Coefficients of a JPEG show disks and shakes as Gaussians. The edges tell how likely one is, and
    the Gaussian of the width that was found is among the shapes.

    Args:
        seen: what a photo shows that is neither dark nor faded.
        found: what was found of its blur.
    """
    doubtful = seen.jpeg_width > 0 and seen.edges.typical > UNSURE_WIDTH and not _is_loud(seen)
    if found.config != "blind_deblur" or not doubtful or kinds_of_blur(seen)[0] > CLEARLY_SOFT:
        return found
    return replace(found, sentence=UNSURE, config="blind_deblur_kernel")


def _is_gaussian(seen: Measurements) -> bool:
    """Whether the coefficients of a JPEG show a Gaussian as wide as the edges."""
    return seen.jpeg_width > max(SHARP_JPEG_WIDTH, GAUSSIAN * seen.edges.typical)


def _is_loud(seen: Measurements) -> bool:
    """Whether a compressed photo is too noisy to tell kinds of blur, or was compressed twice."""
    if seen.codec:
        return seen.noise is not None and 255 * seen.noise.level / 2 > NOISE_OF_KINDS
    hidden = seen.uneven > HIDDEN_JPEG and 255 * seen.sigma_y > HIDDEN_NOISE
    return seen.jpeg_noise > NOISE_OF_KINDS or hidden or seen.earlier


def _soft(seen: Measurements, evidence: _Evidence, confidence: float) -> Finding:
    """A blur that a Gaussian describes."""
    known: Settings = {}
    of_edges = OF_EDGES * seen.edges.typical
    seen_width = seen.width >= max(SHARP_WIDTH, SPECTRUM_SHOWS * of_edges)
    if seen_width and _has_direction(seen, evidence):
        (major, minor), angle = seen.widths, seen.angle
        if evidence.is_jpeg:
            known = {"width": [round(major, 2), round(minor, 2)], "angle": round(angle, 2)}
        return Finding(
            f"blur: more in one direction; points have become spots of about {major:.1f} by "
            f"{minor:.1f} pixels, at {math.degrees(angle):.0f} degrees",
            "blind_deblur_anisotropic",
            known,
            confidence,
        )
    if evidence.coefficients:
        width, source = _of_jpeg(seen, seen.jpeg_width), "by its JPEG coefficients"
    elif not seen_width:
        width, source = of_edges, "by its edges"
    elif evidence.faithful:
        width, source = seen.width, "by its spectrum"
    elif evidence.is_jpeg:
        width = CAUTIOUS * seen.width if seen.codec else _of_jpeg(seen, seen.width)
        source = "by its spectrum"
    else:
        width, source = seen.width, ""
    if source:
        known = {"width": round(width, 2)}
    why = f" ({source})" if source else ""
    return Finding(
        f"blur: soft, as if slightly out of focus; points have become spots of a width of about "
        f"{width:.2f} pixels{why}",
        "blind_deblur",
        known,
        confidence,
    )


def _has_direction(seen: Measurements, evidence: _Evidence) -> bool:
    """Whether the spectrum shows a blur that is wider in one direction."""
    ratio = seen.widths[0] / seen.widths[1]
    if ratio <= MAX_RATIO or seen.codec:
        return False
    if not evidence.is_jpeg:
        return True
    clear = seen.quality >= (DIRECTED if seen.jpeg_noise > LITTLE else FAITHFUL)
    return clear and seen.width >= TRUSTED * seen.jpeg_width and ratio <= MOST_DIRECTED


def _of_jpeg(seen: Measurements, width: float) -> float:
    """The width to undo of a blur before JPEG.

    That of edges and another one, and that of the spectrum above the rounding, err independently,
    so that their geometric mean errs least (docs/experiments.md). In loud noise the spectrum shows
    none.

    Args:
        seen: what the photo shows.
        width: width in pixels that the coefficients or the spectrum show.
    """
    by_edges = _by_edges(seen, width)
    if seen.rounded_width == 0 or seen.jpeg_noise > NOISE_OF_COEFFICIENTS or seen.earlier:
        return by_edges
    return math.sqrt(by_edges * seen.rounded_width)


def _by_edges(seen: Measurements, width: float) -> float:
    """The width of a blur before JPEG by its edges and by another one.

    With e the width that the edges show, corrected for their noise, and w the other one, it is
    c e min(w / e, r)^b, which errs less than each of them (docs/experiments.md). Where there is
    little noise, it is no less than the spectrum shows, of which rounding takes and to which it
    adds nothing; in more noise there is no r, because edges are uncertain.

    Args:
        seen: what the photo shows.
        width: width in pixels that the coefficients or the spectrum show.
    """
    edges = SHOWN_BY_EDGES * (1 + LESS_IN_NOISE * seen.jpeg_noise) * seen.edges.typical
    if edges == 0:
        return CAUTIOUS * width
    if seen.jpeg_noise > LITTLE:
        return COMBINED * edges * math.pow(width / edges, WEIGHT)
    return max(seen.width, COMBINED * edges * math.pow(min(width / edges, WIDEST), WEIGHT))
