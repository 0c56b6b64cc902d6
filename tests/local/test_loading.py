"""Loading: safetensors only, no code from the model, no weight missing, no network, clear refusals."""

import json
import os
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from medprm_scorer import InputError, MedPRM, ModelError
from medprm_scorer.local import loading
from medprm_scorer.local.loading import DEMO_MODEL, choose_device, choose_dtype, load


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the demo model that a test may damage."""
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))


def change_json(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_demo_model_loads_on_the_cpu_in_float32():
    model, _ = load(DEMO_MODEL, device="cpu")
    assert model.dtype == torch.float32
    assert not model.training


def test_dtype_and_revision_are_passed_on(folder):
    assert load(str(folder), device="cpu", dtype="bfloat16")[0].dtype == torch.bfloat16
    assert load(folder, device="cpu", dtype=torch.float16, revision="main")[0].dtype == torch.float16


def test_pickled_weights_are_not_loaded(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)


def test_a_hub_that_cannot_be_reached_is_called_that(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"the hub cannot be reached for 'nobody/nothing'.* or give a folder"):
        load("nobody/nothing")


def test_missing_weights_are_not_filled_with_random_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights.*layers\.1\.self_attn\.q_proj"):
        load(folder)


def test_weights_without_a_place_are_not_left_out(folder):
    change_json(folder / "config.json", num_hidden_layers=2)
    with pytest.raises(ModelError, match="unexpected weights"):
        load(folder)


def test_a_model_of_endless_layers_is_refused_before_they_are_made(folder):
    change_json(folder / "config.json", num_hidden_layers=10**7)
    with pytest.raises(ModelError, match="10000000 layers"):
        load(folder)


def test_weights_of_another_shape_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.zeros(7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError):
        load(folder)


def test_code_in_the_model_folder_is_not_run(folder, tmp_path):
    trace = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Evil: pass\nclass EvilConfig: pass\n")
    auto_map = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}
    change_json(folder / "config.json", auto_map=auto_map, model_type="evil")
    with pytest.raises(ModelError):
        load(folder)
    assert not trace.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_damaged_files_are_one_clear_sentence(folder, file, damage):
    path = folder / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(ModelError) as caught:
        MedPRM.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "no-such-folder", "../a/b/c", "", "a b/c"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(ModelError, match="no model folder"):
        MedPRM.from_pretrained(name)


def test_a_model_without_the_tag_is_refused(folder):
    state = json.loads((folder / "tokenizer.json").read_text())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] != " ки"]
    (folder / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ModelError, match="step tag"):
        MedPRM.from_pretrained(folder)


def test_loading_leaves_the_environment_as_it_was():
    """In a process of its own, since whatever was loaded before would have set it for good."""
    code = (
        "import os; from medprm_scorer.local.loading import DEMO_MODEL, load; import torch, transformers\n"
        "before = dict(os.environ); load(DEMO_MODEL); assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


def test_from_the_hub_only_what_is_read_is_fetched(monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(DEMO_MODEL)

    monkeypatch.setattr(loading, "snapshot_download", download)
    load("some/model", device="cpu", revision="main")
    assert (asked["name"], asked["revision"]) == ("some/model", "main")
    wanted = ["config.json", "tokenizer.json", "chat_template.jinja"]
    wanted += ["model.safetensors", "model.safetensors.index.json"]
    left = ["pytorch_model.bin", "modeling_evil.py", "original/model.safetensors", "README.md"]
    fetched = [name for name in (*wanted, *left) if any(fnmatch(name, one) for one in asked["allow_patterns"])]
    assert fetched == wanted


def test_a_hub_id_is_looked_up_in_the_hub_cache(tmp_path):
    """In a process of its own, since the cache's place is read when the hub library is imported."""
    repository = tmp_path / "models--dmis-lab--some-reward-model"
    shutil.copytree(DEMO_MODEL, repository / "snapshots" / "0123abcd")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    code = "from medprm_scorer import MedPRM; print(MedPRM.from_pretrained('dmis-lab/some-reward-model', device='cpu'))"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MedPRM(transformers (cpu, float32))"


def test_device_and_dtype_are_checked():
    for device in ("gpu", "cuda:99", "xyz:0", "meta"):
        with pytest.raises(InputError, match="device"):
            choose_device(device)
    with pytest.raises(InputError, match="bfloat16"):
        choose_dtype("float8", torch.device("cpu"))
    with pytest.raises(InputError, match="int8"):
        choose_dtype(torch.int8, torch.device("cpu"))
    assert choose_dtype(None, torch.device("mps")) == torch.bfloat16
    assert choose_dtype(None, torch.device("cpu")) == torch.float32


def test_no_connection_is_opened(monkeypatch):
    tried = []

    def refuse(*given, **_):
        tried.append(given)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert MedPRM.from_pretrained().score("Which?", ["Step 1: This."])
    assert not tried
    with pytest.raises(OSError, match="no network"):  # the guard itself works
        socket.create_connection(("localhost", 9))
    assert tried


def test_importing_the_package_does_no_work():
    code = "import sys, medprm_scorer; assert 'torch' not in sys.modules and 'logging' not in sys.modules"
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
