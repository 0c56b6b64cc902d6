"""The policy in this process: the shared cache gives what computing everything anew gives, and searches add up."""

import random

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from examples.formulary.experiment import held_out
from examples.formulary.sample import POLICY
from examples.formulary.search import Drawn
from medprm_scorer import InputError, MedPRM, ModelError
from medprm_scorer.errors import PolicyError
from medprm_scorer.search import GrowingChain, LocalPolicy, beam_search, decoding, early_rejection
from medprm_scorer.search.policy import seed_of

_, ASKED = held_out(0)
QUESTION, DOCUMENTS = ASKED.text, ASKED.documents


@pytest.fixture(scope="module")
def policy() -> LocalPolicy:
    return LocalPolicy.from_pretrained(POLICY, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def plain() -> LocalPolicy:
    return LocalPolicy.from_pretrained(POLICY, device="cpu", dtype="float32", cache=False)


def grown(chain: GrowingChain, one, place: int) -> GrowingChain:
    return GrowingChain(chain.text + one.text, (*chain.steps, one.text.strip()), seed_of(chain.seed, place))


def test_the_cache_changes_nothing_whatever_is_continued_with_what(policy, plain, monkeypatch):
    assert policy.cached
    assert not plain.cached
    root = GrowingChain("", (), 7)
    (first,) = policy.extend(QUESTION, DOCUMENTS, [root], 2)
    assert [first] == plain.extend(QUESTION, DOCUMENTS, [root], 2)
    assert all(one.text.startswith("Step 1:") and one.text.endswith("\n") for one in first)
    chains = [grown(root, one, place) for place, one in enumerate(first)]
    elsewhere = GrowingChain("Step 1: The patient weighs 60 kg.\n", ("Step 1: The patient weighs 60 kg.",), 3)
    for asked, n in ((chains, 1), ([chains[1], elsewhere], 2), ([chains[0], chains[0]], 1)):
        assert policy.extend(QUESTION, DOCUMENTS, asked, n) == plain.extend(QUESTION, DOCUMENTS, asked, n)
    monkeypatch.setattr(decoding, "_MOST_TOKENS", 10)  # what is not seen is forgotten
    more = policy.extend(QUESTION, DOCUMENTS, [chains[1]], 1)
    assert more == plain.extend(QUESTION, DOCUMENTS, [chains[1]], 1)
    assert policy.extend(QUESTION, DOCUMENTS, [chains[0]], 1) == plain.extend(QUESTION, DOCUMENTS, [chains[0]], 1)


def test_each_token_is_run_once(policy, monkeypatch):
    run = []
    whole = policy.model.forward
    monkeypatch.setattr(
        policy.model, "forward", lambda ids, *given, **more: run.append(ids.shape[1]) or whole(ids, *given, **more)
    )
    _, other = held_out(1)
    root = GrowingChain("", (), 1)
    (first,) = policy.extend(other.text, other.documents, [root], 3)
    prompt = run[0] + 1
    chains = [grown(root, one, place) for place, one in enumerate(first)]
    second = policy.extend(other.text, other.documents, chains, 2)
    written = sum(one.tokens for one in first) + sum(one.tokens for some in second for one in some)
    last = sum(map(len, second))  # the last token of each was not run
    assert sum(run) == prompt + written - last


def test_a_call_attends_only_to_what_its_chains_see(policy, monkeypatch):
    widths = []
    whole = policy.model.forward

    def forward(ids, *given, **more):
        widths.append(more["attention_mask"].shape[-1] if more.get("attention_mask") is not None else ids.shape[1])
        return whole(ids, *given, **more)

    monkeypatch.setattr(policy.model, "forward", forward)
    _, other = held_out(2)
    root = GrowingChain("", (), 2)
    (first,) = policy.extend(other.text, other.documents, [root], 8)
    prompt = widths[0]
    (alone,) = policy.extend(other.text, other.documents, [grown(root, first[0], 0)], 1)
    assert widths[-1] == prompt + first[0].tokens + alone[0].tokens


@pytest.mark.parametrize("most", [0, 60])
def test_what_is_dropped_is_run_again_with_the_same_result(policy, plain, monkeypatch, most):
    monkeypatch.setattr(decoding, "_MOST_TOKENS", most)
    draw = random.Random(4)
    chains = [GrowingChain("", (), 11)]
    for _ in range(6):
        asked = draw.sample(chains, min(len(chains), draw.choice((1, 2))))
        found = policy.extend(QUESTION, DOCUMENTS, asked, 2)
        assert found == plain.extend(QUESTION, DOCUMENTS, asked, 2)
        for chain, ways in zip(asked, found, strict=True):
            chains += [grown(chain, one, place) for place, one in enumerate(ways) if not one.finished]


def test_seeds_decide_and_temperatures_sharpen(policy):
    root = GrowingChain("", (), 5)
    (three,) = policy.extend(QUESTION, DOCUMENTS, [root], 3)
    (two,) = policy.extend(QUESTION, DOCUMENTS, [root], 2)
    assert three[:2] == two
    greedy = LocalPolicy(policy.model, policy._tokenizer, temperature=0)
    (alike,) = greedy.extend(QUESTION, DOCUMENTS, [root], 3)
    assert len({one.text for one in alike}) == 1
    narrow = LocalPolicy(policy.model, policy._tokenizer, top_p=1e-6)
    assert narrow.extend(QUESTION, DOCUMENTS, [root], 1)[0][0].text == alike[0].text
    short = LocalPolicy(policy.model, policy._tokenizer, max_step_tokens=4)
    (cut,) = short.extend(QUESTION, DOCUMENTS, [root], 2)
    assert all(one.cut_off and one.tokens == 4 for one in cut)


def test_a_model_that_the_cache_does_not_suit_is_run_plainly(policy):
    class Forgetful(LlamaForCausalLM):
        def forward(self, *given, attention_mask=None, **more):  # blind to who may see whom
            return super().forward(*given, **more)

    model = Forgetful(policy.model.config).eval()
    model.load_state_dict(policy.model.state_dict())
    assert not LocalPolicy(model, policy._tokenizer).cached


def test_what_cannot_be_used_is_refused(policy):
    bare = AutoTokenizer.from_pretrained(POLICY)
    bare.chat_template = None
    with pytest.raises(ModelError, match="chat template"):
        LocalPolicy(policy.model, bare)
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"step_end": ""}, {"max_step_tokens": 0}):
        with pytest.raises(InputError):
            LocalPolicy(policy.model, policy._tokenizer, **wrong)
    with pytest.raises(PolicyError, match="reads at most"):
        policy.extend("word " * 9000, (), [GrowingChain("", (), 0)], 1)
    with pytest.raises(ModelError):
        LocalPolicy.from_pretrained("/nowhere")
    assert "\n" not in repr(policy)


def test_logits_that_are_no_numbers_are_an_error(policy, monkeypatch):
    with torch.no_grad():
        broken = LocalPolicy(policy.model, policy._tokenizer)
        monkeypatch.setattr(broken, "_draw", lambda logits, rows: LocalPolicy._draw(broken, logits * torch.nan, rows))
        with pytest.raises(PolicyError, match="not numbers"):
            broken.extend(QUESTION, DOCUMENTS, [GrowingChain("", (), 0)], 1)


def test_early_rejection_on_formulary_chains_chooses_what_all_whole_chains_choose(policy, demo):
    written = whole = 0
    for number in range(3):
        _, question = held_out(number)
        drawn = Drawn(policy, question, 8, number)
        for strategy in ("best_of_n", "weighted_vote"):
            expected = demo.rank(question.text, drawn.steps, question.documents, strategy=strategy)
            found = early_rejection(drawn, demo, question.text, question.documents, n=8, seed=number, strategy=strategy)
            assert found.tree.proven
            assert found.answer == expected.answer
            if strategy == "best_of_n":
                assert found.best.text == expected.best.text
            written += found.tree.generated_tokens
            whole += sum(drawn.tokens)
    assert written < 0.9 * whole


def test_a_search_of_4_by_4_runs_new_steps_only(policy, demo: MedPRM):
    """What was scored before is not run again; the engine shares what new steps begin with alike from 8 tokens on."""
    found = beam_search(policy, demo, QUESTION, DOCUMENTS, width=4, expansions=4)
    tree = found.tree
    paths: dict[int, list[str]] = {}
    unique, new = set(), 0
    for branch in tree.branches:
        before = paths[branch.parent] if branch.parent is not None else []
        paths[branch.index] = [*before, *branch.steps]
        if branch.rewards:
            ids = demo.encoder.chain(paths[branch.index]).ids
            unique.update(ids[:end] for end in range(1, len(ids) + 1))
            new += len(ids) - (len(demo.encoder.chain(before).ids) if before else 0)
    prefix = len(demo.encoder.prefix(QUESTION, DOCUMENTS).ids)
    assert tree.policy_calls > 3
    assert prefix + len(unique) <= tree.reward_tokens <= prefix + new
    in_order = sorted(found.chains, key=lambda chain: chain.index)
    anew = demo.rank(QUESTION, [[step.text for step in chain.steps] for chain in in_order], DOCUMENTS)
    for one, two in zip(found.chains, anew.chains, strict=True):
        assert one.step_rewards == pytest.approx(two.step_rewards, abs=1e-5)
