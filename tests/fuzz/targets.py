"""What is fuzzed: functions of some bytes that raise if anything breaks, and return nothing.

Each stands for one layer: `text` (steps and answers), `report` (what people see), `tokens` (prompts as ids), `tree`
(shared beginnings), `files` (requests, data sets, journals and results on the disk) and `server` (what a server says).
`calibration`, `explanation` and `search` are in `decisions`.
Only `MedPRMError` may come out of them for a bad input; everything else is a finding.
"""

import json
import random
import re
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

from medprm_scorer.bulk.request_lines import decode_line, read_request_lines
from medprm_scorer.bulk.result_file import ResultFile, result_line
from medprm_scorer.encoding import EncodedChain, PromptEncoder
from medprm_scorer.evaluation.journal import Journal
from medprm_scorer.evaluation.labelled_records import is_error_only, parse_labelled
from medprm_scorer.files.records import read_records
from medprm_scorer.local.token_tree import TokenTree
from medprm_scorer.results.models import Ranking, ScoredChain, ScoredStep
from medprm_scorer.results.page import to_html
from medprm_scorer.results.request_parsing import parse_request, read_request
from medprm_scorer.results.terminal import to_text
from medprm_scorer.text.answers import normalize_answer, read_answer
from medprm_scorer.text.reasoning import strip_reasoning
from medprm_scorer.text.sanitize import clean_text
from medprm_scorer.text.steps import SPLIT_RULES, split_steps
from medprm_scorer.text.tagged import tagged_pieces
from medprm_scorer.vllm.endpoints import ENDPOINTS, Labels
from tests.fuzz.cut import Cut
from tests.fuzz.decisions import calibration, explanation, search
from tests.fuzz.tried import tried
from tests.support.example_rankings import make_ranking
from tests.support.pages import Page

_OPEN = "Which dose for a child of 36 kg at 5 mg/kg?"
_WITH_OPTIONS = f"{_OPEN}\n(A) 180 mg\n(B) 200 mg\n(C) 5 mg"


def text(data: bytes) -> None:
    """Splitting loses nothing but whitespace and markup; answers are short, clean and stable."""
    chain = Cut(data).rest()
    for rule in SPLIT_RULES:
        split = split_steps(chain, rule)
        assert all(step == step.strip() and step and "\n" not in step for step in split.steps)
        if split.steps:
            given = re.sub(r"[\r\n]", " ", strip_reasoning(chain).replace("\r\n", " "))
            told = "".join([split.front, *split.steps, split.left_out])
            if split.rule in ("marker", "whole") and not split.left_out:
                assert _letters(told) == _letters(given), rule
            elif split.rule != "json":  # whose escapes are read
                assert _words(told) == _words(given), rule
            assert split_steps(split.steps).steps == split.steps
    pieces = tagged_pieces(chain)
    assert not pieces or chain.startswith(" ки".join(pieces) + " ки")
    for question in (None, _OPEN, _WITH_OPTIONS):
        answer = read_answer(chain, question)
        if answer is not None:
            assert answer == answer.strip()
            assert answer
            key = normalize_answer(answer)
            assert normalize_answer(key) == key
            assert question != _WITH_OPTIONS or answer in ("A", "B", "C")


def report(data: bytes) -> None:
    """No text can steer a terminal, nor become an element of the page."""
    cut = Cut(data)
    count = cut.number(5) + 1
    chains = []
    for index in range(count):
        steps = [ScoredStep(text=cut.text(40), reward=cut.number(256) / 255) for _ in range(cut.number(4))]
        error = None if steps else cut.text(20) or "blank"
        chains.append(ScoredChain(index=index, text=cut.text(40), steps=steps, answer=cut.text(8) or None, error=error))
    if all(chain.error is not None for chain in chains):
        return
    ranking = make_ranking(chains, ("weighted_vote", "best_of_n", "majority_vote")[cut.number(3)], cut.rest())
    shown = to_text(ranking)
    assert clean_text(shown) == shown
    page = Page(to_html(ranking, [cut.text(40), ranking.question] if cut.number(2) else []))
    assert set(page.tags) <= _ALLOWED, set(page.tags) - _ALLOWED
    assert {name for name, _ in page.attributes} <= _ATTRIBUTES
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


def tokens(data: bytes) -> None:
    """Tags stand after the steps and nowhere else; a prefix has the special tokens of any other; nothing is added."""
    cut = Cut(data)
    encoder = _encoder()
    documents = [cut.text(60) for _ in range(cut.number(3))]
    steps = [step for step in (cut.text(60).strip() for _ in range(cut.number(4))) if step] or ["a step"]
    question = cut.rest()
    chain = encoder.chain(steps)
    assert [place for place, id_ in enumerate(chain.ids) if id_ == encoder.tag_id] == list(chain.tags)
    assert len(chain.tags) == len(steps)
    special = set(encoder._special_ids.values())
    assert sum(id_ in special for id_ in chain.ids) == len(steps)
    prefix = encoder.prefix(question, documents)
    plain = encoder.prefix("Which?", ["x"] * len(documents))
    assert [id_ for id_ in prefix.ids if id_ in special] == [id_ for id_ in plain.ids if id_ in special]
    assert encoder.tag_id not in prefix.ids


def tree(data: bytes) -> None:
    """In a tree cut into rows anywhere, every token sees its own path and nothing else."""
    cut = Cut(data)
    groups = []
    for _ in range(cut.number(3) + 1):
        prefix = tuple(cut.number(3) for _ in range(cut.number(40) + 1))
        start = tuple(cut.number(2) for _ in range(cut.number(40)))
        tails = {
            start[: cut.number(len(start) + 1)] + tuple(cut.number(2) for _ in range(cut.number(30) + 1))
            for _ in range(cut.number(5) + 1)
        }
        groups.append((prefix, sorted(tails)))
    found = TokenTree(groups)
    draw = random.Random(cut.number(256))
    for group, (prefix, tails) in enumerate(groups):
        for place, tail in enumerate(tails):
            whole = prefix + tail
            numbers = [found.index(group, place, depth) for depth in range(len(whole))]
            assert None not in numbers
            assert [found.ids[number] for number in numbers] == list(whole)
            assert [found.positions[number] for number in numbers] == list(range(len(whole)))
            assert all(one < two for one, two in pairwise(numbers))
            begin = draw.randrange(found.size)
            stop = draw.randrange(begin, found.size) + 1
            pieces = found.row(begin, stop)
            for asking in [number for number in numbers if number is not None and begin <= number < stop]:
                seen: list[int] = []
                for piece in pieces:
                    if piece.start <= asking - begin < piece.end:
                        last = min(piece.length, asking - begin - piece.start + 1) if piece.in_row else piece.length
                        seen += range(piece.position, piece.position + last)
                assert seen == list(range(found.positions[asking] + 1))


def files(data: bytes) -> None:
    """Any file is read or refused; lines that can be read are those that a plain reader finds."""
    cut = Cut(data)
    kind = cut.number(4)
    content = cut.bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        if kind == 0:
            tried(lambda: read_request(str(path)))
            lines = tried(lambda: list(read_request_lines(path))) or []
            for line in lines:
                value = tried(lambda: decode_line(line.text))  # noqa: B023 - called at once
                tried(lambda: parse_request(value))  # noqa: B023
        elif kind == 1:
            for record in tried(lambda: list(read_records(path))) or []:
                assert isinstance(record.value, dict)
                if not is_error_only(record.value):
                    tried(lambda: parse_labelled(record.value))  # noqa: B023
        elif kind == 2:
            journal = tried(lambda: Journal(path, {"model": "m"}))
            if journal is not None:
                with journal:
                    journal.add("key", [0.5])
                    assert journal.get("key") == [0.5]
            else:
                assert path.read_bytes() == content  # what is not ours is left as it was
        else:
            line = result_line(1, {"record": "d"}, {"error": "x"}, {})
            path.write_bytes(line * cut.number(3) + content)
            before = path.read_bytes()
            with ResultFile(path) as results:
                if tried(lambda: sum(1 for _ in iter(results.next, None))) is None:
                    assert path.read_bytes() == before  # what is not ours is left as it was
                    return
                results.keep()
                results.resume()
                results.add([line], errors=1)
                kept = results.records
            with ResultFile(path) as again:
                assert sum(1 for _ in iter(again.next, None)) == kept


def server(data: bytes) -> None:
    """A server's answer gives rewards in [0, 1], one for each step asked for, or a clear error."""
    cut = Cut(data)
    chain = EncodedChain((5,) * 8, (1, 4, 7))
    endpoint = ENDPOINTS[cut.number(len(ENDPOINTS))]
    items = endpoint.items(chain)
    try:
        answer = json.loads(cut.rest())
    except (ValueError, RecursionError):
        return
    if not isinstance(answer, dict):
        return
    rewards = tried(lambda: endpoint.rewards(answer, Labels(489, 482), items))
    if rewards is not None:
        assert sum(map(len, rewards)) == len(chain.tags)
        assert all(0 <= reward <= 1 for one in rewards for reward in one)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (text, report, tokens, tree, files, server, calibration, explanation, search)
}

_ALLOWED = {"html", "head", "meta", "title", "style", "body", "div", "h1", "h2", "p", "bdi", "details", "summary"}
_ALLOWED |= {"table", "thead", "tbody", "tr", "th", "td", "b", "i", "em", "span", "ol", "li"}
_ATTRIBUTES = {"class", "style", "title", "dir", "open", "lang", "charset", "name", "content"}


def _words(chain: str) -> str:
    """What a text says, whatever its punctuation and letter case."""
    return "".join(filter(str.isalnum, chain.casefold()))


def _letters(chain: str) -> str:
    """A text without its whitespace and its marks of headings."""
    return "".join(chain.replace("#", "").split())


@cache
def _encoder() -> PromptEncoder:
    from medprm_scorer.encoding import load_tokenizer
    from medprm_scorer.local.loading import DEMO_MODEL

    return PromptEncoder(load_tokenizer(DEMO_MODEL, None))
