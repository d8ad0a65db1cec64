"""A GPU that is pretended, to test and count without one.

Inside `pretended_gpu` the device `cuda` exists: its tensors claim to be on `cuda:0`, and are
computed on the CPU. What a GPU would refuse is refused (tensors of two devices in one operation,
`numpy()`, a CPU's generator for draws on the GPU, operations without a deterministic kernel where
one is asked for, more memory than there is). `Account` counts the kernels that the host would have
launched, and how often it would have waited for the device.

Not pretended: rounding, streams, and the seconds that anything takes. An operation counts as one
kernel, a view as none.

How: a `_Remote` wraps the CPU tensor with its values. For C++ it is on XLA's device type, which
CPU builds know by name, with the dispatch key of CUDA's autocast added; C++ looks up a guard that
would switch devices, and gets the one of the meta device, which does nothing. These are inner
parts of PyTorch, known to hold for version 2.13 on Linux: `can_pretend` says whether they do.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.optim.optimizer import _foreach_supported_types
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import d2ir_pl

GPU = torch.device("cuda", 0)
PACKAGE = str(Path(d2ir_pl.__file__).parent) + "/"

# Operations whose result has a size, or a truth, that the host has to know.
WAITING = frozenset(
    {
        *("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "bincount"),
        *("_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
        *("_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_lstsq"),
    }
)
# Operations that raise on a GPU under torch.use_deterministic_algorithms(True).
UNDETERMINED = frozenset(
    {
        *("median.dim", "nanmedian.dim", "kthvalue.default", "cumsum.default", "histc.default"),
        *("put_.default", "grid_sampler_2d_backward.default"),
        *(f"{mode}_pad2d_backward.default" for mode in ("reflection", "replication")),
        *(f"upsample_{mode}2d_backward.default" for mode in ("bilinear", "bicubic")),
        *(f"_upsample_{mode}2d_aa_backward.default" for mode in ("bilinear", "bicubic")),
    }
)
# How many times smaller an image can be made with antialiasing, by the shared memory of a kernel.
MOST_SHRUNK = 94
_INDEXED = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})
_COPIES = frozenset({"_to_copy", "copy_"})
_NOTHING = frozenset(
    {
        "alias",
        "detach",
        "empty",
        "empty_strided",
        "lift_fresh",
        "_conj",
        "_unsafe_view",
        "_neg_view",
    }
)


class Count(NamedTuple):
    """How much a host has asked of a device.

    Attributes:
        kernels: operations that it has launched.
        waits: times that it waited for the device, copies to and from pageable memory included.
    """

    kernels: int
    waits: int

    def __sub__(self, other: Count) -> Count:
        return Count(self.kernels - other.kernels, self.waits - other.waits)


@dataclass
class Account:
    """What a pretended device was asked to do, by the lines of the package that asked for it.

    Attributes:
        memory: bytes that the device has.
        kernels: number of kernels by line.
        waits: number of waits by their cause and line.
        live: bytes of all tensors on the device.
        peak: the most that there were.
    """

    memory: int
    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    live: int = 0
    peak: int = 0
    _asides: int = 0
    _storages: weakref.WeakSet[torch.UntypedStorage] = field(default_factory=weakref.WeakSet)

    @property
    def count(self) -> Count:
        """All kernels and waits so far."""
        return Count(self.kernels.total(), self.waits.total())

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Count nothing inside."""
        self._asides += 1
        try:
            yield
        finally:
            self._asides -= 1

    def launched(self, func: Any, wait: str) -> None:
        """Count an operation, and why the host waits for it, if it does."""
        if self._asides:
            return
        line = _line(sys._getframe(3))
        name = _name(func)
        self.kernels[f"{line} {name}"] += not (func.is_view or name in _NOTHING)
        if wait:
            self.waits[f"{line} {wait}"] += 1

    def hold(self, value: Tensor) -> Tensor:
        """Put a CPU tensor's values on the device."""
        value = value.resolve_conj().resolve_neg()
        storage = value.untyped_storage()
        if storage not in self._storages:
            size = storage.nbytes()
            if self.live + size > self.memory:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
            self._storages.add(storage)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, size)
        return _Remote(value)

    def _free(self, size: int) -> None:
        self.live -= size


class _Remote(Tensor):
    """A tensor that claims to be on the GPU; `value` has its values."""

    value: Tensor
    is_cuda = True
    is_xla = False
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, value: Tensor) -> _Remote:
        made: _Remote = Tensor._make_wrapper_subclass(
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=torch.device("xla", 0),
            _extra_dispatch_keys=torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA),
        )
        made.value = value
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def data(self) -> Tensor:
        inner: Tensor = vars(torch._C.TensorBase)["data"].__get__(self)
        return inner

    @data.setter
    def data(self, new: Any) -> None:
        vars(torch._C.TensorBase)["data"].__set__(self, new)
        self.value = new.value

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.value.untyped_storage()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.cpu().numpy(force=True)
        raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.value.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        assert _pretending is not None, "a tensor of a pretended device has outlived it"
        return _pretending.run(func, args, kwargs or {})


class _Pretending(TorchDispatchMode):
    """Runs every operation: refused as a GPU would, or computed on the CPU and counted."""

    def __init__(self, account: Account) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.account = account

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _is_composite(func):  # inference mode hands those on whole
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        given: list[Tensor] = []
        _each(given.append, [args, tuple(kwargs.values())])
        remote = [isinstance(t, _Remote) for t in given]
        asked = kwargs.get("device")
        there = any(remote) if asked is None else torch.device(asked).type in ("cuda", "xla")
        if not there and not any(remote):
            return func(*args, **kwargs)
        _refuse(func, args, given, remote, kwargs.get("generator") if there else None)
        result = _computed(func, args, kwargs, there)
        self.account.launched(func, _wait(func, args, given, remote, there, kwargs))
        if not there:
            return result
        mine = {id(t.value): t for t in given if isinstance(t, _Remote)}

        def back(value: Tensor) -> Any:
            if args and value is args[0]:  # a CPU's tensor that was written to
                return value
            known = mine.get(id(value))
            return self.account.hold(value) if known is None else known

        return _each(back, result)


class _NumberedDevice(TorchFunctionMode):
    """Gives the device `cuda` its number, for which C++ would ask the driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _numbered(kwargs["device"])
        if func is Tensor.cuda:
            return args[0].to(GPU, **kwargs)
        if func is Tensor.to:
            args = tuple(map(_numbered, args))
        return func(*args, **kwargs)


_pretending: _Pretending | None = None


@contextlib.contextmanager
def pretended_gpu(memory: int = 80 << 30, capability: int = 9) -> Iterator[Account]:
    """Pretend that the machine has one GPU, and keep an account of what it is asked to do.

    Args:
        memory: bytes that it has.
        capability: first number of its compute capability; 8 and more compute in bfloat16.
    """
    account = Account(memory)
    modules, conversion = torch._C._only_lift_cpu_tensors(), torch.__future__
    swaps = conversion.get_swap_module_params_on_conversion()
    _lend_guard()
    with contextlib.ExitStack() as stack:
        for name, answer in _answers(account, capability).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        plans: defaultdict[Any, SimpleNamespace] = defaultdict(SimpleNamespace)
        stack.enter_context(mock.patch.object(torch.backends.cuda, "cufft_plan_cache", plans))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", _pinned))
        stack.enter_context(mock.patch.object(torch.autograd, "_engine_run_backward", _backward))
        _foreach_supported_types.append(_Remote)
        stack.callback(_foreach_supported_types.remove, _Remote)
        torch._C._set_only_lift_cpu_tensors(True)  # so that `torch.tensor(..., device=)` is seen
        stack.callback(torch._C._set_only_lift_cpu_tensors, modules)
        conversion.set_swap_module_params_on_conversion(True)
        stack.callback(conversion.set_swap_module_params_on_conversion, swaps)
        mode = _Pretending(account)
        stack.enter_context(mock.patch.object(sys.modules[__name__], "_pretending", mode))
        stack.enter_context(mode)
        stack.enter_context(_NumberedDevice())
        yield account


@functools.cache
def can_pretend() -> bool:
    """Whether this version of PyTorch has the inner parts that a pretended device is made of."""
    try:
        with pretended_gpu() as account:
            x = torch.ones(2, device="cuda", requires_grad=True)
            torch.autograd.backward((2 * x).sum())
            assert x.grad is not None
            return x.grad.tolist() == [2.0, 2.0] and account.count.waits == 1
    except Exception:
        return False


def _answers(account: Account, capability: int) -> dict[str, Callable[..., Any]]:
    """What the functions of `torch.cuda` say."""
    card = SimpleNamespace(name="pretended", major=capability, minor=0, total_memory=account.memory)
    fixed: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "is_bf16_supported": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_name": card.name,
        "get_device_capability": (capability, 0),
        "get_device_properties": card,
        "get_rng_state_all": [],
    }
    silent = ("_lazy_init", "empty_cache", "synchronize", "set_device", "manual_seed_all")
    fixed |= dict.fromkeys((*silent, "set_rng_state_all", "reset_peak_memory_stats"))
    answers: dict[str, Callable[..., Any]] = {
        name: lambda *_, _value=value, **__: _value for name, value in fixed.items()
    }
    answers["memory_allocated"] = answers["memory_reserved"] = lambda *_: account.live
    answers["max_memory_allocated"] = lambda *_: account.peak
    answers["mem_get_info"] = lambda *_: (account.memory - account.live, account.memory)
    return answers


def _lend_guard() -> None:
    """Let C++ find the meta device's guard where it looks for that of XLA."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    registry = (ctypes.c_void_p * 21).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    xla, meta = 9, 14
    registry[xla] = registry[meta]


def _computed(func: Any, args: Any, kwargs: dict[str, Any], there: bool) -> Any:
    """The result of an operation on the CPU."""

    def value(tensor: Tensor) -> Tensor:
        return tensor.value if isinstance(tensor, _Remote) else tensor

    options = {key: _each(value, option) for key, option in kwargs.items()}
    if options.get("device") is not None:
        options["device"] = torch.device("cpu" if there else options["device"])
    if _name(func) == "_efficientzerotensor":  # which C++ knows by a dispatch key
        func = torch.ops.aten.zeros.default
    return func(*_each(value, args), **options)


def _refuse(
    func: Any, args: Any, given: Sequence[Tensor], remote: Sequence[bool], generator: Any
) -> None:
    """Raise what PyTorch raises where an operation on a GPU is not possible.

    Raises:
        RuntimeError: for tensors on two devices, a CPU's generator, and an operation without a
            deterministic kernel where these are asked for.
    """
    name = _name(func)
    if generator is not None and generator.device.type != "cuda":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    local = [t for t, there in zip(given, remote, strict=True) if not there]
    single = torch.Tag.pointwise in func.tags or name.startswith(("masked_fill", "_foreach"))
    if name in _INDEXED:  # whose indices may be on the CPU, if what they index is not
        local = [t for t in args[2:3] if not isinstance(t, _Remote)]
        single = True
        if any(remote) and not remote[0]:
            raise RuntimeError("indices should be on the CPU or on the device of the tensor")
    mixed = any(t.ndim > 0 or not single for t in local)
    if mixed and any(remote) and name not in _COPIES:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({func} of {[tuple(t.shape) for t in given]})"
        )
    if name == "_upsample_bilinear2d_aa" and any(remote):
        scale = max(n / new for n, new in zip(args[0].shape[-2:], args[1], strict=True))
        if scale > MOST_SHRUNK:
            raise RuntimeError("Provided interpolation parameters need too much shared memory")
    kind = str(func).removeprefix("aten.")
    strict = torch.get_deterministic_debug_mode() == 2 and any(remote)
    exact = kind == "cumsum.default" and not args[0].is_floating_point()
    if strict and kind in UNDETERMINED and not exact:
        raise RuntimeError(f"{name} on CUDA does not have a deterministic implementation")


def _wait(
    func: Any,
    args: Any,
    given: Sequence[Tensor],
    remote: Sequence[bool],
    there: bool,
    kwargs: dict[str, Any],
) -> str:
    """Why the host waits for an operation; empty where it goes on."""
    name = _name(func)
    if name in _COPIES:
        target = remote[0] if name == "copy_" else there
        if target == remote[-1] or str(kwargs.get("device")) == "meta":
            return ""
        ahead = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        if ahead and (not target or hasattr(given[-1], "pretends_to_be_pinned")):
            return ""
        return "copy to the GPU" if target else "copy to the CPU"
    if name in _INDEXED and not all(remote):
        return "index from the CPU"
    if name in _INDEXED and any(t.dtype == torch.bool for t in given[1:]):
        return "index of truth values"
    return name if name in WAITING else ""


def _each(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """A tree of lists and tuples with all its tensors changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if type(tree) in (list, tuple):
        return type(tree)([_each(change, branch) for branch in tree])
    return tree


def _name(func: Any) -> str:
    name: str = func._schema.name
    return name.removeprefix("aten::")


def _line(frame: FrameType | None) -> str:
    """The innermost line of the package, or else of a file beside it, that an operation is of."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE):
            return f"{file.removeprefix(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


@functools.cache
def _is_composite(func: Any) -> bool:
    key = "CompositeImplicitAutograd"
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key))


def _numbered(device: Any) -> Any:
    return GPU if isinstance(device, str | torch.device) and str(device) == "cuda" else device


def _pinned(tensor: Tensor, *_: Any) -> Tensor:
    copy = tensor.clone()
    copy.pretends_to_be_pinned = True  # type: ignore[attr-defined]
    return copy


_run_backward: Callable[..., Any] = vars(torch.autograd)["_engine_run_backward"]


def _backward(*args: Any, **options: Any) -> Any:
    with torch.autograd.set_multithreading_enabled(False):  # no thread belongs to the device
        return _run_backward(*args, **options)
