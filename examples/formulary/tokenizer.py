"""The demo tokenizer: one token for every word, name and number of the formulary, bytes for everything else."""

import random
import re
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from examples.formulary.chains import Policy, make_chain
from examples.formulary.names import COMORBIDITIES, CONDITIONS, DRUGS, FORMS, LETTERS, YEARS
from examples.formulary.world import make_question
from medprm_scorer.text.policy import POLICY_PROMPTS
from medprm_scorer.text.prompts import NEGATIVE_LABEL, POSITIVE_LABEL, STEP_TAG, SYSTEM_PROMPTS, user_prefix

SPECIALS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>")
# words with the space before them, numbers of up to four digits likewise, marks one by one, line ends together
SPLIT = r" ?\p{L}+| ?\p{N}{1,4}| ?[^\s\p{L}\p{N}]|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def build_tokenizer(more_texts: Iterable[str] = (), chat_template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """Make the tokenizer: byte-level, whole words looked up in the vocabulary, no merges.

    Args:
        more_texts: Texts beyond the world's whose words become tokens too.
        chat_template: How a conversation becomes one text.
    """
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word for text in (*_world_texts(), *more_texts) for word, _ in splitter.pre_tokenize_str(text)}
    vocabulary = [*SPECIALS, *alphabet, *sorted(words - set(alphabet))]
    backend = Tokenizer(
        models.BPE(vocab={token: id_ for id_, token in enumerate(vocabulary)}, merges=[], ignore_merges=True)
    )
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*SPECIALS, STEP_TAG)])
    begin = SPECIALS[0]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=begin,
        eos_token="<|eot_id|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
        model_max_length=8192,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def _world_texts() -> list[str]:
    """Texts that hold every word of the world: prompts, numbers, names, and enough drawn questions and chains."""
    rng = random.Random(0)
    texts = [
        *SYSTEM_PROMPTS.values(),
        *(POLICY_PROMPTS[kind] for kind in ("options", "open")),
        "system",
        "user",
        "assistant",
        POSITIVE_LABEL,
        NEGATIVE_LABEL,
    ]
    texts += [f" {number}" for number in (*range(1000), *YEARS)]
    texts += [f" {name}" for name in (*DRUGS, *CONDITIONS, *COMORBIDITIES, *LETTERS, *FORMS)]
    for _ in range(200):
        question = make_question(rng)
        chain = make_chain(question, rng, Policy())
        texts += [f"\n\n{user_prefix(question.text, question.documents)}", " " + re.sub(r"\s+", " ", chain.text)]
        texts.append(chain.text)  # as a policy writes it: a step to a line
    return texts
