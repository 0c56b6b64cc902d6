"""What `--url` brings along: limits and certificates of the client of a vLLM server."""

import json
import ssl
import threading
from pathlib import Path

import pytest

from medprm_scorer import cli
from tests.support.llama3 import real_tokenizer
from tests.support.vllm_stand_in import StandIn, running
from tests.vllm.test_engine import CHAINS, DOCUMENTS, QUESTION, Certified

COMMANDS = ["rank", "score", "search", "evaluate", "calibrate", "explain"]
OPTIONS = {"--timeout": "20", "--concurrency": "2", "--ca-file": "ca.pem", "--retry-for": "1", "--tokenizer": "x"}


@pytest.fixture
def request_file(tmp_path) -> Path:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"question": QUESTION, "candidates": CHAINS, "documents": DOCUMENTS}))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    real_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def rank(request_file, tokenizer, capsys):
    """Ranks through a server and returns the status and what went to standard error."""

    def run(server: StandIn, *options: object) -> tuple[int, str]:
        status = cli.main(
            ["rank", str(request_file), "--url", server.url, "--tokenizer", str(tokenizer), *map(str, options)]
        )
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_a_server_takes_its_options(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for name, place in {"--timeout": "SECONDS", "--concurrency": "N", "--ca-file": "FILE", "--url": ""}.items():
        assert f"  {name} {place}" in shown


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("model", [[], ["--model", "demo"]])
def test_without_a_server_they_are_refused(request_file, capsys, option, model):
    assert cli.main(["rank", str(request_file), option, OPTIONS[option], *model]) == 2
    assert f"error: {option} goes with --url\n" in capsys.readouterr().err


@pytest.mark.parametrize("option", OPTIONS)
def test_and_so_they_are_where_rewards_come_from_the_file(request_file, capsys, option):
    assert cli.main(["evaluate", str(request_file), option, OPTIONS[option]]) == 2
    assert capsys.readouterr().err == f"medprm: error: {option} changes nothing without --model or --url\n"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--timeout", "0", "timeout must be a positive number"),
        ("--timeout", "-1", "timeout must be a positive number"),
        ("--timeout", "nan", "timeout must be a positive number"),
        ("--timeout", "inf", "timeout must be a positive number"),
        ("--retry-for", "inf", "retry_for must be a number"),
        ("--concurrency", "0", "--concurrency"),
        ("--concurrency", "1.5", "--concurrency"),
    ],
)
def test_a_limit_out_of_range_is_status_2_and_one_line(rank, option, value, says):
    with running(StandIn()) as server:
        status, err = rank(server, option, value)
        assert not server.requests
    assert (status, len(err.splitlines())) == (2, 1)
    assert says in err


def test_the_time_limit_is_that_of_one_request(rank):
    with running(StandIn(seconds=1.5)) as server:
        status, err = rank(server, "--timeout", "0.25", "--retry-for", "0")
    assert status == 1
    assert "within 0.25 s" in err


class Gathering(StandIn):
    """Answers no prompt before so many are under way together, or some seconds have passed."""

    def __init__(self, wanted):
        super().__init__()
        self._gathered, self._wanted = threading.Event(), wanted

    def compute(self, path, asked):
        if path != "/tokenize":
            if self.under_way >= self._wanted:
                self._gathered.set()
            self._gathered.wait(3)
        return super().compute(path, asked)


@pytest.mark.parametrize(("options", "at_once"), [((), 4), (("--concurrency", "1"), 1), (("--concurrency", "3"), 3)])
def test_so_many_requests_are_sent_at_once(request_file, tokenizer, tmp_path, options, at_once):
    many = tmp_path / "many.jsonl"
    many.write_text(f"{request_file.read_text()}\n" * 8)
    command = ["score", str(many), str(tmp_path / "out.jsonl"), "--tokenizer", str(tokenizer)]
    with running(Gathering(at_once)) as server:
        assert cli.main([*command, "--url", server.url, *options]) == 0
        assert min(server.most_under_way, 4) == at_once


@pytest.fixture
def authority(tmp_path):
    """An authority that no system knows, its certificate `ca.pem`, and that of another in `other.pem`."""
    trustme = pytest.importorskip("trustme")
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    return made


@pytest.fixture
def certified(authority):
    """A server with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with running(Certified(context)) as server:
        yield server


def test_authorities_without_https_are_refused(rank, certified, tmp_path):
    with running(StandIn()) as server:
        status, err = rank(server, "--ca-file", str(tmp_path / "ca.pem"))
        assert not server.requests
    assert (status, err) == (2, "medprm: error: --ca-file goes with a --url that begins with https\n")


def test_a_server_of_the_own_authority_is_trusted_with_its_file_only(rank, certified, tmp_path):
    status, err = rank(certified, "--retry-for", "20")
    assert (status, certified.knocks) == (1, 1)  # refused at once
    assert "certificate that can be trusted" in err
    assert rank(certified, "--ca-file", tmp_path / "ca.pem")[0] == 0


def test_the_file_takes_the_place_of_all_other_authorities(rank, certified, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert rank(certified)[0] == 0
    status, err = rank(certified, "--ca-file", tmp_path / "other.pem")
    assert status == 1
    assert "certificate that can be trusted" in err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot open --ca-file {file}: No such file or directory"),
        ("", "--ca-file {file} holds no certificate in PEM form that can be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "--ca-file {file} holds no certificate"),
    ],
)
def test_a_file_without_certificates_is_status_2_and_one_line(rank, tmp_path, content, says):
    file = tmp_path / "bad.pem"
    if content is not None:
        file.write_text(content)
    with running(StandIn()) as server:
        status, err = rank(server, "--ca-file", file)
        assert not server.requests
    assert (status, len(err.splitlines())) == (2, 1)
    assert says.format(file=file) in err


def test_a_folder_is_no_file_of_certificates(rank, tmp_path):
    with running(StandIn()) as server:
        status, err = rank(server, "--ca-file", tmp_path)
    assert (status, err) == (2, f"medprm: error: cannot open --ca-file {tmp_path}: Is a directory\n")


def test_a_file_of_the_environment_is_not_mistaken_for_it(rank, authority, tmp_path, monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", "/no/such/folder/keys")
    with running(StandIn()) as server:
        status, err = rank(server, "--ca-file", tmp_path / "ca.pem")
    assert (status, err) == (2, "medprm: error: cannot open /no/such/folder/keys: No such file or directory\n")
