"""The state file: all that a training needs to go on as if it had never stopped.

Between two epochs a run is determined by the weights and statistics of the model, the
optimizer's slots and step count, the schedule's position, Dropout's counters, the callbacks'
memory, the history, and the arguments of `fit`. The file holds all of them, so that a resumed
run makes the same bits. No clock and no path is in it: equal runs give equal files.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checkpoint
from ..arguments import whole_number
from ..checkpoint import CheckpointError
from ..interrupts import signals_deferred
from .callbacks import Callback
from .history import History
from .plan import Plan, Run

Arrays = dict[str, NDArray[Any]]

KIND = "training state"
MAY_DIFFER = ("epochs",)  # where to stop is not how to get there: a run may be extended
_CHUNK = 1 << 24  # bytes of data that are hashed at a time
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class StateFile:
    """Writes the state of one run to `path`, and reads it back.

    Made before the first step, because it notes what the optimizer and the schedule were
    given, and both change while training.
    """

    def __init__(self, path: str | os.PathLike[str], run: Run, callbacks: Sequence[Callback]):
        self.path = os.fspath(path)
        self.run = run
        self.callbacks = [callback for callback in callbacks if callback.state() is not None]
        self.arguments = _plain(_arguments(run.plan, self.callbacks))

    # --- writing --------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state between two epochs; durably, and in one step.

        Raises
        ------
        OSError
            The file could not be written; the one of the epoch before is still there.
        """
        run, plan = self.run, self.run.plan
        optimizer = plan.optimizer.state_dict()
        tensors = _prefixed("model", run.model.state_dict())
        tensors |= _prefixed("optimizer", optimizer.pop("slots"))
        memories = []
        for i, callback in enumerate(self.callbacks):
            data, arrays = _split(callback.state() or {})
            memories.append(data)
            tensors |= _prefixed(f"callback.{i}", arrays)
        metadata = {
            "kind": KIND,
            "model": run.model.metadata(),
            "arguments": self.arguments,
            "epoch": run.epoch,
            "history": run.history.to_json(timings=False),
            "optimizer": optimizer,
            "schedule": None if plan.schedule is None else plan.schedule.state_dict(),
            "generator_steps": run.model.generator_steps(),
            "callbacks": memories,
        }
        checkpoint.write(self.path, tensors, _plain(metadata))

    # --- reading --------------------------------------------------------------------------------

    def restore(self) -> None:
        """Bring the run to where the file was written.

        Raises
        ------
        CheckpointError
            The file is damaged, no state file, or of another run: lists all that differs.
        OSError
            It cannot be read.
        """
        tensors, found = checkpoint.read(self.path)
        if found is None or found.get("kind") != KIND:
            raise CheckpointError(
                f"{self.path}: holds no training state to resume from; give the state_file of "
                "an earlier fit (a saved model is read by minicnn.load)"
            )
        try:
            found = _unplain(found)
            self._refuse_another_run(found)
            with signals_deferred():
                self._restore(tensors, found)
        except KeyError as error:
            raise CheckpointError(f"{self.path}: it lacks {error}; use another copy") from error
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{self.path}: {error}") from error

    def _refuse_another_run(self, found: Mapping[str, Any]) -> None:
        here = {"model": self.run.model.metadata(), **self.arguments}
        there = {"model": found["model"], **found["arguments"]}
        differences = [
            f"  {name}: it has {_short(was)}, this run has {_short(now)}"
            for name, was, now in _differences(there, here)
            if name not in MAY_DIFFER
        ]
        if differences:
            raise ValueError(
                "the state is of another run, so resuming from it would give neither; use "
                "what it was started with, or start anew with resume=False\n"
                + "\n".join(differences)
            )
        if found["epoch"] > self.run.plan.epochs:
            raise ValueError(
                f"{found['epoch']} epochs are done already; expected epochs of at least that, "
                f"got {self.run.plan.epochs}"
            )

    def _restore(self, tensors: Arrays, found: Mapping[str, Any]) -> None:
        run, plan = self.run, self.run.plan
        slots = _without_prefix("optimizer", tensors)
        plan.optimizer.load_state_dict({**found["optimizer"], "slots": slots})
        run.model.load_state_dict(_without_prefix("model", tensors))
        run.model.load_generator_steps(found["generator_steps"])
        if plan.schedule is not None:
            plan.schedule.load_state_dict(found["schedule"])
        for i, callback in enumerate(self.callbacks):
            arrays = _without_prefix(f"callback.{i}", tensors)
            callback.load_state(_join(found["callbacks"][i], arrays))
        run.history.rows[:] = History.from_json(found["history"])
        run.epoch = whole_number(found["epoch"], "epoch", 0)


# --- what a run was started with --------------------------------------------------------------


def _arguments(plan: Plan, callbacks: Sequence[Callback]) -> dict[str, Any]:
    """The arguments of `fit` that decide its result, as plain data."""
    names = ("epochs", "batch_size", "shuffle", "drop_last", "seed", "clip_norm")
    validation = plan.validation_data
    return {
        **{name: getattr(plan, name) for name in names},
        "loss": _described(plan.loss),
        "optimizer": _described(plan.optimizer),
        "schedule": None if plan.schedule is None else _described(plan.schedule),
        "callbacks": [{"type": type(c).__name__, **c.arguments()} for c in callbacks],
        "augment": None if plan.augment is None else plan.augment.hyper_parameters(),
        "data": fingerprint(plan.x, plan.y),
        "validation_data": None if validation is None else fingerprint(*validation),
    }


def fingerprint(x: NDArray[Any], y: NDArray[np.int64]) -> dict[str, Any]:
    """Type, shape and SHA-256 of the data, which is read in parts."""
    sha = hashlib.sha256()
    for array in (x, y):
        rows = max(1, _CHUNK // max(1, array[:1].nbytes))
        for start in range(0, len(array), rows):
            part = np.ascontiguousarray(array[start : start + rows])
            sha.update(part.reshape(-1).view(np.uint8).data)
    return {"dtype": x.dtype.str, "shape": list(x.shape), "sha256": sha.hexdigest()}


def _described(thing: Any) -> dict[str, Any]:
    """Type and arguments of a loss, an optimizer or a schedule.

    A schedule does not tell its arguments but keeps them as attributes. They are compared
    before the first step, when all of them are as they were given.
    """
    if hasattr(thing, "hyper_parameters"):
        return {"type": type(thing).__name__, **thing.hyper_parameters()}
    public = {name: value for name, value in vars(thing).items() if not name.startswith("_")}
    public.pop("optimizer", None)
    described = {k: _described(v) if hasattr(v, "state_dict") else v for k, v in public.items()}
    return {"type": type(thing).__name__, **described}


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two pieces of plain data differ: the dotted name and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            dotted = f"{name}.{key}" if name else key
            yield from _differences(there.get(key), here.get(key), dotted)
    elif _plain(there) != _plain(here):
        yield name, there, here


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"


# --- plain data and arrays ----------------------------------------------------------------------


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _without_prefix(prefix: str, arrays: Arrays) -> Arrays:
    start = f"{prefix}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def _is_arrays(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(a, np.ndarray) for a in value.values())


def _split(state: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """A callback's state as plain data, with `{"arrays": names}` for arrays, and these."""
    data: dict[str, Any] = {}
    arrays: Arrays = {}
    for key, value in state.items():
        if _is_arrays(value):
            arrays |= _prefixed(key, value)
            data[key] = {"arrays": sorted(value)}
        else:
            data[key] = value
    return data, arrays


def _join(data: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """The state that `_split` took apart."""
    return {
        key: {name: arrays[f"{key}/{name}"] for name in value["arrays"]}
        if isinstance(value, dict) and value.keys() == {"arrays"}
        else value
        for key, value in data.items()
    }


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: tuples as lists, NumPy numbers and arrays as Python's, and
    a float that is no number as {"float": "nan"}."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def _unplain(value: Any) -> Any:
    """Turns {"float": "nan"} back."""
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in _FLOATS:
            return _FLOATS[value["float"]]
        return {key: _unplain(item) for key, item in value.items()}
    return [_unplain(item) for item in value] if isinstance(value, list) else value
