"""An agent whose final answers are the best of several: `python -m examples.llama_index_agent`.

The agent calls its search tool by itself. What the tool finds is the evidence that its answers are checked against.
"""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool

from examples.few_patients import PATIENTS, tally
from examples.formulary.hospital import Hospital
from examples.formulary.turns import TOOL, found_text
from examples.llama_index_parts import FormularySearch, ask_locally
from medprm_integrations.llama_index import MedPRMLLM, ranking_of
from medprm_scorer import MedPRM
from medprm_scorer.text.policy import POLICY_PROMPTS


def build_agent(llm: FunctionCallingLLM, hospital: Hospital) -> FunctionAgent:
    """An agent that searches before it answers; with a `MedPRMLLM` around the llm, it selects too."""
    search = FormularySearch(hospital)

    def find(query: str) -> str:
        return found_text(search.find(query))

    tool = FunctionTool.from_defaults(find, name=TOOL, description="Find the guidelines and labels for a patient.")
    return FunctionAgent(tools=[tool], llm=llm, system_prompt=POLICY_PROMPTS["options"], streaming=False)


async def answer() -> None:
    """Answer some patients' questions."""
    hospital = Hospital(0)
    with ask_locally() as llm:
        agent = build_agent(MedPRMLLM(llm=llm, prm=MedPRM.from_pretrained(), n=8), hospital)
        right = 0
        for number in range(PATIENTS):
            case = hospital.case(number)
            output = await agent.run(case.text)
            ranking = ranking_of(output)
            right += ranking.answer == case.answer
            print(f"Patient {number}: the right answer is {case.answer}.\n{ranking}\n")
        print(tally(right, PATIENTS))


def main() -> None:
    """Run the agent."""
    asyncio.run(answer())


if __name__ == "__main__":
    main()
