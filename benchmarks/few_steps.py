"""The number of evaluations with which `dpmpp_2m` reaches the fd_cnn of the full ddpm chain, on a finished
run.

python benchmarks/few_steps.py runs/quickstart/RUN [--samples 500] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

import ddpmx
from ddpmx.runs.measure import measure
from ddpmx.runs.opening import open_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    opened = open_run(options.run, (), torch.device("cpu"), "best")
    spec, experiment = opened.spec, opened.experiment
    full = [
        ddpmx.SAMPLERS.build("ddpm"),
        ddpmx.SAMPLERS.build("ddim", steps=None),  # the limit of solvers without noise
    ]
    few = [
        ddpmx.SAMPLERS.build(name, steps=steps)
        for name in ("dpmpp_2m", "dpmpp_2m_sde")
        for steps in (5, 10, 20)
    ]
    print(
        "| sampler | evaluations | fd_cnn for each seed, 95 % interval of the first | processor s |\n"
        "| --- | --- | --- | --- |"
    )
    for sampler in (*full, *few):
        plan, values, started = sampler.plan(experiment.table, experiment.prediction), [], time.process_time()
        for seed in range(options.seeds):
            changes = {"sampler": sampler, "samples": options.samples, "seed": seed}
            evaluate = spec.evaluate.model_copy(update=changes)
            changed_experiment = replace(experiment, spec=spec.model_copy(update={"evaluate": evaluate}))
            values.append(measure(changed_experiment, experiment.network, parser.error)["fd_cnn"])
        formatted = ", ".join(f"{score.value:.2f}" for score in values)
        if values[0].interval is not None:
            formatted += " ({:.2f} to {:.2f})".format(*values[0].interval)
        print(
            f"| {sampler.component_name} | {plan.evaluations} | {formatted} "
            f"| {time.process_time() - started:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
