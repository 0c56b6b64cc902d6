"""What a vLLM server reports: its model, how long prompts may be, and whether its tokenizer is the same as ours."""

import ssl
from typing import Any

from medprm_scorer.errors import InputError, ModelError, ServerError
from medprm_scorer.text.prompts import NEGATIVE_LABEL, POSITIVE_LABEL, STEP_TAG
from medprm_scorer.vllm.client import Client, ClientConfig, RefusedError
from medprm_scorer.vllm.endpoints import Answer, Labels
from medprm_scorer.vllm.event_loop import BackgroundLoop


class ServerInfo:
    """A server, and what it reports about its model.

    Args:
        client: Connects to the server.
        loop: Runs the client.
        model: The name of the model to use if the server has several; None takes the only one.

    Raises:
        ServerError: The server is unreachable, or does not answer like vLLM.
        InputError: It serves no model of that name, or several and none was named.
    """

    def __init__(self, client: Client, loop: BackgroundLoop, model: str | None = None) -> None:
        self.client, self.loop = client, loop
        card = _choose_model(loop.run(client.get("/v1/models")), model, client.url)
        self.model: str = card["id"]
        self.root = str(card.get("root") or self.model)
        length = card.get("max_model_len")
        if not isinstance(length, int) or isinstance(length, bool) or length < 2:
            raise ServerError(f"the server at {client.url} does not say how long its model's prompts may be")
        self.max_tokens = length - 1  # a generate server reserves one token for its answer, and cuts off longer prompts

    @classmethod
    def at(
        cls,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        verify: bool | ssl.SSLContext = True,
        config: ClientConfig | None = None,
    ) -> "ServerInfo":
        """Query the server at a URL; see `Client` for the other arguments.

        Args:
            url: Its URL.
            model: As in `ServerInfo`.
            api_key: Its key.
            verify: Which certificates are trusted.
            config: Time and concurrency; None for the defaults.

        Raises:
            ServerError: As in `ServerInfo`.
            InputError: As in `ServerInfo` and `Client`.
        """
        return cls(Client(url, api_key, verify, config or ClientConfig()), BackgroundLoop(), model)

    def check_tokenizer(self, labels: Labels, tag_id: int) -> None:
        """Compare the server's tokenizer with the token ids of the prompts, if the server exposes it.

        Args:
            labels: Ids of the labels in the tokenizer of the prompts.
            tag_id: Id of the step tag in that tokenizer.

        Raises:
            ModelError: On the server, the tag or a label is not that single token.
        """
        wanted = {STEP_TAG: tag_id, POSITIVE_LABEL: labels.positive, NEGATIVE_LABEL: labels.negative}
        for text, id_ in wanted.items():
            body = {"model": self.model, "prompt": text, "add_special_tokens": False}
            try:
                ids = self.loop.run(self.client.post("/tokenize", body)).get("tokens")
            except RefusedError as error:
                if error.status in (401, 403):
                    raise
                return  # a server without this endpoint
            if ids != [id_]:
                raise ModelError(
                    f"the server's model {self.model!r} does not read {text!r} as the single token {id_}: "
                    "its model does not match the tokenizer"
                )


def _choose_model(answer: Answer, model: str | None, url: str) -> dict[str, Any]:
    cards = answer.get("data")
    cards = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    named: dict[str, dict[str, Any]] = {card["id"]: card for card in cards if isinstance(card.get("id"), str)}
    if not named:
        raise ServerError(f"the server at {url} names no model: it does not answer like vLLM")
    if model is None:
        if len(named) > 1:
            raise InputError(f"the server at {url} serves several models, name one of: {', '.join(sorted(named))}")
        return next(iter(named.values()))
    if model not in named:
        raise InputError(f"the server at {url} does not serve {model!r}, but: {', '.join(sorted(named))}")
    return named[model]
