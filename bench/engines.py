"""The bundled extractor's network on the engines that could run it: CPU time, and whether the numbers are the same.

    PYTHONPATH=. .venv/bin/python bench/engines.py --onnx FOLDER

FOLDER is where ONNX Runtime lies, which Vetrina does not need: pip install --target FOLDER --no-deps onnx onnxruntime
flatbuffers. CPU time is the whole process's, so threads that wait busily count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.efficientnet_lite import LiteModel
from vetrina.embedding.lite_keras import NETWORKS
from vetrina.embedding.on_tensorflow import traced
from vetrina.embedding.precision import made_up_pictures
from vetrina.embedding.preprocessing import normalised
from vetrina.models.handles import parse_handle

PICTURES = 256


def litert(model: bytes, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    inputs, outputs = (side()[0]["index"] for side in (interpreter.get_input_details, interpreter.get_output_details))

    def run(batch: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(inputs, batch)
        interpreter.invoke()
        return interpreter.get_tensor(outputs)

    return run


def onnx_model(network: Any) -> bytes:
    """The folded Keras network as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, names = [], [], {}

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    for layer in network.layers:
        name, kind = layer.name, type(layer).__name__
        names[id(layer.output)] = name
        if kind == "InputLayer":
            continue
        into = [names[id(tensor)] for tensor in (layer.input if isinstance(layer.input, list) else [layer.input])]
        if kind in ("Conv2D", "DepthwiseConv2D"):
            kernel, bias = layer.get_weights()
            turned = kernel.transpose((2, 3, 0, 1) if kind == "DepthwiseConv2D" else (3, 2, 0, 1))
            into += [constant(name + "_w", turned), constant(name + "_b", bias)]
            group = kernel.shape[2] if kind == "DepthwiseConv2D" else 1
            how = {"auto_pad": "SAME_UPPER", "strides": list(layer.strides), "group": group}
            nodes.append(helper.make_node("Conv", into, [name], **how))
        elif kind == "ReLU":
            into += [constant(name + "_low", np.zeros(())), constant(name + "_high", np.full((), 6.0))]
            nodes.append(helper.make_node("Clip", into, [name]))
        elif kind == "Add":
            nodes.append(helper.make_node("Add", into, [name]))
        elif kind == "GlobalAveragePooling2D":
            nodes.append(helper.make_node("GlobalAveragePool", into, [name + "_4d"]))
            nodes.append(helper.make_node("Flatten", [name + "_4d"], [name]))
        else:
            raise ValueError(f"a layer of kind {kind}")
    side = network.input_shape[1]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info(names[id(network.output)], TensorProto.FLOAT, ["n", network.output_shape[1]])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def onnx(model: bytes, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"picture": batch.transpose(0, 3, 1, 2)})[0]


def measure(run: Callable[[np.ndarray], np.ndarray], fed: np.ndarray, size: int) -> tuple[np.ndarray, float, float]:
    """The numbers, and the median CPU and wall milliseconds of a picture."""
    run(fed[:size])
    answers, cpu, wall = [], [], []
    for start in range(0, len(fed), size):
        began = time.process_time(), time.perf_counter()
        answers.append(np.array(run(fed[start : start + size])))
        cpu.append((time.process_time() - began[0]) / size * 1000)
        wall.append((time.perf_counter() - began[1]) / size * 1000)
    return np.concatenate(answers), float(np.median(cpu)), float(np.median(wall))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="efficientnet-lite0", choices=[*NETWORKS])
    parser.add_argument("--onnx", type=Path, help="folder with onnx and onnxruntime")
    options = parser.parse_args()
    model = LiteModel.of(parse_handle(f"bundled:{options.model}"))
    pictures = made_up_pictures(model.preprocessing.side, PICTURES, seed=2)
    fed = np.concatenate([model.preprocessing(picture) for picture in pictures])
    converted = model.converted()
    network = model.network()
    engines = [(f"LiteRT, {n} thread{'s' * (n > 1)}", 1, litert(converted, n)) for n in (1, 2)]
    function = traced(network)
    engines += [(f"TensorFlow (folded), batch {n}", n, lambda batch: function(batch).numpy()) for n in (1, 32)]
    if options.onnx:
        sys.path.append(str(options.onnx))  # last: everything else stays the project's
        exported = onnx_model(network)
        engines += [(f"ONNX Runtime, 1 thread, batch {n}", n, onnx(exported, 1)) for n in (1, 32)]
        engines += [("ONNX Runtime, 2 threads, batch 32", 32, onnx(exported, 2))]
    print("| engine | CPU ms a picture | wall ms a picture | largest difference of a vector's numbers to Keras |")
    print("| --- | --- | --- | --- |")
    right = normalised(network.predict(fed, batch_size=32, verbose=0))
    for name, size, run in engines:
        answers, cpu, wall = measure(run, fed, size)
        print(f"| {name} | {cpu:.1f} | {wall:.1f} | {np.abs(normalised(answers) - right).max():.1e} |")


if __name__ == "__main__":
    main()
