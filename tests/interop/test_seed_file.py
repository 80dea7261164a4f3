"""The seed's model files: every variant in and out, the seed's own numbers, and bad files."""

import numpy as np
import pytest

from minicnn.checkpoint import CheckpointError
from minicnn.interop import seed
from minicnn.interop.seed import SeedModel, load_seed_model, read_seed_model, write_seed_model

VARIANTS = [(False, False), (True, False), (True, True)]
TRAINED = "seed/iter_395000_train_0.918_valid_0.913.model"
WITHOUT_STATISTICS = "seed/iter_20000_train_0.988_valid_0.770.model"


def stored_values(has_batchnorm, has_statistics, classes, rng_seed=0):
    """A file's values in file order, from the description of the format in its own words."""
    rng = np.random.default_rng(rng_seed)
    parts = []
    for fan_in, fan_out in ((3, 16), (16, 32), (32, 64), (64, 128)):
        parts += [rng.normal(size=(fan_out, fan_in, 3, 3)) / 10, rng.normal(size=fan_out) / 10]
        if has_batchnorm:
            parts += [rng.uniform(0.5, 1.5, fan_out), rng.normal(size=fan_out) / 10]
        if has_statistics:
            parts += [rng.normal(size=fan_out) / 10, rng.uniform(0.5, 1.5, fan_out)]
    parts += [rng.normal(size=(128 * 6 * 6, classes)) / 100, rng.normal(size=classes)]
    return [part.astype("<f4") for part in parts]


def write_values(path, parts):
    path.write_bytes(b"".join(part.tobytes() for part in parts))
    return path


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize(("has_batchnorm", "has_statistics"), VARIANTS)
def test_read_every_variant_is_recognised_and_written_back_byte_for_byte(
    tmp_path, has_batchnorm, has_statistics, classes
):
    parts = stored_values(has_batchnorm, has_statistics, classes)
    path = write_values(tmp_path / "a.model", parts)
    model = read_seed_model(path)
    assert (model.has_batchnorm, model.has_statistics) == (has_batchnorm, has_statistics)
    assert model.classes == classes
    write_seed_model(tmp_path / "b.model", model)
    assert (tmp_path / "b.model").read_bytes() == path.read_bytes()


def test_read_tensors_have_pytorch_names_and_layout(tmp_path):
    parts = stored_values(True, True, 3)
    tensors = read_seed_model(write_values(tmp_path / "a.model", parts)).tensors
    np.testing.assert_array_equal(tensors["0.weight"], parts[0])
    np.testing.assert_array_equal(tensors["1.running_mean"], parts[4])
    np.testing.assert_array_equal(tensors["1.running_var"], parts[5])
    np.testing.assert_array_equal(tensors["4.bias"], parts[7])
    np.testing.assert_array_equal(tensors["13.weight"], parts[-2].T)  # stored [in][out]
    np.testing.assert_array_equal(tensors["13.bias"], parts[-1])
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in tensors.values())


@pytest.mark.parametrize("variant", range(3))
def test_sizes_are_those_the_seed_writes(tmp_path, variant):
    path = write_values(tmp_path / "a.model", stored_values(*VARIANTS[variant], 3))
    assert path.stat().st_size == (445_068, 446_988, 448_908)[variant]


@pytest.mark.parametrize("change", [-1, 1, -4, 4, 4 * 240, -3 * 4 * 4609, -445_068])
def test_read_other_size_is_refused_with_the_sizes_that_fit(tmp_path, change):
    content = write_values(tmp_path / "a.model", stored_values(False, False, 3)).read_bytes()
    (tmp_path / "a.model").write_bytes((content + bytes(max(change, 0)))[: 445_068 + change])
    with pytest.raises(CheckpointError, match=rf"a\.model: is {445_068 + change:,} bytes.*445,068"):
        read_seed_model(tmp_path / "a.model")


def test_read_file_of_absurdly_many_classes_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "a.model", "wb") as file:
        file.truncate(4 * (97_440 + 4609 * 10_001))  # takes no space: it has no written blocks
    with pytest.raises(CheckpointError, match="is 184,768,196 bytes long"):
        read_seed_model(tmp_path / "a.model")


def test_read_file_cut_by_one_class_is_refused_when_the_classes_are_known(tmp_path):
    path = write_values(tmp_path / "a.model", stored_values(False, False, 3))
    path.write_bytes(path.read_bytes()[: -4 * 4609])
    assert read_seed_model(path).classes == 2
    with pytest.raises(CheckpointError, match="expected for 3 classes 445,068"):
        read_seed_model(path, classes=3)


@pytest.mark.parametrize(
    ("part", "value", "match"),
    [
        (0, np.nan, "0.weight holds NaN or infinite"),
        (-1, np.inf, "13.bias holds NaN or infinite"),
        (6, 1e5, "4.weight has values up to 1e\\+05"),
        (5, -0.5, "1.running_var is negative"),
    ],
)
def test_read_single_absurd_value_is_refused_with_its_tensor(tmp_path, part, value, match):
    parts = stored_values(True, True, 3)
    parts[part].reshape(-1)[1] = value
    with pytest.raises(CheckpointError, match=match):
        read_seed_model(write_values(tmp_path / "a.model", parts))


@pytest.mark.parametrize(
    ("written", "tensor"), [(1000, "0.weight"), (300_000, "7.weight"), (445_000, "9.weight")]
)
def test_read_file_not_written_to_its_end_is_refused(tmp_path, written, tensor):
    path = write_values(tmp_path / "a.model", stored_values(False, False, 3))
    path.write_bytes(path.read_bytes()[:written].ljust(445_068, b"\0"))
    with pytest.raises(CheckpointError, match=f"{tensor} ends in zeros.*not written to its end"):
        read_seed_model(path)


@pytest.mark.parametrize("content", ["text", "int32", "random"])
def test_read_foreign_file_of_the_right_size_is_refused(tmp_path, content):
    rng = np.random.default_rng(0)
    made = {
        "text": b"The quick brown fox. " * 30_000,
        "int32": rng.integers(0, 1000, 200_000, np.int32).tobytes(),
        "random": rng.bytes(500_000),
    }[content]
    (tmp_path / "a.model").write_bytes(made[:445_068])
    with pytest.raises(CheckpointError):
        read_seed_model(tmp_path / "a.model")


def test_read_folder_and_missing_file_are_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match="not a file"):
        read_seed_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_seed_model(tmp_path / "absent.model")


def test_write_incomplete_model_lists_what_is_wrong_and_writes_nothing(tmp_path):
    parts = stored_values(False, False, 3)
    model = read_seed_model(write_values(tmp_path / "a.model", parts))
    tensors = dict(model.tensors, extra=np.ones(1, np.float32))
    tensors["9.weight"] = tensors["9.weight"].T  # [in][out], as in the file
    del tensors["0.bias"]
    with pytest.raises(CheckpointError) as caught:
        write_seed_model(tmp_path / "b.model", SeedModel(tensors, False, False, 3))
    for problem in ("mismatch 9.weight", "missing 0.bias", "unexpected extra"):
        assert problem in str(caught.value)
    assert not (tmp_path / "b.model").exists()


# --- as a model ---------------------------------------------------------------------------------


def pixels_as_input(pixels_bgr):
    """(N, H, W, 3) uint8 → (N, 3, H, W) float32 in 0…1, channels as they are."""
    return np.ascontiguousarray(pixels_bgr.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def test_load_trained_model_gives_the_logits_of_the_seed(data_dir):
    golden = np.load(data_dir / "seed" / "golden.npz")
    model = load_seed_model(data_dir / TRAINED)
    logits = model.forward(pixels_as_input(golden["pixels_bgr"]))
    # the seed's own program computed these in float32, summing in another order
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=1e-4)
    assert np.abs(golden["logits"]).max() > 1  # zeros would be a failure


def test_load_trained_model_carries_classes_and_preprocessing_through_a_file(data_dir, tmp_path):
    from minicnn.model_file import load

    model = load_seed_model(data_dir / TRAINED)
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.classes == ["dog", "panda", "bird"]
    assert again.preprocessing["order"] == "BGR"
    assert again.preprocessing["size"] == [224, 224]
    assert {k: v.tobytes() for k, v in again.state_dict().items()} == {
        k: v.tobytes() for k, v in model.state_dict().items()
    }


def test_files_of_the_seed_are_written_back_byte_for_byte(data_dir, tmp_path):
    for name in (TRAINED, WITHOUT_STATISTICS):
        write_seed_model(tmp_path / "copy.model", read_seed_model(data_dir / name))
        assert (tmp_path / "copy.model").read_bytes() == (data_dir / name).read_bytes()


def test_load_model_without_statistics_is_refused_unless_images_are_given(data_dir):
    with pytest.raises(CheckpointError, match="without running mean and variance.*calibrate="):
        load_seed_model(data_dir / WITHOUT_STATISTICS)


def test_load_model_without_statistics_takes_them_from_the_images(data_dir):
    golden = np.load(data_dir / "seed" / "golden.npz")
    images = pixels_as_input(golden["pixels_bgr"])
    model = load_seed_model(data_dir / WITHOUT_STATISTICS, calibrate=images)
    # over the batch the statistics came from, evaluation and training mode agree, up to the
    # unbiased variance: at least 12·13·13 values a channel, so a factor of 1 ± 5e-4 at most
    evaluated = model.forward(images)
    trained = model.train().forward(images)
    np.testing.assert_allclose(evaluated, trained, rtol=0, atol=5e-3 * np.abs(trained).max())
    assert {model[i].momentum for i in (1, 5, 8, 11)} == {0.1}


def test_load_model_with_statistics_uses_them(tmp_path):
    parts = stored_values(True, True, 2)
    model = load_seed_model(write_values(tmp_path / "a.model", parts))
    np.testing.assert_array_equal(model[1].running_mean, parts[4])
    np.testing.assert_array_equal(model[1].running_var, parts[5])
    assert model.classes is None and not model.training
    assert model.forward(np.zeros((1, *seed.IMAGE_SHAPE), np.float32)).shape == (1, 2)


def test_load_model_that_needs_no_calibration_refuses_images(tmp_path):
    path = write_values(tmp_path / "a.model", stored_values(False, False, 3))
    with pytest.raises(ValueError, match="calibrate is only for files without"):
        load_seed_model(path, calibrate=np.zeros((2, *seed.IMAGE_SHAPE), np.float32))
