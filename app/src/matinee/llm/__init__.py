"""Language models behind the APIs of several providers."""

from matinee.llm.chain import STOPPED, Chain, CutOffError, LanguageModelError, StoppedError, Writer
from matinee.llm.model import Limits, Turn

__all__ = [
    "STOPPED",
    "Chain",
    "CutOffError",
    "LanguageModelError",
    "Limits",
    "StoppedError",
    "Turn",
    "Writer",
]
