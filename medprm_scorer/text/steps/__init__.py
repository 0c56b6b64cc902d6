"""Splits a chain of thought into the steps that the model judges one by one."""

from medprm_scorer.text.steps.split import SPLIT_RULES, Steps, split_steps

__all__ = ["SPLIT_RULES", "Steps", "split_steps"]
