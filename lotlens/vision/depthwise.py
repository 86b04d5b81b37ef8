"""Gradients of depthwise convolutions under bf16 on CPUs; it knows tensors and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_Sizes = int | tuple[int, ...] | str


class WideDepthwiseGradients(TorchFunctionMode):
    """While it is entered, depthwise convolutions under bf16 get their gradients in fp32.

    oneDNN, which computes torch's convolutions on CPUs, is four to six times as slow with the
    gradient of a 5x5 depthwise kernel in bf16 as in fp32, and up to eighteen times with that of the
    input of a convolution with a stride (measured, docs/LOG.md). Forward, bf16 is as fast, and the
    answers are the same bits with this and without; the gradients are a little more exact.

    Everything else, other devices and precisions included, is left as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is functional.conv2d:
            return _convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolve(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes = 0,
    dilation: _Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """`functional.conv2d`; its parameters' names are torch's."""
    is_depthwise = 1 < groups == input.shape[1] == weight.shape[0]
    is_bf16 = (
        input.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    if not (is_depthwise and is_bf16) or isinstance(padding, str) or not torch.is_grad_enabled():
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]
    sizes = [_pair(stride), _pair(padding), _pair(dilation)]
    apply: Callable[..., Tensor] = _Depthwise.apply
    return apply(input.to(torch.bfloat16), weight, bias, *sizes)


def _pair(size: _Sizes) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)  # type: ignore[return-value]


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution: forward in bf16, backward in fp32."""

    @staticmethod
    def forward(
        ctx: Any,
        photos: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *sizes: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(photos, weight, bias)
        ctx.sizes = sizes
        narrow_bias = None if bias is None else bias.to(torch.bfloat16)
        stride, padding, dilation = sizes
        return functional.conv2d(
            photos, weight.to(torch.bfloat16), narrow_bias, stride, padding, dilation, len(weight)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        photos, weight, bias = ctx.saved_tensors
        stride, padding, dilation = ctx.sizes
        found = torch.ops.aten.convolution_backward(
            gradients[0].float(),
            photos.float(),
            weight.float(),
            None if bias is None else bias.shape,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            len(weight),
            ctx.needs_input_grad[:3],
        )
        kinds = (photos, weight, bias)
        fitting = [
            None if one is None else one.to(kind.dtype)
            for one, kind in zip(found, kinds, strict=True)
        ]
        return (*fitting, None, None, None)
