"""An agent with a retrieval tool whose final answers are selected: `python -m examples.langchain_agent`.

The agent calls its tool by itself. What the tool finds is the evidence that the middleware checks its answers against.
"""

from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, tool

from examples.few_patients import PATIENTS, tally
from examples.formulary.hospital import Hospital
from examples.formulary.turns import TOOL, found_text
from examples.langchain_parts import FormularyRetriever, ask_locally
from medprm_integrations.langchain import MedPRMMiddleware, ranking_of
from medprm_scorer import MedPRM
from medprm_scorer.text.policy import POLICY_PROMPTS


def search_tool(retriever: BaseRetriever) -> BaseTool:
    """The agent's tool: text for the language model, `Document`s for whoever checks."""

    @tool(TOOL, response_format="content_and_artifact")
    def search(query: str) -> tuple[str, list[Document]]:
        """Find the guidelines and labels for a patient."""
        documents = retriever.invoke(query)
        return found_text([document.page_content for document in documents]), documents

    return search


def build_agent(llm: BaseChatModel, retriever: BaseRetriever, *middleware: AgentMiddleware) -> Any:
    """An agent that searches before it answers; with `MedPRMMiddleware` as the last middleware, it selects too."""
    return create_agent(
        llm, tools=[search_tool(retriever)], system_prompt=POLICY_PROMPTS["options"], middleware=middleware
    )


def main() -> None:
    """Answer some patients' questions."""
    hospital = Hospital(0)
    with ask_locally() as llm:
        middleware = MedPRMMiddleware(prm=MedPRM.from_pretrained(), n=8)
        agent = build_agent(llm, FormularyRetriever.of(hospital), middleware)
        right = 0
        for number in range(PATIENTS):
            case = hospital.case(number)
            answer = agent.invoke({"messages": [("user", case.text)]})["messages"][-1]
            ranking = ranking_of(answer)
            right += ranking.answer == case.answer
            print(f"Patient {number}: the right answer is {case.answer}.\n{ranking}\n")
        print(tally(right, PATIENTS))


if __name__ == "__main__":
    main()
