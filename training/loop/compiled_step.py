"""A training step compiled as a whole: loss terms and their gradient in the weights from one compiled function.

torch.compile cannot differentiate what it has compiled twice, and a loss of scores is a gradient already. So the step
is first traced, gradients and all, into one graph of tensor operations, which nobody needs to differentiate any more;
that graph is compiled. Most of a step of a small network goes into hundreds of small operations, which compilation
fuses.
In: the module in training and the draws of its first step. Out: a function of draws for all its steps.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from fpforce.foundation.errors import InputError
from fpforce.training.loop.module_in_training import ModuleInTraining
from fpforce.training.loop.step import StepDraws, StepLosses
from fpforce.training.loop.step_gradient import PlainStep, StepFunction, in_parts, parts_of, with_gradient

logger = logging.getLogger("fpforce")

LONG_STEPS, LONG_MINUTES = 20_000, 5.0  # of a training that compilation is worth its time in
TOLERANCE = 1e-2  # of the gradient, against that of the step as it stands; rounding makes 1e-4


def step_function(module: ModuleInTraining, draws: StepDraws) -> StepFunction:
    """Draws -> (loss terms, their weighted sum, which carries its gradient), a part of the batch at a time where that
    is faster, compiled where run.compile asks for it.

    With run.compile = auto whatever goes wrong leaves the step as it is, with a warning; with true it raises
    InputError.
    """
    parts = parts_of(module, draws)
    return in_parts(_whole_step(module, draws.share(0, parts)), parts)


def _whole_step(module: ModuleInTraining, draws: StepDraws) -> StepFunction:
    """The step on all of its draws at once."""
    plain = PlainStep(module)
    asked = module.recipe.run.compile
    if asked is False or (asked == "auto" and not _is_worthwhile(module)):
        return plain
    if any(getattr(part, "radius", False) is True for part in module.modules()):
        if asked is True:
            raise InputError(
                "run.compile=true: a radius graph, whose pairs are found in every frame, cannot be compiled; set "
                "model.neighbours=dense, or run.compile=false"
            )
        return plain
    logger.info("compiling the training step, which takes some 10 s to a few minutes; run.compile=false does without")
    began = time.monotonic()
    try:
        compiled = CompiledStep(module, draws)
    except Exception as error:  # the compiler's own, of many kinds
        reason = f"the training step cannot be compiled: {' '.join(str(error).split())[:300]}"
        if asked is True:
            raise InputError(
                f"{reason}; set run.compile=false, or install a C++ compiler (g++) if none is there"
            ) from error
        logger.warning("%s; it runs as it is", reason)
        return plain
    logger.info("compiled in %.0f s", time.monotonic() - began)
    return compiled


def compiled_by_inductor(graph: torch.fx.GraphModule) -> Callable:
    """The graph as a compiled function for inputs of the same shapes."""
    _import_without_cuda_warning()
    return torch.compile(graph, fullgraph=True, dynamic=False)


def _import_without_cuda_warning() -> None:
    """Import what the compiler imports, which warns of a CUDA toolkit without a GPU although none is asked for."""
    source = logging.getLogger("torch.utils.cpp_extension")
    level = source.level
    source.setLevel(logging.ERROR)
    try:
        import torch.utils.cpp_extension  # noqa: F401
    finally:
        source.setLevel(level)


class CompiledStep:
    """The compiled step. Its loss carries a gradient that is known already; draws must have the shapes of the first."""

    def __init__(
        self,
        module: ModuleInTraining,
        draws: StepDraws,
        compiler: Callable[[torch.fx.GraphModule], Callable] = compiled_by_inductor,
    ):
        loss = module.weighted(module(draws))
        trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        gradient = dict(zip(trained, torch.autograd.grad(loss, list(trained.values()), allow_unused=True), strict=True))
        gradient = {name: value for name, value in gradient.items() if value is not None}
        self._weights = [trained[name] for name in gradient]

        def step(weights: list[Tensor], tensors: list[Tensor]) -> list[Tensor]:
            leaves = [weight.detach().requires_grad_() for weight in weights]
            with torch.enable_grad():
                losses = functional_call(
                    module, dict(zip(gradient, leaves, strict=True)), (_filled(draws, iter(tensors)),)
                )
                loss = module.weighted(losses)
                slopes = torch.autograd.grad(loss, leaves)
            return [term.detach() for term in (*losses, loss, *slopes)]

        weights, tensors = [weight.detach() for weight in self._weights], _tensors(draws)
        self._function = compiler(make_fx(step)(weights, tensors))
        _, _, slopes = self._run(draws)
        error = _norm([ours - theirs for ours, theirs in zip(slopes, gradient.values(), strict=True)])
        if not error <= TOLERANCE * _norm(list(gradient.values())):
            raise ArithmeticError(
                f"compiled, its gradient differs by {error:.1e} from one of size {_norm(list(gradient.values())):.1e}"
            )

    def __call__(self, draws: StepDraws) -> tuple[StepLosses, Tensor]:
        losses, loss, slopes = self._run(draws)
        return losses, with_gradient(loss, slopes, self._weights)

    def _run(self, draws: StepDraws) -> tuple[StepLosses, Tensor, list[Tensor]]:
        with torch.no_grad():
            values = self._function([weight.detach() for weight in self._weights], _tensors(draws))
        terms = len(StepLosses._fields)
        return StepLosses(*values[:terms]), values[terms], values[terms + 1 :]


def _is_worthwhile(module: ModuleInTraining) -> bool:
    """On one CPU with a C++ compiler, in a long training of a network whose code is known here."""
    plan, compiler = module.plan, os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    long = plan.max_steps >= LONG_STEPS and (plan.max_minutes is None or plan.max_minutes >= LONG_MINUTES)
    alone = module.device.type == "cpu" and not (dist.is_available() and dist.is_initialized())
    return long and alone and plan.model.kind != "custom" and shutil.which(compiler) is not None


def _tensors(draws: tuple) -> list[Tensor]:
    """All tensors of nested tuples, in order."""
    found = []
    for part in draws:
        if isinstance(part, Tensor):
            found.append(part)
        elif isinstance(part, tuple):
            found += _tensors(part)
    return found


def _filled(draws: tuple, tensors: Iterator[Tensor]) -> tuple:
    """The same nested tuples with other tensors, in order."""
    return type(draws)(
        *(
            next(tensors) if isinstance(part, Tensor) else _filled(part, tensors) if isinstance(part, tuple) else part
            for part in draws
        )
    )


def _norm(tensors: list[Tensor]) -> float:
    return float(sum(tensor.double().square().sum() for tensor in tensors)) ** 0.5
