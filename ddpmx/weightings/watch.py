"""A check of the u that a plugin's learned weighting computes, at every call."""

from __future__ import annotations

from torch import Tensor, nn

from ..plugins.expected import CPU, described
from ..plugins.guard import Arguments, Method
from ..plugins.watched_module import watch_module


def watch_log_loss(module: nn.Module | None, method: Method, arguments: Arguments) -> nn.Module | None:
    """The module, which now raises PluginError if its u is not one number for each log-SNR."""
    return None if module is None else watch_module(module, method, _problem)


def _problem(inputs: tuple[Tensor, ...], u: object) -> str:
    log_snr = inputs[0]
    if (
        isinstance(u, Tensor)
        and u.is_floating_point()
        and u.shape == log_snr.shape
        and u.device == log_snr.device
    ):
        return ""
    device = "" if log_snr.device == CPU else f" on {log_snr.device}"
    return f"should return floating-point numbers {list(log_snr.shape)}{device}, not {described(u)}"
