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
    text = "\n".join(documents)
    first, exception, other = re.search(rf"in {condition} use (\w+) unless (\w+) then (\w+)\.", text).groups()
    drug = other if comorbidity == exception else first
    dose, limit = re.search(rf"dose {drug} at (\d+) mg per kg, limit {drug} to (\d+) mg", text).groups()
    amount = min(int(dose) * int(weight), int(limit))
    return {int(n): letter for letter, n in re.findall(r"\((\w)\) (\d+) mg", case_text)}[amount]


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_every_condition_and_every_drug_has_one_document(hospital):
    assert len(set(hospital.guidelines)) == len(CONDITIONS)
    assert len(set(hospital.labels)) == len(DRUGS)


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_the_search_finds_all_that_a_case_needs(hospital):
    search = FormularySearch(hospital)
    for number in range(100):
        case = hospital.case(number)
        found = search.find(case.text)
        assert set(found) <= {*hospital.guidelines, *hospital.labels}
        assert len(found) == len(set(found)) <= 6
        assert solve(case.text, found) == case.answer


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
