"""The layout of a chain moves neither its rewards nor the choice: the demo model reads what was said."""

import pytest

from medprm_scorer import MedPRM

QUESTION = "The patient weighs 40 kg. Which daily dose of Zoravine is right?\n\n(A) 200 mg\n(B) 300 mg"
DOCUMENTS = ["Label: dose Zoravine at 5 mg per kg, limit Zoravine to 300 mg."]
RIGHT = (
    "By the label, dose Zoravine at 5 mg per kg, limit Zoravine to 300 mg.",
    "The patient weighs 40 kg, so 5 times 40 is 200 mg.",
    "With 200 against 300 fits, so at 200 the answer is (A) 200 mg.",
)
WRONG = (
    "By the label, dose Zoravine at 9 mg per kg, limit Zoravine to 300 mg.",
    "The patient weighs 40 kg, so 9 times 40 is 360 mg.",
    "With 360 against 300 exceeds, so at 300 the answer is (B) 300 mg.",
)
TRAINED = "Step {n}: {t}\n"


def write(steps: tuple[str, ...], form: str) -> str:
    return "".join(form.replace("{n}", str(n)).replace("{t}", t) for n, t in enumerate(steps, start=1))


@pytest.fixture(scope="module")
def prm() -> MedPRM:
    return MedPRM.from_pretrained()


def rewards(prm: MedPRM, *chains: str) -> list[list[float]]:
    return [chain.step_rewards for chain in prm.score(QUESTION, list(chains), DOCUMENTS)]


@pytest.mark.parametrize(
    "form",
    [
        "## Step {n}: {t}\n",
        "### Step {n}: {t}\n",
        "**Step {n}:** {t}\n",
        "**Step {n}**: {t}\n",
        "Step {n}. {t}\n",
        "Step {n} - {t}\n",
        "STEP {n}: {t}\n",
        "Step {n}: {t}\n---\n",
        "Step {n}: {t} ",
    ],
)
def test_markup_around_labels_moves_no_reward(prm, form):
    trained, written = rewards(prm, write(RIGHT, TRAINED), write(RIGHT, form))
    assert written == pytest.approx(trained, abs=1e-5)
    assert len(trained) == 3


def test_titles_and_closing_notes_move_no_reward(prm):
    titles = write(RIGHT, "Step {n}: Title {t}\n")
    plain = write(RIGHT, TRAINED)
    expected, found, without, with_notes = rewards(
        prm, titles, write(RIGHT, "### **Step {n}: Title**\n{t}\n"), plain, f"{plain}\nSources:\n- [1] Label, 2024\n"
    )
    assert found == pytest.approx(expected, abs=1e-5)
    assert with_notes == pytest.approx(without, abs=1e-5)


@pytest.mark.parametrize(
    "form",
    ["Step {n}. {t}\n", "**Step {n}**: {t}\n", "{n}. {t}\n", "- {t}\n", "{t}\n\n", "{t}\n", "Schritt {n}: {t}\n"],
)
def test_a_wrong_chain_does_not_win_by_its_layout(prm, form):
    ranking = prm.rank(QUESTION, [write(RIGHT, TRAINED), write(WRONG, form)], DOCUMENTS)
    assert ranking.answer == "A"
    assert [len(chain.steps) for chain in ranking.chains] == [3, 3]


def test_a_wrong_chain_in_one_piece_does_not_win_under_the_minimum_of_three(prm):
    ranking = prm.rank(QUESTION, [write(RIGHT, TRAINED), " ".join(WRONG)], DOCUMENTS, aggregate="min_of_three")
    assert ranking.answer == "A"
    whole = ranking.chains[-1]
    assert len(whole.steps) == 1
    assert whole.reward("min_of_three") < whole.reward("min")
