"""How moto's behaviour is changed: a method replaced, with the original at hand, or one added."""

import functools
from collections.abc import Callable
from typing import Any

Method = Callable[..., Any]


def mends(owner: type, name: str) -> Callable[[Method], Method]:
    """Replace a method of one of moto's classes by the decorated function.

    The function gets the original as its first argument, then what the method gets.

    Raises:
        AttributeError: The class has no such method: moto has changed.
    """
    original = getattr(owner, name)

    def install(replacement: Method) -> Method:
        @functools.wraps(replacement)
        def mended(*args: object, **kwargs: object) -> object:
            return replacement(original, *args, **kwargs)

        setattr(owner, name, mended)
        return replacement

    return install


def adds(owner: type, name: str) -> Callable[[Method], Method]:
    """Add the decorated function as a method to one of moto's classes.

    Raises:
        AttributeError: The class has one of this name: moto has changed.
    """
    if hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} already has {name}")

    def install(method: Method) -> Method:
        setattr(owner, name, method)
        return method

    return install
