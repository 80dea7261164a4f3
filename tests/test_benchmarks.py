"""The parts of benchmarks/compare.py that decide: arithmetic, targets, turns, parsing."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import compare
import numpy as np
import pytest
from comparison import (
    load,
    machine,
    memory,
    minicnn_side,
    steps,
    tables,
    targets,
    tasks,
    turns,
    worker,
)
from comparison.end_to_end import GOAL, Result, learn, summary
from comparison.modes import MODES, OURS, missing_packages, peers
from comparison.recipe import Recipe
from comparison.steps import Row
from comparison.tasks import Task
from comparison.worker import Contender, Work
from nets import NETS, ROWS, minicnn_model

import minicnn as mc

LENET = Task("lenet", 64)


def clock(total, busy, own):
    return load.Clock(total, busy, own)


# --- arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS)
def test_multiply_adds_of_a_net_equal_those_the_layers_count(net):
    model = minicnn_model(net).build(NETS[net][0])
    shape, counted = NETS[net][0], []
    for layer in model.layers:
        if hasattr(layer, "weight") and len(layer.weight.data.shape) > 1:
            counted.append(layer.multiply_adds(shape))
        shape = layer.output_shape(shape)
    assert tasks.forward_multiply_adds(net) == counted


def test_multiply_adds_of_a_step_are_three_passes_but_for_the_first_input():
    first, second = tasks.forward_multiply_adds("mlp")
    assert tasks.multiply_adds(Task("mlp", 5)) == 5 * (2 * first + 3 * second)
    assert tasks.multiply_adds(Task("mlp", 5, training=False)) == 5 * (first + second)


def test_peak_share_counts_two_operations_an_addition_on_every_thread():
    row = Row(Task("mlp", 1, training=False), 2, {"minicnn": [1.0, 9.0, 1.0]}, {}, {})
    assert row.peak_share(probe=1.0) == pytest.approx(2 * (784 * 128 + 1280) / (1e-3 * 2e9))


# --- targets ------------------------------------------------------------------------------------


def test_targets_cover_every_training_row_and_no_other():
    assert {task.name for task in tasks.TRAINING} == targets.TRAINING.keys()
    assert len(ROWS) == 9


def test_inference_rows_are_the_training_rows_and_batch_one_of_every_net():
    names = [task.name for task in tasks.INFERENCE]
    assert len(names) == len(set(names)) == 14
    assert {f"{row.net}-{row.batch}" for row in ROWS} < set(names)
    assert not any(task.training for task in tasks.INFERENCE)


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("digits-32", 2), ("digits-1", 2), ("lenet-1", 2), ("mlp-1", 1.3), ("seed-1", 1.3),
     ("lenet-8", 1.1), ("cifar-64", 1.1)],
)  # fmt: skip
def test_inference_target_for_a_row_is_that_of_onnxruntime(name, ratio):
    (task,) = (task for task in tasks.INFERENCE if task.name == name)
    assert targets.target_for(task).against("onnxruntime") == ratio
    assert targets.target_for(task).against("torch") is None


def test_paired_ratio_of_a_drifting_machine_is_that_of_each_round():
    assert targets.paired_ratio([2.0, 20.0, 4.0], [1.0, 10.0, 1.0]) == 2.0


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        ({"torch": 12.0, "torch-cl": 11.0, "torch-bf16": 10.0, "jax": 6.0}, []),
        ({"torch": 12.0, "torch-cl": 9.0, "torch-bf16": 10.0}, ["torch-cl (fp32)", "torch-cl"]),
        ({"torch": 12.0, "torch-bf16": 9.0}, ["torch-bf16"]),
        ({"torch": 12.0, "jax": 5.9}, ["jax"]),
    ],
)
def test_misses_of_a_row_name_each_peer_that_is_too_near(found, missed):
    assert [text.rpartition("against ")[2] for text in
            targets.misses(targets.TRAINING["lenet-1"], found)] == missed  # fmt: skip


def test_verdict_on_a_row_holds_for_two_threads_and_some_peer_only():
    assert targets.verdict(LENET, {"torch": 5.0}, 2) == "ok"
    assert targets.verdict(LENET, {"torch": 4.9}, 2) == "short"
    assert targets.verdict(LENET, {"torch": 5.0}, 1) == ""
    assert targets.verdict(LENET, {}, 2) == ""
    assert targets.verdict(LENET._replace(training=False), {"torch": 0.1}, 2) == ""
    assert targets.verdict(LENET._replace(training=False), {"onnxruntime": 1.0}, 2) == "short"


def test_row_measured_beside_busy_programs_decides_nothing():
    times = {"minicnn": [1.0], "torch": [9.0]}
    quiet = Row(LENET, 2, times, {}, {}, others=load.QUIET)
    busy = quiet._replace(others=2 * load.QUIET)
    names = steps.columns([quiet])
    mark = steps.heads(names, training=True).index("")
    assert steps.cells(quiet, names, 100.0)[mark] == "ok"
    assert steps.cells(busy, names, 100.0)[mark] == "?"
    assert steps.cells(busy._replace(threads=1), names, 100.0)[mark] == ""


def test_fastest_turns_are_compared_whichever_rounds_they_were_in():
    times = {"minicnn": [2.0, 1.0, 4.0], "torch": [8.0, 9.0, 6.0], "torch-bf16": [5.0, 5.0, 5.0]}
    row = steps.Row(LENET, 2, times, {}, {})
    names = ["torch", "torch-bf16"]
    place = steps.heads(names, training=True).index("fastest turns")
    assert steps.cells(row, names, 100.0)[place] == "6.00×, 5.00×"
    assert row.as_data()["fastest_ratios"] == {"torch": 6.0, "torch-bf16": 5.0}
    answers = steps.Row(LENET._replace(training=False), 2, {"minicnn": [2.0], "jax": [3.0]}, {}, {})
    place = steps.heads(["jax"], training=False).index("fastest turns")
    assert steps.cells(answers, ["jax"], 100.0)[place] == "1.50×, –"


def test_end_to_end_summary_needs_every_run_at_the_goal():
    ours, theirs = (
        Result(OURS.name, "", 0, 2.0, [0.98, GOAL]),
        Result("torch", "NCHW", 0, 9.0, [GOAL]),
    )
    assert "4.50×" in summary([ours, theirs]) and summary([ours, theirs]).endswith("short")
    assert summary([ours, theirs._replace(seconds=10.0)]).endswith("ok")
    assert "no ratio" in summary([ours, theirs._replace(accuracies=[0.98])])


def test_memory_rows_hold_minicnn_against_the_thriftiest_fp32_mode():
    found = {"minicnn": 50.0, "torch": 200.0, "torch-cl": 100.0, "torch-bf16": 60.0}
    assert [row[-1] for row in memory.rows(found)] == ["ok", "", "", ""]
    assert memory.rows(found | {"minicnn": 50.1})[0][-1] == "short"


# --- reading the system's books -----------------------------------------------------------------


def test_machine_ticks_leave_out_idle_time_and_what_guests_count_again():
    assert load.machine_ticks("cpu  10 1 5 100 20 2 3 4 7 1\ncpu0 1 1\n") == (145, 25)


def test_process_ticks_survive_a_name_with_spaces_and_brackets():
    fields = "S 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20"
    assert load.process_ticks(f"77 (a b) c) {fields}") == 42


def test_others_share_is_busy_time_that_no_contender_used():
    theirs = 150 - 120 - load.ROUNDING
    assert load.others(clock(100, 50, 20), clock(300, 200, 140)) == pytest.approx(theirs / 200)
    assert load.others(clock(100, 50, 20), clock(300, 100, 140)) == 0.0
    assert load.others(None, clock(1, 1, 1)) == 0.0


def test_kibibytes_without_the_field_says_which():
    assert memory.kibibytes("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n", "VmHWM") == 2048
    with pytest.raises(ValueError, match="no line VmHWM"):
        memory.kibibytes("Name: x\n", "VmHWM")


# --- turns --------------------------------------------------------------------------------------


class Pretended:
    """A contender without a process."""

    def __init__(self, name, log, fails_in=None):
        self.mode = SimpleNamespace(name=name)
        self.process = SimpleNamespace(pid=1)
        self.log = log
        self.fails_in = fails_in

    def ask(self, do, **request):
        if do == "prepare":
            return {"variant": "v", "failed": []}
        self.log.append(self.mode.name)
        if self.log.count(self.mode.name) == self.fails_in:
            raise turns.ContenderError(self.mode.name, "gave up")
        return 0.001


@pytest.fixture
def shares(monkeypatch):
    """What others took of each round, to be filled; quiet from there on."""
    left = []
    monkeypatch.setattr(turns, "SETTLE", 0)
    for module in (turns, load):
        monkeypatch.setattr(module, "others", lambda *_: left.pop(0) if left else 0.0)
    return left


def test_turns_of_two_contenders_alternate(shares):
    log = []
    found = turns.take_turns([Pretended("a", log), Pretended("b", log)], LENET, 2, 0.1, {})
    assert log == ["a", "b", "a", "b"]
    assert found.times == {"a": [1.0, 1.0], "b": [1.0, 1.0]} and found.others == 0.0


def test_turns_beside_a_busy_program_are_repeated_until_quiet(shares):
    shares += [0.5, 0.0, 0.3, 0.01]
    log = []
    found = turns.take_turns([Pretended("a", log)], LENET, 2, 0.1, {})
    assert len(log) == 4 and len(found.times["a"]) == 2 and found.others == 0.01


def test_turns_on_a_machine_never_quiet_end_and_keep_the_quietest(shares):
    shares += [0.9, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9]
    log = []
    found = turns.take_turns([Pretended("a", log)], LENET, 2, 0.1, {})
    assert len(log) == 2 * turns.PERSISTENCE and found.others == 0.6


def test_turns_wait_for_a_quiet_machine_as_long_as_they_may(shares, monkeypatch):
    monkeypatch.setattr(load, "SAMPLE", 0.001)
    shares += [0.5, 0.5, 0.5]
    log = []
    found = turns.take_turns([Pretended("a", log)], LENET, 1, 0.1, {}, wait=60.0)
    assert len(log) == 1 and found.others == 0.0

    shares += [0.5] * 1000
    assert 0.01 <= load.wait_until_quiet([], 0.01) < 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' clocks")
def test_a_turn_waits_until_spinning_threads_sleep():
    spinning = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass\n"
    program = f"{spinning}input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert not load.wait_until_asleep([process.pid], 0.02, at_most=0.1)
        assert load.wait_until_asleep([process.pid], 0.02, at_most=30.0)
        assert load.processor_seconds([process.pid]) >= 0.2
        process.communicate(b"\n")
    assert load.processor_seconds([process.pid]) == 0.0
    assert load.wait_until_asleep([process.pid], 0.0)  # one that has ended is no reason to wait


def test_turns_go_on_without_a_contender_that_fails(shares):
    log = []
    pair = [Pretended("a", log), Pretended("b", log, fails_in=2)]
    found = turns.take_turns(pair, LENET, 3, 0.1, {})
    assert found.times == {"a": [1.0] * 3} and found.failures == {"b": "gave up"}


def test_contender_goes_on_with_its_fastest_variant_and_names_the_failing_one(monkeypatch):
    seconds = {"slow": 0.003, "fast": 0.001}
    made = {name: Work(lambda name=name: None) for name in seconds}
    side = SimpleNamespace(
        start=lambda threads: None, forget=lambda: None, work=lambda task, variant: made[variant]
    )
    took = {id(work): seconds[name] for name, work in made.items()}
    monkeypatch.setitem(sys.modules, "comparison.minicnn_side", side)
    monkeypatch.setattr(worker, "turn", lambda work, _: took[id(work)])
    contender = Contender(OURS, 1)
    ready = contender.prepare(list(LENET), 0.1, ["slow", "broken", "fast"])
    assert ready == {"variant": "fast", "failed": [("broken", "KeyError: 'broken'")]}
    assert contender.run(0.1) == 0.001
    with pytest.raises(worker.CannotRun, match="KeyError: 'broken'"):
        contender.prepare(list(LENET), 0.1, ["broken"])


def test_turn_warms_up_and_times_what_fills_it():
    steps_made = []
    took = worker.turn(Work(lambda: steps_made.append(1)), seconds=0.002)
    assert 0 < took < 1e-3 and len(steps_made) > 100


def test_process_of_minicnn_answers_and_says_why_it_cannot():
    with turns.Process(OURS, 1) as process:
        ready = process.ask("prepare", task=["digits", 32, True], seconds=0.001, variants=None)
        assert ready == {"variant": "", "failed": []}
        assert 0 < process.ask("run", seconds=0.001) < 1
        with pytest.raises(turns.ContenderError, match="KeyError: 'nonsense'"):
            process.ask("prepare", task=["nonsense", 1, True], seconds=0.001, variants=None)
    assert process.process.returncode == 0


def test_process_that_takes_too_long_is_ended_and_named():
    with turns.Process(OURS, 1, patience=0.01) as process:
        with pytest.raises(turns.ContenderError, match="ended without an answer") as caught:
            process.ask("run", seconds=100)
    assert caught.value.mode == OURS.name


# --- the recipe ---------------------------------------------------------------------------------


def test_recipe_learning_rate_rises_to_its_largest_and_falls_to_nothing():
    rates = [Recipe(0).learning_rate(step, 1000) for step in range(1000)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(0.1, rel=1e-3) and 240 < top < 260
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert 0 < rates[-1] < 1e-6


def test_recipe_order_is_whole_batches_of_different_samples_and_new_each_epoch():
    order = Recipe(3).order(0, 1000)
    assert len(order) == 960 and len(set(order.tolist())) == 960
    assert (order == Recipe(3).order(0, 1000)).all()
    assert (order != Recipe(3).order(1, 1000)).any() and (order != Recipe(4).order(0, 1000)).any()


def test_recipe_starting_weights_fit_the_model():
    model = minicnn_model("lenet").build((1, 28, 28))
    weights = Recipe(0).starting_weights()
    model.load_state_dict(weights)
    assert weights["0.weight"].std() == pytest.approx(0.2 / 3**0.5, rel=0.2)


@pytest.fixture
def tiny_mnist(tmp_path):
    """Four files in MNIST's format: 320 and 64 images, each class a bright column."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 320), ("t10k", 64)):
        labels = generator.integers(0, 10, count).astype(np.uint8)
        images = generator.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        images[np.arange(count), :, 2 * labels + 4] = 255
        for kind, array, header in (("images-idx3", images, 16), ("labels-idx1", labels, 8)):
            packed = gzip.compress(bytes(header) + array.tobytes())
            (tmp_path / f"{split}-{kind}-ubyte.gz").write_bytes(packed)
    return tmp_path


def test_minicnn_following_the_recipe_stops_at_the_goal(tiny_mnist):
    found = learn(minicnn_side, str(tiny_mnist), seed=0, variant="", epochs=20, samples=320)
    assert len(found["accuracies"]) < 20 and found["accuracies"][-1] >= GOAL
    assert all(accuracy < GOAL for accuracy in found["accuracies"][:-1])


def weights_after_four_steps(side, variant):
    recipe = Recipe(0)
    learner = side.Learner(recipe, variant)
    learner.begin()
    x, y = learner.data(*tasks.random_batch(LENET))
    for step in range(4):
        batch = learner.batch(x, y, learner.indices(np.arange(LENET.batch)))
        learner.step(*batch, recipe.learning_rate(step, 8))
    return {name: np.asarray(values) for name, values in learner.model.state_dict().items()}


@pytest.mark.parametrize("variant", ["NCHW", "NHWC"])
def test_torch_following_the_recipe_moves_the_weights_as_minicnn_does(variant):
    pytest.importorskip("torch")
    from comparison import torch_side

    ours = weights_after_four_steps(minicnn_side, "")
    theirs = weights_after_four_steps(torch_side, variant)
    for name, values in Recipe(0).starting_weights().items():
        moved = np.abs(ours[name] - values).max()
        # Rounding of both, magnified by four steps, against how far the weights went.
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-3 * moved)


# --- the command --------------------------------------------------------------------------------


def test_quick_measures_little_and_nothing_that_compiles_for_minutes():
    args = compare.parse(["--quick"])
    assert args.rows == ["digits", "lenet"] and len(args.threads) == 1 and args.rounds == 2
    assert "torch-compile" not in args.modes and "onnxruntime" in args.modes


@pytest.mark.parametrize(
    "wrong", [["--rows", "lenet-7"], ["--threads", "0"], ["--rounds", "x"], ["--modes", "minicnn"]]
)
def test_command_with_a_wrong_value_ends_with_usage(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        compare.parse(wrong)
    assert wrong[1] in capsys.readouterr().err


def test_named_tasks_are_found_by_row_and_by_net():
    found = [task.name for task in tasks.named(["lenet", "mlp-64"], tasks.TRAINING)]
    assert found == ["mlp-64", "lenet-1", "lenet-8", "lenet-64"]
    assert tasks.named([], tasks.TRAINING) == tasks.TRAINING


def test_peers_that_are_not_installed_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing_packages(MODES["onnxruntime"]) == ["onnxruntime", "onnx"]
    (line,) = machine.missing_lines(["jax"])
    assert "jax is left out" in line and '".[bench]"' in line


def test_peers_for_training_leave_out_who_cannot_train():
    assert "onnxruntime" not in [mode.name for mode in peers([], training=True)]
    assert [mode.name for mode in peers(["onnxruntime"], training=False)] == ["onnxruntime"]


def test_text_table_aligns_numbers_to_the_right():
    assert tables.text_table(["row", "ms"], [["lenet", "1.5"], ["a", "10.0"]]) == (
        "row      ms\nlenet   1.5\na      10.0"
    )


def test_markdown_table_has_a_rule_below_its_head():
    assert tables.markdown_table(["row", "ms"], [["a", "1"]]) == (
        "| row | ms |\n| --- | ---: |\n| a | 1 |"
    )


def memory_of_a_step(batch):
    """In a process of its own: in this one, freed memory of other tests may be used again."""
    program = f"""if True:
        import sys
        sys.path.insert(0, {str(Path(memory.__file__).parent.parent)!r})
        import numpy as np
        from comparison import memory, minicnn_side
        from comparison.tasks import Task
        np.ones(50_000_000, np.float32).sum()  # a peak before, which is not the step's
        print(memory.measure(minicnn_side, Task("lenet", {batch}), ""))
    """
    return float(subprocess.run([sys.executable, "-c", program], check=True,
                                capture_output=True, text=True).stdout)  # fmt: skip


def test_memory_of_a_step_grows_with_its_batch():
    if not memory.CLEAR.exists():
        pytest.skip("the system keeps no books of memory in /proc")
    small, large = memory_of_a_step(16), memory_of_a_step(1024)
    assert small < 100
    assert large > small + 10  # the images alone are 3 MiB, their first maps 18


# --- the peers run the same networks ------------------------------------------------------------


@pytest.mark.parametrize("net", ["lenet", "cifar"])
def test_onnx_graph_gives_the_answers_of_minicnn_with_the_same_weights(net):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from comparison import onnx_side

    task = Task(net, 2, training=False)
    graph = onnx.load_from_string(onnx_side.graph_bytes(task)).graph
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    model = minicnn_model(net).build(NETS[net][0])
    names = [name for name in model.state_dict() if "num_batches" not in name]
    model.load_state_dict(dict(zip(names, arrays, strict=True)), strict=False)
    x, _ = tasks.random_batch(task)
    (answers,) = onnx_side.session(task).run(None, {"x": x})
    np.testing.assert_allclose(model.logits(x), answers, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", ["NCHW", "NHWC", "NHWC bf16"])
def test_torch_work_in_every_uncompiled_variant_runs(variant, training):
    pytest.importorskip("torch")
    from comparison import torch_side

    work = torch_side.work(Task("lenet", 2, training), variant)
    try:
        assert worker.run(work, 2) > 0
    finally:
        torch_side.standing.close()


JAX_STEPS = """
import sys
import numpy as np
from comparison import jax_side, tasks

layout, weights_file, losses_file = sys.argv[1:]
x, labels = tasks.random_batch(tasks.Task("lenet", 8))
parameters, state = jax_side.starting_values("lenet", layout)
arrays = {f"{i}.{name}": a for i, layer in enumerate(parameters) for name, a in layer.items()}
np.savez(weights_file, **arrays)
velocity = [{name: 0 * a for name, a in layer.items()} for layer in parameters]
values, losses = [parameters, velocity, state, 0], []
step = jax_side.training_step("lenet", layout)
for _ in range(3):
    *values, loss = step(*values, x if layout == "NCHW" else x.transpose(0, 2, 3, 1), labels)
    losses.append(loss)
np.save(losses_file, losses)
"""


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_jax_steps_in_either_layout_give_the_losses_of_minicnn(layout, tmp_path):
    if missing_packages(MODES["jax"]):
        pytest.skip("jax is not installed")
    files = tmp_path / "weights.npz", tmp_path / "losses.npy"
    # In a process of its own: JAX hangs a warning on every fork of the process it is in.
    folders = [Path(compare.__file__).parent, Path(mc.__file__).parent.parent]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-P", "-c", JAX_STEPS, layout, *map(str, files)]
    subprocess.run(command, check=True, env=environment | {"JAX_PLATFORMS": "cpu"})

    model = minicnn_model("lenet").build((1, 28, 28))
    with np.load(files[0]) as arrays:
        model.load_state_dict({name: as_minicnn(arrays[name], layout) for name in arrays})
    loss, sgd = mc.CrossEntropyLoss(), mc.SGD(model.parameters(), tasks.LR, tasks.MOMENTUM)
    batch = tasks.random_batch(Task("lenet", 8))
    ours = [model.train_step(*batch, loss, sgd) for _ in range(3)]
    np.testing.assert_allclose(np.load(files[1]), ours, rtol=1e-4)


def as_minicnn(array, layout):
    """A weight of JAX's LeNet in minicnn's order of axes."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1) if layout == "NHWC" else array)
    if array.ndim == 2 and layout == "NHWC" and len(array) == 400:  # behind 16 maps of 5×5
        array = array.reshape(5, 5, 16, -1).transpose(2, 0, 1, 3).reshape(400, -1)
    return np.ascontiguousarray(array.T)
