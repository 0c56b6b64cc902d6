import pytest
from hypothesis import given
from hypothesis import strategies as st

from medprm_scorer.text.steps import Steps, split_steps

BODIES = (
    "The patient has fever.",
    "Lipase is raised, so 3 times 40 is 120.",
    "So it is pancreatitis, the answer is (B).",
)
ENGLISH = [  # all of these are the same three steps
    "Step {n}: {t}\n", "**Step {n}:** {t}\n", "**Step {n}**: {t}\n", "__Step {n}:__ {t}\n", "*Step {n}:* {t}\n",
    "### Step {n}: {t}\n",
    "# Step {n}: {t}\n", "### **Step {n}:** {t}\n", "**Step {n}.** {t}\n", "Step {n}. {t}\n", "Step {n} - {t}\n",
    "Step {n} – {t}\n",
    "Step {n}) {t}\n", "step {n}: {t}\n", "STEP {n}: {t}\n", "Step{n}: {t}\n", "Step {n} : {t}\n", "Step {n}：{t}\n",
    "- Step {n}: {t}\n",
    "* **Step {n}:** {t}\n", "> Step {n}: {t}\n", "  Step {n}. {t}\n", "**Step {n}** {t}\n",
    "Step {n}: {t}\n\n---\n\n", "---\n**Step {n}:** {t}\n\n", "Step {n}. {t} ", "**Step {n}:** {t} ",
    "***Step {n}:*** {t}\n", "[Step {n}] {t}\n", "[Step {n}]: {t}\n", "🔹 Step {n}: {t}\n", "➡️ **Step {n}:** {t}\n",
    "Step {n}\u00a0: {t}\n",
]  # fmt: skip


def write(form, ends=""):
    return "".join(form.replace("{n}", str(n)).replace("{t}", t) for n, t in enumerate(BODIES, start=1)) + ends


@pytest.mark.parametrize("form", ENGLISH)
def test_the_layout_of_labels_moves_nothing(form):
    split = split_steps(write(form))
    assert split.steps == tuple(f"Step {n}: {t}" for n, t in enumerate(BODIES, start=1))
    assert split.front == split.left_out == ""


@pytest.mark.parametrize("form", ["### Step {n}: Title\n{t}\n", "### **Step {n}: Title**\n{t}\n",
"**Step {n}: Title**\n{t}\n",
                                  "**Step {n} – Title**\n{t}\n", "## Step {n}. Title\n{t}\n"])  # fmt: skip
def test_titles_lose_their_markup(form):
    assert split_steps(write(form)).steps == tuple(f"Step {n}: Title {t}" for n, t in enumerate(BODIES, start=1))


@pytest.mark.parametrize("form", ["**Step {n}**\n{t}\n", "### Step {n}\n{t}\n", "Step {n}\n{t}\n", "Step {n}:\n{t}\n"])
def test_a_label_may_have_a_line_of_its_own(form):
    assert [" ".join(step.split()) for step in split_steps(write(form)).steps] == [
        f"Step {n}: {t}" for n, t in enumerate(BODIES, start=1)
    ]


@pytest.mark.parametrize(
    ("labels", "rest"),
    [
        (("Step One:", "Step Two:", "Step Three:"), " "),
        (("Step 1 (history):", "Step 2 (labs):", "Step 3 (answer):"), " "),
        (("Step 1 of 3:", "Step 2 of 3:", "Step 3 of 3:"), " "),
        (("Step I:", "Step II:", "Step III:"), " "),
        (("Schritt 1:", "Schritt 2:", "Schritt 3:"), " "),
        (("Schritt eins:", "Schritt zwei:", "Schritt drei:"), " "),
        (("Étape 1 :", "Étape 2 :", "Étape 3 :"), " "),
        (("Paso 1:", "Paso 2:", "Paso 3:"), " "),
        (("Passo 1.", "Passo 2.", "Passo 3."), " "),
        (("Шаг 1:", "Шаг 2:", "Шаг 3:"), " "),
        (("步骤1：", "步骤2：", "步骤3："), ""),
        (("步骤一：", "步骤二：", "步骤三："), ""),
        (("第一步：", "第二步：", "第三步："), ""),
        (("第1步、", "第2步、", "第3步、"), ""),
        (("ステップ1：", "ステップ2：", "ステップ3："), ""),
        (("1단계:", "2단계:", "3단계:"), " "),
        (("الخطوة 1:", "الخطوة 2:", "الخطوة 3:"), " "),
        (("الخطوة ١:", "الخطوة ٢:", "الخطوة ٣:"), " "),
        (("الخطوة الأولى:", "الخطوة الثانية:", "الخطوة الثالثة:"), " "),
        (("Adım 1:", "Adım 2:", "Adım 3:"), " "),
        (("चरण 1:", "चरण 2:", "चरण 3:"), " "),
    ],
)
@pytest.mark.parametrize("form", ["{label}{rest}{t}\n", "**{label}**{rest}{t}\n\n", "### {label}{rest}{t}\n"])
def test_other_languages_and_numbers_keep_their_label(labels, rest, form):
    fields = [{"label": label, "rest": rest, "t": t} for label, t in zip(labels, BODIES, strict=True)]
    split = split_steps("".join(form.format(**field) for field in fields))
    assert split == Steps("", tuple(f"{label}{rest}{t}" for label, t in zip(labels, BODIES, strict=True)), "labels")


def test_labels_in_brackets():
    assert split_steps("【ステップ1】発熱。\n【ステップ2】だからB。").steps == (
        "ステップ1：発熱。",
        "ステップ2：だからB。",
    )
    assert split_steps("[Step 1: Labs] high\n[Step 2: Sum] so [1]").steps == ("Step 1: Labs high", "Step 2: Sum so [1]")
    assert split_steps("[Step 1] a. [Step 2] b.").steps == ("Step 1: a.", "Step 2: b.")


def test_text_in_front_and_an_answer_at_the_end():
    split = split_steps("Let us **see**:\n\n" + write("**Step {n}:** {t}\n\n", "### Final Answer\n\n**B**"))
    assert split.front == "Let us **see**:"
    assert len(split.steps) == 3
    assert split.steps[-1].endswith("(B).  Final Answer  **B**")


def test_bold_inside_a_step_stays_whole():
    split = split_steps("**Step 1:** **Fever** is high.\n**Step 2:** so **B**\n**Step 3: Sum** up **all**")
    assert split.steps == ("Step 1: **Fever** is high.", "Step 2: so **B**", "Step 3: Sum up **all**")
    assert split_steps("Step 1. **Fever**. Step 2. **B** it is").steps == ("Step 1: **Fever**.", "Step 2: **B** it is")


def test_half_open_markup_at_an_end_is_dropped():
    assert split_steps("Step 1. Fever **\nStep 2. **So (B)\nStep 3. c #").steps == (
        "Step 1: Fever", "Step 2: So (B)", "Step 3: c",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Fever as in Step 1. That was it.",
        "This is the first step: treat. So (B).",
        "USMLE Step 2 is hard. Step 3 is harder.",
        "Step 1 therapy failed.\nStep 2 therapy is next.",
        "Step 1.5 mg",
        "The footstep 1: a. Misstep 2: b",
        "go to step 1: a, then step 2: b",
        "Steps 1: a",
        "Step 1a: a",
        "Step : a",
    ],
)
def test_what_is_no_label(text):
    assert split_steps(text, "labels").rule == "whole"


def test_references_start_no_step_in_any_form():
    text = (
        "**Step 1:** Fever.\n**Step 2:** As in **Step 1:** it is high; see\nStep 1: above.\n**Step 3:** (Step 2: a) So."
    )
    assert [step[:7] for step in split_steps(text).steps] == ["Step 1:", "Step 2:", "Step 3:"]
    text = "Step 1. Fever. Step 2. It follows from Step 1. Step 3. So (B)."
    assert split_steps(text).steps == ("Step 1: Fever.", "Step 2: It follows from Step 1.", "Step 3: So (B).")


@given(
    st.lists(
        st.text("abc .,()-*é", min_size=1).map(str.strip).filter(lambda t: any(map(str.isalpha, t))),
        min_size=2,
        max_size=9,
    ),
    st.sampled_from([form for form in ENGLISH if form.endswith("\n")]),
)
def test_any_bodies_give_one_step_each(bodies, form):
    text = "".join(form.replace("{n}", str(n)).replace("{t}", body) for n, body in enumerate(bodies, start=1))
    assert [step.split()[:2] for step in split_steps(text).steps] == [
        ["Step", f"{n}:"] for n in range(1, len(bodies) + 1)
    ]
