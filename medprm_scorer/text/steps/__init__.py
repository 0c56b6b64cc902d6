"""From a chain of thought to the steps that the model judges one by one."""

from medprm_scorer.text.steps.split import SPLIT_RULES, Steps, split_steps

__all__ = ["SPLIT_RULES", "Steps", "split_steps"]
