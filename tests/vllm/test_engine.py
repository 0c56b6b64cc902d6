"""`MedPRM.from_vllm` on a server that speaks like vLLM: what it finds out, what it sends, what it refuses."""

import asyncio
import copy
import json
import pickle
import shlex
import ssl
import threading
import time
from importlib.util import find_spec

import pytest

from medprm_scorer import InputError, MedPRM, ModelError, Ranking, RankRequest, cli
from medprm_scorer.encoding import EncodedPrompt, PromptEncoder
from medprm_scorer.errors import MedPRMError, ServerError
from medprm_scorer.text.steps import split_steps
from medprm_scorer.vllm import engine as engine_module
from medprm_scorer.vllm.client import ClientConfig, RefusedError
from medprm_scorer.vllm.endpoints import ENDPOINTS
from medprm_scorer.vllm.launch import Serving, command_lines
from tests.support import vllm_stand_in
from tests.support.llama3 import real_tokenizer
from tests.support.vllm_stand_in import MINUS, MODEL, PLUS, StandIn, expected, reward, running

QUESTION, DOCUMENTS = "Which dose?\n\n(A) 5 mg\n(B) 9 mg", ["Label: 5 mg per kg."]
CHAINS = ["Step 1: Read 5 mg. Step 2: The answer is (A)", "Step 1: Read 9 mg. Step 2: So. Step 3: The answer is (B)"]
ALL = {"generative_scoring": "/generative_scoring", "completions": "/v1/completions", "classify": "/classify"}
ALL |= {"step_pooling": "/pooling"}


def reach(server: StandIn, **options) -> MedPRM:
    settings = {"tokenizer": real_tokenizer(), "retry_for": 0.0, "timeout": 20.0}
    return MedPRM.from_vllm(server.url, **settings | options)


def right() -> list[list[float]]:
    encoder = PromptEncoder(real_tokenizer())
    split = [split_steps(chain) for chain in CHAINS]
    chains = tuple(encoder.chain(steps.steps, steps.front) for steps in split)
    return expected([EncodedPrompt(encoder.prefix(QUESTION, DOCUMENTS).ids, chains)])[0]


def rewards_of(prm: MedPRM) -> list[list[float]]:
    return [chain.step_rewards for chain in prm.score(QUESTION, CHAINS, DOCUMENTS)]


@pytest.mark.parametrize(("name", "path"), ALL.items())
def test_each_endpoint_gives_the_models_rewards(name, path):
    with running(StandIn((path, "/tokenize"))) as server:
        prm = reach(server)
        assert prm.engine.name == f"vllm ({path} of {server.url}, {MODEL})"
        assert prm.engine.endpoint.name == name  # type: ignore[attr-defined]
        assert prm.engine.max_tokens == 8191
        assert rewards_of(prm) == [pytest.approx(chain, abs=1e-9) for chain in right()]
        ranking = asyncio.run(prm.arank(QUESTION, CHAINS, DOCUMENTS, strategy="best_of_n"))
        assert ranking.best.step_rewards == pytest.approx(max(right(), key=min), abs=1e-9)


def test_the_best_endpoint_is_chosen_and_any_can_be_asked_for():
    assert [endpoint.reuses_prefix for endpoint in ENDPOINTS] == [True, True, True, False]
    with running(StandIn(tuple(ALL.values()))) as server:
        assert reach(server).engine.endpoint.name == "generative_scoring"  # type: ignore[attr-defined]
        for name in ALL:
            assert reach(server, endpoint=name).engine.endpoint.name == name  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="unknown endpoint 'chat': choose one of auto, generative_scoring, "):
            reach(server, endpoint="chat")


def test_all_items_of_a_question_go_in_one_request_and_twins_once():
    with running(StandIn()) as server:
        prm = reach(server)
        server.bodies.clear()
        prm.score(QUESTION, [*CHAINS, CHAINS[0]], DOCUMENTS)
        (body,) = server.bodies
        assert len(body["items"]) == 5  # two steps and three; the twin sends nothing
        assert body["model"] == MODEL
        assert "cache_salt" not in body


def test_a_request_past_the_size_bound_is_split(monkeypatch):
    monkeypatch.setattr(engine_module, "_MOST_ITEMS", 2)
    with running(StandIn()) as server:
        prm = reach(server)
        server.bodies.clear()
        assert rewards_of(prm) == [pytest.approx(chain, abs=1e-9) for chain in right()]
        assert [len(body["items"]) for body in server.bodies] == [2, 2, 1]
        monkeypatch.setattr(engine_module, "_MOST_IDS", 10)  # less than the prefix: one at a time, never none
        server.bodies.clear()
        rewards_of(prm)
        assert [len(body["items"]) for body in server.bodies] == [1] * 5


def test_the_salt_and_the_key_are_sent(monkeypatch):
    with running(StandIn(api_key="s3cret")) as server:
        prm = reach(server, api_key="s3cret", cache_salt="tenant")
        rewards_of(prm)
        assert server.bodies[-1]["cache_salt"] == "tenant"
        assert "s3cret" not in repr(prm) + repr(prm.engine) + repr(vars(prm.engine))
        monkeypatch.setenv("VLLM_API_KEY", "s3cret")
        reach(server)
        monkeypatch.setenv("VLLM_API_KEY", "wrong")
        with pytest.raises(ServerError, match="with 401: Unauthorized"):
            reach(server)


def test_a_server_that_offers_nothing_says_why_for_each():
    with running(StandIn(("/tokenize",))) as server, pytest.raises(ServerError) as caught:
        reach(server)
    for name in ALL:
        assert f"{name}: the server at" in str(caught.value)
    assert "404: Not Found" in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "named"),
    [
        ({" ки": [7, 8], " +": [PLUS], " -": [MINUS]}, "' ки'"),
        ({" ки": [128256], " +": [PLUS, 3], " -": [MINUS]}, r"' \+'"),
        ({" ки": [128256], " +": [PLUS], " -": [12]}, "' -'"),
    ],
)
def test_a_server_with_another_tokenizer_is_refused(tokens, named):
    with (
        running(StandIn(tokens=tokens)) as server,
        pytest.raises(ModelError, match=f"does not read {named} as the single"),
    ):
        reach(server)


def change_scores(new):
    def change(path, answer):
        for entry in answer.get("data", []):
            entry["score"] = new
        return answer

    return change


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        (0.5, ModelError, "gives the reward 0.500 to every step"),
        (1.5, ServerError, r"a number outside \[0, 1\]"),
        (float("nan"), ServerError, "NaN instead of a reward"),
        (None, ServerError, "the form of a two-label"),
    ],
)
def test_a_wrong_model_is_refused_at_the_start(score, error, message):
    server = StandIn(("/generative_scoring",), change=change_scores(score))
    with running(server), pytest.raises(error, match=message):
        reach(server)


def test_completions_with_raw_logprobs_are_refused_with_the_remedy():
    def raw(path, answer):
        for choice in answer.get("choices", []):
            top = choice["logprobs"]["top_logprobs"][0]
            for name in top:
                top[name] -= 5.0  # the probabilities of a whole vocabulary
        return answer

    server = StandIn(("/v1/completions",), change=raw)
    with running(server), pytest.raises(ServerError, match="--logprobs-mode processed_logprobs"):
        reach(server)


def test_the_words_of_a_server_are_cleaned_of_ids_and_controls():
    class Chatty(StandIn):
        def answer(self, request, body):
            if request.path == "/generative_scoring" and len(self.bodies) > 3:
                text = f"bad input {list(range(40))} \x1b[31mred\n" + "word " * 200
                return request.reply(400, {"error": {"message": text, "code": 400}})
            return super().answer(request, body)

    with running(Chatty()) as server:
        prm = reach(server)
        with pytest.raises(ServerError) as caught:
            rewards_of(prm)
    assert "bad input [...] \ufffd[31mred" in str(caught.value)
    assert len(str(caught.value)) < 450


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000", "must look like"),
        ("ftp://x", "must look like"),
        ("http://", "must look like"),
        ("http://x:port", "must look like"),
        ("http://a b", "must look like"),
        ("http://user:pw@x", "must not hold a password"),
        ("http://x/?a=1", "must end with its path"),
        (8000, "must be a text"),
        ("http://" + "a" * 70_000, "must look like"),
        ("http://\u202e", "must look like"),
        ("http://xn--" + "a" * 80, "must look like"),
        ("http://x/\ud800", "must look like"),
    ],
    ids=lambda given: str(given)[:20].encode("ascii", "replace").decode(),
)
def test_urls_that_are_none(url, message):
    with pytest.raises(InputError, match=message):
        MedPRM.from_vllm(url, tokenizer=real_tokenizer())


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"retry_for": -1}, {"concurrency": 0}, {"first_pause": 0}, {"connect_timeout": "1"}]
)
def test_limits_out_of_range(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ClientConfig(**options)


def test_other_refusals():
    with running(StandIn()) as server:
        with pytest.raises(InputError, match=f"does not serve 'x', but: {MODEL}"):
            reach(server, model="x")
        with pytest.raises(InputError, match="API key must be ASCII"):
            reach(server, api_key="k\u00e4y\n")
        for key in (5, b"key"):
            with pytest.raises(InputError, match="API key must be ASCII"):
                reach(server, api_key=key)
        with pytest.raises(InputError, match="cache_salt"):
            reach(server, cache_salt="")
        for verify in ("nope", None, 1.5):
            with pytest.raises(InputError, match="verify must be"):
                reach(server, verify=verify)
        with pytest.raises(ModelError, match="cannot be loaded"):
            reach(server, tokenizer="x" * 5000)
        with pytest.raises(ModelError, match="from '/models/stand-in', where no tokenizer"):
            reach(server, tokenizer=None)
        assert reach(server, model=MODEL).settings["model"].startswith("vllm-")
    with pytest.raises(MedPRMError, match="cannot be reached"):
        reach(server)


class Certified(StandIn):
    """Speaks TLS, and counts those that knock."""

    knocks = 0

    def __init__(self, context):
        super().__init__()
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def get_request(self):
        self.knocks += 1
        return super().get_request()


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with running(Certified(context)) as server:
        assert reach(server, verify=trusting).engine.endpoint.name == "generative_scoring"  # type: ignore[attr-defined]
        server.knocks = 0
        with pytest.raises(ServerError, match="certificate that can be trusted"):
            reach(server, retry_for=20.0)
        assert server.knocks == 1


def test_a_server_that_speaks_http_where_https_was_meant_is_refused_at_once():
    with running(StandIn()) as server:
        server.url = server.url.replace("http:", "https:")
        begun = time.monotonic()
        with pytest.raises(ServerError, match="speaks http"):
            reach(server, retry_for=60.0)
        assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SSL_CERT_FILE", "/no/such/file", "SSL_CERT_FILE.*No such file"),
        ("SSLKEYLOGFILE", "/no/such/folder/keys", "SSLKEYLOGFILE.*No such file"),
        ("ALL_PROXY", "socks5://user:s3cret@127.0.0.1:9", "socksio"),
        ("HTTPS_PROXY", "gopher://user:s3cret@proxy", "HTTPS_PROXY.*whose URL is none"),
        ("HTTPS_PROXY", "http://user:s3cret/@proxy", "HTTPS_PROXY.*whose URL is none"),
        ("NO_PROXY", "[::1", "NO_PROXY.*whose URL is none"),
    ],
)
def test_an_environment_that_allows_no_connection_is_one_clear_sentence(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    if name == "ALL_PROXY" and find_spec("socksio"):
        pytest.skip("socksio is installed")
    with pytest.raises(InputError, match=message) as caught:
        MedPRM.from_vllm("https://127.0.0.1:9", tokenizer=real_tokenizer(), retry_for=0.0)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_in_a_stream_of_requests_keeps_its_kind(status):
    class Refuses(StandIn):
        refusing = False

        def answer(self, request, body):
            if self.refusing:
                return request.reply(status, {"error": {"message": "key rotated"}})
            return super().answer(request, body)

    with running(Refuses()) as server:
        prm = reach(server)
        server.refusing = True
        with pytest.raises(RefusedError, match=f"request 0: the server at .* with {status}: key rotated") as caught:
            list(prm.rank_many([{"question": QUESTION, "candidates": CHAINS}]))
    assert caught.value.status == status
    error = RefusedError("no", 403)
    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert (str(copied), copied.status) == ("no", 403)


def test_too_long_candidates_never_reach_the_server():
    with running(StandIn(max_model_len=200)) as server:
        prm = reach(server)
        long = "Step 1: " + "word " * 300
        first, second = prm.score("Which?", ["Step 1: Yes.", long])
        assert first.step_rewards
        assert "too long" in second.error


def test_the_command_line_ranks_through_a_server(tmp_path, capsys):
    folder = tmp_path / "tokenizer"
    real_tokenizer().save_pretrained(folder)
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"question": QUESTION, "candidates": CHAINS, "documents": DOCUMENTS}))
    with running(StandIn()) as server:
        options = ["--url", server.url, "--tokenizer", str(folder), "--json"]
        assert cli.main(["rank", str(path), *options]) == 0
        shown = json.loads(capsys.readouterr().out)
        by_index = {chain["index"]: [step["reward"] for step in chain["steps"]] for chain in shown["chains"]}
        assert [by_index[0], by_index[1]] == [pytest.approx(chain, abs=1e-9) for chain in right()]
        assert cli.main(["rank", str(path), *options, "--model", "a/b"]) == 2
        assert "--url takes no --model" in capsys.readouterr().err
    assert cli.main(["rank", str(path), "--tokenizer", "x"]) == 2


def test_files_are_scored_and_evaluated_through_a_server(tmp_path, capsys):
    folder, path, out = tmp_path / "tokenizer", tmp_path / "many.jsonl", tmp_path / "out.jsonl"
    real_tokenizer().save_pretrained(folder)
    one = {"question": QUESTION, "candidates": CHAINS, "documents": DOCUMENTS, "correct_answer": "A"}
    path.write_text("".join(json.dumps(one | {"id": number}) + "\n" for number in range(5)))
    with running(StandIn()) as server:
        options = ["--url", server.url, "--tokenizer", str(folder)]
        assert cli.main(["score", str(path), str(out), *options]) == 0
        lines = [json.loads(line) for line in out.open()]
        assert [line["id"] for line in lines] == list(range(5))
        for line in lines:
            found = {chain["index"]: [step["reward"] for step in chain["steps"]] for chain in line["ranking"]["chains"]}
            assert [found[0], found[1]] == [pytest.approx(chain, abs=1e-9) for chain in right()]
        assert cli.main(["evaluate", str(path), *options, "--resamples", "10", "--json"]) == 0
        assert '"questions": 5' in capsys.readouterr().out
        for wrong in (["--model", "a/b"], ["--dtype", "float32"], ["--quantization", "int8"]):
            assert cli.main(["score", str(path), str(tmp_path / "new.jsonl"), *options, *wrong]) == 2
            assert f"--url takes no {wrong[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [2.0, pytest.param(20.0, marks=pytest.mark.vllm)])
def test_scoring_a_file_outlasts_a_server_that_goes_away_and_returns(seconds, tmp_path):
    """In `make test-vllm` it is away for 20 s."""
    folder, path, out = tmp_path / "tokenizer", tmp_path / "many.jsonl", tmp_path / "out.jsonl"
    real_tokenizer().save_pretrained(folder)
    one = {"question": QUESTION, "candidates": CHAINS, "documents": DOCUMENTS}
    path.write_text("".join(json.dumps(one | {"id": number}) + "\n" for number in range(200)))
    statuses: list[int] = []
    first = StandIn(seconds=0.02)
    port = first.server_address[1]
    command = ["score", str(path), str(out), "--url", first.url, "--tokenizer", str(folder), "--batch", "1"]
    worker = threading.Thread(target=lambda: statuses.append(cli.main(command)))
    with running(first):
        worker.start()
        while first.requests["/generative_scoring"] < 20:
            time.sleep(0.005)
        first.hang_up()
    time.sleep(seconds)
    assert not statuses
    with running(StandIn(port=port)) as second:
        worker.join(timeout=60)
    assert statuses == [0]
    assert second.requests["/generative_scoring"] > 50
    lines = [json.loads(line) for line in out.open()]
    assert [line["id"] for line in lines] == list(range(200))
    assert all("ranking" in line for line in lines)


# ---------------------------------------------------------------- the command that starts a server


def options_of(line: str) -> dict[str, str]:
    words = shlex.split(line)
    return {word: value for word, value in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


def test_the_command_for_one_gpu_and_for_many(capsys):
    assert cli.main(["vllm-command", "a/b"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("vllm serve a/b ")
    assert options_of(line)["--logprobs-mode"] == "processed_logprobs"
    assert cli.main(["vllm-command", "a/b", "--tensor-parallel", "4", "--data-parallel", "2"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (options_of(line)["--tensor-parallel-size"], options_of(line)["--data-parallel-size"]) == ("4", "2")


def test_the_commands_for_several_hosts():
    lines = command_lines(Serving("a/b", data_parallel=8, hosts=2, head="10.0.0.1"))
    first, second = options_of(lines[1]), options_of(lines[3])
    assert "--headless" not in first
    assert (second["--data-parallel-start-rank"], second["--data-parallel-size-local"]) == ("4", "4")
    assert first["--data-parallel-address"] == second["--data-parallel-address"] == "10.0.0.1"
    lines = command_lines(Serving("a/b", tensor_parallel=8, pipeline_parallel=2, hosts=2, head="10.0.0.1"))
    assert (options_of(lines[3])["--node-rank"], options_of(lines[3])["--nnodes"]) == ("1", "2")
    with pytest.raises(InputError, match="spread evenly"):
        Serving("a/b", data_parallel=3, hosts=2)
    with pytest.raises(InputError, match="--pipeline-parallel 2"):
        Serving("a/b", hosts=2)


def test_pooling_servers_get_their_head_from_tokens_in_the_right_order():
    for endpoint in ("classify", "step_pooling"):
        options = options_of(command_lines(Serving("a/b", endpoint=endpoint))[0])
        head = json.loads(options["--hf-overrides"])
        assert head["classifier_from_token"] == ["Ġ-", "Ġ+"]
        assert real_tokenizer().convert_tokens_to_ids(head["classifier_from_token"]) == [MINUS, PLUS]


def test_the_command_quotes_what_a_shell_would_read():
    assert shlex.split(command_lines(Serving("/my models/$(x)"))[0])[2] == "/my models/$(x)"
    with pytest.raises(InputError, match="hub id or a folder"):
        Serving("--port")


def test_a_server_is_never_started_for_an_automatic_endpoint(capsys):
    assert cli.main(["vllm-command", "a/b", "--endpoint", "auto"]) == 2
    assert "unknown endpoint 'auto': choose one of generative_scoring, completions" in capsys.readouterr().err


def test_a_restart_with_other_weights_is_noticed(monkeypatch):
    with running(StandIn()) as server:
        prm, before = reach(server, endpoint="generative_scoring"), right()
        asked = server.requests["/generative_scoring"]
        rewards_of(prm)
        assert server.requests["/generative_scoring"] == asked + 1  # it answered a moment ago
        monkeypatch.setattr(engine_module, "_SILENCE", 0.0)
        assert rewards_of(prm) == [pytest.approx(chain, abs=1e-9) for chain in before]
        assert server.requests["/generative_scoring"] == asked + 3  # with the known prompt
        monkeypatch.setattr(vllm_stand_in, "reward", lambda ids: 1 - reward(ids))
        for _ in range(2):  # it stays an error
            with pytest.raises(ServerError, match="restarted with other weights"):
                rewards_of(prm)
        assert rewards_of(reach(server)) != before


def test_retries_are_told_without_a_text(caplog):
    with running(StandIn()) as server:
        prm = reach(server, retry_for=1.0)
        server.hang_up()
        url = server.url
    with pytest.raises(ServerError), caplog.at_level("WARNING", "medprm"):
        rewards_of(prm)
    (record,) = [one for one in caplog.records if one.name == "medprm"]
    assert record.getMessage().startswith(f"the server at {url} fails; trying again, for up to")


def test_one_known_prompt_is_scored_for_all_that_wait(monkeypatch):
    monkeypatch.setattr(engine_module, "_SILENCE", 0.0)
    with running(StandIn()) as server:
        prm = reach(server, endpoint="generative_scoring")
        asked = server.requests["/generative_scoring"]
        requests = [RankRequest(question=f"Which dose {n}?", candidates=["The answer is (A)"]) for n in range(64)]
        assert all(isinstance(one, Ranking) for one in prm.rank_batch(requests))
        assert server.requests["/generative_scoring"] - asked - 64 < 64


def test_the_command_warns_of_a_server_that_others_can_reach(capsys):
    assert cli.main(["vllm-command", "demo", "--host", "0.0.0.0"]) == 0
    shown = capsys.readouterr()
    assert "demo_model --dtype" in shown.out
    assert "protects /v1 only" in shown.err
    assert cli.main(["vllm-command", "some/model", "--revision", "abc"]) == 0
    shown = capsys.readouterr()
    assert "--revision abc" in shown.out
    assert shown.err == ""


def test_a_call_can_have_a_deadline():
    with running(StandIn()) as server, pytest.raises(InputError, match="deadline must be"):
        reach(server, deadline=0)
