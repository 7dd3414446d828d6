"""A device that is not there, played by the CPU: tensors on it mix with no others, and waits for it are counted.

A wait is what torch makes the host wait for on a GPU: a value or a size that is asked for, and a copy in either direction that
was not asked for as one beside the host. Not counted is what a driver adds. Nothing runs in inference mode here.
"""

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CPU = torch.device("cpu")
aten = torch.ops.aten
# Their result's size, or their result itself, is a fact that only the device has.
_ASKED = {
    aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default,
    aten.unique_dim.default, aten.repeat_interleave.Tensor, aten.is_nonzero.default, aten.bincount.default,
    aten.unique_consecutive.default, aten.masked_scatter.default, aten.masked_scatter_.default, aten.allclose.default,
}  # fmt: skip
_PUT = {aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_INDEXED = {aten.index.Tensor, *_PUT}


class _There(torch.Tensor):
    """A tensor on the second device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device) -> "_There":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=device
        )

    def __init__(self, inner: torch.Tensor, device: torch.device) -> None:
        self.inner = inner

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: the second device is gone; its tensors are of no use outside the with block")


class SecondDevice(TorchDispatchMode):
    """In its ``with`` block, ``device`` can be given wherever a GPU can; ``waits`` tells from where the host waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("lazy")
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given, _ = tree_flatten((args, kwargs))
        there = [one for one in given if isinstance(one, _There)]
        target = kwargs.get("device")
        put_there = self.device.type == getattr(target, "type", None) or (target is None and bool(there))
        if not there and not put_there:
            return func(*args, **kwargs)
        if func.overloadpacket is aten.to:
            with self:  # in inference mode it comes whole, and may copy or not
                return func.decompose(*args, **kwargs)
        self._check(func, args, kwargs, given, there, put_there)
        if "device" in kwargs:
            kwargs["device"] = CPU
        wrappers = {id(one.inner): one for one in there}
        strip: Callable[[Any], Any] = lambda one: one.inner if isinstance(one, _There) else one  # noqa: E731
        if func is aten._to_copy.default:
            kwargs["non_blocking"] = False
        # What is made in inference mode could not be wrapped outside it.
        with torch.inference_mode(False), torch.no_grad():
            out = func(*tree_map(strip, args), **tree_map(strip, kwargs))
            if not put_there:
                return out
            return tree_map(lambda one: self._put(one, wrappers) if isinstance(one, torch.Tensor) else one, out)

    def _put(self, inner: torch.Tensor, wrappers: dict[int, "_There"]) -> "_There":
        """What an operation returned: one of its own operands, if it worked in place."""
        same = wrappers.get(id(inner))
        return _There(inner, self.device) if same is None else same

    def _check(self, func: Any, args: Any, kwargs: Any, given: list[Any], there: list["_There"], put_there: bool) -> None:
        here = [one for one in given if isinstance(one, torch.Tensor) and not isinstance(one, _There)]
        if func is aten._to_copy.default:
            if bool(there) != put_there and not (put_there and kwargs.get("non_blocking")):
                self._waited(func)
        elif func is aten.copy_.default:
            if here and not (len(args) > 2 and args[2]) and not kwargs.get("non_blocking"):
                self._waited(func)
        else:
            indices = [one for one in args[1] if one is not None] if func in _INDEXED else []
            if any(one.dim() for one in here if all(one is not index for index in indices)):
                raise RuntimeError(f"{func}: tensors on the CPU and on the second device in one operation")
            if func in _ASKED or any(not isinstance(one, _There) or one.dtype == torch.bool for one in indices):
                self._waited(func)

    def _waited(self, func: Any) -> None:
        ours = [one for one in traceback.extract_stack() if "/torch/" not in one.filename and one.filename != __file__]
        frame = ours[-1]
        self.waits.append(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {func} {frame.line}")
