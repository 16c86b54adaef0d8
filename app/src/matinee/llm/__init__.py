"""Language models behind the APIs of several providers."""

from matinee.llm.chain import Chain, CutOffError, LanguageModelError, Writer
from matinee.llm.model import Limits, Turn

__all__ = ["Chain", "CutOffError", "LanguageModelError", "Limits", "Turn", "Writer"]
