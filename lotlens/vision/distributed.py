"""Several processes that train as one: who is first, what they agree on, whose rows are whose.

torchrun starts them; each holds a replica of the network and takes an equal share of the rows of
every batch. What a network does with the whole batch (statistics of BatchNorm, masks of dropout)
it does as one process would, so that the result is that of one process up to rounding. Without
torchrun every function here does what is right for a process that is alone.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional

from lotlens.errors import InputError

_T = TypeVar("_T")
# The first process audits, probes and judges alone while the others wait. None waits for a dead
# one: gloo notices a closed connection, and torchrun ends all when one fails.
_LONGEST_WAIT = timedelta(hours=12)


def is_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_torchelastic_launched()
        and int(os.environ["WORLD_SIZE"]) > 1
    )


def is_first() -> bool:
    """Whether this process writes the files and speaks to the user."""
    return not is_launched() or os.environ["RANK"] == "0"


def join() -> None:
    """Meet the other processes that torchrun started, if there are any; once is enough.

    Raises:
        InputError: there are more processes on this machine than GPUs, or not as many as on others.
    """
    if not is_launched() or torch.distributed.is_initialized():
        return
    num_here, num_all = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if num_all % num_here:
        raise InputError(
            f"{num_here} of {num_all} processes run on this machine, so that others have another"
            " number: give every torchrun the same --nproc-per-node"
        )
    is_on_gpus = torch.cuda.is_available()
    if is_on_gpus and torch.cuda.device_count() < num_here:
        raise InputError(
            f"{num_here} processes share {torch.cuda.device_count()} GPUs: give torchrun"
            f" --nproc-per-node {torch.cuda.device_count()}, or hide the GPUs with"
            " CUDA_VISIBLE_DEVICES= to train on CPUs"
        )
    if is_on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if is_on_gpus else "gloo"
    torch.distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    atexit.register(_leave)


def world_size() -> int:
    """How many processes train together: those that `join` has met, else 1."""
    return torch.distributed.get_world_size() if _is_joined() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return torch.distributed.get_rank() if _is_joined() else 0


def processes_here() -> int:
    """How many of them run on this machine and share its cores."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _is_joined() else 1


def on_first(compute: Callable[[], _T]) -> _T:
    """Let the first process compute something (or write it), and tell all; the others wait.

    Raises:
        SystemExit: in the others, when it failed in the first one, which raises what happened.
    """
    if world_size() == 1:
        return compute()
    answer: list[Any] = [None, False]
    failure: Exception | None = None
    if rank() == 0:
        try:
            answer = [compute(), True]
        except Exception as error:
            failure = error
    torch.distributed.broadcast_object_list(answer, src=0)
    if failure is not None:
        raise failure
    if not answer[1]:
        raise SystemExit(1)
    result: _T = answer[0]
    return result


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Of each flag, whether it is set in any process."""
    if world_size() == 1:
        return flags
    numbers = torch.tensor(flags, dtype=torch.int32)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return tuple(bool(number) for number in numbers.tolist())


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean over all processes of a tensor without gradient; every process has the same bits."""
    if world_size() == 1:
        return values
    return _add_up(values.detach().clone()) / world_size()


def share_weights(module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if world_size() == 1:
        return
    with torch.no_grad():
        for value in module.state_dict().values():
            shared = value.contiguous()
            torch.distributed.broadcast(shared, src=0)
            value.copy_(shared)


def check_shares(batch_size: int) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises:
        InputError: it is not a multiple of the number of processes.
    """
    if batch_size % world_size():
        fitting = max(batch_size // world_size(), 1) * world_size()
        raise InputError(
            f"a batch of {batch_size} photos cannot be shared evenly by {world_size()} processes:"
            f" set batch_size to a multiple of {world_size()}, such as {fitting} (and no more"
            " than there are training photos), or start another number of processes"
        )


def own_rows(batch: Tensor) -> Tensor:
    """The rows [N / world size, ...] of this process of a whole batch [N, ...]."""
    num_rows = len(batch) // world_size()
    return batch[rank() * num_rows : (rank() + 1) * num_rows]


@contextmanager
def whole_batch() -> Iterator[None]:
    """Let BatchNorm and dropout inside treat the processes' rows as the one batch they are.

    Networks call both as `torch.nn.functional.batch_norm` and `.dropout`, torch's modules and
    timm's alike; these are substituted, so that no module changes and checkpoints keep their
    names. Statistics are over all rows; masks are drawn for all rows from a generator that must
    stand at the same place in every process. Layers in inference mode do as ever.

    The substitutes call what these functions call in their turn, `torch.dropout` and the like:
    under a TorchFunctionMode the originals would look themselves up by name and find a substitute.
    """
    if world_size() == 1:
        yield
        return
    substitutes = {"batch_norm": _batch_norm, "dropout": _dropout}
    before = {name: getattr(functional, name) for name in substitutes}
    try:
        for name, substitute in substitutes.items():
            setattr(functional, name, substitute)
        yield
    finally:
        for name, function in before.items():
            setattr(functional, name, function)


def trainer_options() -> dict[str, Any]:
    """What Lightning's Trainer must be told: devices, and the strategy if there are several."""
    if world_size() == 1:
        return {"devices": 1}
    # Lightning takes seconds to import.
    from lightning.pytorch.strategies import DDPStrategy

    return {
        "accelerator": "gpu" if torch.cuda.is_available() else "cpu",
        "devices": processes_here(),
        "num_nodes": world_size() // processes_here(),
        "strategy": DDPStrategy(),
    }


def _is_joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _leave() -> None:
    """End the group and gloo's threads with it, while there is still an interpreter.

    A thread of gloo lets go of an operation's tensors only after it has woken whoever waits for
    the result, and takes the interpreter's lock for that. On a busy machine this can come so late
    that the interpreter is being taken down, which ends the thread inside a destructor: "terminate
    called without an active exception", and a process that has done all its work dies of SIGABRT.
    The group joins its threads when its last owner is gone. DDP's reducer is one, which
    `destroy_process_group` knows nothing of, so what lies in cycles (as after Ctrl-C) must go too.
    After an uncaught error the traceback owns it still; then nothing is waited for, as the
    operation that failed may never end.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()


def _add_up(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    torch.distributed.all_reduce(values)
    return values


def _batch_norm(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch's, over the rows of all processes."""
    if not training:
        is_cudnn_on = torch.backends.cudnn.enabled
        return torch.batch_norm(
            inputs, weight, bias, running_mean, running_var, False, momentum, eps, is_cudnn_on
        )
    outputs: Tensor
    outputs, mean, variance = _WholeBatchNorm.apply(inputs, weight, bias, eps)  # type: ignore[no-untyped-call]
    if running_mean is not None and running_var is not None:
        count = inputs.numel() // inputs.shape[1] * world_size()
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
    return outputs


class _WholeBatchNorm(torch.autograd.Function):
    """BatchNorm by statistics over all processes: (outputs, mean [C], biased variance [C]).

    torch's SyncBatchNorm refuses CPUs. Each process has as many rows, so that the statistics are
    means of theirs, with the variance of their means added (Chan et al. 1979): a sum of squares
    would lose digits where the mean is far from zero. torch's own inference mode normalises, and
    its gradient holds the sums that the whole gradient (Ioffe & Szegedy 2015) is made of.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(inputs.dtype, torch.float32)
        axes = [0, *range(2, inputs.ndim)]
        variance, mean = torch.var_mean(inputs.to(wide), axes, correction=0)
        own = torch.stack([mean, variance])
        gathered = [torch.empty_like(own) for _ in range(world_size())]
        torch.distributed.all_gather(gathered, own)
        means, variances = torch.stack(gathered).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        outputs = torch.batch_norm(
            inputs, weight, bias, mean, variance, False, 0.0, eps, torch.backends.cudnn.enabled
        )
        ctx.save_for_backward(inputs, weight, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, mean, variance = ctx.saved_tensors
        gradient, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0],
            inputs,
            weight,
            mean,
            variance,
            None,
            None,
            False,
            ctx.eps,
            [True, True, True],
        )
        count = inputs.numel() // inputs.shape[1] * world_size()
        # The parameters' own gradients are left for DDP to add up with all others.
        of_bias_mean, of_weight_mean = _add_up(torch.stack([of_bias, of_weight])) / count
        deviation = (variance + ctx.eps).sqrt()
        scale = 1 / deviation if weight is None else weight / deviation
        slope = scale * of_weight_mean / deviation
        offset = scale * of_bias_mean - mean * slope
        shape = (-1, *[1] * (inputs.ndim - 2))
        correction = torch.addcmul(offset.view(shape), inputs.to(slope.dtype), slope.view(shape))
        gradient = gradient - correction.to(gradient.dtype)
        if weight is None:
            return gradient, None, None, None
        return gradient, of_weight, of_bias, None


def _dropout(
    inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As torch's; the mask is drawn for the rows of all processes, and the own ones are taken."""
    if not training or p == 0:
        return inputs
    ones = inputs.new_ones(len(inputs) * world_size(), *inputs.shape[1:])
    is_channels_last = inputs.ndim == 4 and inputs.is_contiguous(memory_format=torch.channels_last)
    if is_channels_last:
        ones = ones.contiguous(memory_format=torch.channels_last)
    mask = own_rows(torch.dropout(ones, p, True))
    return inputs.mul_(mask) if inplace else inputs * mask
