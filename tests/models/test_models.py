"""Networks: published sizes, plain forms, diffusers' weights, classes, dtypes, and invalid parameters."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from ddpmx import MODELS, SCHEDULES, SpecError, ops
from ddpmx.models import Model, embed_time
from ddpmx.models.convnext_unet import CPU_CHUNK, ConvNextBlock, ConvNextUnetModule, LinearAttention
from ddpmx.models.ddpm_unet import AttentionBlock, ResidualBlock
from ddpmx.models.embedding import TimeEmbedding, sinusoidal
from ddpmx.models.layers import ImageNorm
from ddpmx.models.size import _is_small
from ddpmx.schedules import Table

SMALL = {
    "convnext_unet": {"dim": 8, "dim_mults": (1, 2)},
    "ddpm_unet": {"dim": 8, "dim_mults": (1, 2), "blocks": 1, "attention": (4, 7), "dropout": 0.5},
}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def started(network: nn.Module) -> nn.Module:
    """The network with every weight moved away from its initial 0 or 1, so nothing is multiplied by 0."""
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.data.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
    return network


def graph(output: Tensor) -> set[torch.autograd.graph.Node]:
    """All nodes of the gradient's graph."""
    found: set[torch.autograd.graph.Node] = set()
    ahead = [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [following for following, _ in node.next_functions]
    return found


def near(output: Tensor, expected: Tensor) -> bool:
    """Whether two outputs of a network differ by float32 rounding only: less than 1e-4 of the largest value.

    Not relative to each value: how close some values are to 0 depends on the order in which a machine adds.
    """
    return float((output - expected).detach().abs().max()) < 1e-4 * float(expected.detach().abs().max())


# -- published sizes


def test_the_studys_network_has_its_2_996_315_parameters() -> None:
    with torch.device("meta"):
        assert (
            parameters(MODELS.build("convnext_unet", dim=28, dim_mults=(1, 2, 4)).build(channels=1, size=28))
            == 2_996_315
        )


def test_the_papers_cifar10_network_has_its_35_7_million_parameters() -> None:
    with torch.device("meta"):
        assert parameters(MODELS.build("ddpm_unet").build(channels=3, size=32)) == 35_746_307


# -- convnext_unet against a plain implementation


def plain_block(block: ConvNextBlock, x: Tensor, time: Tensor | None) -> Tensor:
    h = F.conv2d(x, block.depthwise.weight, block.depthwise.bias, padding=3, groups=x.shape[1])
    if time is not None:
        h = h + block.time(F.gelu(time))[:, :, None, None]
    h = plain_norm(h, block.norm_1)
    h = plain_norm(F.gelu(F.conv2d(h, block.expand.weight, block.expand.bias, padding=1)), block.norm_2)
    return F.conv2d(h, block.contract.weight, block.contract.bias, padding=1) + block.residual(x)


def plain_norm(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    variance, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def heads(weight: Tensor, x: Tensor) -> Tensor:
    """A 1×1 convolution, as [n, 4 heads, 32 features, positions]."""
    return torch.einsum("oc,ncp->nop", weight, x.flatten(2)).unflatten(1, (4, 32))


def plain_linear_attention(attention: LinearAttention, norm: nn.GroupNorm, x: Tensor) -> Tensor:
    n = plain_norm(x, norm)
    q = heads(attention.q.weight, n).softmax(dim=2) / math.sqrt(32)
    k = heads(attention.k.weight, n).softmax(dim=3)
    v = heads(attention.v.weight, n)
    context = torch.einsum("nhdp,nhep->nhde", k, v)
    y = torch.einsum("nhde,nhdp->nhep", context, q).flatten(1, 2).unflatten(2, x.shape[2:])
    y = F.conv2d(y, attention.out.weight[:, :, None, None], attention.out.bias)
    return x + plain_norm(y, attention.norm)


def plain_unet(net: ConvNextUnetModule, x: Tensor, t: Tensor) -> Tensor:
    half = net.time.dim // 2
    angle = t[:, None] * torch.tensor([10_000 ** (-i / (half - 1)) for i in range(half)], dtype=t.dtype)
    time = net.time.mlp(torch.cat((angle.sin(), angle.cos()), dim=1))
    x, skips = net.first(x), []
    for index, level in enumerate(net.down):
        x = net.downsample[index - 1](x) if index else x
        x = plain_block(level.block_2, plain_block(level.block_1, x, time), time)
        x = plain_linear_attention(level.attention, level.norm, x)
        skips.append(x)
    x = plain_block(net.middle_1, x, time)
    y = plain_norm(x, net.middle_norm)
    q, k, v = (heads(weight, y) for weight in net.middle_attention.qkv.weight.chunk(3))
    weight = (torch.einsum("nhdi,nhdj->nhij", q, k) / math.sqrt(32)).softmax(dim=3)
    y = torch.einsum("nhij,nhdj->nhdi", weight, v).flatten(1, 2)
    out = net.middle_attention.out
    x = x + (torch.einsum("co,nop->ncp", out.weight, y) + out.bias[:, None]).unflatten(2, x.shape[2:])
    x = plain_block(net.middle_2, x, time)
    for level, upsample in zip(net.up, net.upsample, strict=True):
        x = torch.cat((x, skips.pop()), dim=1)
        x = plain_block(level.block_2, plain_block(level.block_1, x, time), time)
        x = upsample(plain_linear_attention(level.attention, level.norm, x))
    return net.output(plain_block(net.last, x, None))


@pytest.mark.parametrize(
    ("images", "channels", "size", "mults"),
    [(CPU_CHUNK + 3, 1, 8, (1, 2)), (2, 3, 28, (1, 2, 3)), (2, 2, 6, (2,))],
)
@pytest.mark.parametrize(
    ("dtype", "backend"),
    [(torch.float32, "auto"), (torch.float64, "auto"), (torch.float64, "reference")],
)
def test_convnext_unet_and_its_gradients_are_its_plain_forms(
    images: int, channels: int, size: int, mults: tuple[int, ...], dtype: torch.dtype, backend: str
) -> None:
    torch.manual_seed(0)
    net = started(MODELS.build("convnext_unet", dim=8, dim_mults=mults).build(channels, size))
    x, t, g = (
        torch.randn(images, channels, size, size),
        torch.rand(images) * 500,
        torch.randn(images, channels, size, size),
    )
    with ops.use_backend(backend):
        y = net(x, t)
        gradients = torch.autograd.grad((y * g).sum(), list(net.parameters()))
    net, x, t, g = net.to(dtype), x.to(dtype), t.to(dtype), g.to(dtype)
    plain = plain_unet(net, x, t)
    assert near(y, plain)
    assert y.is_contiguous()
    for (name, _), ours, theirs in zip(
        net.named_parameters(),
        gradients,
        torch.autograd.grad((plain * g).sum(), list(net.parameters())),
        strict=True,
    ):
        error = (ours - theirs).norm() / theirs.norm().clamp(min=1e-3)
        assert error < 1e-3, (name, error)  # some are sums of which nearly everything cancels


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_linear_attention_handles_large_logits(backend: str) -> None:
    """The softmaxes subtract their maxima, so logits that would overflow exp are fine."""
    torch.manual_seed(0)
    attention, norm = LinearAttention(6), ImageNorm(6)
    with torch.no_grad():
        attention.q.weight *= 300
        attention.k.weight *= 300
        x = torch.randn(2, 6, 4, 4)
        with ops.use_backend(backend):
            y = attention(norm, x)
        plain = plain_linear_attention(attention.double(), norm.double(), x.double()).float()
    torch.testing.assert_close(y, plain, rtol=1e-3, atol=1e-3)


# -- ddpm_unet against diffusers


def test_ddpm_unet_is_diffusers_network_on_the_same_weights() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    theirs = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        norm_eps=1e-6,
        freq_shift=1,
        flip_sin_to_cos=False,
        downsample_padding=0,
    ).eval()
    ours = (
        MODELS.build("ddpm_unet", dim=64, dim_mults=(1, 2), attention=(8,)).build(channels=3, size=16).eval()
    )
    started(theirs)

    def copy(target: nn.Module, source: nn.Module) -> None:
        target.load_state_dict(source.state_dict())

    def copy_block(target: ResidualBlock, source: nn.Module) -> None:
        names = {
            "norm_1": "norm1",
            "conv_1": "conv1",
            "time": "time_emb_proj",
            "norm_2": "norm2",
            "conv_2": "conv2",
        }
        if isinstance(target.residual, nn.Conv2d):
            names["residual"] = "conv_shortcut"
        for a, b in names.items():
            copy(getattr(target, a), getattr(source, b))

    def copy_attention(target: nn.Module, source: nn.Module) -> None:
        assert isinstance(target, AttentionBlock)
        pairs = {
            "norm": source.group_norm,
            "q": source.to_q,
            "k": source.to_k,
            "v": source.to_v,
            "out": source.to_out[0],
        }
        for name, module in pairs.items():
            copy(getattr(target, name), module)

    def copy_levels(targets: nn.ModuleList, blocks: nn.ModuleList, resample: str) -> None:
        remaining = iter(targets)
        for block in blocks:
            for index, resnet in enumerate(block.resnets):
                stage = next(remaining)
                copy_block(stage.block, resnet)
                if hasattr(block, "attentions"):
                    copy_attention(stage.attention, block.attentions[index])
            if getattr(block, resample):
                copy(next(remaining).conv, getattr(block, resample)[0].conv)
        assert next(remaining, None) is None

    copy(ours.time.mlp[0], theirs.time_embedding.linear_1)
    copy(ours.time.mlp[2], theirs.time_embedding.linear_2)
    copy(ours.first, theirs.conv_in)
    copy_levels(ours.down, theirs.down_blocks, "downsamplers")
    copy_block(ours.middle_1.block, theirs.mid_block.resnets[0])
    copy_attention(ours.middle_1.attention, theirs.mid_block.attentions[0])
    copy_block(ours.middle_2.block, theirs.mid_block.resnets[1])
    copy_levels(ours.up, theirs.up_blocks, "upsamplers")
    copy(ours.norm, theirs.conv_norm_out)
    copy(ours.output, theirs.conv_out)

    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 970.0])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t).sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_ddpm_unet_and_its_gradients_are_those_of_torchs_layers_in_float64(dropout: float) -> None:
    """The fused layers run here: 48 tiles of 4×4 pixels, and no width below 16."""
    torch.manual_seed(0)
    model = MODELS.build("ddpm_unet", dim=16, dim_mults=(1,), blocks=1, attention=(), dropout=dropout)
    network = started(model.build(1, 8))
    x, g, t = torch.randn(12, 1, 8, 8), torch.randn(12, 1, 8, 8), torch.rand(12) * 500

    def results(x: Tensor, g: Tensor) -> list[Tensor]:
        torch.manual_seed(1)
        y = network(x, t.to(x.dtype))
        return [y.detach(), *torch.autograd.grad((y * g).sum(), list(network.parameters()))]

    ours = results(x, g)
    if ops.backends()["cpp"]:
        kinds = Counter(type(node).__name__ for node in graph(network(x, t)))
        fused, alone = kinds["_SiluConv3x3Backward"], kinds["_GroupNormBackward"]
        assert (fused, alone) == ((10, 2) if dropout == 0 else (5, 7))  # 5 blocks; an attention, the output
    network.double()
    for mine, truth in zip(ours, results(x.double(), g.double()), strict=True):
        assert (mine - truth).norm() < 1e-4 * truth.norm().clamp(min=1e-2)


def test_ddpm_unet_starts_at_zero_with_every_block_the_identity() -> None:
    network = MODELS.build("ddpm_unet", **SMALL["ddpm_unet"]).build(channels=1, size=8)
    x = torch.randn(2, 8, 4, 4)
    for module in network.modules():
        if isinstance(module, AttentionBlock) and module.norm.num_channels == 8:
            torch.testing.assert_close(module(x), x)
        if isinstance(module, ResidualBlock) and module.conv_1.in_channels == module.conv_1.out_channels == 8:
            torch.testing.assert_close(module(x, torch.randn(2, 32)), x)
    assert network(torch.randn(2, 1, 8, 8), torch.tensor([0.0, 9.0])).abs().max() == 0


def test_dropout_follows_torchs_generator_and_stops_in_eval() -> None:
    network = started(MODELS.build("ddpm_unet", **SMALL["ddpm_unet"]).build(channels=1, size=8))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 2.0])
    outputs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        outputs.append(network(x, t))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    network.eval()
    assert torch.equal(network(x, t), network(x, t))


# -- classes


def test_with_classes_ddpm_unet_is_diffusers_class_embedding() -> None:
    """The label's vector is added to the time's before the activation. Label 3 of 3 is an ordinary row."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        num_class_embeds=4,
        freq_shift=1,
        flip_sin_to_cos=False,
    )
    ours = TimeEmbedding(32, nn.SiLU(), classes=3)
    ours.mlp[0].load_state_dict(theirs.time_embedding.linear_1.state_dict())
    ours.mlp[2].load_state_dict(theirs.time_embedding.linear_2.state_dict())
    ours.label.load_state_dict(theirs.class_embedding.state_dict())
    embeddings = []
    theirs.mid_block.register_forward_pre_hook(lambda module, arguments: embeddings.append(arguments[1]))
    t, labels = torch.tensor([0.0, 7.0, 40.0, 999.0]), torch.tensor([0, 3, 1, 3])
    with torch.no_grad():
        theirs(torch.randn(4, 3, 8, 8), t, class_labels=labels)
        torch.testing.assert_close(ours(t, labels), embeddings[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_output_depends_on_the_label_and_no_class_is_one(name: str) -> None:
    torch.manual_seed(0)
    network = started(MODELS.build(name, **SMALL[name], classes=True).build(1, 8, 3)).eval()
    x, t = torch.randn(1, 1, 8, 8).expand(4, -1, -1, -1), torch.full((4,), 5.0)
    outputs = network(x, t, torch.arange(4))
    for a in range(4):
        assert near(outputs[a], network(x[:1], t[:1], torch.tensor([a]))[0])
        for b in range(a):
            assert (outputs[a] - outputs[b]).abs().max() > 1e-3, (a, b)
    outputs.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    with pytest.raises(ValueError, match="labels"):
        network(x, t)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_classes_add_one_matrix_and_nothing_else(name: str) -> None:
    torch.manual_seed(0)
    plain = MODELS.build(name, **SMALL[name]).build(1, 8)
    labelled = MODELS.build(name, **SMALL[name], classes=True).build(1, 8, 10)
    added = {
        key: value.shape for key, value in labelled.state_dict().items() if key not in plain.state_dict()
    }
    assert added == {"time.label.weight": (11, 4 * 8)}
    assert parameters(labelled) == parameters(plain) + 11 * 32
    with pytest.raises(ValueError, match="labels"):
        plain(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_more_channels_in_and_out_all_take_part(name: str) -> None:
    """Each of 4 input channels moves each of 6 output channels."""
    network = started(MODELS.build(name, **SMALL[name]).build(2, 8, inputs=4, outputs=6)).eval()
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    output = network(x, torch.ones(1))
    assert output.shape == (1, 6, 8, 8)
    for channel in range(6):
        (gradient,) = torch.autograd.grad(output[:, channel].sum(), x, retain_graph=True)
        assert bool((gradient.abs().amax(dim=(0, 2, 3)) > 0).all())


def test_a_network_that_knows_no_classes_has_no_such_key() -> None:
    class Plugin(Model):
        """A plugin's network, whose build takes channels and size only."""

    with pytest.raises(ValidationError, match="unknown key"):
        Plugin.model_validate({"classes": True})
    assert [Plugin().conditional, Plugin().self_conditioned, Plugin().learns_variance] == [False] * 3


# -- every network


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("size", [8, 28, 32])
def test_an_images_output_depends_on_that_image_and_its_time_only(name: str, size: int) -> None:
    network = started(MODELS.build(name, **SMALL[name]).build(channels=2, size=size)).eval()
    x = torch.randn(3, 2, size, size, generator=torch.Generator().manual_seed(size))
    t = torch.tensor([0.0, 7.5, 499.0])
    together = network(x, t)
    for i in range(3):
        assert near(together[i], network(x[i : i + 1], t[i : i + 1])[0])
    later = network(x, t + 3)
    assert (later - together).flatten(1).abs().amax(dim=1).min() > 1e-4


@pytest.mark.parametrize("name", sorted(SMALL))
def test_weights_and_gradients_are_a_function_of_the_seed(name: str) -> None:
    def gradients() -> list[Tensor]:
        torch.manual_seed(3)
        network = started(MODELS.build(name, **SMALL[name]).build(channels=1, size=8))
        network(torch.randn(20, 1, 8, 8), torch.rand(20)).square().sum().backward()
        return [p.grad for p in network.parameters() if p.grad is not None]

    first, second = gradients(), gradients()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_parameter_takes_part(name: str) -> None:
    network = started(MODELS.build(name, **SMALL[name]).build(channels=1, size=8)).eval()
    network(torch.randn(4, 1, 8, 8), torch.rand(4) * 100).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", sorted(SMALL))
def test_bfloat16_autocast_is_near_float32(name: str) -> None:
    network = started(MODELS.build(name, **SMALL[name]).build(channels=1, size=8)).eval()
    x, t = torch.randn(4, 1, 8, 8), torch.rand(4) * 100
    with torch.no_grad():
        exact = network(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x, t)
    assert (rough - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize(
    ("size", "levels", "hint"),
    [(30, 3, "28 and 32"), (28, 4, "24 and 32"), (2, 4, "work: 8"), (33, 2, "32 and 34")],
)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_size_that_the_depth_does_not_divide_is_refused_with_those_that_work(
    name: str, size: int, levels: int, hint: str
) -> None:
    model = MODELS.build(name, dim=8, dim_mults=(1,) * levels)
    with pytest.raises(SpecError, match=hint) as error:
        model.build(1, size)
    assert error.value.field == "dim_mults"
    assert f"it is {size}" in error.value.message
    assert f"{levels} levels" in error.value.message


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"dim_mults": ()}, "dim_mults"),
        ({"dim_mults": (1, 0)}, "dim_mults.1"),
        ({"dim_mults": (1, 2.0)}, "dim_mults.1"),
        ({"dim": 0}, "dim"),
        ({"dim": -28}, "dim"),
        ({"dim": 27}, "dim"),
        ({"time": "seconds"}, "time"),
        ({"widths": (1,)}, "widths"),
    ],
)
def test_widths_that_make_no_network_are_refused_at_their_field(
    name: str, parameters: dict[str, object], field: str
) -> None:
    with pytest.raises(SpecError) as error:
        MODELS.build(name, **parameters)
    assert error.value.field == field


# -- the time


def test_the_embedding_is_its_formula() -> None:
    t = torch.tensor([0.0, 1.0, 37.5, 999.0, -12.25])
    frequency = 10_000 ** (-torch.arange(6, dtype=torch.float64) / 5)
    angle = t.double()[:, None] * frequency
    torch.testing.assert_close(
        sinusoidal(t, 12), torch.cat((angle.sin(), angle.cos()), dim=1).float(), rtol=0, atol=1e-4
    )


def test_the_three_time_inputs() -> None:
    table = SCHEDULES.build("linear", timesteps=200).table()
    t = torch.tensor([0.0, 3.5, 199.0], dtype=torch.float64)
    assert embed_time(t, table, "index").tolist() == [0.0, 3.5, 199.0]
    torch.testing.assert_close(embed_time(t, table, "scaled_1000"), torch.tensor([0.0, 17.5, 995.0]))
    beta = torch.linspace(1e-4, 0.02, 200, dtype=torch.float64)
    alpha_bar = (1 - beta).cumprod(0)
    snr = (alpha_bar / (1 - alpha_bar)).log()
    expected = torch.stack((snr[0], (snr[3] + snr[4]) / 2, snr[199])).float()
    torch.testing.assert_close(embed_time(t, table, "log_snr"), expected, rtol=1e-5, atol=1e-5)
    assert all(
        embed_time(t, table, kind).dtype == torch.float32 for kind in ("index", "scaled_1000", "log_snr")
    )


def test_an_index_of_pure_noise_has_a_finite_log_snr() -> None:
    signal = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    table = Table(signal, (1 - signal**2).sqrt())
    log_snr = embed_time(torch.arange(3), table, "log_snr")
    assert log_snr.tolist() == pytest.approx([30.0, math.log(1 / 3), -30.0])


@pytest.mark.parametrize("name", ["ddpm_unet", "convnext_unet"])
@pytest.mark.parametrize(
    ("dim", "mults"),
    [(8, (1,)), (8, (1,) * 6), (16, (1, 2)), (28, (1, 2, 4)), (64, (4, 2, 1)), (32, (1, 16))],
)
def test_a_network_counts_as_small_only_if_its_weights_are(
    name: str, dim: int, mults: tuple[int, ...]
) -> None:
    model = MODELS.build(name, dim=dim, dim_mults=mults)
    with torch.device("meta"):
        size = sum(parameter.nbytes for parameter in model.build(3, 32).parameters())
    assert not _is_small(model, size)
    assert _is_small(model, 2000 * size)
