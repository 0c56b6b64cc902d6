"""`MedPRM`: questions, documents and candidate answers in; step rewards and rankings out."""

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from medprm_scorer.aggregate import Aggregate
from medprm_scorer.batches import Entry, Pipeline, encoded_of, finish_batch
from medprm_scorer.encoding import EncodedPrompt, PromptEncoder, load_tokenizer
from medprm_scorer.engine import Dtype, EndpointName, Engine, Quantization, RememberingEngine
from medprm_scorer.errors import InputError, MedPRMError, ModelError
from medprm_scorer.preparation import Choice, RequestEncoder
from medprm_scorer.results.explanation import NOISE, Explanation
from medprm_scorer.results.models import Ranking, RankRequest, ScoredChain
from medprm_scorer.results.request_parsing import Candidate, make_request, parse_request
from medprm_scorer.selection import Strategy
from medprm_scorer.session import LiveRanking, Session
from medprm_scorer.text.answers import Options
from medprm_scorer.text.answers.callers_functions import AnswerFunction, GroupFunction
from medprm_scorer.text.prompts import System
from medprm_scorer.text.steps.split import SplitRule
from medprm_scorer.trust.explanation import Method, Subject, aexplain, explain, subjects_of
from medprm_scorer.trust.floors import Floors
from medprm_scorer.trust.given import GivenTrust, given_trust
from medprm_scorer.trust.trust import Trust

if TYPE_CHECKING:
    import ssl


class MedPRM:
    """A medical process reward model that scores and ranks sampled answers.

    Make one with `from_pretrained`, `from_model` or `from_vllm`. One object may be used from many threads and tasks at
    once.

    Args:
        engine: Computes rewards from token ids.
        encoder: Turns text into token ids for that engine's model.
        steps: How a chain of thought given as one text is split into steps: one of `SPLIT_RULES`.
        answer: Reads the answer from a chain's text; None takes `extract_answer`.
        trust: Says whether answers are to be trusted: a `Trust`, the path of its file, or `Floors`; None says nothing.
        cache: How many scored chains to remember, so that the same chain of the same request is not computed again;
            None remembers none. `unique_tokens` counts only what was computed.

    Example:
        >>> prm = MedPRM.from_pretrained()  # the small demo model inside the package
        >>> chains = prm.score("Which dose?", ["Step 1: Give 5 mg. The answer is (A)", "Step 1: Give 9 mg."])
        >>> [len(chain.steps) for chain in chains], chains[0].answer
        ([1, 1], 'A')
    """

    def __init__(
        self,
        engine: Engine,
        encoder: PromptEncoder,
        *,
        steps: SplitRule = "auto",
        answer: AnswerFunction | None = None,
        trust: GivenTrust = None,
        cache: int | None = None,
    ) -> None:
        self.engine = engine if cache is None else RememberingEngine(engine, cache)
        self._requests = RequestEncoder(encoder, engine.max_tokens, steps, answer)
        self._trust = given_trust(trust)
        if self._trust is not None:
            self._trust.check(self.settings)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: Dtype | None = None,
        revision: str | None = None,
        quantization: Quantization | Any = None,
        max_batch_tokens: int | None = None,
        deterministic: bool = False,
        system: System | None = None,
        steps: SplitRule = "auto",
        answer: AnswerFunction | None = None,
        trust: GivenTrust = None,
        cache: int | None = None,
    ) -> "MedPRM":
        """Load a reward model.

        Args:
            model: A folder or a hub id such as `dmis-lab/llama-3.1-medprm-reward-v1.0`; None loads the small demo model
                inside the package, on the CPU and without network. It knows no medicine.
            device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes a GPU where there is one.
            dtype: `float32`, `bfloat16`, `float16`; None takes bfloat16 on a GPU and float32 on a CPU.
            revision: Branch, tag or commit on the hub.
            quantization: `int8` or `int4` (4-bit NormalFloat) for small devices, or a transformers quantization
                configuration; None loads the weights in `dtype`. Rewards change: measure on your own questions.
            max_batch_tokens: Most tokens in one pass of the model; None chooses by the device and its free memory.
            deterministic: True gives a chain the same rewards to the last bit, whatever is scored beside it, on the
                same machine with the same number of threads. Chains then run one by one behind the shared documents,
                which takes longer. Without it they differ by rounding: by less than 1e-5 in float32, by some hundredths
                in bfloat16 (`python -m benchmarks.neighbours` measures both).
            system: System prompt: `rag` (with documents, in use also where there are none), `no_documents`, `auto` (the
                first with documents, the second without), `outcome` or `card` (the model card's). None takes the one
                that the model was trained on: `rag`, and `auto` for the demo model.
            steps: How one text is split into steps; see `medprm_scorer.text.steps`.
            answer: Your own function from a chain's text to its answer, or None.
            trust: Says whether answers are to be trusted: what `medprm calibrate` wrote (a path, or a `Trust`), or
                `Floors`. It fits one model, strategy and aggregate; rankings by others are refused.
            cache: How many scored chains to remember; see the class.

        Raises:
            ModelError: The model or tokenizer cannot be loaded or used.
            InputError: An option is unknown.
        """
        trust = given_trust(trust)  # a bad file is refused before gigabytes are loaded
        from medprm_scorer.local.loading import (  # transformers' models: slow to import, and not for servers
            DEMO_MODEL,
            load,
        )

        if model is None:
            model, device = DEMO_MODEL, device or "cpu"
        loaded, tokenizer = load(model, device, dtype, revision, quantization)
        if system is None:
            system = "auto" if Path(model) == DEMO_MODEL else "rag"
        return cls.from_model(
            loaded,
            tokenizer,
            max_batch_tokens=max_batch_tokens,
            deterministic=deterministic,
            system=system,
            steps=steps,
            answer=answer,
            trust=trust,
            cache=cache,
        )

    @classmethod
    def from_model(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        max_batch_tokens: int | None = None,
        deterministic: bool = False,
        system: System = "rag",
        steps: SplitRule = "auto",
        answer: AnswerFunction | None = None,
        trust: GivenTrust = None,
        cache: int | None = None,
    ) -> "MedPRM":
        """Wrap a transformers model that is already loaded, on its device and in its dtype.

        Args:
            model: A Llama-like causal language model. It is put in evaluation mode.
            tokenizer: Its fast tokenizer, with the step tag.
            max_batch_tokens: As in `from_pretrained`, like the options after it.
            deterministic: Whether rewards are the same whatever is scored beside a chain.
            system: System prompt.
            steps: Rule for steps.
            answer: Function from text to answer, or None.
            trust: A `Trust`, the path of its file, `Floors`, or None.
            cache: How many scored chains to remember; see the class.

        Raises:
            ModelError: The tokenizer lacks the tag or the labels as single tokens, the model cannot be used, or it does
                not give the same rewards with a shared prefix as without (tried on one small prompt).
        """
        from transformers import PreTrainedModel

        from medprm_scorer.local.engine import TransformersEngine

        encoder = PromptEncoder(tokenizer, system)
        if not isinstance(model, PreTrainedModel):
            raise ModelError(f"the model must be a transformers model, not {type(model).__name__}")
        if encoder.largest_id >= model.get_input_embeddings().weight.shape[0]:
            raise ModelError("the model's vocabulary is smaller than its tokenizer's: they do not belong together")
        engine = TransformersEngine(
            model.eval(), encoder.positive_id, encoder.negative_id, max_batch_tokens, deterministic=deterministic
        )
        prm = cls(engine, encoder, steps=steps, answer=answer, trust=trust, cache=cache)
        engine.check_against_plain(_probe(encoder))
        return prm

    @classmethod
    def from_vllm(
        cls,
        url: str,
        *,
        tokenizer: Any = None,
        model: str | None = None,
        endpoint: EndpointName = "auto",
        api_key: str | None = None,
        cache_salt: str | None = None,
        verify: "bool | ssl.SSLContext" = True,
        timeout: float = 300.0,
        retry_for: float = 120.0,
        concurrency: int = 16,
        revision: str | None = None,
        system: System = "rag",
        steps: SplitRule = "auto",
        answer: AnswerFunction | None = None,
        trust: GivenTrust = None,
        cache: int | None = None,
    ) -> "MedPRM":
        """Have a running vLLM server compute the rewards; `medprm vllm-command` prints how to start one.

        The server is asked what it offers, and one known prompt is tried. `prm.engine` says which endpoint was chosen.

        Args:
            url: Such as `http://127.0.0.1:8000`.
            tokenizer: A folder or hub id with the model's tokenizer, or a fast tokenizer that is already loaded; None
                takes the place where the server loaded its model from.
            model: The served model's name; None takes the only one.
            endpoint: `auto`, the best that works, or one of `generative_scoring`, `completions`, `classify` (these
                compute documents once for all candidates) and `step_pooling` (which does not).
            api_key: The server's key; None takes the environment's `VLLM_API_KEY`, if it is set.
            cache_salt: Keeps your cached documents apart from those of other users of the server.
            verify: False trusts any certificate; an `ssl.SSLContext` brings your own.
            timeout: Seconds for one request.
            retry_for: Seconds during which a server that is away or busy is asked again.
            concurrency: Most requests under way at once.
            revision: The tokenizer's branch, tag or commit on the hub.
            system: System prompt, as in `from_pretrained`, like the options after it.
            steps: Rule for steps.
            answer: Function from text to answer, or None.
            trust: A `Trust`, the path of its file, `Floors`, or None.
            cache: How many scored chains to remember; see the class.

        Raises:
            ServerError: The server is away, refuses, or no endpoint gives rewards; with its own words.
            ModelError: It serves another model than the tokenizer's, or the tokenizer cannot be used.
            InputError: An option is wrong, or the server has no model of that name.
        """
        from medprm_scorer.vllm.client import ClientConfig
        from medprm_scorer.vllm.endpoints import Labels
        from medprm_scorer.vllm.engine import VLLMEngine
        from medprm_scorer.vllm.server import ServerInfo

        config = ClientConfig(timeout=timeout, retry_for=retry_for, concurrency=concurrency)
        key = api_key if api_key is not None else os.environ.get("VLLM_API_KEY") or None
        server = ServerInfo.at(url, model=model, api_key=key, verify=verify, config=config)
        if tokenizer is None or isinstance(tokenizer, str | Path):
            tokenizer = load_tokenizer(server.root if tokenizer is None else tokenizer, revision)
        encoder = PromptEncoder(tokenizer, system)
        engine = VLLMEngine.connect(
            server,
            Labels(encoder.positive_id, encoder.negative_id),
            encoder.tag_id,
            _probe(encoder),
            endpoint=endpoint,
            cache_salt=cache_salt,
        )
        return cls(engine, encoder, steps=steps, answer=answer, trust=trust, cache=cache)

    def __repr__(self) -> str:
        return f"MedPRM({self.engine.name})"

    def __copy__(self) -> "MedPRM":
        """The same object: a copy of what holds it shares the weights."""
        return self

    def __deepcopy__(self, memo: object) -> "MedPRM":
        """The same object: a copy of what holds it shares the weights."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a pickle would be gigabytes, and loading it would run code."""
        raise ModelError("a MedPRM cannot be pickled: make it in the process that uses it, with MedPRM.from_pretrained")

    @property
    def encoder(self) -> PromptEncoder:
        """Turns texts into token ids for this model."""
        return self._requests.encoder

    @property
    def trust(self) -> Trust | Floors | None:
        """What says whether answers are to be trusted, where a call does not bring its own."""
        return self._trust

    @property
    def settings(self) -> dict[str, str]:
        """What rewards depend on beside the texts: model, system prompt, rule for steps, and what is computed in."""
        requests = self._requests
        found = {"model": self.engine.fingerprint, "system": requests.encoder.system, "steps": requests.steps}
        dtype = getattr(self.engine, "dtype", None)  # a server does not tell its own
        if dtype is not None:
            found["dtype"] = dtype
        if getattr(self.engine, "deterministic", False):
            found["deterministic"] = "yes"
        return found

    def score(self, question: str, candidates: Sequence[Candidate], documents: Sequence[str] = ()) -> list[ScoredChain]:
        """Give every step of every candidate its reward.

        Args:
            question: The question, options inside.
            candidates: Each a whole chain of thought, or its steps.
            documents: Retrieved documents, most relevant first. Whole documents are read in order while they fit 3,072
                tokens; `rank` reports how many were.

        Returns:
            One chain per candidate, in the order of the candidates. One that cannot be scored (blank, too long for the
            model) has `error` set and no steps.

        Raises:
            InputError: A wrong type, a blank question, no candidates, or a question too long for the model.
            ScoringError: No candidate could be scored (it says why for each), or the model gave NaN.
        """
        encoded = self._requests.encode(make_request(question, candidates, documents))
        (rewards,) = self.engine.score([encoded.prompt])
        return encoded.scored(rewards)

    def rank(
        self,
        question: str,
        candidates: Sequence[Candidate],
        documents: Sequence[str] = (),
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        id: str | int | None = None,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        answers: Sequence[str | None] | None = None,
        truncated: Sequence[int] = (),
        trust: GivenTrust = None,
    ) -> Ranking:
        """Score the candidates and choose among them.

        Args:
            question: As in `score`.
            candidates: As in `score`.
            documents: As in `score`.
            strategy: `weighted_vote` (sum of chain rewards per answer, the paper's SC+RM), `best_of_n` (highest chain
                reward) or `majority_vote` (self-consistency; rewards only break ties).
            aggregate: How step rewards become a chain reward: `min` (the paper's), `last`, `mean`, `prod`, `geomean`,
                `max`, `min_of_three` (a minimum that does not favour chains with few steps).
            id: The caller's own name for the request; comes back in the ranking.
            answer: Reads a chain's answer: takes `(text)` or `(text, question)`, gives the answer, None, or `DECLINED`.
                None takes the object's own (`from_pretrained(answer=…)`), or else the package's rules.
            options: The answers to choose from, a dict of letters and texts or a list of texts from A on; None reads
                them from the question.
            group: Takes the list of the different answers (and the question, if it has a second parameter), gives a
                label for each: answers with the same label are one vote. None compares them by `normalize_answer`.
            answers: The answer of each candidate where it is known already, such as a field of structured output; None
                in its place reads it from the text.
            truncated: Places of candidates that were cut off before their end, such as by a limit of tokens. They
                cannot win over one that was not.
            trust: Says whether the answer is to be trusted, in `ranking.confidence` and `ranking.trusted`: a `Trust`,
                the path of its file, or `Floors`. None takes the object's own.

        Raises:
            InputError: As in `score`; an unknown strategy or aggregate; a `trust` that was made with another model,
                strategy or aggregate; your group function failed, or your answer
                function failed on every chain. (Where it fails on some, these give no answer, and a caution says so.)
            ScoringError: As in `score`.
        """
        begun = time.perf_counter()
        choice = self._choice(strategy, aggregate, group, trust)
        request = make_request(
            question, candidates, documents, id=id, options=options, answers=answers, truncated=truncated
        )
        encoded = self._requests.encode(request, answer=answer)
        (rewards,) = self.engine.score([encoded.prompt])
        groups = encoded.groups(choice)
        return encoded.ranking(rewards, choice, seconds=time.perf_counter() - begun, groups=groups)

    def rank_many(
        self,
        requests: Iterable[RankRequest | Mapping[str, Any]],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        answer: AnswerFunction | None = None,
        group: GroupFunction | None = None,
        trust: GivenTrust = None,
    ) -> Iterator[Ranking]:
        """Rank many requests, in order, each as soon as it is done.

        Requests are packed: the model runs several together if they are small, and the next are tokenized meanwhile.

        Args:
            requests: `RankRequest`s, or dicts with the same fields (records of the released test set, too). They may be
                a generator: it is read in this thread, and as far ahead as two packed calls of the engine need. The
                `seconds` of a ranking are those of its call.
            strategy: As in `rank`.
            aggregate: As in `rank`.
            answer: As in `rank`.
            group: As in `rank`; not async.
            trust: As in `rank`.

        Raises:
            InputError: At once for an unknown strategy or aggregate, or a `trust` that does not fit; when its turn
                comes for a bad request, naming its place in the input. That ends the iteration: to go on past bad
                requests, call `rank` for each.
            ScoringError: As in `score`, naming the request's place.
        """
        choice = self._choice(strategy, aggregate, group, trust)
        prepare = partial(self._prepare, answer=answer)
        return Pipeline(self.engine, prepare, choice).rank(_each(requests))

    def explain(
        self,
        ranking: Ranking | str,
        chain: Candidate | None = None,
        documents: Sequence[str] = (),
        *,
        runner_up: bool = False,
        sentences: bool = False,
        shapley: int = 0,
        seed: int = 0,
        noise: float = NOISE,
    ) -> Explanation:
        """Say which documents carry each step of a ranking's winner, or of any chain, and which contradict it.

        The chain is scored again without each document, with each alone, and with none. That says what the rewards
        depend on; it does not make them right.

        Args:
            ranking: A ranking of this model, whose winner is explained; or a question, with `chain`.
            chain: With a question: a chain of thought, or its steps.
            documents: All documents that the ranking was made with, whose texts a ranking does not hold; or those of
                the question. Only those that fit the budget are read, and have effects.
            runner_up: Whether to explain the best chain with another answer, too (`Explanation.runner_up`).
            sentences: Whether to leave out each sentence of the documents that carry or contradict a step most, too.
            shapley: Random orders for Shapley values, from 0 (none) to 10,000; some 50 are plenty for 5 documents.
            seed: Of these orders.
            noise: Smallest effect that counts, in log-odds.

        Returns:
            The effects, and what they cost. With n documents, 2n + 2 prompts (two of them: 4), which share what
            they begin with.

        Raises:
            InputError: As in `score`; or the documents are not as many as the ranking was made with.
            ScoringError: As in `score`.

        Example:
            >>> prm = MedPRM.from_pretrained()
            >>> label = "Label: dose Zoravine at 5 mg per kg, limit Zoravine to 300 mg."
            >>> step = "Step 1: The label says dose Zoravine at 9 mg per kg, limit Zoravine to 300 mg."
            >>> found = prm.explain("Which dose?", [step], [label, "Guideline: in Fever use Zoravine."])
            >>> found.contradicting(0), found.cost.prompts
            ([0], 4)
        """
        question, subjects = self._to_explain(ranking, chain, documents, runner_up)
        method = Method(sentences, shapley, seed, noise)
        return explain(self._requests, self.engine, question, subjects, documents, method)

    async def aexplain(
        self,
        ranking: Ranking | str,
        chain: Candidate | None = None,
        documents: Sequence[str] = (),
        *,
        runner_up: bool = False,
        sentences: bool = False,
        shapley: int = 0,
        seed: int = 0,
        noise: float = NOISE,
    ) -> Explanation:
        """`explain`, with the event loop left free while the model runs."""
        question, subjects = self._to_explain(ranking, chain, documents, runner_up)
        method = Method(sentences, shapley, seed, noise)
        return await aexplain(self._requests, self.engine, question, subjects, documents, method)

    def _to_explain(
        self, ranking: Ranking | str, chain: Candidate | None, documents: Sequence[str], runner_up: bool
    ) -> tuple[str, list[Subject]]:
        if isinstance(ranking, Ranking):
            if chain is not None:
                raise InputError("a ranking has its chains: give a chain with a question only")
            return ranking.question, subjects_of(ranking, documents, self._requests.steps, runner_up=runner_up)
        if chain is None or runner_up:
            raise InputError("explain takes a ranking, or a question and one chain, which has no runner-up")
        return ranking, [Subject(chain)]

    def session(self, question: str, documents: Sequence[str] = ()) -> Session:
        """Score chains of one question again and again as they grow.

        Args:
            question: As in `score`.
            documents: As in `score`.

        Returns:
            A `Session`: its `score(candidates)` gives what `score(question, candidates, documents)` gives, but runs
            only what is new since its call before. It holds memory until it is closed.

        Raises:
            InputError: A wrong type, a blank question, or a question too long for the model.

        Example:
            >>> prm = MedPRM.from_pretrained()
            >>> with prm.session("Which dose?", ["Label: dose Zoravine at 5 mg per kg."]) as session:
            ...     one = session.score([["Step 1: Read the label."], ["Step 1: Guess."]])
            ...     two = session.score([["Step 1: Read the label.", "Step 2: Give 5 mg."]])
            >>> [len(chain.steps) for chain in one + two]
            [1, 1, 2]
        """
        return Session(self._requests, self.engine, question, documents)

    def live(
        self,
        question: str,
        documents: Sequence[str] = (),
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        scores: bool = True,
        trust: GivenTrust = None,
    ) -> LiveRanking:
        """Score candidates of one question as they come, and rank them in the end: to stop when there are enough.

        Args:
            question: As in `rank`.
            documents: As in `rank`.
            strategy: As in `rank`.
            aggregate: As in `rank`.
            answer: As in `rank`.
            options: As in `rank`.
            group: As in `rank`; not async. Asked again whenever there is another answer.
            scores: False only reads what candidates answer as they come, and scores all of them in the end.
            trust: As in `rank`.

        Returns:
            A `LiveRanking`: `add(candidates)` gives what all candidates so far say, as `should_stop` takes it, and
            `ranking()` what `rank` gives for them. It holds memory until it is closed.

        Raises:
            InputError: As in `session`; an unknown strategy or aggregate, or a `trust` that does not fit.

        Example:
            >>> prm = MedPRM.from_pretrained()
            >>> with prm.live("Which dose?", ["Label: dose Zoravine at 5 mg per kg."]) as live:
            ...     said = live.add(["Step 1: Read the label. The answer is (A)"])
            ...     said = live.add(["Step 1: Guess. The answer is (B)"])
            ...     ranking = live.ranking()
            >>> len(said), len(ranking.chains)
            (2, 2)
        """
        choice = self._choice(strategy, aggregate, group, trust)
        return LiveRanking(
            self._requests, self.engine, question, documents, choice, answer=answer, options=options, scores=scores
        )

    def rank_batch(
        self,
        requests: Iterable[RankRequest | Mapping[str, Any]],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        answer: AnswerFunction | None = None,
        group: GroupFunction | None = None,
        trust: GivenTrust = None,
    ) -> list[Ranking | MedPRMError]:
        """Rank several requests with one call of the engine.

        For requests that are all there already; `rank_many` takes them as they come and gives each ranking when it is
        done. A request that cannot be ranked does not end the others: its error stands in its place.

        Args:
            requests: As in `rank_many`.
            strategy: As in `rank`.
            aggregate: As in `rank`.
            answer: As in `rank`.
            group: As in `rank`; not async.
            trust: As in `rank`.

        Returns:
            For each request, in order, its ranking, or the `MedPRMError` (not raised) that says why there is none. The
            `seconds` of every ranking are those of the whole call.

        Raises:
            InputError: An unknown strategy or aggregate, a `trust` that does not fit, or something that is no list of
                requests.
            ScoringError: The engine failed as a whole.

        Example:
            >>> prm = MedPRM.from_pretrained()
            >>> good = {"question": "Which dose?", "candidates": ["Step 1: Give 5 mg. The answer is (A)"]}
            >>> [type(result).__name__ for result in prm.rank_batch([good, {**good, "candidates": [" "]}])]
            ['Ranking', 'NothingScoredError']
        """
        begun = time.perf_counter()
        choice = self._choice(strategy, aggregate, group, trust)
        batch = self._prepare_batch(requests, answer)
        prompts = [encoded.prompt for encoded in encoded_of(batch)]
        return finish_batch(batch, self.engine.score(prompts) if prompts else [], choice, begun)

    def _choice(self, strategy: str, aggregate: str, group: GroupFunction | None, trust: GivenTrust) -> Choice:
        judge = self._trust if trust is None else given_trust(trust)
        choice = Choice(strategy, aggregate, group, judge)
        if judge is not None:
            judge.check(self.settings, strategy, aggregate)
        return choice

    def _prepare_batch(
        self, requests: Iterable[RankRequest | Mapping[str, Any]], answer: AnswerFunction | None
    ) -> list[Entry]:
        return [self._prepare(given, answer) for given in _each(requests)]

    def _prepare(self, given: RankRequest | Mapping[str, Any], answer: AnswerFunction | None) -> Entry:
        try:
            request = given if isinstance(given, RankRequest) else parse_request(given)
            return self._requests.encode(request, answer=answer)
        except MedPRMError as error:
            return error.with_traceback(None)  # whose frames would hold the whole batch

    def read_answer(
        self,
        text: str,
        question: str | None = None,
        *,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
    ) -> str | None:
        """The answer that a chain of thought gives, read as `rank` reads it, before anything is scored.

        Args:
            text: The whole chain.
            question: Its question, whose options the answer is read by; None reads without.
            answer: As in `rank`.
            options: As in `rank`.

        Returns:
            The answer, or None if there is none or the chain declines to give one.

        Raises:
            InputError: The text is not a `str`, or the caller's own answer function failed.

        Example:
            >>> MedPRM.from_pretrained().read_answer("Step 1: Give 5 mg. The answer is (A)")
            'A'
        """
        if not isinstance(text, str):
            raise InputError(f"a chain must be text to find its answer, not {type(text).__name__}")
        return self._requests.read(text, question, options, answer=answer).answer

    def count_tokens(self, text: str) -> int:
        """How many tokens a text from outside is, such as a document: of all documents, 3,072 tokens are read.

        Args:
            text: Any text. Special tokens are not added, and their names in it count as plain text.
        """
        return self.encoder.count(text)

    async def ascore(
        self, question: str, candidates: Sequence[Candidate], documents: Sequence[str] = ()
    ) -> list[ScoredChain]:
        """`score`, with the event loop left free."""
        request = make_request(question, candidates, documents)
        encoded = await asyncio.to_thread(self._requests.encode, request)
        (rewards,) = await self.engine.ascore([encoded.prompt])
        return encoded.scored(rewards)

    async def arank(
        self,
        question: str,
        candidates: Sequence[Candidate],
        documents: Sequence[str] = (),
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        id: str | int | None = None,
        answer: AnswerFunction | None = None,
        options: Options | None = None,
        group: GroupFunction | None = None,
        answers: Sequence[str | None] | None = None,
        truncated: Sequence[int] = (),
        trust: GivenTrust = None,
    ) -> Ranking:
        """`rank`, with the event loop left free."""
        begun = time.perf_counter()
        choice = self._choice(strategy, aggregate, group, trust)
        request = make_request(
            question, candidates, documents, id=id, options=options, answers=answers, truncated=truncated
        )
        encoded = await asyncio.to_thread(self._requests.encode, request, None, answer)
        (rewards,) = await self.engine.ascore([encoded.prompt])
        groups = await asyncio.to_thread(encoded.groups, choice)
        if isawaitable(groups):
            groups = await groups
        return encoded.ranking(rewards, choice, seconds=time.perf_counter() - begun, groups=groups)

    async def arank_batch(
        self,
        requests: Iterable[RankRequest | Mapping[str, Any]],
        *,
        strategy: Strategy = "weighted_vote",
        aggregate: Aggregate = "min",
        answer: AnswerFunction | None = None,
        group: GroupFunction | None = None,
        trust: GivenTrust = None,
    ) -> list[Ranking | MedPRMError]:
        """`rank_batch`, with the event loop left free."""
        begun = time.perf_counter()
        choice = self._choice(strategy, aggregate, group, trust)
        batch = await asyncio.to_thread(self._prepare_batch, requests, answer)
        prompts = [encoded.prompt for encoded in encoded_of(batch)]
        rewards = await self.engine.ascore(prompts) if prompts else []
        if group is None:
            return finish_batch(batch, rewards, choice, begun)
        return await asyncio.to_thread(finish_batch, batch, rewards, choice, begun)


def _probe(encoder: PromptEncoder) -> EncodedPrompt:
    """A small known prompt, to try an engine on."""
    chains = (encoder.chain(["Step 1: Yes.", "Step 2: No."]), encoder.chain(["Step 1: No.", "Step 2: 5 mg."], "So:"))
    return EncodedPrompt(encoder.prefix("Which dose?", ["5 mg"]).ids, chains)


def _each(requests: Iterable[RankRequest | Mapping[str, Any]]) -> Iterator[RankRequest | Mapping[str, Any]]:
    if not isinstance(requests, Iterable) or isinstance(requests, str | Mapping):
        raise InputError("requests must be a list, or another iterable, of requests")
    return iter(requests)
