"""The shipped policy model: an ordinary model folder that samples well-formed chains, right often, wrong by habit."""

import json
import random
import re
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from examples.formulary import turns
from examples.formulary.habits import habit_of
from examples.formulary.sample import POLICY, PolicyModel
from examples.formulary.train_policy import policy_tokenizer
from examples.formulary.world import make_question
from medprm_scorer import MedPRM, policy_messages, sample_chains
from medprm_scorer.text.answers import extract_answer
from medprm_scorer.text.steps import split_steps

QUESTIONS = [make_question(random.Random(f"policy-test-{n}"), "reserved" if n % 2 else "seen") for n in range(24)]
SAMPLES = 16


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(POLICY)


@pytest.fixture(scope="module")
def drawn() -> list[list[str]]:
    """Samples of every question."""
    policy = PolicyModel(POLICY)
    torch.manual_seed(0)
    return [policy.draw(question.text, question.documents, SAMPLES) for question in QUESTIONS]


def test_the_folder_is_small_and_holds_no_code():
    names = {path.name for path in POLICY.iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json", "README.md"}
    assert not [name for name in names if name.endswith((".py", ".bin", ".pt", ".pkl"))]
    assert sum(path.stat().st_size for path in POLICY.iterdir()) < 16e6
    assert "auto_map" not in json.loads((POLICY / "config.json").read_text())


def test_it_is_not_in_the_wheel():
    root = Path(__file__).parents[2]
    (packages,) = re.findall(r"^include = (\[.*\])$", (root / "pyproject.toml").read_text(), flags=re.MULTILINE)
    top = POLICY.relative_to(root).parts[0]
    assert not any(fnmatch(top, pattern) for pattern in json.loads(packages))


def test_it_loads_in_a_pipeline():
    ask = pipeline("text-generation", model=str(POLICY), dtype=torch.float32, device="cpu")
    question = QUESTIONS[0]
    torch.manual_seed(1)
    (reply,) = ask(policy_messages(question.text, question.documents), max_new_tokens=160, return_full_text=False)
    assert extract_answer(reply["generated_text"]) in set("ABCD")


def test_its_tokenizer_is_that_of_its_training(tokenizer):
    assert tokenizer.get_vocab() == policy_tokenizer().get_vocab()
    assert tokenizer.chat_template == policy_tokenizer().chat_template


@pytest.mark.slow
def test_nearly_all_samples_are_well_formed(drawn):
    texts = [text for samples in drawn for text in samples]
    good = [3 <= len(split_steps(text).steps) <= 9 and extract_answer(text) in set("ABCD") for text in texts]
    assert sum(good) / len(good) > 0.95


@pytest.mark.slow
def test_samples_of_a_question_differ(drawn):
    assert all(len(set(samples)) > SAMPLES / 2 for samples in drawn)


@pytest.mark.slow
def test_it_is_right_often_and_wrong_by_habit(drawn):
    right = defaultdict(list)
    for question, samples in zip(QUESTIONS, drawn, strict=True):
        votes = Counter(extract_answer(text) for text in samples)
        right[bool(habit_of(question))].append(votes[question.answer] / SAMPLES)
    assert len(right[True]) >= 5
    assert sum(right[False]) / len(right[False]) > 0.6
    assert sum(right[True]) / len(right[True]) < 0.5


@pytest.mark.slow
def test_the_reward_model_finds_what_the_majority_misses(drawn, demo: MedPRM):
    majority = reward = 0
    for question, samples in zip(QUESTIONS, drawn, strict=True):
        ranking = demo.rank(question.text, samples, question.documents)
        votes = Counter(chain.answer for chain in ranking.chains if chain.answer)
        majority += votes.most_common(1)[0][0] == question.answer
        reward += ranking.answer == question.answer
    assert reward >= majority + 3


@pytest.mark.slow
def test_it_keeps_the_papers_sampling_rules(drawn):
    texts = iter([text for samples in drawn for text in samples])
    samples = sample_chains(lambda count: [next(texts) for _ in range(count)], 32)
    assert samples.complete
    assert samples.drawn <= 40


@pytest.mark.parametrize("number", range(4))
def test_it_calls_its_tool(tokenizer, number):
    question = QUESTIONS[number]
    system = policy_messages(question.text)[0]
    prompt = tokenizer.apply_chat_template(
        [system, {"role": "user", "content": question.text}],
        tools=[turns.TOOL_SCHEMA],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    model = AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32)
    reply = model.generate(**prompt, do_sample=False, max_new_tokens=80)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(reply, skip_special_tokens=True) == turns.call_text(question)
    parsed = tokenizer.parse_response(reply, prefix=tokenizer.decode(prompt["input_ids"][0]))
    (call,) = parsed["tool_calls"]
    assert call["function"] == {"name": turns.TOOL, "arguments": {"query": turns.search_query(question)}}
