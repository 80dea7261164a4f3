"""Transforms in a row: one resampling, choices by (seed, epoch, sample), and mixed labels."""

import numpy as np
import pytest

from minicnn import augment, random
from minicnn.arrays import as_float32
from minicnn.augment.compose import Epoch
from minicnn.augment.mixing import beta_table, draw_beta

STRONG = augment.Compose(augment.preset("strong"), augment.MixUp(p=0.3), augment.CutMix(p=0.4))


def photos(n=12, size=(6, 8), channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, *size), dtype=np.uint8)


def numbers(n=12, classes=3):
    return np.arange(n) % classes


def epoch(chain, x=None, seed=0, number=0, classes=3):
    x = photos() if x is None else x
    return Epoch(chain, x, numbers(len(x)), seed, number, classes)


# --- what decides ----------------------------------------------------------------------------


def test_a_sample_does_not_depend_on_its_batch():
    whole = epoch(STRONG).batch(np.arange(12))
    for index in ([3], [11, 3, 0], [7, 7], list(range(11, -1, -1))):
        images, targets = epoch(STRONG).batch(np.array(index))
        np.testing.assert_array_equal(images, whole[0][index])
        np.testing.assert_array_equal(targets, whole[1][index])


def test_a_sample_depends_on_seed_epoch_and_its_number():
    index = np.arange(12)
    first = epoch(STRONG).batch(index)[0]
    np.testing.assert_array_equal(epoch(STRONG).batch(index)[0], first)
    for other in (epoch(STRONG, seed=1), epoch(STRONG, number=1)):
        assert (other.batch(index)[0] != first).any(axis=(1, 2, 3)).all()
    same = np.repeat(photos(1), 12, axis=0)  # one image twelve times: twelve results
    assert len(np.unique(epoch(STRONG, same).batch(index)[0].reshape(12, -1), axis=0)) == 12


def test_without_mixing_a_sample_does_not_depend_on_the_others():
    light = augment.preset("light")
    np.testing.assert_array_equal(light(photos(12))[:5], light(photos(12)[:5]))


def test_two_transforms_of_one_kind_choose_for_themselves():
    flip = augment.RandomHorizontalFlip()
    x = np.tile(np.array([0, 255], np.uint8), (400, 1, 1, 1))
    once = flip(x)[:, 0, 0, 0]
    twice = augment.Compose(flip, augment.RandomHorizontalFlip())(x)[:, 0, 0, 0]
    assert 0.35 < (once == twice).mean() < 0.65


def test_choices_are_pinned():
    """Another order of streams or draws would change every training with augmentation."""
    x = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    drawn = random.uniform((1, 4), 5, random.AUGMENT, 2, 0)
    assert (drawn * 2**24).tolist() == [[5618290, 323881, 4405633, 790640]]
    y = augment.RandomResizedCrop((0.3, 0.3), (1, 1))(x, seed=5, epoch=2)
    share = 0.3**0.5
    column, row = ((1 - share) * 8 * float(u) + 4.5 * share - 0.5 for u in drawn[0, 2:])
    np.testing.assert_allclose(255 * y[0, 0, 4, 4], column + 8 * row, rtol=1e-5)


# --- in a row --------------------------------------------------------------------------------


def test_neighbouring_geometric_transforms_are_applied_in_order():
    x = photos(size=(7, 7))
    flip, turn = augment.RandomHorizontalFlip(1), augment.RandomRotation((90, 90))
    close = {"rtol": 0, "atol": 1e-6}
    flipped = as_float32(x)[..., ::-1]
    np.testing.assert_allclose(
        augment.Compose(flip, turn)(x), np.rot90(flipped, 1, (2, 3)), **close
    )
    turned = np.rot90(as_float32(x), 1, (2, 3))
    np.testing.assert_allclose(augment.Compose(turn, flip)(x), turned[..., ::-1], **close)


def test_neighbouring_geometric_transforms_resample_once(monkeypatch):
    calls, good = [], augment.compose.warp
    monkeypatch.setattr(augment.compose, "warp", lambda *a: calls.append(1) or good(*a))
    turns = [augment.RandomRotation((d, d)) for d in (20, 30, -50)]
    y = augment.Compose(*turns)(photos(size=(9, 9)))
    assert len(calls) == 1
    # Together they turn by nothing, so nothing is blurred, which three resamplings would do.
    np.testing.assert_allclose(y, as_float32(photos(size=(9, 9))), rtol=0, atol=1e-5)
    augment.Compose(turns[0], augment.RandomErasing(), turns[1])(photos())
    assert len(calls) == 3


def test_values_are_changed_in_order_between_movements():
    x = photos()
    cover = augment.RandomErasing(1, (0.2, 0.2), value=0.5)
    flip = augment.RandomHorizontalFlip(1)
    covered = cover(x)
    chain = augment.Compose(cover, flip)
    np.testing.assert_array_equal(chain(x), covered[..., ::-1])


def test_compose_of_nothing_only_converts():
    np.testing.assert_array_equal(augment.Compose()(photos()), as_float32(photos()))


def test_nested_chains_are_one_chain():
    inner = augment.Compose(augment.RandomRotation(5), augment.RandomErasing())
    flat = augment.Compose(augment.RandomHorizontalFlip(), *inner.transforms)
    nested = augment.Compose(augment.RandomHorizontalFlip(), inner)
    assert nested.hyper_parameters() == flat.hyper_parameters()
    np.testing.assert_array_equal(nested(photos()), flat(photos()))


def test_float_images_of_any_layout_give_what_bytes_give():
    x = photos()
    expected = STRONG(x)
    floats = as_float32(x)
    for given in (floats, floats.astype(np.float64), np.asfortranarray(floats)):
        np.testing.assert_allclose(STRONG(given), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(STRONG(np.asfortranarray(x)), expected)


def test_images_are_left_as_they_were():
    for x in (photos(), as_float32(photos())):
        before = x.copy()
        x.flags.writeable = False
        STRONG(x)
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", ["light", "strong"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_presets_keep_values_within_0_and_1_and_change_most_images(name, channels):
    x = photos(40, channels=channels)
    y = augment.preset(name, channels)(x)
    assert y.shape == x.shape and y.dtype == np.float32
    assert y.min() >= 0 and y.max() <= 1
    assert (y != as_float32(x)).any(axis=(1, 2, 3)).mean() > 0.9


def test_presets_of_grey_images_do_not_mirror():
    """A mirrored digit is another sign; the bright column must stay left of the dark one."""
    x = np.zeros((100, 1, 12, 12), np.uint8)
    x[..., 2:4] = 255
    for name in ("light", "strong"):
        y = augment.preset(name, 1)(x)
        centre = (y.sum(axis=(1, 2)) @ np.arange(12)) / y.sum(axis=(1, 2, 3))
        assert centre.max() < 5.5
    assert augment.preset("none") is None


def test_a_transform_of_ones_own_takes_part():
    class Shift(augment.Geometric):
        draws = 1

        def maps(self, u, size):
            maps = np.tile(np.eye(3), (len(u), 1, 1))
            maps[:, 0, 2] = np.rint(u[:, 0] * 2)
            return maps

    class Negative(augment.Pixelwise):
        def apply(self, x, u):
            np.subtract(1, x, out=x)

    x = photos(30)
    y = augment.Compose(Shift(), Negative())(x)
    moved = [np.concatenate([x[..., k:], *[x[..., -1:]] * k], axis=3) for k in range(3)]
    equal = np.array([(np.abs(1 - as_float32(m) - y) < 1e-6).all(axis=(1, 2, 3)) for m in moved])
    assert (equal.sum(axis=0) >= 1).all() and equal.any(axis=1).all()


# --- mixing ----------------------------------------------------------------------------------


def constant_photos(n=200):
    """Image i has the value i everywhere, so a mixture shows what it is made of."""
    return np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 1, 10, 10))


def test_mixup_blends_image_and_label_in_the_same_share():
    n = 200
    x = constant_photos(n)
    rows = Epoch(augment.Compose(augment.MixUp(1.0)), x, np.arange(n), 0, 0, n)
    images, targets = rows.batch(np.arange(n))
    assert targets.dtype == np.float32 and targets.shape == (n, n)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(images[:, 0, 0, 0], targets @ np.arange(n), rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(images, np.broadcast_to(images[..., :1, :1], images.shape))
    partners = [np.flatnonzero(row) for row in targets]
    assert max(map(len, partners)) == 2
    assert len({int(p[p != i][0]) for i, p in enumerate(partners) if len(p) == 2}) > n / 2


def test_cutmix_divides_labels_by_the_area_that_is_covered():
    n = 200
    x = constant_photos(n)
    rows = Epoch(augment.Compose(augment.CutMix(1.0)), x, np.arange(n), 0, 0, n)
    images, targets = rows.batch(np.arange(n))
    boxes = 0
    for i in range(n):
        foreign = images[i, 0] != i
        assert targets[i, i] == pytest.approx(1 - foreign.mean(), abs=1e-6)
        if foreign.any():
            rows_, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
            assert foreign.sum() == len(rows_) * len(columns)
            partner = int(images[i, 0][foreign][0])
            assert targets[i, partner] == pytest.approx(foreign.mean(), abs=1e-6)
            boxes += 1
    assert boxes > 0.8 * n


def test_mixing_happens_to_its_share_and_to_an_image_once():
    n = 2000
    chain = augment.Compose(augment.MixUp(1, p=0.3), augment.CutMix(1, p=0.5))
    x = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 1, 4, 4))
    images, targets = Epoch(chain, x, np.arange(n), 0, 0, n).batch(np.arange(n))
    blended = (images != np.rint(images)).any(axis=(1, 2, 3))
    assert blended.mean() == pytest.approx(0.3, abs=0.06)
    # Cut ones hold whole numbers; half of the rest, less those whose box is empty.
    cut = ~blended & (images != images[:, :, :1, :1]).any(axis=(1, 2, 3))
    assert 0.15 < cut.mean() < 0.37
    assert (np.count_nonzero(targets, axis=1) <= 2).all()


def test_mixing_with_p_0_leaves_images_and_single_classes():
    chain = augment.Compose(augment.MixUp(p=0), augment.CutMix(p=0))
    images, targets = epoch(chain).batch(np.arange(12))
    np.testing.assert_array_equal(images, as_float32(photos()))
    np.testing.assert_array_equal(targets, np.eye(3)[numbers()])


def test_mixed_partners_are_augmented_as_they_are_themselves():
    flip = augment.RandomHorizontalFlip(1)
    x = photos()
    mixed = epoch(augment.Compose(flip, augment.MixUp(1))).batch(np.arange(12))[0]
    plain = epoch(augment.Compose(augment.RandomHorizontalFlip(0), augment.MixUp(1)), x)
    np.testing.assert_allclose(mixed, plain.batch(np.arange(12))[0][..., ::-1], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0])
def test_beta_numbers_have_the_moments_of_their_distribution(alpha):
    u = (np.arange(20_000, dtype=np.float32) + np.float32(0.5)) / 20_000
    drawn = draw_beta(u, beta_table(alpha))
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert (np.diff(drawn) >= 0).all()
    assert drawn.mean() == pytest.approx(0.5, abs=1e-4)
    assert drawn.var() == pytest.approx(0.25 / (2 * alpha + 1), rel=2e-3)
    a = alpha  # fourth moment about zero
    fourth = a * (a + 1) * (a + 2) * (a + 3) / (
        2 * a * (2 * a + 1) * (2 * a + 2) * (2 * a + 3)
    )  # fmt: skip
    assert (drawn**4).mean() == pytest.approx(fourth, rel=2e-3)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: augment.Compose("light"), TypeError, "'light' is no transform"),
        (lambda: augment.Compose(augment.Transform()), TypeError, "is no transform"),
        (lambda: augment.Compose(augment.MixUp(), augment.RandomErasing()), ValueError,
         "RandomErasing.* comes after MixUp.*at the end"),
        (lambda: augment.preset("strnog"), ValueError, "'strnog'; expected none, light, strong"),
        (lambda: STRONG(photos()[0]), ValueError, r"only images \(N, C, H, W\)"),
        (lambda: STRONG(np.zeros((2, 3, 4, 4), int)), TypeError, "must be uint8"),
        (lambda: augment.ColorJitter(0.1)(photos(channels=2)), ValueError, "1 or 3 channels"),
        (lambda: augment.ColorJitter(0.1)(photos().astype(np.float32)), ValueError,
         "values of 0 … 1"),
        (lambda: epoch(STRONG, classes=2), ValueError, "labels are 0 … 2; .* in 0 … 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_augmented_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
