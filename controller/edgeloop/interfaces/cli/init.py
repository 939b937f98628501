"""``edgeloop init``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from edgeloop_foundation.errors import AlreadyExistsError

__all__ = ["init"]

_TEMPLATE = """\
# Defaults of the command line; an option given there wins.
apiVersion = "edgeloop/v1"
kind = "Config"

[experiment]
model = {model}            # an ONNX file, or file.py:function
data = {data}             # folder with one sub-folder per class, .npz, .csv, WAV folder, or file.py:function
on = ["local"]           # local, sim:PROFILE, unix:PATH, grpc://HOST:PORT, or a name from [devices]
require = []             # for example ["latency_p95 < 30ms", "accuracy_drop < 1%"]
prefer = "latency_p50"   # or weights: "latency_p50:2,size:1"
seed = 0
# recipes = "recipes.yaml"   # default: proposed from the model and the devices
# budget = "10m"             # time for the whole experiment
# report = "report"          # directory of the report
# state = ["stateN:state"]   # output:input pairs of a model with state
# threads = 1

[benchmark]
rounds = 5               # fresh processes per trial
sample_count_min = 64    # 64 allow a p90, 130 a p95, 662 a p99
as_deployed = false      # true measures a device as it is, a series of its own; false refuses one that is not fit
# settle = "30s"           # longest wait for the device to become fit
# sustained = "20m"        # one long run per trial: what heat does
# rate = [20, 50, 100]     # requests per second, up to the knee
# batch_sizes = [1, 4, 8]  # throughput at each of them

[runtime]
runtime = "onnxruntime"  # or a list: measured side by side
# providers = ["XnnpackExecutionProvider"]
# require_provider = true
# affinity = [0, 1]
# threads = 2

[devices]
pi = "sim:raspberry_pi_5"
# desk = "grpc://192.0.2.10:50051"
# [devices.lab]
# address = "grpc://192.0.2.11:50051"
# options = {{ tls_ca = "ca.pem", tls_certificate = "me.pem", tls_key = "me.key" }}
"""


@click.command()
@click.option("--model", default="model.onnx", show_default=True, help="Model to write into the file.")
@click.option("--data", default="data", show_default=True, help="Data to write into the file.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(model: str, data: str, force: bool) -> None:
    """Write an edgeloop.toml to start from."""
    path = Path("edgeloop.toml")
    if path.exists() and not force:
        raise AlreadyExistsError(f"{path} exists already.", next_step="Overwrite it with --force.")
    # A JSON string is a TOML basic string.
    path.write_text(_TEMPLATE.format(model=json.dumps(model), data=json.dumps(data)), encoding="utf-8")
    click.echo(f"wrote {path}; next: edgeloop run --dry-run")
