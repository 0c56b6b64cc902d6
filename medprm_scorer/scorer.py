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
        answer: Reads the answer from a chain's text; None uses `extract_answer`.
        trust: Decides whether answers are trusted: a `Trust`, the path of its file, or `Floors`. None leaves that open.
        cache: How many scored chains to cache, so that the same chain of the same request is not computed again; None
            caches none. `unique_tokens` counts only what was computed.

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
            device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes a GPU if there is one.
            dtype: `float32`, `bfloat16`, `float16`; None takes bfloat16 on a GPU and float32 on a CPU.
            revision: Branch, tag or commit on the hub.
            quantization: `int8` or `int4` (4-bit NormalFloat) for small devices, or a transformers quantization
                configuration; None loads the weights in `dtype`. Quantization changes the rewards: measure on your own
                questions.
            max_batch_tokens: Most tokens in one pass of the model; None chooses by the device and its free memory.
            deterministic: True gives a chain the same rewards to the last bit, whatever else is scored, on the same
                machine with the same number of threads. Chains then run one by one after the shared documents, which is
                slower. Otherwise rewards can differ by rounding: by less than 1e-5 in float32, by some hundredths in
                bfloat16 (`python -m benchmarks.neighbours` measures both).
            system: System prompt: `rag` (written for documents, but also usable without), `no_documents`, `auto` (the
                first with documents, the second without), `outcome` or `card` (the model card's). None takes the one
                that the model was trained on: `rag`, and `auto` for the demo model.
            steps: How one text is split into steps; see `medprm_scorer.text.steps`.
            answer: Your own function that reads the answer from a chain's text, or None.
            trust: Decides whether answers are trusted: the output of `medprm calibrate` (a path, or a `Trust`), or
                `Floors`. It is valid for one model, strategy and aggregate; others are refused.
            cache: How many scored chains to cache; see the class.

        Raises:
            ModelError: The model or tokenizer cannot be loaded or used.
            InputError: An option is unknown.
        """
        trust = given_trust(trust)  # refuses a bad file before gigabytes are loaded
        from medprm_scorer.local.loading import (  # transformers' models: slow to import, and not needed for servers
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
            deterministic: Whether a chain's rewards are the same whatever else is scored.
            system: System prompt.
            steps: Rule for steps.
            answer: Function from text to answer, or None.
            trust: A `Trust`, the path of its file, `Floors`, or None.
            cache: How many scored chains to cache; see the class.

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
        deadline: float | None = None,
        revision: str | None = None,
        system: System = "rag",
        steps: SplitRule = "auto",
        answer: AnswerFunction | None = None,
        trust: GivenTrust = None,
        cache: int | None = None,
    ) -> "MedPRM":
        """Use a running vLLM server to compute the rewards; `medprm vllm-command` prints how to start one.

        The server's endpoints are tried with one known prompt. `prm.engine` shows which endpoint was chosen.

        Args:
            url: Such as `http://127.0.0.1:8000`.
            tokenizer: A folder or hub id with the model's tokenizer, or a fast tokenizer that is already loaded; None
                takes the path or id from which the server loaded its model.
            model: The served model's name; None takes the only one served.
            endpoint: `auto` (the best that works), `generative_scoring`, `completions` or `classify` (these compute
                documents once for all candidates), or `step_pooling` (which does not).
            api_key: The server's key; None takes the environment variable `VLLM_API_KEY`, if it is set.
            cache_salt: Separates your cached documents from those of other users of the server.
            verify: False trusts any certificate; an `ssl.SSLContext` supplies your own.
            timeout: Seconds for one request.
            retry_for: Seconds for which requests to an unreachable or busy server are retried.
            concurrency: Most simultaneous requests.
            deadline: Seconds for all requests of one call together, however many wait for their turn; None for no
                limit but those above.
            revision: The tokenizer's branch, tag or commit on the hub.
            system: System prompt, as in `from_pretrained`, like the options after it.
            steps: Rule for steps.
            answer: Function from text to answer, or None.
            trust: A `Trust`, the path of its file, `Floors`, or None.
            cache: How many scored chains to cache; see the class.

        Raises:
            ServerError: The server is unreachable, refuses, or no endpoint gives rewards; the message quotes the
                server.
            ModelError: The served model does not match the tokenizer, or the tokenizer cannot be used.
            InputError: An option is wrong, or the server has no model of that name.
        """
        from medprm_scorer.vllm.client import ClientConfig
        from medprm_scorer.vllm.endpoints import Labels
        from medprm_scorer.vllm.engine import VLLMEngine
        from medprm_scorer.vllm.server import ServerInfo

        config = ClientConfig(timeout=timeout, retry_for=retry_for, concurrency=concurrency, deadline=deadline)
        key = api_key if api_key is not None else os.environ.get("VLLM_API_KEY") or None
        server = ServerInfo.at(url, model=model, api_key=key, verify=verify, config=config)
        if tokenizer is None or isinstance(tokenizer, str | Path):
            name = server.root if tokenizer is None else tokenizer
            tokenizer = load_tokenizer(name, revision, named_by_server=tokenizer is None)
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
        """Decides whether answers are trusted, unless a call passes its own `trust`."""
        return self._trust

    @property
    def settings(self) -> dict[str, str]:
        """What rewards depend on besides the texts: model, system prompt, rule for steps, and dtype."""
        requests = self._requests
        found = {"model": self.engine.fingerprint, "system": requests.encoder.system, "steps": requests.steps}
        dtype = getattr(self.engine, "dtype", None)  # a server does not report its dtype
        if dtype is not None:
            found["dtype"] = dtype
        if getattr(self.engine, "deterministic", False):
            found["deterministic"] = "yes"
        return found

    def score(self, question: str, candidates: Sequence[Candidate], documents: Sequence[str] = ()) -> list[ScoredChain]:
        """Score every step of every candidate.

        Args:
            question: The question, including its answer options.
            candidates: Each is a whole chain of thought, or a list of its steps.
            documents: Retrieved documents, most relevant first. Whole documents are read in order while they fit in
                3,072 tokens; `rank` reports how many were read.

        Returns:
            One chain per candidate, in the order of the candidates. One that cannot be scored (blank, too long for the
            model) has `error` set and no steps.

        Raises:
            InputError: A wrong type, a blank question, no candidates, or a question too long for the model.
            ScoringError: No candidate could be scored (the message says why for each), or the model gave NaN.
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
        """Score the candidates and choose the best.

        Args:
            question: As in `score`.
            candidates: As in `score`.
            documents: As in `score`.
            strategy: `weighted_vote` (sum of chain rewards per answer, the paper's SC+RM), `best_of_n` (highest chain
                reward) or `majority_vote` (self-consistency; rewards only break ties).
            aggregate: How step rewards become a chain reward: `min` (the paper's), `last`, `mean`, `prod`, `geomean`,
                `max`, `min_of_three` (a minimum that does not favour chains with few steps).
            id: The caller's own name for the request; returned in the ranking.
            answer: Reads a chain's answer: takes `(text)` or `(text, question)`, and returns the answer, None, or
                `DECLINED`. None uses the object's own (`from_pretrained(answer=…)`), otherwise the package's rules.
            options: The answers to choose from, a dict of letters and texts or a list of texts from A on; None reads
                them from the question.
            group: Takes the list of the different answers (and the question, if it has a second parameter), and returns
                a label for each: answers with the same label count as one. None compares them with `normalize_answer`.
            answers: The answer of each candidate if it is already known, for example from a field of structured output.
                An entry of None reads it from the text.
            truncated: Indices of candidates that were cut off before their end, for example by a token limit. They
                cannot win against a complete one.
            trust: Decides whether the answer is trusted, in `ranking.confidence` and `ranking.trusted`: a `Trust`, the
                path of its file, or `Floors`. None uses the object's own.

        Raises:
            InputError: As in `score`; an unknown strategy or aggregate; a `trust` that was made with another model,
                strategy or aggregate; your group function failed, or your answer function failed on every chain. (If it
                fails on some chains, these give no answer, and a caution says so.)
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
        """Rank many requests, in order, and yield each ranking as soon as it is done.

        Requests are packed: the model runs several small ones together, while the next are being tokenized.

        Args:
            requests: `RankRequest`s, or dicts with the same fields; also records of the released test set. They may be
                a generator, which is read in this thread, as far ahead as two packed engine calls need. The `seconds`
                of a ranking are those of its engine call.
            strategy: As in `rank`.
            aggregate: As in `rank`.
            answer: As in `rank`.
            group: As in `rank`; not async.
            trust: As in `rank`.

        Raises:
            InputError: Immediately, for an unknown strategy or aggregate, or a `trust` that does not match. For a bad
                request, when it is reached; the message names its place in the input. This ends the iteration: to
                continue after bad requests, call `rank` for each.
            ScoringError: As in `score`; the message names the request's place.
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
        """Show which documents support each step of a ranking's winner, or of any chain, and which contradict it.

        The chain is scored again without each document, with each alone, and with none. This shows what the rewards
        depend on; it does not make them right.

        Args:
            ranking: A ranking of this model, whose winner is explained; or a question, with `chain`.
            chain: With a question: a chain of thought, or its steps.
            documents: All documents of the ranking, since a ranking does not hold their texts; or those of the
                question. Only those that fit in the budget are read and have effects.
            runner_up: Whether to also explain the best chain with another answer (`Explanation.runner_up`).
            sentences: Whether to also leave out, one by one, the sentences of the documents that support or contradict
                a step most.
            shapley: Number of random orders for Shapley values, from 0 (none) to 10,000; about 50 are plenty for 5
                documents.
            seed: Seed of these orders.
            noise: Smallest effect that counts, in log-odds.

        Returns:
            The effects, and their cost. It takes 2n + 2 prompts for n documents (4 prompts for 2 documents), which
            share prefixes.

        Raises:
            InputError: As in `score`; or the number of documents is not that of the ranking.
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
        """`explain`, without blocking the event loop while the model runs."""
        question, subjects = self._to_explain(ranking, chain, documents, runner_up)
        method = Method(sentences, shapley, seed, noise)
        return await aexplain(self._requests, self.engine, question, subjects, documents, method)

    def _to_explain(
        self, ranking: Ranking | str, chain: Candidate | None, documents: Sequence[str], runner_up: bool
    ) -> tuple[str, list[Subject]]:
        if isinstance(ranking, Ranking):
            if chain is not None:
                raise InputError("a ranking has its own chains: pass a chain only with a question")
            return ranking.question, subjects_of(ranking, documents, self._requests.steps, runner_up=runner_up)
        if chain is None or runner_up:
            raise InputError("explain takes a ranking, or a question and one chain, which has no runner-up")
        return ranking, [Subject(chain)]

    def session(self, question: str, documents: Sequence[str] = ()) -> Session:
        """Score the chains of one question repeatedly as they grow.

        Args:
            question: As in `score`.
            documents: As in `score`.

        Returns:
            A `Session`: its `score(candidates)` gives the same as `score(question, candidates, documents)`, but runs
            only what is new since its previous call. It holds memory until it is closed.

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
        """Score the candidates of one question as they arrive, and rank them at the end, to stop when there are enough.

        Args:
            question: As in `rank`.
            documents: As in `rank`.
            strategy: As in `rank`.
            aggregate: As in `rank`.
            answer: As in `rank`.
            options: As in `rank`.
            group: As in `rank`; not async. Called again whenever there is a new answer.
            scores: False only reads the candidates' answers as they arrive, and scores all of them at the end.
            trust: As in `rank`.

        Returns:
            A `LiveRanking`: `add(candidates)` returns the answers and rewards of all candidates so far, in the form
            that `should_stop` takes, and `ranking()` returns what `rank` gives for them. It holds memory until it is
            closed.

        Raises:
            InputError: As in `session`; an unknown strategy or aggregate, or a `trust` that does not match.

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
        """Rank several requests with one engine call.

        This is for a complete list of requests; `rank_many` takes them as they arrive and yields each ranking when it
        is done. A request that cannot be ranked does not affect the others: its error takes its place in the result.

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
            InputError: An unknown strategy or aggregate, a `trust` that does not match, or `requests` is not a list of
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
            question: Its question, whose options help to read the answer; None reads without it.
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
        """The number of tokens of a text, for example a document: at most 3,072 tokens of documents are read.

        Args:
            text: Any text. Special tokens are not added, and their names in the text count as plain text.
        """
        return self.encoder.count(text)

    async def ascore(
        self, question: str, candidates: Sequence[Candidate], documents: Sequence[str] = ()
    ) -> list[ScoredChain]:
        """`score`, without blocking the event loop."""
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
        """`rank`, without blocking the event loop."""
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
        """`rank_batch`, without blocking the event loop."""
        begun = time.perf_counter()
        choice = self._choice(strategy, aggregate, group, trust)
        batch = await asyncio.to_thread(self._prepare_batch, requests, answer)
        prompts = [encoded.prompt for encoded in encoded_of(batch)]
        rewards = await self.engine.ascore(prompts) if prompts else []
        if group is None:
            return finish_batch(batch, rewards, choice, begun)
        return await asyncio.to_thread(finish_batch, batch, rewards, choice, begun)


def _probe(encoder: PromptEncoder) -> EncodedPrompt:
    """A small known prompt for testing an engine."""
    chains = (encoder.chain(["Step 1: Yes.", "Step 2: No."]), encoder.chain(["Step 1: No.", "Step 2: 5 mg."], "So:"))
    return EncodedPrompt(encoder.prefix("Which dose?", ["5 mg"]).ids, chains)


def _each(requests: Iterable[RankRequest | Mapping[str, Any]]) -> Iterator[RankRequest | Mapping[str, Any]]:
    if not isinstance(requests, Iterable) or isinstance(requests, str | Mapping):
        raise InputError("requests must be a list, or another iterable, of requests")
    return iter(requests)
