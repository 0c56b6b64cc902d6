"""Whether a ranking's answer may be relied on: calibrated on judged questions, or by plain floors."""
