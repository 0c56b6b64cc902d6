"""Rewards and ids are those of the model card's own computation, on the real tokenizer and random Llama weights."""

import random
import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from medprm_scorer import MedPRM
from medprm_scorer.encoding import EncodedPrompt, PromptEncoder
from medprm_scorer.local.engine import PlainEngine
from medprm_scorer.text.prompts import SYSTEM_PROMPTS
from medprm_scorer.text.steps import split_steps
from tests.support.llama3 import MINUS_ID, PLUS_ID, TAG_ID, card_rewards, card_text, random_llama, real_tokenizer

TEXT = (
    "the patient has polyhydramnios AFI 34 cm; 2.5 L (normal 1.5-2.0 L), β-blocker µg/kg naïve — therefore option (C) "
    "CO₂ 37.2°C pH<7.2 Käse 糖尿病 почка болезнь e.g. 1,000 [ref] don't I'll NaCl 0.9% → ↑ HbA1c 4/10 #1 **bold** 'is'"
)
WORDS = TEXT.split()


def words(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))


def body(rng: random.Random) -> str:
    separators = [" ", " ", "\n", "  ", "\n\n"]
    return "".join(words(rng, rng.randint(1, 5)) + rng.choice(separators) for _ in range(rng.randint(1, 3)))


def numbered(rng: random.Random, form: str, count: int | None = None) -> str:
    """Steps in the form given, with `{n}` for the number and `{body}` for random words."""
    count = count or rng.randint(2, 5)
    return "".join(form.replace("{n}", str(n)).replace("{body}", body(rng)) for n in range(1, count + 1))


# Ways to write a chain in which both the authors' rule and `auto` see the steps that the authors' rule sees.
STYLES = {
    "plain": lambda rng: numbered(rng, "Step {n}: {body}\n"),
    "unmarked": lambda rng: words(rng, rng.randint(3, 40)),
    "one step": lambda rng: numbered(rng, "Step {n}: {body}\n", 1),
    "twelve steps": lambda rng: numbered(rng, "Step {n}: {body}\n", 12),
    "text in front": lambda rng: words(rng, rng.randint(1, 12)) + "\n\n" + numbered(rng, "Step {n}: {body}\n"),
    "headings": lambda rng: numbered(rng, "## Step {n}: {body}\n"),
    "titles": lambda rng: numbered(rng, "## Step {n}: Title\n{body}\n\n"),
    "one line": lambda rng: numbered(rng, "Step {n}: {body}. ").replace("\n", " "),
    "one line of headings": lambda rng: numbered(rng, "## Step {n}: {body}. ").replace("\n", " "),
    "headings inside": lambda rng: numbered(rng, "Step {n}: {body}\n## Note\n{body}\n### Aside\n{body}\n"),
    "final diagnosis": lambda rng: numbered(rng, "## Step {n}: {body}\n") + "\n## Final Diagnosis: Acute rash",
    "hashes inside": lambda rng: numbered(rng, "Step {n}: {body} ## {body} #### ## x##\n"),
    "hashes in front": lambda rng: "## Reasoning ## \n" + numbered(rng, "Step {n}: {body}\n"),
    "bullets inside": lambda rng: numbered(rng, "Step {n}:\n- {body}\n- **{body}**\n\n"),
    "nothing after a marker": lambda rng: numbered(rng, "Step {n}:\n") + "Step 90: ## ",
    "blanks": lambda rng: numbered(rng, "\n \t Step {n}:\t{body} \n\u00a0\n"),
    "a number again": lambda rng: numbered(rng, "Step 2: {body}\nStep {n}: {body}\n"),
}


def official(text: str) -> str:
    """The explanation as the authors' rule writes it: from the words of that rule, not from our code."""
    pieces = re.split(r"(?:## )?(Step \d+:)", text.replace("\n", " "))
    if len(pieces) == 1:
        return pieces[0].strip() + " ки"
    front, *rest = pieces
    written = [front.strip()] if front.strip() else []
    for marker, content in zip(rest[::2], rest[1::2], strict=True):
        written.append(f"{marker}{content}".strip().replace("## ", "") + " ки")
    return " ".join(written)


@cache
def requests() -> list[tuple[str, list[str], list[str]]]:
    """Questions, documents and chains: at least 200 chains in all styles, with and without documents."""
    rng = random.Random(2)
    made = []
    for number in range(12):
        documents = [words(rng, rng.randint(5, 40)) for _ in range(number % 4)]
        question = words(rng, 20) + "\n\n(A) " + words(rng, 2) + "\n(B) " + words(rng, 3)
        made.append((question, documents, [style(rng) for style in STYLES.values()]))
    return made


def text_of(question: str, documents: list[str], explanation: str) -> str:
    return card_text(real_tokenizer(), SYSTEM_PROMPTS["rag"], documents, question, official(explanation))


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(real_tokenizer())


def test_label_and_tag_ids(encoder):
    assert (encoder.tag_id, encoder.positive_id, encoder.negative_id) == (TAG_ID, PLUS_ID, MINUS_ID)


def test_ids_equal_those_of_the_official_text_route(encoder):
    compared = 0
    for question, documents, chains in requests():
        prefix = encoder.prefix(question, documents)
        assert prefix.documents_used == len(documents)
        assert prefix.ids[:2] == (128000, 128000)  # begin-of-text twice, as in training
        for explanation in chains:
            steps = split_steps(explanation)
            assert steps == replace(split_steps(explanation, "marker"), rule=steps.rule)
            ours = [*prefix.ids, *encoder.chain(steps.steps, steps.front).ids, *encoder.tail_ids]
            text = text_of(question, documents, explanation)
            assert ours == real_tokenizer()(text)["input_ids"]
            # the same through the tokenizers library alone, since transformers rebuilt its tokenizer classes
            assert ours == real_tokenizer().backend_tokenizer.encode(text).ids
            compared += 1
    assert compared >= 200


def test_the_rule_of_training_deletes_headings_inside_steps_and_nowhere_else():
    chain = "## Plan\n## Step 1: Fever ## and\n### rash.\n\n## Step 2: So:\n## Final Diagnosis: Measles"
    written = "## Plan Step 1: Fever and #rash. ки Step 2: So: Final Diagnosis: Measles ки"
    assert official(chain) == written
    split = split_steps(chain)
    assert " ".join([split.front, *(f"{step} ки" for step in split.steps)]) == written
    assert official("## Final Diagnosis: Measles") == "## Final Diagnosis: Measles ки"
    assert split_steps("## Final Diagnosis: Measles").steps == ("## Final Diagnosis: Measles",)


@pytest.mark.slow
def test_rewards_equal_the_cards_computation_and_the_plain_path_in_float32(encoder):
    model = random_llama()
    prm = MedPRM.from_model(model, real_tokenizer(), max_batch_tokens=400)  # small: every request needs several passes
    plain = PlainEngine(model, encoder.positive_id, encoder.negative_id)
    compared, spread = 0, []
    for question, documents, chains in requests():
        shared = [scored.step_rewards for scored in prm.score(question, chains, documents)]
        split = [split_steps(explanation) for explanation in chains]
        encoded = tuple(encoder.chain(steps.steps, steps.front) for steps in split)
        (alone,) = plain.score([EncodedPrompt(encoder.prefix(question, documents).ids, encoded)])
        for ours, twin, explanation in zip(shared, alone, chains, strict=True):
            card = card_rewards(model, real_tokenizer(), text_of(question, documents, explanation))
            assert len(ours) == len(twin) == len(card) >= 1
            assert ours == pytest.approx(card, abs=1e-5)
            assert twin == pytest.approx(card, abs=1e-5)
            compared += 1
            spread += card
    assert compared >= 200
    assert max(spread) > 0.9  # rewards all near one half would agree whatever was computed
    assert min(spread) < 0.1


def test_rewards_equal_the_cards_computation_in_bfloat16():
    model = random_llama(seed=3, dtype=torch.bfloat16, initializer_range=0.15)
    prm = MedPRM.from_model(model, real_tokenizer(), max_batch_tokens=700)
    spread = []
    for question, documents, chains in requests()[:2]:
        for scored, explanation in zip(prm.score(question, chains, documents), chains, strict=True):
            card = card_rewards(model, real_tokenizer(), text_of(question, documents, explanation))
            assert scored.step_rewards == pytest.approx(card, abs=0.03)
            spread += card
    assert max(spread) - min(spread) > 0.1


def test_documents_over_the_budget_are_left_out_whole_and_counted(encoder):
    model = random_llama()
    prm = MedPRM.from_model(model, real_tokenizer())
    rng = random.Random(5)
    sizes = [900, 1200, 400, 300]
    documents = [words(rng, size) for size in sizes]
    kept, left = 0, 3072
    for document in documents:  # the authors' budget, written again
        left -= len(real_tokenizer()(document, add_special_tokens=False)["input_ids"]) + 1
        if left < 0:
            break
        kept += 1
    assert 0 < kept < len(documents)
    chains = ["Step 1: Read it. Step 2: The answer is (A)", "Only this."]
    ranking = prm.rank("Which?", chains, documents)
    assert ranking.documents_used == kept
    assert ranking.documents_given == len(documents)
    for scored in ranking.chains:
        card = card_rewards(model, real_tokenizer(), text_of("Which?", documents[:kept], scored.text))
        assert scored.step_rewards == pytest.approx(card, abs=1e-5)


def test_a_first_document_over_the_budget_means_the_prompt_without_documents(encoder):
    prefix = encoder.prefix("Which?", ["word " * 4000, "short"])
    assert prefix.documents_used == 0
    assert prefix.ids == encoder.prefix("Which?").ids


@pytest.mark.parametrize(
    ("system", "rule", "documents"),
    [
        ("card", "auto", ["a document"]),
        ("outcome", "whole", []),
        ("no_documents", "auto", []),
        ("rag", "auto", ["a document"]),
        ("auto", "auto", ["a document"]),
    ],
)
def test_other_system_prompts(system, rule, documents):
    model = random_llama()
    prm = MedPRM.from_model(model, real_tokenizer(), system=system)
    explanation = "Step 1: Read it.\nStep 2: The answer is (A)"
    written = official(explanation) if rule == "auto" else explanation.replace("\n", " ") + " ки"
    name = "rag" if system == "auto" else system
    text = card_text(real_tokenizer(), SYSTEM_PROMPTS[name], documents, "Which?", written)
    (scored,) = prm.score("Which?", [explanation], ["a document"])
    assert scored.step_rewards == pytest.approx(card_rewards(model, real_tokenizer(), text), abs=1e-5)


@pytest.mark.parametrize("explanation", ["Read it.\nThe answer is (A)\n", " \n Give 5 mg.  ", "One.\r\nTwo.\t"])
def test_outcome_mode_keeps_the_blanks_at_the_ends_of_the_text(explanation):
    model = random_llama()
    prm = MedPRM.from_model(model, real_tokenizer(), system="outcome")
    written = explanation.replace("\r\n", " ").replace("\n", " ") + " ки"
    text = card_text(real_tokenizer(), SYSTEM_PROMPTS["outcome"], [], "Which?", written)
    (scored,) = prm.score("Which?", [explanation])
    assert scored.step_rewards == pytest.approx(card_rewards(model, real_tokenizer(), text), abs=1e-5)


PROCESSED = [
    "Step 1: Read it. ки Step 2: The answer is (A) ки",
    "  Step 1: Blanks at both ends.  ки  Step 2: two blanks ки \n",
    "Step 1: a line\nwithin ## a step ки ки Step 2: two tags ки and what follows the last",
    "Let us see. Step 1: боль в кишечнике 5 мг. ки Step 2: ## Final Diagnosis: X ки",
]


@pytest.mark.parametrize("documents", [[], ["a document", "another"]])
def test_processed_solutions_are_scored_to_the_letter(documents):
    """Also where `solution` is another text, and in outcome mode that of `orm_processed_solution`."""
    model = random_llama()
    outcomes = ["All of it.\nThe answer is (A)  ки", "Step 1: x Step 2: y ки", "боль в кишечнике ки", "\n\nz ки"]
    solutions = [
        {"solution": "another text", "prm_processed_solution": steps, "orm_processed_solution": outcome}
        for steps, outcome in zip(PROCESSED, outcomes, strict=True)
    ]
    record = {"question": "Which?", "related_docs": documents, "solutions": solutions}
    for system, texts in (("rag", PROCESSED), ("outcome", outcomes)):
        prm = MedPRM.from_model(model, real_tokenizer(), system=system)
        (ranking,) = prm.rank_batch([record])
        for chain in ranking.chains:
            used = documents if system == "rag" else []
            # as in the authors' code, but for the tag inside Russian words, which is no step's end
            text = card_text(real_tokenizer(), SYSTEM_PROMPTS[system], used, "Which?", texts[chain.index])
            expected = card_rewards(model, real_tokenizer(), text)
            if "кишечнике" not in text:
                assert chain.step_rewards == pytest.approx(expected, abs=1e-5)
            assert chain.split_by == "tagged"
            assert chain.text == "another text"


def test_a_rule_asked_for_by_name_splits_the_solution_itself():
    prm = MedPRM.from_model(random_llama(), real_tokenizer(), steps="marker")
    solution = {"solution": "Step 1: a. Step 2: b.", "prm_processed_solution": "one ки"}
    (ranking,) = prm.rank_batch([{"question": "Which?", "solutions": [solution]}])
    assert [step.text for step in ranking.best.steps] == ["Step 1: a.", "Step 2: b."]


def test_a_processed_solution_without_a_tag_has_no_reward():
    prm = MedPRM.from_model(random_llama(), real_tokenizer())
    solutions = [{"solution": "a", "prm_processed_solution": "no tag"}, {"solution": "Step 1: b."}]
    (ranking,) = prm.rank_batch([{"question": "Which?", "solutions": solutions}])
    assert {chain.index: chain.error for chain in ranking.chains} == {
        0: "its processed text has no step tag",
        1: None,
    }


def test_rewards_do_not_depend_on_the_other_candidates():
    """Stated tolerance: 1e-5 in float32, whichever candidates come along and in whichever order."""
    prm = MedPRM.from_model(random_llama(), real_tokenizer(), max_batch_tokens=600)
    rng = random.Random(7)
    question, documents, chains = requests()[3]
    together = [scored.step_rewards for scored in prm.score(question, chains, documents)]
    for _ in range(5):
        order = rng.sample(range(len(chains)), rng.randint(1, len(chains)))
        for place, scored in zip(order, prm.score(question, [chains[i] for i in order], documents), strict=True):
            assert scored.step_rewards == pytest.approx(together[place], abs=1e-5)
