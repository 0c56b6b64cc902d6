"""Text from outside never makes a special token; step tags stand where they were put, and nowhere else."""

import copy
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from medprm_scorer.encoding import PromptEncoder
from medprm_scorer.errors import InputError, ModelError
from medprm_scorer.text import chat_template
from tests.support.clock import within_cpu_seconds
from tests.support.hostile import texts
from tests.support.llama3 import SPECIALS, TAG_ID, real_tokenizer
from tests.support.properties import examples


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(real_tokenizer())


def special(ids) -> list[int]:
    return [id_ for id_ in ids if id_ >= 128000]


@settings(max_examples=examples(150))
@given(question=texts, documents=st.lists(texts, max_size=3))
def test_no_special_token_from_question_or_documents(encoder, question, documents):
    prefix = encoder.prefix(question, documents)
    plain = encoder.prefix("a", ["b"] * prefix.documents_used)
    assert prefix.documents_used == len(documents)
    assert special(prefix.ids) == special(plain.ids)


@settings(max_examples=examples(150))
@given(steps=st.lists(texts, min_size=1, max_size=6), front=texts)
def test_tags_stand_after_steps_and_nowhere_else(encoder, steps, front):
    chain = encoder.chain(steps, front)
    assert len(chain.tags) == len(steps)
    assert [place for place, id_ in enumerate(chain.ids) if id_ == TAG_ID] == list(chain.tags)
    assert special(chain.ids) == [TAG_ID] * len(steps)
    assert chain.tags[-1] == len(chain.ids) - 1


def test_the_official_text_route_is_fooled_where_we_are_not(encoder):
    step = "Step 1: кислота кишечник"  # Russian: acid, intestine
    assert real_tokenizer()(" " + step)["input_ids"].count(TAG_ID) == 2
    assert encoder.chain([step]).ids.count(TAG_ID) == 1


def test_no_special_tokens_text_makes_a_special_token(encoder):
    plain = special(encoder.prefix("a", ["b"]).ids)
    for name in (*SPECIALS, " ки"):
        text = f"{name} a{name}b {name}"
        assert special(encoder.prefix(text, [text]).ids) == plain, name
        assert special(encoder.chain([text], text).ids) == [TAG_ID], name


def test_text_survives_encoding(encoder):
    text = "Step 1: <|eot_id|> кислота\x00 <|begin_of_text|> 🩺"
    chain = encoder.chain([text])
    assert real_tokenizer().decode(chain.ids[:-1]) == " " + text


def test_long_lines_take_linear_time(encoder):  # quadratic time would be minutes
    for unit in ("x", " ", "9", " ки", "<|eot_id|>", "\n", "é", "\u202e", "a b "):
        line = unit * (100_000 // len(unit))
        with within_cpu_seconds(10):
            encoder.chain(["Step 1: " + line])


def test_a_chain_needs_a_step(encoder):
    with pytest.raises(InputError):
        encoder.chain([])


def test_reprs_hold_no_text(encoder):
    shown = repr(encoder.prefix("Has the patient malaria?", ["malaria"])) + repr(encoder.chain(["malaria"]))
    assert "malaria" not in shown
    assert not any(str(id_) in shown for id_ in encoder.chain(["malaria"]).ids)


def changed(**state) -> object:
    tokenizer = copy.deepcopy(real_tokenizer())
    for name, value in state.items():
        setattr(tokenizer, name, value)
    return tokenizer


class _Backed:
    """A tokenizer with another backend, everything else as before."""

    def __init__(self, tokenizer, backend, added) -> None:
        self.backend_tokenizer, self.added_tokens_decoder = backend, added
        self.chat_template, self._tokenizer = tokenizer.chat_template, tokenizer

    def __call__(self, *args, **options):
        return self._tokenizer(*args, **options)

    def apply_chat_template(self, *args, **options):
        return self._tokenizer.apply_chat_template(*args, **options)

    def decode(self, ids):
        return self._tokenizer.decode(ids)


def test_a_tokenizer_without_the_tag_is_refused():
    tokenizer = real_tokenizer()
    added = {id_: token for id_, token in tokenizer.added_tokens_decoder.items() if str(token) != " ки"}
    with pytest.raises(ModelError, match="step tag"):
        PromptEncoder(_Backed(tokenizer, tokenizer.backend_tokenizer, added))


def test_a_tag_that_ordinary_text_can_make_is_refused():
    tokenizer = real_tokenizer()
    added = {id_: token for id_, token in tokenizer.added_tokens_decoder.items() if id_ != TAG_ID}
    added[PromptEncoder(tokenizer)._encode_text(" ки")[0]] = AddedToken(" ки", special=True)
    with pytest.raises(ModelError, match="forged"):
        PromptEncoder(_Backed(tokenizer, tokenizer.backend_tokenizer, added))


def test_labels_of_several_tokens_are_refused(monkeypatch):
    monkeypatch.setattr("medprm_scorer.encoding.POSITIVE_LABEL", " plusplusplus")
    with pytest.raises(ModelError, match="instead of one"):
        PromptEncoder(real_tokenizer())


def test_a_label_that_is_an_unknown_token_is_refused():
    tokenizer = real_tokenizer()
    backend = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    fake = _Backed(tokenizer, backend, {TAG_ID: AddedToken(" ки", special=True)})
    fake.decode = lambda ids: "[UNK]"
    with pytest.raises(ModelError, match="unknown token"):
        PromptEncoder(fake)


def test_a_tokenizer_without_chat_template_is_refused():
    with pytest.raises(ModelError, match="chat template"):
        PromptEncoder(changed(chat_template=None))


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no system role') }}",
        "nothing of the messages",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
    ],
)
def test_a_chat_template_that_does_not_write_the_messages_is_refused(template):
    with pytest.raises(ModelError, match="chat template"):
        PromptEncoder(changed(chat_template=template))


FOR_EVER = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}"
SMALL = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("template", [FOR_EVER, DOUBLING, SMALL + "{% if '5 mg' in messages[1].content %}" + FOR_EVER])
def test_a_chat_template_that_does_not_end_is_given_up(monkeypatch, template):
    template += "{% endif %}" * template.startswith(SMALL)  # which ends on the first messages, and not on the next
    monkeypatch.setattr(chat_template, "_SECONDS", 0.3)
    before = sys.gettrace()
    with within_cpu_seconds(10), pytest.raises(ModelError, match=r"chat template failed .* more than 0.3 s"):
        PromptEncoder(changed(chat_template=template))
    assert sys.gettrace() is before


def test_the_error_of_a_template_has_no_text_of_a_message():
    tokenizer = changed(chat_template="{{ raise_exception(messages[0].content) }}")
    with pytest.raises(ModelError, match=r"chat template failed .*: TemplateError") as caught:
        chat_template.apply_chat_template(tokenizer, [{"role": "user", "content": "malaria"}], tokenize=False)
    assert "malaria" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_template_that_alters_the_text_is_refused():
    shouting = "{% for m in messages %}{{ m.role }}: {{ m.content | replace('a', 'A') }}\n{% endfor %}"
    with pytest.raises(ModelError, match="exact"):
        PromptEncoder(changed(chat_template=shouting))


def test_an_unknown_system_prompt_is_refused():
    with pytest.raises(InputError, match="card"):
        PromptEncoder(real_tokenizer(), system="friendly")


def test_something_that_is_no_fast_tokenizer_is_refused():
    with pytest.raises(ModelError, match="fast"):
        PromptEncoder(object())


def test_bpe_dropout_is_refused_and_so_is_switching_it_on_later():
    tokenizer = copy.deepcopy(real_tokenizer())
    encoder = PromptEncoder(tokenizer)
    expected = encoder.chain(["A dose of 5 mg."])
    tokenizer.backend_tokenizer.model.dropout = 0.4
    with pytest.raises(ModelError, match=r"dropout is on, .*model.dropout = None"):
        PromptEncoder(tokenizer)
    for work in (
        lambda: encoder.chain(["A dose of 5 mg."]),
        lambda: encoder.prefix("Which?"),
        lambda: encoder.count("x"),
    ):
        with pytest.raises(ModelError, match="was changed"):
            work()
    tokenizer.backend_tokenizer.model.dropout = None
    assert encoder.chain(["A dose of 5 mg."]) == expected


def test_other_settings_of_the_tokenizer_changed_later_change_no_token():
    tokenizer = copy.deepcopy(real_tokenizer())
    encoder = PromptEncoder(tokenizer)
    expected = encoder.chain(["A dose of 5 mg. " * 20])
    tokenizer.add_tokens(["dose"])
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=400)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert encoder.chain(["A dose of 5 mg. " * 20]) == expected


def test_a_sampling_unigram_model_is_refused():
    tokenizer = real_tokenizer()
    backend = Tokenizer(models.Unigram([("x", -1.0)], 0))
    backend.model.nbest_size, backend.model.alpha = 4, 0.5
    with pytest.raises(ModelError, match="other tokens each time"):
        PromptEncoder(_Backed(tokenizer, backend, {TAG_ID: AddedToken(" ки", special=True)}))


def test_a_pattern_that_backtracks_for_ever_is_given_up():
    encoder = PromptEncoder(real_tokenizer())
    encoder._plain.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    with pytest.raises(ModelError, match="patterns fail"):
        encoder.chain(["a" * 40 + "!"])


def test_and_so_is_one_in_a_folder_when_it_is_loaded():
    """Its own benign texts are too long for the pattern; they go through the caller's tokenizer first."""
    tokenizer = copy.deepcopy(real_tokenizer())
    backend = tokenizer.backend_tokenizer
    slow = pre_tokenizers.Split(Regex(r"(?:[a-z]+ ?)+[\x01\x02]"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([slow, backend.pre_tokenizer])
    with pytest.raises(ModelError, match="patterns fail"):
        PromptEncoder(tokenizer)
