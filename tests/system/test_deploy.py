"""The files that start servers say what `medprm vllm-command` prints, and their own schema accepts them."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from medprm_scorer import cli
from medprm_scorer.text.prompts import RELEASED_MODEL
from medprm_scorer.vllm.launch import Serving, command_lines, server_options
from tests.support.paths import ROOT

COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())


def test_the_compose_file_starts_the_server_that_the_command_prints():
    (service,) = COMPOSE["services"].values()
    assert service["command"] == ["--model", RELEASED_MODEL, *server_options(Serving(RELEASED_MODEL, host="0.0.0.0"))]


@pytest.mark.parametrize(("spoil", "status"), [(str, 0), (lambda text: text.replace("ports:", "prots:"), 1)])
def test_the_compose_file_is_valid_by_the_compose_specifications_schema(tmp_path, spoil, status):
    path = tmp_path / "compose.yaml"
    path.write_text(spoil((ROOT / "deploy" / "compose.yaml").read_text()))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == status


def test_the_servers_port_is_open_to_this_machine_only():
    (service,) = COMPOSE["services"].values()
    assert service["ports"] == ["127.0.0.1:8000:8000"]


def test_the_page_shows_commands_that_exist():
    page = (ROOT / "docs" / "vllm.md").read_text()
    lines = re.findall(r"^\$ medprm (vllm-command .*?)(?:\s+#.*)?$", page, re.M)
    assert len(lines) >= 5
    for line in lines:
        assert cli.main(shlex.split(line)) == 0


def test_the_pages_arithmetic():
    page = (ROOT / "docs" / "vllm.md").read_text()
    per_token = 2 * 32 * 8 * 128 * 2
    assert f"{per_token:,} bytes" in page
    assert per_token == 128 * 1024
    assert f"{3000 + 16 * 300:,} tokens" in page
    assert f"{16 * 3300:,}, {16 * 3300 / 7800:.1f} times" in page
    assert command_lines(Serving("x"))
