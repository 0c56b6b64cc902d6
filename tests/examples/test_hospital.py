"""One hospital: its documents are consistent, its cases solvable, and the search finds what a case needs."""

import re

import pytest

from examples.formulary.hospital import Hospital
from examples.formulary.names import CONDITIONS, DRUGS
from examples.formulary.search_tool import FormularySearch

HOSPITALS = [Hospital(seed) for seed in range(3)]


def solve(case_text: str, documents: list[str]) -> str:
    """The right letter, worked out from texts alone."""
    condition, comorbidity, weight = re.search(
        r"with (\w+)\. The patient has (\w+)\. The patient weighs (\d+) kg", case_text
    ).groups()
    year = re.compile(r"(?:in|from) (\d{4}) ")
    dated = sorted(documents, key=lambda text: int((year.search(text) or [0, 0])[1]))
    text = "\n".join(year.sub("", document) for document in dated)  # the newest last
    *_, (first, exception, other) = re.findall(rf"in {condition} use (\w+) unless (\w+) then (\w+)\.", text)
    drug = other if comorbidity == exception else first
    *_, (dose, limit) = re.findall(rf"(?<!ml )dose {drug} at (\d+) [^.]*(?<!ml )limit {drug} to (\d+)", text)
    amount = min(int(dose) * int(weight), int(limit))
    return {int(n): letter for letter, n in re.findall(r"\((\w)\) (\d+) mg", case_text)}[amount]


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_every_condition_and_every_drug_has_a_document_some_an_outdated_one_too(hospital):
    for documents, names, word in ((hospital.guidelines, CONDITIONS, "in"), (hospital.labels, DRUGS, "dose")):
        held = [sum(f"{word} {name} " in document for document in documents) for name in names]
        assert set(held) == {1, 2}
        assert len(set(documents)) == sum(held)


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_the_search_nearly_always_finds_all_that_a_case_needs(hospital):
    """Where the outdated guideline fits the patient's words, another condition's may stand before the newer one."""
    search = FormularySearch(hospital)
    solved = 0
    for number in range(100):
        case = hospital.case(number)
        found = search.find(case.text)
        assert set(found) <= {*hospital.guidelines, *hospital.labels}
        assert len(found) == len(set(found)) <= 10
        solved += solve(case.text, found) == case.answer
    assert solved >= 90


def test_what_the_agent_searches_for_finds_it_too():
    hospital = HOSPITALS[0]
    search = FormularySearch(hospital)
    for number in range(100):
        case = hospital.case(number)
        condition, comorbidity = re.search(r"with (\w+)\. The patient has (\w+)\.", case.text).groups()
        assert solve(case.text, search.find(f"patient with {condition} has {comorbidity}")) == case.answer


def test_hospitals_and_cases_repeat_and_differ():
    assert Hospital(0).guidelines == HOSPITALS[0].guidelines != HOSPITALS[1].guidelines
    texts = [HOSPITALS[0].case(number).text for number in range(50)]
    assert texts == [Hospital(0).case(number).text for number in range(50)]
    assert len(set(texts)) == 50
    assert {HOSPITALS[0].case(number).answer for number in range(50)} == set("ABCD")


def test_a_search_that_finds_nothing_still_gives_documents():
    assert FormularySearch(HOSPITALS[0]).find("Какая доза? 🤒")
