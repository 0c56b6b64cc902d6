"""Whether to trust an answer, with a calibration or plain floors, and which documents support it."""
