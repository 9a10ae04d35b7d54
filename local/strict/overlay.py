"""Lays corrected methods over a class of moto, whose own class must stay: moto finds its URLs by the class's module."""

from inspect import isfunction


def lay(corrections: type, over: type) -> None:
    """Replaces in `over` what `corrections` defines, and adds what `over` lacks; doing it twice changes nothing."""
    for name, member in vars(corrections).items():
        if isfunction(member):
            setattr(over, name, member)
