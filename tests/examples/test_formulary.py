"""The synthetic world: facts and labels are right, wording betrays nothing, held-out questions are held out."""

import random
import re
from collections import Counter, defaultdict

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.formulary import loop, sample, train, train_policy
from examples.formulary.chains import ERROR_KINDS, RIVALS, STAGES, Policy, draw_policy, make_chain
from examples.formulary.evaluate import auroc, held_out, interval
from examples.formulary.habits import habit, habit_of
from examples.formulary.model import build_model
from examples.formulary.names import COMORBIDITIES, CONDITIONS, DRUGS, FORMS, LETTERS, YEARS, is_reserved
from examples.formulary.sample import PolicyModel
from examples.formulary.tokenizer import build_tokenizer
from examples.formulary.world import KINDS, make_question
from medprm_scorer.encoding import PromptEncoder
from medprm_scorer.text.answers import extract_answer
from medprm_scorer.text.policy import policy_messages
from medprm_scorer.text.steps import split_steps

QUESTIONS = [make_question(random.Random(n), "reserved" if n % 3 == 0 else "seen") for n in range(210)]


def facts(question) -> dict[str, dict]:
    """The facts that count, read back from the texts alone: of several documents on one thing the newest."""
    form = re.search(r"The patient takes (\w+)\.", question.text)
    known: dict[str, dict] = {"guideline": {}, "notice": {}, "label": {}}
    dated = sorted(question.documents, key=lambda text: int((re.search(r"(?:in|from) (\d{4}) ", text) or [0, 0])[1]))
    for text in dated:
        if match := re.search(r"in (\w+) use (\w+) unless (\w+) then (\w+)\.", text):
            known["notice" if text.startswith("Notice") else "guideline"][match[1]] = match.groups()[1:]
        if match := re.search(r"in mg dose (\w+) at (\d+) per kg, in mg limit \w+ to (\d+)", text):
            known["label"][match[1]] = (int(match[2]), int(match[3]))
        match = re.search(r"(?:in (\w+) )?dose (\w+) at (\d+) mg per kg, (?:in \w+ )?limit \w+ to (\d+)", text)
        if match and (form is None or match[1] == form[1]):
            known["label"][match[2]] = (int(match[3]), int(match[4]))
    for notice in known["notice"].values():
        for condition, guideline in known["guideline"].items():
            if guideline[0] == notice[0]:
                known["guideline"][condition] = notice
    return known


def patient(text: str) -> tuple[str, str, int, dict[str, int]]:
    """Condition, comorbidity, weight and options, read back from the question's text alone."""
    condition, comorbidity, weight = re.search(
        r"with (\w+)\. The patient has (\w+)\. The patient weighs (\d+) kg", text
    ).groups()
    return condition, comorbidity, int(weight), {x: int(n) for x, n in re.findall(r"\((\w)\) (\d+) mg", text)}


def test_the_right_answer_follows_from_the_texts():
    for question in QUESTIONS:
        known, (condition, comorbidity, weight, options) = facts(question), patient(question.text)
        first, exception, alternative = known["guideline"][condition]
        dose, limit = known["label"][alternative if comorbidity == exception else first]
        assert options[question.answer] == min(dose * weight, limit)
        assert len(set(options.values())) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_following_the_rival_document_leads_to_another_option(kind):
    """Without a word that tells: the chain of a rival ends as surely in one of the options as the right one."""
    errors = [error for error, of in RIVALS.items() if of == kind]
    for number in range(60):
        rng = random.Random(f"rival-{number}")
        question = make_question(rng, kind=kind)
        right = make_chain(question, rng, Policy(rate=0.0))
        assert right.answer == question.answer
        for error in errors:
            wrong = make_chain(question, rng, Policy(rate=0.0, traps={error: 1.0}))
            assert [kind for step in wrong.steps for kind in step.errors] == [error]
            assert wrong.answer in LETTERS


def test_documents_come_in_no_order():
    first = Counter(question.documents[0].split(":")[0] for question in QUESTIONS)
    assert min(first["Guideline"], first["Label"]) > 30


def check(step: str, question, before: dict) -> bool:
    """Whether a single-stage step is right, judged from the texts by other code than the one that wrote it."""
    known, (condition, comorbidity, weight, options) = facts(question), patient(question.text)
    if match := re.search(r"in (\w+) use (\w+) unless (\w+) then (\w+)\.", step):
        before["guideline"] = match.groups()[1:]
        return known["guideline"].get(match[1]) == match.groups()[1:] and match[1] == condition
    if match := re.search(r"has (\w+) against (\w+) (holds|fails), so given (\w+) (use|then) (\w+)\.", step):
        first, exception, alternative = before["guideline"]
        same = match[1] == exception
        rule = ("holds", exception, "then", alternative) if same else ("fails", condition, "use", first)
        return match[1] == comorbidity and match[2] == exception and match.groups()[2:] == rule
    if match := re.search(r"dose (\w+) at (\d+) mg per kg, (?:in \w+ )?limit \w+ to (\d+) mg\.", step):
        return known["label"][match[1]] == (int(match[2]), int(match[3]))
    if match := re.search(r"weighs (\d+) kg, so (\d+) times (\d+) is (\d+) mg\.", step):
        w, d, again, product = map(int, match.groups())
        return w == again == weight and d * w == product
    match = re.search(r"(\d+) against (\d+) (exceeds|fits), so at (\d+) the answer is \((\w)\) (\d+) mg\.", step)
    product, limit, amount = int(match[1]), int(match[2]), int(match[4])
    said = match[3] == ("exceeds" if product > limit else "fits")
    return said and amount == min(product, limit) == int(match[6]) and options[match[5]] == amount


def test_labels_agree_with_a_second_judge():
    rng = random.Random(3)
    counted = Counter()
    for question in QUESTIONS:
        for _ in range(16):
            chain = make_chain(question, rng, Policy(rate=0.35, merged=0.0))
            before: dict = {}
            for step in chain.steps:
                assert step.valid == check(step.text, question, before), (step, question)
                counted.update(step.errors or ["valid"])
    assert set(counted) == {"valid", *(kind for kinds in ERROR_KINDS.values() for kind in kinds)}
    assert min(counted.values()) >= 20


def test_wording_does_not_tell_a_wrong_step():
    """With names, numbers and letters blanked, right and wrong steps are the same sentences, in like shares.

    But for a choice that contradicts itself (`holds … use`): that is an error which the words alone tell.
    """
    rng = random.Random(4)
    worded: dict[str, dict[bool, Counter]] = defaultdict(lambda: {True: Counter(), False: Counter()})
    names = "|".join((*DRUGS, *CONDITIONS, *COMORBIDITIES, *FORMS))
    for _ in range(3000):
        question = make_question(rng)
        for step in make_chain(question, rng, Policy(merged=0.0)).steps:
            blank = re.sub(rf"\b({names})\b|\d+|\([A-D]\)", "_", step.text)
            if not re.search("holds.* use|fails.* then", blank):
                worded[step.stages[0]][step.valid][blank] += 1
            else:
                assert not step.valid
    for stage in STAGES:
        right, wrong = worded[stage][True], worded[stage][False]
        assert set(right) == set(wrong)
        for wording in right:
            assert abs(right[wording] / right.total() - wrong[wording] / wrong.total()) < 0.07


def test_chains_split_into_their_steps_and_answers():
    rng = random.Random(5)
    for question in QUESTIONS[:50]:
        chain = make_chain(question, rng, Policy())
        split = split_steps(chain.text)
        assert split.rule == "marker"
        assert len(split.steps) == len(chain.steps) in (4, 5)
        assert extract_answer(chain.text) == chain.answer


def test_reserved_names_are_never_trained_on():
    for number in range(300):
        question, _, _ = train.draw(random.Random(f"0-{number}"))
        assert not [drug for drug in question.labels if is_reserved(question.condition, drug)]
    for number in range(50):
        question, _ = held_out(number, "reserved")
        assert is_reserved(question.condition, question.guideline.first)


def test_held_out_questions_are_not_training_questions():
    trained = {train.draw(random.Random(f"0-{number}"))[0].text for number in range(500)}
    assert not trained & {held_out(number, "seen")[0].text for number in range(500)}


def test_names_and_numbers_are_one_token_and_everything_else_survives():
    tokenizer = build_tokenizer()
    for word in (*DRUGS, *CONDITIONS, *COMORBIDITIES, *FORMS, *YEARS, "0", "999"):
        assert len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1
    for text in ("Ünïcode 糖尿病 ки 1234567\x00\n\n  x", " ", "{}<|eot|>"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    PromptEncoder(tokenizer)  # holds itself to the official text route


def test_policies_go_wrong_in_their_own_way():
    rng = random.Random(6)
    shares = []
    for question in QUESTIONS:
        policy = draw_policy(rng)
        chains = [make_chain(question, rng, policy) for _ in range(16)]
        shares.append(sum(chain.answer == question.answer for chain in chains) / 16)
    assert 0.3 < sum(shares) / len(shares) < 0.6


def test_auroc_and_interval():
    def alone(values):
        return list(enumerate(values))

    assert auroc(alone([0.9, 0.8]), alone([0.1, 0.2]))[0] == 1.0
    assert auroc(alone([0.1]), alone([0.9]))[0] == 0.0
    assert auroc(alone([0.5, 0.5]), alone([0.5]))[0] == 0.5
    rng = random.Random(1)
    good, bad = [rng.random() for _ in range(60)], [rng.random() for _ in range(40)]
    value, low, high = auroc(alone(good), alone(bad))
    assert value == pytest.approx(sum((g > b) + (g == b) / 2 for g in good for b in bad) / 2400)
    assert low < value < high
    assert high - low == pytest.approx(0.23, abs=0.07)  # about 4 standard errors of an AUROC of 60 and 40
    mean, low, high = interval([0.0] * 50 + [1.0] * 50)
    assert mean == 0.5
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("trained", [train, train_policy])
def test_training_resumes_where_it_stopped(tmp_path, monkeypatch, trained):
    monkeypatch.setattr(trained, "QUESTIONS", 1)
    monkeypatch.setattr(trained, "CHAINS", 2)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_bfloat16_is_faster", lambda: False)  # else each run may choose for itself
    trained.train(tmp_path / "whole", steps=3, seed=5)
    real = trained.Batch
    calls = []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(trained, "Batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained.train(tmp_path / "stopped", steps=3, seed=5)
    monkeypatch.setattr(trained, "Batch", real)
    trained.train(tmp_path / "stopped", steps=3, seed=5)
    whole, resumed = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "stopped"))
    assert whole["step"] == resumed["step"] == 3
    for name, weight in whole["model"].items():
        assert torch.allclose(weight, resumed["model"][name], atol=1e-6), name


@pytest.fixture(scope="module")
def untrained_policy(tmp_path_factory):
    """The policy's shape with its initial weights: enough to sample from."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = build_tokenizer()
    build_model(tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_packed_sampling_is_plain_generation(untrained_policy):
    """Almost without temperature, both must choose the most likely token each time, whatever the others do."""
    question = QUESTIONS[0]
    drawn = PolicyModel(untrained_policy, temperature=1e-6).draw(question.text, question.documents, 3)
    tokenizer = AutoTokenizer.from_pretrained(untrained_policy)
    model = AutoModelForCausalLM.from_pretrained(untrained_policy, dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(
        policy_messages(question.text, question.documents),
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    plain = model.generate(**prompt, do_sample=False, max_new_tokens=sample._LONGEST)
    expected = tokenizer.decode(plain[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert drawn == [expected] * 3


def test_packed_samples_differ_and_follow_the_seed(untrained_policy, monkeypatch):
    monkeypatch.setattr(sample, "_LONGEST", 12)
    policy = PolicyModel(untrained_policy)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(policy.draw(QUESTIONS[0].text, QUESTIONS[0].documents, 4))
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) > 1


def test_habits_make_majority_vote_fail():
    """On questions with a habit the samples share the error; on the others the majority is right."""
    rng = random.Random(8)
    right = defaultdict(list)
    for question in QUESTIONS:
        answers = Counter(make_chain(question, rng, habit(question)).answer for _ in range(31))
        right[habit_of(question)].append(answers.most_common(1)[0][0] == question.answer)
    assert set(right) == {None, *RIVALS}
    for name, hits in right.items():
        assert len(hits) >= 8
        assert sum(hits) / len(hits) > 0.95 if name is None else sum(hits) / len(hits) < 0.4
