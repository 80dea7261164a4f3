"""onnxruntime, as a contender: the same networks, written as ONNX graphs."""

from typing import Any

import numpy as np
import onnxruntime
from nets import NETS, class_count
from onnx import TensorProto, helper, numpy_helper

from .tasks import Task, random_batch
from .worker import Work

OPSET, IR = 17, 8
_threads = 1


def start(threads: int) -> None:
    global _threads
    _threads = threads


def forget() -> None:
    """Nothing is kept between tasks."""


def uniform(generator: np.random.Generator, fan_in: int, *shape: int) -> Any:
    bound = fan_in**-0.5
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def layer_parts(
    generator: np.random.Generator, kind: str, arguments: list[int]
) -> tuple[str, dict[str, Any], list[Any]]:
    """Operator, attributes and weights of a layer."""
    if kind == "conv":
        inputs, outputs, kernel, stride, padding = arguments
        fan_in = inputs * kernel * kernel
        weight = uniform(generator, fan_in, outputs, inputs, kernel, kernel)
        attributes = {
            "kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4,
        }  # fmt: skip
        return "Conv", attributes, [weight, uniform(generator, fan_in, outputs)]
    if kind == "linear":
        inputs, outputs = arguments
        weight = uniform(generator, inputs, outputs, inputs)
        return "Gemm", {"transB": 1}, [weight, uniform(generator, inputs, outputs)]
    if kind == "batchnorm":
        ones, zeros = np.ones(arguments[0], np.float32), np.zeros(arguments[0], np.float32)
        return "BatchNormalization", {}, [ones, zeros, zeros, ones]
    if kind == "maxpool":
        return "MaxPool", {"kernel_shape": arguments * 2, "strides": arguments * 2}, []
    return {"relu": "Relu", "flatten": "Flatten"}[kind], {}, []


def graph_bytes(task: Task) -> bytes:
    """The task's network for its batch size; Dropout does nothing when asked for answers."""
    generator = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    layers = [layer for layer in NETS[task.net][1] if layer[0] != "dropout"]
    for index, (kind, *arguments) in enumerate(layers):
        operator, attributes, arrays = layer_parts(generator, kind, arguments)
        names = [f"{index}.{position}" for position in range(len(arrays))]
        weights += [numpy_helper.from_array(*pair) for pair in zip(arrays, names, strict=True)]
        output = "y" if index == len(layers) - 1 else f"value{index}"
        nodes.append(helper.make_node(operator, [value, *names], [output], **attributes))
        value = output
    image = list(NETS[task.net][0])
    graph = helper.make_graph(
        nodes,
        task.net,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [task.batch, *image])],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, [task.batch, class_count(task.net)]
            )
        ],
        weights,
    )
    opset = helper.make_opsetid("", OPSET)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=IR).SerializeToString())


def session(task: Task) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    return onnxruntime.InferenceSession(
        graph_bytes(task), options, providers=["CPUExecutionProvider"]
    )


def work(task: Task, variant: str) -> Work:
    model = session(task)
    x, _ = random_batch(task)
    if variant == "run":
        return Work(lambda: model.run(None, {"x": x}))
    binding = model.io_binding()
    binding.bind_cpu_input("x", x)
    y = np.empty((task.batch, class_count(task.net)), np.float32)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def ask(kept: Any = (x, y)) -> None:
        model.run_with_iobinding(binding)

    return Work(ask)
