"""What all optimizers share: the parameters, the state kept for them, saving and loading."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..arguments import check_names, flag, whole_number
from ..layers.base import FloatArray, Parameter
from .segments import Segment, find_segments, parameter_list


class Optimizer:
    """Base class of all optimizers.

    A subclass lists its hyper-parameters and the slots it may use (one float32 number for
    each parameter value), checks values in `checked`, and updates one segment in `update`.

    Parameters
    ----------
    params : iterable of Parameter
        What `model.parameters()` gives; all are treated alike.
    hyper_parameters
        Checked and kept as attributes of the same name, which may be set later; a schedule
        sets `lr`.

    Raises
    ------
    TypeError
        When `params` holds anything else; groups with options of their own are not supported.
    ValueError
        When it is empty or holds a parameter twice, or a hyper-parameter is out of range.
    """

    hyper_parameter_names: ClassVar[tuple[str, ...]]
    slot_names: ClassVar[tuple[str, ...]]

    lr: float

    def __init__(self, params: Iterable[Parameter], **hyper_parameters: Any) -> None:
        self._assign(self.checked(**hyper_parameters))
        self.parameters = parameter_list(params)
        self.segments = find_segments(self.parameters)
        self.steps = 0
        self.slots: dict[str, FloatArray] = {}
        self.owner: FloatArray | None = None  # the block last found to hold the parameters
        self._arrays = [(p.data, p.grad) for p in self.parameters]

    # --- what an optimizer defines ---------------------------------------------------------

    def checked(self, **values: Any) -> dict[str, Any]:
        """The hyper-parameters as they are kept; TypeError or ValueError naming a wrong one."""
        raise NotImplementedError(f"{type(self).__name__} does not define checked")

    def update(self, segment: Segment, slots: dict[str, FloatArray], first: bool) -> None:
        """Move one segment; `slots` are its parts of the slots, not yet filled when `first`."""
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def used_slots(self) -> tuple[str, ...]:
        """The slots that a step with the present hyper-parameters needs."""
        return self.slot_names

    def set_momentum(self, value: float) -> None:
        """Set what weighs the past gradients; `OneCycleLR` calls it."""
        raise ValueError(f"{type(self).__name__} has no momentum; use cycle_momentum=False")

    # --- stepping -------------------------------------------------------------------------

    def step(self) -> None:
        """Move every parameter once, along the gradients of the last backward pass.

        Raises
        ------
        RuntimeError
            When a parameter's array is not the one it was when the optimizer was made.
        """
        self._check_in_place()
        first = False
        for name in self.used_slots():
            if name not in self.slots:
                first = True
                self.slots[name] = np.zeros(self.size, np.float32)
        self.steps += 1
        start = 0
        for segment in self.segments:
            stop = start + segment.data.size
            self.update(segment, {k: v[start:stop] for k, v in self.slots.items()}, first)
            start = stop

    @property
    def size(self) -> int:
        """Number of values that a step moves."""
        return sum(segment.data.size for segment in self.segments)

    def _check_in_place(self) -> None:
        for p, (data, grad) in zip(self.parameters, self._arrays, strict=True):
            if p.data is not data or p.grad is not grad:
                raise RuntimeError(
                    f"{p!r} got a new array after {type(self).__name__} was made, so a step would "
                    "move the old one; write into it (p.data[...] = value), and make the "
                    "optimizer after the model is built"
                )

    # --- saving and loading ---------------------------------------------------------------

    def hyper_parameters(self) -> dict[str, Any]:
        """The hyper-parameters by name, as held now."""
        return {name: getattr(self, name) for name in self.hyper_parameter_names}

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on, besides parameters and gradients.

        Returns
        -------
        dict
            'type', 'step' (steps made so far), the hyper-parameters, 'slots_in_use' (bool) and
            'slots': name → (size,) float32 copy in the order of the parameters, empty while
            none is in use.
        """
        slots = {name: slot.copy() for name, slot in self.slots.items()}
        head = {"type": type(self).__name__, "step": self.steps, "slots_in_use": bool(slots)}
        return {**head, **self.hyper_parameters(), "slots": slots}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; its hyper-parameters replace the present ones.

        Raises
        ------
        TypeError, ValueError
            When the state is of another optimizer or of other parameters, or an entry is
            missing, unexpected or malformed. Nothing is changed then.
        """
        own_type = type(self).__name__
        if state.get("type") != own_type:
            raise ValueError(f"the state is of {state.get('type')!r}; expected {own_type!r}")
        head = ("type", "step", "slots_in_use", "slots")
        check_names("the state", state, (*head, *self.hyper_parameter_names))
        steps = whole_number(state["step"], "step", minimum=0, maximum=2**53)
        values = self.checked(**{name: state[name] for name in self.hyper_parameter_names})
        in_use = flag(state["slots_in_use"], "slots_in_use")
        check_names("slots", state["slots"], self.slot_names if in_use else ())
        slots = {name: self._checked_slot(name, slot) for name, slot in state["slots"].items()}
        self._assign(values)
        self.steps, self.slots = steps, slots

    def _checked_slot(self, name: str, value: Any) -> FloatArray:
        slot = np.array(value)  # a copy
        if slot.dtype != np.float32 or slot.shape != (self.size,):
            raise ValueError(
                f"slot {name!r} is {slot.dtype} of shape {slot.shape}; expected float32 of shape "
                f"({self.size},), one number for each parameter value of this model"
            )
        return slot

    def _assign(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.hyper_parameters().items())
        return f"{type(self).__name__}({arguments})"
