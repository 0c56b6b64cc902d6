"""The files that start servers say what `medprm vllm-command` prints, and their own schema accepts them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading

import pytest
import yaml

from medprm_scorer import cli
from medprm_scorer.text.prompts import RELEASED_MODEL
from medprm_scorer.vllm.launch import Serving, command_lines, server_options
from tests.support.paths import ROOT
from tests.support.vllm_stand_in import StandIn, running

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


KEY = r"s3%cret\n'$HOME"
"""What a shell, printf or a header could spoil."""


class Ailing(StandIn):
    """Answers /health always, and completions as it is told; it takes what the released model's server takes."""

    def __init__(self, ailment=""):
        super().__init__(api_key=KEY)
        self.ailment, self.over = ailment, threading.Event()

    def answer(self, request, body):
        if request.path == "/health":
            return request.reply(200, {})
        if self.ailment == "hangs":
            self.over.wait(30)
        if self.ailment == "refuses":
            return request.reply(500, {"error": {"message": "EngineDeadError"}})
        return super().answer(request, body)

    def compute(self, path, asked):
        assert (path, asked["model"], asked["max_tokens"]) == ("/v1/completions", RELEASED_MODEL, 1)
        assert asked["prompt"]
        return {"choices": [{"text": " Read"}]}


def check_health(server: Ailing, key: str, seconds: int) -> int:
    """Run the compose file's health check as Docker does, on this server; return curl's exit status."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (service,) = COMPOSE["services"].values()
    how, command = service["healthcheck"]["test"]
    assert how == "CMD-SHELL"
    for pattern, new in ((r"http://127\.0\.0\.1:8000(?=/)", server.url), (r"--max-time \d+", f"--max-time {seconds}")):
        command, count = re.subn(pattern, new, command)
        assert count == 1
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", command)  # Compose itself would replace a single one
    environment = {"PATH": os.environ["PATH"], "VLLM_API_KEY": key}
    shell = ["/bin/sh", "-c", command.replace("$$", "$")]
    return subprocess.run(shell, env=environment, capture_output=True, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("ailment", "key", "seconds", "status"),
    [("", KEY, 30, 0), ("", "another", 30, 22), ("refuses", KEY, 30, 22), ("hangs", KEY, 1, 28)],
)
def test_the_health_check_notices_a_model_that_does_not_answer(ailment, key, seconds, status):
    with running(Ailing(ailment)) as server:
        try:
            assert check_health(server, key, seconds) == status
            assert server.requests == {"/v1/completions": 1}
        finally:
            server.over.set()


def test_a_busy_server_has_time_for_the_health_check():
    (service,) = COMPOSE["services"].values()
    health = service["healthcheck"]
    most = int(re.search(r"--max-time (\d+)", health["test"][1])[1])
    assert 30 <= most < int(health["timeout"].rstrip("s")) <= int(health["interval"].rstrip("s"))
    assert health["retries"] >= 3


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
