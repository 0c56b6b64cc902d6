import pytest

from medprm_scorer.text.steps import Steps, split_steps


def check(chain, front, steps, rule, asked="auto"):
    assert split_steps(chain, asked) == Steps(front, tuple(steps), rule)


def test_numbered():
    check(
        "Plan:\n\n1. First\n   1. inner\n   2. inner\n2) Second\nmore\n\nThe answer is (B)",
        "Plan:",
        ["1. First    1. inner    2. inner", "2) Second more  The answer is (B)"],
        "numbered",
    )


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("  **1.** a\n  **2.** b", ["1. a", "2. b"]),
        ("**1. Fever**\na\n\n**2. So**\n**b** c", ["1. Fever a", "2. So **b** c"]),
        ("### 1. Fever\na\n### 2. So\nb", ["1. Fever a", "2. So b"]),
        ("1. **Fever**: a\n2. **So**: b", ["1. **Fever**: a", "2. **So**: b"]),
        ("(1) a\n(2) b", ["(1) a", "(2) b"]),
        ("1: a\n2: b", ["1: a", "2: b"]),
        ("1、甲\n2、乙", ["1、甲", "2、乙"]),
        ("（1）甲\n（2）乙", ["（1）甲", "（2）乙"]),
        ("① a\n② b", ["① a", "② b"]),
        ("1. Weight is 40 kg.\n2. 5 mg per kg is 200 mg.", ["1. Weight is 40 kg.", "2. 5 mg per kg is 200 mg."]),
        ("1. a\n7. x\n2. b\n1. y", ["1. a 7. x", "2. b 1. y"]),
        ("1. a\n2. b\n\n**Final Answer:** B", ["1. a", "2. b  **Final Answer:** B"]),
        ("1. Fever. 2. Lipase is raised. 3. So (B).", ["1. Fever.", "2. Lipase is raised.", "3. So (B)."]),
        ("(1) Fever. (2) So (B).", ["(1) Fever.", "(2) So (B)."]),
    ],
)
def test_forms_of_numbers(text, steps):
    check(text, "", steps, "numbered")


def test_numbers_inside_prose_after_an_introduction():
    check("We ask: 1. Fever? 2. Lipase? 3. So (B).", "We ask:", ["1. Fever?", "2. Lipase?", "3. So (B)."], "numbered")


@pytest.mark.parametrize(
    "text",
    ["1. a\n1. b", "2. a\n3. b", "1.5 mg\n2.5 mg", "1. a\n3. c", "1. a", "1:30 a\n2:40 b",
    "the pulp (1) and the zone (2)",
     "It is 1. Then 2. So B"],
)  # fmt: skip
def test_what_is_no_numbered_list_is_one_step(text):
    check(text, "", [text.replace("\n", " ")], "whole")


def test_a_list_that_is_the_smaller_part_of_the_text_gives_no_steps():
    prose = "The patient has fever and pain. " * 10
    assert split_steps(f"{prose}\n\n1. MI\n2. PE").rule == "paragraphs"


def test_headings():
    check("Intro\n# One\na\n\n### Two\nb", "Intro", ["One a", "Two b"], "headings")
    check("# Case\n## One\na\n### Part\nb\n## Two\nc", "Case", ["One a Part b", "Two c"], "headings")
    check("## One\na\n## Two\nb\n## Final Answer\nB", "", ["One a", "Two b Final Answer B"], "headings")
    check("#5 patient\n#6 patient", "", ["#5 patient #6 patient"], "whole")


def test_bold_titles_are_headings():
    check(
        "**History**\na\n\n**Labs**\nb\n\n**Answer:** B", "", ["**History** a", "**Labs** b  **Answer:** B"], "headings"
    )
    check("**History:** a\n\nb\n\n**Labs**: c", "", ["**History:** a  b", "**Labs**: c"], "headings")


@pytest.mark.parametrize("sign", "-*•+–·▪")
def test_bullets(sign):
    check(
        f"So:\n{sign} Fever\n  {sign} inner\n{sign} Lipase\n\nThe answer is (B).",
        "So:",
        [f"Fever   {sign} inner", "Lipase  The answer is (B)."],
        "bullets",
    )


def test_bullets_within_paragraphs_give_no_steps():
    text = "Fever is high, which speaks for an infection.\n- a\n- b\n\nLipase is raised, which speaks for the pancreas."
    assert len(split_steps(text).steps) == 2
    assert split_steps(text).rule == "paragraphs"


def test_paragraphs():
    check("\n\na\nb\n \t\n\r\nc\n", "", ["a b", "c"], "paragraphs")
    check("Fever.\n\n---\n\nLipase.\n***\nSo (B).", "", ["Fever.", "Lipase.", "So (B)."], "paragraphs")
    check(
        "Fever.\n\n**A. MI** – no.\n\nThe answer is (B).",
        "",
        ["Fever.", "**A. MI** – no.", "The answer is (B)."],
        "paragraphs",
    )


@pytest.mark.parametrize(
    "end", ["**Final Answer:** B", "Answer: B", "B", "(B)", "### Final Answer\nB", "最终答案：B", "Réponse : B"]
)
def test_a_bare_answer_belongs_to_the_step_before(end):
    split = split_steps(f"Fever is high.\n\nLipase is raised.\n\n{end}")
    assert len(split.steps) == 2
    assert split.steps[1].endswith("B") or split.steps[1].endswith("(B)")


def test_lines():
    check("Fever is high.\nLipase is raised!\nSo (B)", "", ["Fever is high.", "Lipase is raised!", "So (B)"], "lines")
    check("发热。\n脂肪酶升高。", "", ["发热。", "脂肪酶升高。"], "lines")
    check("a) Fever is high.\nb) Lipase is raised.", "", ["a) Fever is high.", "b) Lipase is raised."], "lines")
    check("Fever is high.\nAnswer: B", "", ["Fever is high. Answer: B"], "whole")
    wrapped = "Fever is high and the\npatient has pain. Lipase is\nraised."
    check(wrapped, "", [wrapped.replace("\n", " ")], "whole")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("First, fever. It is high. Second, lipase. Finally, so (B).", 3),
        ("There are reasons. Firstly, fever. Secondly, lipase.", 2),
        ("First, fever. Next, lipase. So (B).", 2),
        ("Erstens, Fieber. Zweitens, Lipase. Drittens, B.", 3),
        ("Premièrement, fièvre. Deuxièmement, lipase.", 2),
        ("首先，发热。其次，脂肪酶。最后，选B。", 3),
        ("أولاً، حمى. ثانياً، ليباز.", 2),
    ],
)
def test_ordinals(text, count):
    split = split_steps(text)
    assert (split.rule, len(split.steps)) == ("ordinals", count)


@pytest.mark.parametrize(
    "text", ["At first, fever, second, pain.", "Second, fever. Third, pain.", "First, fever.", "Then, a. Next, b."]
)
def test_what_is_not_counted(text):
    assert split_steps(text).rule == "whole"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Fever is high. Lipase is raised. So (B).", ["Fever is high.", "Lipase is raised.", "So (B)."]),
        ("Dr. Roe gave 1.5 mg, e.g. twice. S. aureus grew. So it is B. Teardrop cells.", None),
        ("Fever! Why? (See above.) So B", ["Fever!", "Why?", "(See above.)", "So B"]),
        ("发热。脂肪酶升高。选B", ["发热。", "脂肪酶升高。", "选B"]),
        ("Fever\n\nLipase\nraised", ["Fever", "Lipase raised"]),
        ("1. Fever. 2. Lipase.", ["1. Fever.", "2. Lipase."]),
        ("So no. It is PE.", ["So no.", "It is PE."]),
    ],
)
def test_sentences_only_if_asked_for(text, steps):
    steps = steps or ["Dr. Roe gave 1.5 mg, e.g. twice.", "S. aureus grew.", "So it is B. Teardrop cells."]
    assert list(split_steps(text, "sentences").steps) == steps
    assert split_steps(text, "sentences").rule == "sentences"
    assert split_steps(text).rule != "sentences"
