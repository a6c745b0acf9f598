"""Imported pipelines generate the same images as in diffusers, from the same start and noise."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result
from exchanged_runs import SIZE, noise, ours, randn, relative

from ddpmx import SCHEDULES, SpecError
from ddpmx.exchange.schedulers import from_scheduler
from ddpmx.spec.loading import load

diffusers = pytest.importorskip("diffusers")

GOOGLE = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": (64, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "layers_per_block": 1,
    "norm_eps": 1e-6,
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
}

TUTORIAL = {
    **GOOGLE,
    "attention_head_dim": 8,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_num_groups": 8,
    "downsample_padding": 1,
}

BETAS = np.linspace(0.01, 0.3, 20).tolist()


def save(folder: Path, config: dict[str, Any], scheduler: Any) -> Any:
    """A pipeline with random weights, saved by diffusers itself."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**config)
    for parameter in unet.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    kind = (
        diffusers.DDIMPipeline if isinstance(scheduler, diffusers.DDIMScheduler) else diffusers.DDPMPipeline
    )
    pipeline = kind(unet=unet.eval(), scheduler=scheduler)
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, **arguments: Any) -> Any:
    """The images of diffusers' pipeline in [0, 1], with the start and the noise of these tests."""
    shape = (SIZE, 1, 8, 8)
    numbers = iter([randn(*shape, seed=0), *(noise(k, shape) for k in range(20))])
    for module in (type(pipeline).__module__, type(pipeline.scheduler).__module__):
        monkeypatch.setattr(
            sys.modules[module], "randn_tensor", lambda *args, **kwargs: next(numbers).to(dtype)
        )
    pipeline.to(dtype)
    return pipeline(batch_size=SIZE, output_type="pt", **arguments).images.numpy()


class TestImport:
    @pytest.fixture(autouse=True)
    def _quiet(self):
        diffusers.utils.logging.disable_progress_bar()

    @pytest.mark.parametrize(("config", "model"), [(GOOGLE, "ddpm_unet"), (TUTORIAL, "diffusers_unet")])
    def test_the_same_samples_and_back_again(
        self,
        ddpmx: Callable[..., Result],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        config: dict[str, Any],
        model: str,
    ):
        pipeline = save(
            tmp_path / "in",
            config,
            diffusers.DDPMScheduler(20, trained_betas=BETAS, variance_type="fixed_large"),
        )
        result = ddpmx("import", tmp_path / "in", "--name", "there", "--out", tmp_path / "runs")
        assert result.code == 0, result.err
        run = Path(result.out.splitlines()[0])
        assert run.parent == tmp_path / "runs" / "there"
        assert load(run / "spec.yaml").model.component_name == model
        reference = theirs(pipeline, monkeypatch, torch.float32, num_inference_steps=20)
        assert np.std(reference) > 0.01
        assert relative(ours(run, torch.float32), reference) <= 1e-5
        pipeline.scheduler.alphas_cumprod = torch.cumprod(1 - torch.tensor(BETAS, dtype=torch.float64), 0)
        reference = theirs(pipeline, monkeypatch, torch.float64, num_inference_steps=20)
        assert relative(ours(run, torch.float64), reference) <= 1e-9

        assert ddpmx("sample", run, "-n", "2", "--out", tmp_path / "two.png").code == 0
        assert ddpmx("export", run, "--to", "diffusers", tmp_path / "out").code == 0
        again = diffusers.DDPMPipeline.from_pretrained(tmp_path / "out")
        weights = again.unet.state_dict()
        assert all(
            torch.equal(weights[name], value.float()) for name, value in pipeline.unet.state_dict().items()
        )
        assert all(
            again.unet.config[key] == (list(value) if isinstance(value, tuple) else value)
            for key, value in config.items()
        )
        assert again.scheduler.config.trained_betas == pytest.approx(BETAS, rel=1e-12)

    def test_ddim_and_a_torch_file_with_the_old_names_of_attention(
        self, ddpmx: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        scheduler = diffusers.DDIMScheduler(
            num_train_timesteps=20,
            beta_schedule="squaredcos_cap_v2",
            clip_sample_range=0.8,
            prediction_type="v_prediction",
        )
        pipeline = save(tmp_path / "in", GOOGLE, scheduler)
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        weights = pipeline.unet.state_dict()
        for new, name in old.items():
            weights = {key.replace(f".{new}.", f".{name}."): value for key, value in weights.items()}
        (tmp_path / "in" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(weights, tmp_path / "in" / "unet" / "diffusion_pytorch_model.bin")
        result = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs")
        assert result.code == 0, result.err
        reference = theirs(
            pipeline, monkeypatch, torch.float32, num_inference_steps=5, use_clipped_model_output=True
        )
        assert (
            relative(ours(Path(result.out.splitlines()[0]), torch.float32, ("sampler.steps=5",)), reference)
            <= 1e-5
        )

    def test_an_imported_run_says_when_it_needs_images(self, ddpmx: Callable[..., Result], tmp_path: Path):
        save(tmp_path / "in", GOOGLE, diffusers.DDPMScheduler(20))
        run = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs").out.splitlines()[0]
        for command in (
            ("evaluate", run, "--metrics", "fd_cnn"),
            ("run", f"{run}/spec.yaml", "--out", tmp_path / "more"),
        ):
            result = ddpmx(*command)
            assert result.code == 2
            assert "no images" in result.err
            assert "-s dataset=" in result.err
        assert not (tmp_path / "more").exists()
        result = ddpmx(
            "evaluate", run, "--metrics", "fd_cnn", "-n", "4", "-s", "dataset=null", "-s", "dataset=digits"
        )
        assert (result.code, result.out.split()[0]) == (0, "fd_cnn")

    @pytest.mark.parametrize(
        ("file", "change", "field"),
        [
            ("unet", {"_class_name": "UNet2DConditionModel"}, "_class_name"),
            ("unet", {"num_class_embeds": 10}, "num_class_embeds"),
            ("unet", {"out_channels": 2}, "out_channels"),
            ("unet", {"sample_size": [8, 16]}, "sample_size"),
            ("scheduler", {"_class_name": "PNDMScheduler"}, "_class_name"),
            ("scheduler", {"variance_type": "learned_range"}, "variance_type"),
            ("scheduler", {"thresholding": True}, "thresholding"),
            ("scheduler", {"prediction_type": "flow_prediction"}, "prediction_type"),
            ("scheduler", {"beta_schedule": "sigmoid"}, "beta_schedule"),
            ("scheduler", {"steps_offset": 1}, "steps_offset"),
        ],
    )
    def test_a_field_that_cannot_be_imported_is_named(
        self, ddpmx: Callable[..., Result], tmp_path: Path, file: str, change: dict[str, Any], field: str
    ):
        save(tmp_path / "in", GOOGLE, diffusers.DDPMScheduler(20))
        path = tmp_path / "in" / file / ("config.json" if file == "unet" else "scheduler_config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        result = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs")
        assert result.code == 2
        assert f"{path}: {field}: " in result.err
        assert not (tmp_path / "runs").exists()

    def test_without_diffusers_the_field_that_ddpm_unet_lacks_is_named(
        self, ddpmx: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        save(tmp_path / "in", TUTORIAL, diffusers.DDPMScheduler(20))
        monkeypatch.setitem(sys.modules, "diffusers", None)
        result = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs")
        assert result.code == 2
        assert "norm_num_groups: is 8" in result.err
        assert "pip install 'ddpmx[diffusers]'" in result.err

    def test_broken_folders(self, ddpmx: Callable[..., Result], tmp_path: Path):
        assert "unet/config.json cannot be read" in ddpmx("import", tmp_path).err
        save(tmp_path / "in", GOOGLE, diffusers.DDPMScheduler(20))
        weights = tmp_path / "in" / "unet" / "diffusion_pytorch_model.safetensors"
        weights.unlink()
        assert "has no weights" in ddpmx("import", tmp_path / "in").err
        # A function, which unpickling could call
        torch.save({"conv_in.weight": print}, weights.with_suffix(".bin"))
        assert "contain more than tensors" in ddpmx("import", tmp_path / "in").err
        weights.write_bytes(b"not safetensors")
        assert "cannot be read" in ddpmx("import", tmp_path / "in").err

    @pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
    @pytest.mark.parametrize("zero", [False, True])
    def test_imported_schedules_equal_those_of_diffusers(self, schedule: str, zero: bool):
        scheduler = diffusers.DDIMScheduler(100, 0.001, 0.03, schedule, rescale_betas_zero_snr=zero)
        block = from_scheduler({**scheduler.config, "_class_name": "DDIMScheduler"})["schedule"]
        table = SCHEDULES.build(block.pop("name"), **block).table()
        assert torch.allclose(table.alpha_bar.float(), scheduler.alphas_cumprod, rtol=1e-4, atol=1e-6)

    def test_betas_are_as_many_as_timesteps(self):
        with pytest.raises(SpecError, match="2 values are given for 3 timesteps"):
            SCHEDULES.build("betas", timesteps=3, values=(0.1, 0.2))
