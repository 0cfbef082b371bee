"""The anatomy of a phantom: trunk, spine and ribs, then the organs of a chest or of an abdomen.

As on a CT slice the patient is seen from the feet: the patient's left is on the right. HU of tissues are
textbook values, shapes are drawn so as to look like a slice and to differ between individuals, no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from provenance.phantoms.canvas import Canvas, Shape, Traits

if TYPE_CHECKING:
    from provenance.arrays import Float32s, Uint8s

PHANTOM_VERSION = 1
"""Another version draws other pixels from the same seed."""

SIZE = 256
"""Rows and columns of a slice."""

LUNG, FAT, FLUID, BLOOD, MUSCLE, MARROW, BONE = -840.0, -105.0, 8.0, 45.0, 55.0, 230.0, 720.0
CHEST_WINDOW = (-250.0, 1500.0)
ABDOMEN_WINDOW = (30.0, 480.0)

# First words of the seeds, so that patients and fresh phantoms never draw from the same stream.
_PATIENTS, _FRESH = 1, 2


@dataclass(frozen=True, slots=True)
class PhantomSlice:
    """One slice of a phantom patient such as ``P007``: slices of one patient are not independent.

    Its name is a file's without the ending and begins with the patient; pixels are uint8 (SIZE, SIZE).
    """

    name: str
    patient: str
    pixels: Uint8s


def patient_slices(number: int, *, slices: int, seed: int) -> list[PhantomSlice]:
    """The slices of one phantom patient, evenly spaced along the body part; ``number`` counts from 1."""
    patient = f"P{number:03d}"
    levels = np.linspace(-1.0, 1.0, slices) if slices > 1 else np.zeros(1)
    return [
        PhantomSlice(f"{patient}-slice{i}", patient, phantom((seed, _PATIENTS, number), float(level)))
        for i, level in enumerate(levels, start=1)
    ]


def fresh_phantom(number: int, *, seed: int) -> Uint8s:
    """A slice of a phantom that belongs to no patient, uint8 (SIZE, SIZE)."""
    level = float(np.random.default_rng((seed, _FRESH, number, 0)).uniform(-1.0, 1.0))
    return phantom((seed, _FRESH, number, 1), level)


def phantom(individual: tuple[int, ...], level: float) -> Uint8s:
    """One axial slice of chest or abdomen, uint8 (SIZE, SIZE): every trait follows from the individual's seed words.

    ``level`` is the height along the body part in [-1, 1]; neighboring levels give similar slices.
    """
    traits = Traits(np.random.default_rng(individual), level)
    canvas = Canvas(SIZE, x=traits.of(-0.06, 0.06), y=traits.of(-0.08, 0.02), turn=traits.of(-0.10, 0.10))
    is_chest = traits.one_in(2)
    centre, width = CHEST_WINDOW if is_chest else ABDOMEN_WINDOW
    draw = _draw_chest if is_chest else _draw_abdomen
    draw(canvas, traits)
    # Noise belongs to the slice: another level of the same individual has another.
    noise = np.random.default_rng((*individual, round(1000 * (level + 2))))
    hu = _scanned(canvas.hu, traits, noise)
    centre += traits.of(-0.04, 0.04) * width
    return greys((hu - (centre - width / 2)) / width * 255.0)


def greys(values: np.ndarray[Any, Any]) -> Uint8s:
    """Rounded to whole greys, clipped to 0...255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _scanned(hu: Float32s, t: Traits, rng: np.random.Generator) -> Float32s:
    """What a scanner makes of it: its resolution, and noise with the grain of its reconstruction kernel."""
    sharpness, grain, strength = t.of(0.5, 0.8), t.of(0.5, 1.1), t.of(8, 24)
    noise = np.asarray(ndimage.gaussian_filter(rng.standard_normal(hu.shape), grain))
    blurred = np.asarray(ndimage.gaussian_filter(hu, sharpness))
    return np.asarray(blurred + noise * (strength / float(noise.std())), dtype=np.float32)


def _draw_trunk(canvas: Canvas, t: Traits) -> Shape:
    """Table, skin, fat and muscles. Gives the outline of the muscles."""
    width, height = t.of(0.72, 0.90, 0.03), t.of(0.50, 0.66, 0.03)
    body = Shape(0, 0, width, height, power=t.of(2.1, 2.7), wobble=t.wobble(0.022))
    cradle = Shape(0, height - t.of(0.75, 0.85), 1.25, 0.93, power=2.3)
    below = canvas.cover(Shape(0, height + 0.45, 1.0, 0.5, power=4), edge=3)
    canvas.paint(cradle, -380, within=below)
    canvas.paint(cradle.grown(-0.022), -1000)
    fat = t.of(0.02, 0.13, 0.015)
    canvas.paint(body, 20)
    canvas.paint(body.grown(-0.014), FAT, grain=9)
    muscles = replace(body.grown(-0.014 - fat), wobble=t.wobble(0.02))
    canvas.paint(muscles, MUSCLE, grain=10)
    return muscles


def _draw_spine(canvas: Canvas, t: Traits, back: float) -> Shape:
    """A vertebra in front of ``back`` (its y), with canal, arch, processes and back muscles. Gives its body."""
    size = t.of(0.095, 0.135, 0.008)
    y = back - t.of(0.30, 0.36, 0.01)
    for side in (-1, 1):
        bulk = Shape(side * t.of(0.13, 0.18, 0.01), y + 0.20, t.of(0.10, 0.15), t.of(0.07, 0.11), side * 0.25)
        canvas.paint(bulk.grown(0.012), FAT)
        canvas.paint(bulk, 58, grain=14)
        canvas.paint(Shape(side * size * 1.3, y + 0.12, t.of(0.07, 0.13, 0.04), 0.022, side * t.of(-0.5, 0.1)), 420)
        canvas.paint(Shape(side * size * 0.62, y + 0.145, 0.032, 0.06, side * -0.5), 520)
    canvas.paint(Shape(0, y + 0.235, 0.022, t.of(0.05, 0.085, 0.03), t.of(-0.12, 0.12)), 480)
    body = Shape(0, y, size * t.of(1.0, 1.25), size * t.of(0.75, 0.95), power=2.4, wobble=t.wobble(0.02))
    canvas.paint(body, BONE * t.of(0.65, 0.95))
    canvas.paint(body.grown(-0.017), MARROW * t.of(0.7, 1.2), grain=45)
    canal = Shape(0, y + size * 0.85 + 0.045, t.of(0.045, 0.06), t.of(0.038, 0.05))
    canvas.paint(canal.grown(0.014), 430)
    canvas.paint(canal, 5)
    canvas.paint(canal.grown(-0.018), 40)
    return body


def _draw_ribs(canvas: Canvas, t: Traits, cage: Shape, count: int) -> None:
    """Ribs along the cage: obliquely cut, so elongated along it, at angles of the individual's own."""
    spacing = t.of(0.9, 1.1)
    for side in (-1, 1):
        phase = t.of(-0.12, 0.12, 0.22)
        for i in range(count):
            angle = 1.35 - (i + 0.5) * 2.6 / 7 * spacing + phase + t.of(-0.06, 0.06)
            x, y = side * cage.a * math.cos(angle), cage.b * math.sin(angle)
            tangent = math.atan2(cage.b * math.cos(angle), -side * cage.a * math.sin(angle))
            rib = Shape(x, cage.y + y, t.of(0.05, 0.13, 0.03), t.of(0.022, 0.030), tangent)
            canvas.paint(rib, BONE * t.of(0.7, 1.05))
            canvas.paint(rib.grown(-0.012), MARROW)


def _draw_chest(canvas: Canvas, t: Traits) -> None:
    muscles = _draw_trunk(canvas, t)
    _draw_breasts(canvas, t, muscles)
    _draw_shoulder_blades(canvas, t, muscles)
    cage = replace(muscles.grown(-t.of(0.06, 0.105, 0.01)), y=-0.015, power=2.25)
    canvas.paint(cage, -70, grain=14)
    inside = canvas.cover(cage)
    lungs = [_draw_lung(canvas, t, cage, side, inside) for side in (-1, 1)]
    blood = t.of(120, 280) if t.one_in(2) else BLOOD
    spine = _draw_spine(canvas, t, muscles.b)
    _draw_airways(canvas, t, spine)
    before_spine = canvas.cover(Shape(0, spine.y - spine.b - 1.03, 2.0, 1.0, power=12))
    _draw_heart(canvas, t, cage, blood, inside * before_spine)
    _draw_aorta(canvas, t, spine, blood)
    _draw_ribs(canvas, t, cage.grown(0.028), 7)
    sternum = Shape(t.of(-0.02, 0.02), -cage.b - 0.035, t.of(0.07, 0.12, 0.02), t.of(0.026, 0.036))
    canvas.paint(sternum, 480)
    canvas.paint(sternum.grown(-0.013), 150)
    _draw_finding(canvas, t, cage, lungs)


def _draw_breasts(canvas: Canvas, t: Traits, muscles: Shape) -> None:
    present, size, gland = t.one_in(3), t.of(0.20, 0.30), t.of(0.3, 0.6)
    for side in (-1, 1):
        mound = Shape(side * muscles.a * 0.48, -muscles.b - 0.02, size, size * t.of(0.5, 0.7), side * 0.2)
        tissue = replace(mound.grown(-size * 0.35), wobble=t.wobble(0.2), b=mound.b * gland)
        if present:
            canvas.paint(mound, 20)
            canvas.paint(mound.grown(-0.014), FAT, grain=10)
            canvas.paint(tissue, 25, grain=30, edge=5)
            canvas.paint(muscles, MUSCLE, grain=10)


def _draw_shoulder_blades(canvas: Canvas, t: Traits, muscles: Shape) -> None:
    present = t.one_in(2)
    for side in (-1, 1):
        tilt = side * t.of(-1.15, -0.75, 0.1)
        y = muscles.b * t.of(0.38, 0.5, 0.06)
        blade = Shape(side * muscles.a * 0.80, y, t.of(0.15, 0.22, 0.04), 0.022, tilt)
        if present:
            canvas.paint(blade, 560)
            canvas.paint(blade.grown(-0.012), MARROW)


def _draw_lung(canvas: Canvas, t: Traits, cage: Shape, side: int, inside: Float32s) -> Float32s:
    """One lung, and its vessels, which thin out from the hilum. Gives its coverage."""
    half = cage.a * t.of(0.43, 0.49, 0.03)
    x, y = side * (cage.a - half), cage.y + t.of(-0.01, 0.03)
    shape = Shape(x, y, half, cage.b * t.of(0.88, 0.97, 0.04), power=t.of(2.1, 2.5), wobble=t.wobble(0.05))
    lung: Float32s = canvas.cover(shape) * inside
    canvas.paint(shape, LUNG + t.of(-40, 60), grain=28, within=inside)
    # Blood sinks: lungs are denser towards the back.
    canvas.hu += lung * (canvas.y * t.of(20, 110))
    hilum_y = t.of(-0.05, 0.08, 0.03)
    for _ in range(60):
        angle, far = t.of(-math.pi / 2, math.pi / 2, 0.10), t.of(0.05, 1.0, 0.05)
        dx, dy = side * math.cos(angle) * far * half * 1.75, math.sin(angle) * far * shape.b
        thick = (0.004 + 0.020 * max(1 - far, 0.0) ** 1.5) * t.of(0.5, 1.1)
        long = thick * (1 + t.of(0.0, 1.7) ** 2)
        heading = math.atan2(dy, dx) + t.of(-0.5, 0.5)
        vessel = Shape(side * cage.a * 0.2 + dx, hilum_y + dy, long, thick, heading)
        canvas.paint(vessel, t.of(-350, 60), within=lung, edge=1.6)
    return lung


def _draw_heart(canvas: Canvas, t: Traits, cage: Shape, blood: float, inside: Float32s) -> None:
    """The heart, leaning to the patient's left, with chambers where contrast shows them; less of it higher up."""
    size = t.of(0.17, 0.27) + 0.05 * t.level
    tilt, y = t.of(0.35, 0.75), t.of(-0.20, -0.08, 0.02)
    heart = Shape(
        size * t.of(0.25, 0.6), y, size * t.of(1.15, 1.4), size * t.of(0.85, 1.0), tilt, wobble=t.wobble(0.06)
    )
    canvas.paint(heart.grown(t.of(0.015, 0.05)), -85, grain=10, edge=2, within=inside)
    canvas.paint(heart, 50 if blood < 100 else 95, grain=8, within=inside)
    for side in (-1, 1):
        dx, dy = side * heart.a * 0.45 * math.cos(tilt), side * heart.a * 0.45 * math.sin(tilt)
        chamber = Shape(heart.x + dx, heart.y + dy, heart.a * t.of(0.3, 0.45), heart.b * t.of(0.4, 0.65), tilt)
        canvas.paint(replace(chamber, wobble=t.wobble(0.12)), blood, grain=8, edge=2, within=inside)
    for _ in range(3):
        spot = Shape(t.of(-0.15, 0.15, 0.02), t.of(-0.1, 0.1, 0.02), t.of(0.02, 0.05), t.of(0.02, 0.04), t.of(0, 3))
        canvas.paint(spot, t.of(20, 60), within=inside)


def _draw_airways(canvas: Canvas, t: Traits, spine: Shape) -> None:
    """Gullet and main bronchi in front of the spine; a large heart hides them."""
    front = spine.y - spine.b
    canvas.paint(Shape(t.of(0.0, 0.05), front - t.of(0.05, 0.07), 0.034, 0.022), 35)
    for side in (-1, 1):
        airway = Shape(side * t.of(0.03, 0.12, 0.03), front - t.of(0.10, 0.14), t.of(0.022, 0.045), t.of(0.02, 0.03))
        canvas.paint(airway.grown(0.012), 10)
        canvas.paint(airway, -960)


def _draw_aorta(canvas: Canvas, t: Traits, spine: Shape, blood: float) -> None:
    """The descending aorta on the patient's left of the spine, calcified in some."""
    radius, has_lime = t.of(0.05, 0.075, 0.005), t.one_in(4)
    aorta = Shape(spine.a * 0.9 + radius * 0.6, spine.y - spine.b - radius * 0.4, radius, radius)
    canvas.paint(aorta.grown(0.008), -60)
    canvas.paint(aorta, blood, grain=8)
    if has_lime:
        canvas.paint(Shape(aorta.x + radius * 0.8, aorta.y - radius * 0.2, 0.010, 0.022), 600)


def _draw_finding(canvas: Canvas, t: Traits, cage: Shape, lungs: list[Float32s]) -> None:
    """A nodule, an effusion behind, or neither."""
    nodule, effusion, side = t.one_in(3), t.one_in(6), -1 if t.one_in(2) else 1
    lung = lungs[0 if side < 0 else 1]
    x, y, size = side * cage.a * t.of(0.3, 0.8), cage.b * t.of(-0.6, 0.6), t.of(0.02, 0.06, 0.01)
    spot = Shape(x, y, size, size * t.of(0.8, 1.0), wobble=t.wobble(0.1))
    if nodule:
        canvas.paint(spot, t.of(-100, 60), edge=2, within=lung)
    crescent = Shape(side * cage.a * 0.6, cage.b * t.of(1.0, 1.15), cage.a * 0.5, cage.b * 0.42, side * -0.35)
    if effusion:
        canvas.paint(crescent, 12, grain=6, within=lung)


def _draw_abdomen(canvas: Canvas, t: Traits) -> None:
    muscles = _draw_trunk(canvas, t)
    wall = t.of(0.04, 0.075, 0.005)
    cavity = replace(muscles.grown(-wall), y=-0.03, power=2.3)
    canvas.paint(cavity, FAT + 8, grain=14)
    inside = canvas.cover(cavity)
    is_enhanced = t.one_in(2)
    spine = _draw_spine(canvas, t, muscles.b)
    _draw_psoas_and_vessels(canvas, t, spine, t.of(140, 240) if is_enhanced else BLOOD)
    _draw_bowel(canvas, t, cavity, inside)
    _draw_kidneys(canvas, t, spine, cavity, is_enhanced, inside)
    _draw_stomach_and_spleen(canvas, t, cavity, is_enhanced, inside)
    _draw_liver(canvas, t, cavity, is_enhanced, inside)
    _draw_ribs(canvas, t, muscles.grown(-wall * 0.45), 4)


def _draw_psoas_and_vessels(canvas: Canvas, t: Traits, spine: Shape, blood: float) -> None:
    front = spine.y - spine.b
    for side in (-1, 1):
        psoas = Shape(
            side * (spine.a + t.of(0.05, 0.08, 0.02)), spine.y + 0.02, t.of(0.05, 0.085, 0.02), 0.1, side * 0.3
        )
        canvas.paint(psoas, 58, grain=12)
    aorta, cava = t.of(0.045, 0.065), t.of(0.05, 0.07, 0.01)
    canvas.paint(Shape(t.of(0.02, 0.06), front - aorta - 0.008, aorta, aorta), blood, grain=6)
    canvas.paint(Shape(t.of(-0.13, -0.09), front - 0.05, cava, cava * t.of(0.55, 0.9)), blood * 0.8, grain=6)
    if t.one_in(3):
        canvas.paint(Shape(0.04 + aorta * 0.8, front - aorta, 0.012, 0.024), 620)


def _draw_bowel(canvas: Canvas, t: Traits, cavity: Shape, inside: Float32s) -> None:
    """Loops of bowel, filled with fluid, contrast or gas (which rises), around the front and the patient's left."""
    oral_contrast = t.one_in(3)
    for _ in range(int(t.of(9, 17))):
        angle, far = t.of(-2.9, 0.4, 0.12), t.of(0.2, 0.85, 0.05)
        x, y = cavity.a * far * math.cos(angle), cavity.b * far * math.sin(angle)
        loop = Shape(x, y, t.of(0.05, 0.13, 0.02), t.of(0.045, 0.08, 0.01), t.of(0, 3.1), wobble=t.wobble(0.1))
        filling, has_gas, gas = t.of(-5, 35), t.one_in(4), t.of(0.3, 0.8)
        canvas.paint(loop, 60, grain=10, within=inside)
        canvas.paint(loop.grown(-0.014), 220 if oral_contrast and filling > 10 else filling, grain=14, within=inside)
        if has_gas:
            bubble = Shape(x, y - loop.b * 0.3, loop.b * gas, loop.b * gas * 0.8)
            canvas.paint(bubble, -900, within=inside)


def _draw_kidneys(canvas: Canvas, t: Traits, spine: Shape, cavity: Shape, is_enhanced: bool, inside: Float32s) -> None:
    for side in (-1, 1):
        x, y = side * (spine.a + t.of(0.20, 0.27, 0.02)), spine.y - t.of(-0.02, 0.07, 0.03)
        kidney = Shape(
            x, y, t.of(0.085, 0.115, 0.02), t.of(0.11, 0.14, 0.02), side * t.of(-0.5, -0.1), wobble=t.wobble(0.04)
        )
        canvas.paint(kidney.grown(t.of(0.02, 0.06)), FAT, grain=12, within=inside)
        canvas.paint(kidney, 180 if is_enhanced else 35, grain=8, within=inside)
        canvas.paint(kidney.grown(-0.028), 130 if is_enhanced else 32, grain=16, edge=3, within=inside)
        sinus = Shape(
            x - side * kidney.a * 0.6, y, kidney.a * 0.6, kidney.b * t.of(0.25, 0.5, 0.1), wobble=t.wobble(0.15)
        )
        canvas.paint(sinus, -70, edge=2, within=inside)
        cyst, radius = t.one_in(5), t.of(0.02, 0.05, 0.01)
        if cyst:
            canvas.paint(Shape(x + side * kidney.a * 0.8, y - 0.03, radius, radius), FLUID, within=inside)


def _draw_stomach_and_spleen(canvas: Canvas, t: Traits, cavity: Shape, is_enhanced: bool, inside: Float32s) -> None:
    size = t.of(0.12, 0.24) - 0.04 * t.level
    x, y, height = cavity.a * t.of(0.3, 0.5), -cavity.b * t.of(0.35, 0.55), size * t.of(0.65, 0.95)
    stomach = Shape(x, y, size * 1.3, height, t.of(-0.6, 0.3), wobble=t.wobble(0.08))
    canvas.paint(stomach, 70, grain=10, within=inside)
    canvas.paint(stomach.grown(-0.022), t.of(5, 45), grain=16, within=inside)
    # Gas lies above a level line.
    line = canvas.cover(Shape(stomach.x, stomach.y - t.of(0.3, 1.1) * stomach.b - 0.5, 2.0, 0.5, power=12))
    canvas.paint(stomach.grown(-0.022), -930, within=inside * line)
    bulk = t.of(0.09, 0.16) - 0.035 * t.level
    x, y, height = cavity.a * t.of(0.76, 0.84), cavity.b * t.of(0.2, 0.42), bulk * t.of(1.5, 2.1)
    spleen = Shape(x, y, bulk, height, t.of(-0.5, 0.1), wobble=t.wobble(0.05))
    canvas.paint(spleen, (115 if is_enhanced else 50) + t.of(-8, 8), grain=7, within=inside)


def _draw_liver(canvas: Canvas, t: Traits, cavity: Shape, is_enhanced: bool, inside: Float32s) -> None:
    """The liver on the patient's right (less of it lower down), its vessels, gall bladder and perhaps a lesion."""
    size = cavity.a * (t.of(0.32, 0.48) - 0.07 * t.level)
    x, y = -cavity.a * t.of(0.62, 0.72), -cavity.b * t.of(0.05, 0.25)
    liver = Shape(x, y, size, cavity.b * t.of(0.62, 0.85, 0.05), t.of(0.0, 0.35), power=2.2, wobble=t.wobble(0.06))
    lobe_x, lobe_y = -cavity.a * t.of(0.1, 0.4), -cavity.b * t.of(0.5, 0.7)
    lobe = Shape(lobe_x, lobe_y, size * t.of(0.7, 1.2), size * t.of(0.3, 0.5), t.of(-0.1, 0.35), wobble=t.wobble(0.08))
    value = (105 if is_enhanced else 58) + t.of(-25, 12)
    covered = np.maximum(canvas.cover(liver), canvas.cover(lobe)) * inside
    for part in (liver, lobe):
        canvas.paint(part, value, grain=8, within=inside)
    for _ in range(12):
        vx, vy = x + size * t.of(-0.6, 0.8, 0.08), y + liver.b * t.of(-0.6, 0.6, 0.08)
        vessel = Shape(vx, vy, t.of(0.015, 0.07, 0.02), t.of(0.008, 0.018), t.of(0.0, 3.1, 0.2))
        canvas.paint(vessel, value + (55 if is_enhanced else -14), edge=2, within=covered)
    bladder, lesion, radius = t.one_in(2), t.one_in(3), t.of(0.02, 0.08, 0.02)
    if bladder:
        sac = Shape(x + size * 0.8, y + t.of(0.0, 0.14), t.of(0.05, 0.08, 0.02), t.of(0.04, 0.06, 0.01), t.of(0, 1.5))
        canvas.paint(sac, FLUID, grain=4, within=inside)
    spot = Shape(
        x + size * t.of(-0.5, 0.4), y + liver.b * t.of(-0.5, 0.5), radius, radius * t.of(0.7, 1.0), wobble=t.wobble(0.1)
    )
    if lesion:
        canvas.paint(spot, t.of(10, 40), edge=3, within=covered)
