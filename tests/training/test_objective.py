"""The loss of a batch for networks with a learned variance or self-conditioning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

import ddpmx
from ddpmx.errors import SpecError
from ddpmx.ops import Noise
from ddpmx.spec import loading as spec_file
from ddpmx.spec.checks import check
from ddpmx.theory.variance import posterior, vlb_terms
from ddpmx.training.batch import Batch
from ddpmx.training.experiment import Experiment, build
from ddpmx.training.objective import batch_loss, draw_step, estimates_first, step_loss, zero_output_loss
from ddpmx.training.validation import validate
from ddpmx.world import World

CPU = torch.device("cpu")
T, IDS = torch.tensor([0, 1, 10, 19]), torch.arange(4)
LEARNS = "model.learned_variance=true"
CONDITIONED = "model.self_condition=true"
COMBINATIONS = [
    (s, p)
    for s in ("cosine", "edm", "flow")
    for p in ("epsilon", "v", "velocity", "edm")
    if (s, p) != ("flow", "epsilon")
]


def images() -> Tensor:
    return torch.linspace(-1, 1, 4 * 64).sin().view(4, 1, 8, 8)


def experiment_of(tiny: Path, *overrides: str) -> Experiment:
    return build(spec_file.load(tiny, overrides), CPU)


def batch(estimate_first: bool = True) -> Batch:
    return Batch(images(), T, Noise(3, 7, IDS), estimate_first=estimate_first)


def fixed(output: Tensor) -> nn.Module:
    """A network with a constant output."""

    class Fixed(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return output

    return Fixed()


@pytest.mark.parametrize(
    "loss", ["norm: l2", "norm: l1", "norm: huber, delta: 0.5", "norm: l2, weighting: {name: vlb, clip: 1.0}"]
)
@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
def test_an_output_of_0_has_at_most_the_zero_output_loss(tiny: Path, loss: str, prediction: str) -> None:
    """All pixels are ±1, where the bound is exact for l2, and an upper bound for other norms."""
    experiment = experiment_of(tiny, f"loss={{{loss}}}", f"prediction={prediction}")
    x_start, ids = images()[:1].sign().expand(256, -1, -1, -1).contiguous(), torch.arange(256)
    for t in (0, 10, 19):
        losses = batch_loss(
            experiment,
            fixed(torch.zeros(256, 1, 8, 8)),
            Batch(x_start, torch.full((256,), t), Noise(3, 7, ids)),
        )
        most = float(zero_output_loss(experiment)[t])
        assert float(losses.mean()) <= 1.02 * most
        assert float(losses.mean()) >= (0.98 if "l2" in loss else 0.6) * most


# -- learned variance


@pytest.mark.parametrize(("schedule", "prediction"), COMBINATIONS)
def test_the_loss_is_the_simple_one_plus_the_bound(tiny: Path, schedule: str, prediction: str) -> None:
    """L_simple of a network without a variance + λ·T·vlb_terms, in float64, with x_0 from the prediction."""
    spec = (f"schedule={{name: {schedule}, timesteps: 20}}", f"prediction={prediction}")
    experiment = experiment_of(tiny, *spec, LEARNS, "loss.variance_weight=0.5")
    torch.manual_seed(0)
    output = torch.randn(4, 2, 8, 8)
    losses = batch_loss(experiment, fixed(output), batch())
    simple = batch_loss(experiment_of(tiny, *spec), fixed(output[:, :1]), batch())
    table, column = experiment.table, lambda values: values[T].view(4, 1, 1, 1)
    x_start = images().double()
    epsilon = ddpmx.ops.normal(IDS, 7, 3, (1, 8, 8)).double()
    x_t = column(table.signal) * x_start + column(table.sigma) * epsilon
    from_x, from_output = experiment.prediction.x0_from(table.signal, table.sigma)
    x0_pred = column(from_x) * x_t + column(from_output) * output[:, :1].double()
    q = posterior(table)
    bits = vlb_terms(x_start, x_t, x0_pred, q.log_variance(output[:, 1:].double(), T), T, q)
    torch.testing.assert_close(losses.double(), simple.double() + 0.5 * 20 * bits, rtol=1e-4, atol=1e-4)


def test_the_bound_teaches_the_variance_only(tiny: Path) -> None:
    """The first half of the channels has the gradient of L_simple only, the second that of the bound only."""
    output = torch.zeros(4, 2, 8, 8, requires_grad=True)
    gradients = {}
    for weight in ("0.001", "0.1"):
        losses = batch_loss(
            experiment_of(tiny, LEARNS, f"loss.variance_weight={weight}"), fixed(output), batch()
        )
        (gradients[weight],) = torch.autograd.grad(losses.sum(), output)
    plain = torch.zeros(4, 1, 8, 8, requires_grad=True)
    (simple,) = torch.autograd.grad(batch_loss(experiment_of(tiny), fixed(plain), batch()).sum(), plain)
    for gradient in gradients.values():
        assert torch.equal(gradient[:, :1], simple)
    torch.testing.assert_close(gradients["0.1"][:, 1:], 100 * gradients["0.001"][:, 1:], rtol=1e-4, atol=0)
    assert bool((gradients["0.1"][:, 1:] != 0).all())


def test_a_weight_of_the_bound_needs_a_network_that_learns_it(tiny: Path) -> None:
    with pytest.raises(SpecError, match="needs a network that learns the variance") as error:
        check(spec_file.load(tiny, ["loss.variance_weight=0.01"]))
    assert error.value.field == "loss.variance_weight"


@pytest.mark.parametrize("field", ["learned_variance", "self_condition"])
def test_a_network_that_needs_x_0_refuses_predictions_without_it(tiny: Path, field: str) -> None:
    zero = ["schedule={name: cosine, timesteps: 20, zero_terminal_snr: true}", f"model.{field}=true"]
    samplers = ["sampler={name: ddim, timesteps: [9, 0]}", "evaluate.sampler={name: ddim, timesteps: [9, 0]}"]
    with pytest.raises(SpecError, match="cannot be computed from the prediction at index 19") as error:
        check(spec_file.load(tiny, [*zero, *samplers]))
    assert error.value.field == f"model.{field}"
    check(spec_file.load(tiny, [*zero, *samplers, "prediction=v"]))


def test_the_denoiser_returns_the_variance(tiny: Path) -> None:
    experiment = experiment_of(tiny, LEARNS)
    output = experiment.denoiser(experiment.network)(images(), T.float())
    assert output.shape == (4, 2, 8, 8)


# -- self-conditioning


class Recorder(nn.Module):
    """Outputs 0.3·x_t and records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []
        self.graded: list[bool] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.inputs.append(x)
        self.graded.append(torch.is_grad_enabled())
        return 0.3 * x[:, :1]


@pytest.mark.parametrize("prediction", ["epsilon", "edm"])
def test_the_second_pass_sees_the_x_0_of_the_first(tiny: Path, prediction: str) -> None:
    experiment, network = experiment_of(tiny, CONDITIONED, f"prediction={prediction}"), Recorder()
    twice = batch_loss(experiment, network, batch())
    first, second = network.inputs
    assert network.graded == [False, True]
    assert torch.equal(first[:, :1], second[:, :1])
    assert not first[:, 1:].any()
    table, column = experiment.table, lambda values: values[T].view(4, 1, 1, 1)
    scale = experiment.prediction.input_scale(table.signal, table.sigma)
    x_t = first[:, :1].double() / (1 if scale is None else column(scale))
    from_x, from_output = experiment.prediction.x0_from(table.signal, table.sigma)
    x0 = column(from_x) * x_t + column(from_output) * 0.3 * first[:, :1].double()
    assert float(x0.abs().max()) > 1
    torch.testing.assert_close(second[:, 1:].double(), x0.clamp(-1, 1), rtol=1e-4, atol=1e-5)
    network.inputs.clear()
    once = batch_loss(experiment, network, batch(estimate_first=False))
    assert torch.equal(network.inputs[0], first)
    assert torch.equal(once, twice)  # this network ignores the estimate


def test_half_of_the_training_steps_run_twice_and_validation_always(tiny: Path) -> None:
    coins = [estimates_first(5, step) for step in range(2000)]
    assert abs(sum(coins) - 1000) < 4 * 500**0.5
    assert coins != [estimates_first(6, step) for step in range(2000)]
    experiment, network = experiment_of(tiny, CONDITIONED), Recorder()
    for step in range(20):
        network.inputs.clear()
        step_loss(experiment, network, draw_step(experiment, IDS, step).batch(images()))
        assert len(network.inputs) == 1 + estimates_first(experiment.spec.seed, step)
    network.inputs.clear()
    validate(experiment, network, World())
    assert len(network.inputs) == 2 * -(-len(experiment.data.validation) // 64)


def test_the_denoiser_gives_the_network_the_estimate(tiny: Path) -> None:
    """The estimate, or zeros without one, is concatenated with x; only x is scaled."""
    experiment, network, x0 = experiment_of(tiny, CONDITIONED, "prediction=edm"), Recorder(), 0.1 * images()
    denoise = experiment.denoiser(network)
    for estimate in (x0, None):
        denoise(images(), T.float(), *([] if estimate is None else [estimate]))
        scale = experiment.coefficients.input_scale
        assert scale is not None
        torch.testing.assert_close(network.inputs[-1][:, :1], images() * scale[T].view(4, 1, 1, 1))
        assert torch.equal(network.inputs[-1][:, 1:], torch.zeros_like(x0) if estimate is None else estimate)
    with pytest.raises(ValueError, match="self-conditioned"):
        experiment_of(tiny).denoiser(network)(images(), T.float(), x0)


def test_the_denoiser_of_a_class_takes_an_estimate_too(tiny: Path) -> None:
    experiment = experiment_of(tiny, CONDITIONED, "model.classes=true")
    torch.manual_seed(1)
    for parameter in experiment.network.parameters():
        nn.init.normal_(parameter, std=0.1)
    output = experiment.denoiser(experiment.network, torch.tensor([0, 1, 2, 3]))(images(), T.float())
    network_input = experiment.network_input(images(), None)
    exact = experiment.network(network_input, experiment.coefficients.time[T], torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(output, exact)


def test_a_plain_plugin_network_is_built_as_ever(tmp_path: Path) -> None:
    """Its build takes only channels and size, and its block has none of the fields above."""
    (tmp_path / "plain.py").write_text(
        "import ddpmx, torch\n@ddpmx.MODELS.register('plain_one')\nclass Plain(ddpmx.Model):\n"
        "    '''One convolution.'''\n"
        "    def build(self, channels, size):\n        class Net(torch.nn.Conv2d):\n"
        "            def forward(self, x, t): return super().forward(x)\n"
        "        return Net(channels, channels, 1)\n"
    )
    path = tmp_path / "spec.yaml"
    path.write_text(
        TINY.replace("{name: convnext_unet, dim: 8, dim_mults: [1, 2]}", "plain_one")
        + "plugins: [plain.py]\n"
    )
    experiment = build(spec_file.load(path), CPU)
    assert batch_loss(experiment, experiment.network, batch()).shape == (4,)
    with pytest.raises(SpecError, match="unknown key"):
        spec_file.load(path, [CONDITIONED])
