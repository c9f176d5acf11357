"""Of which kind an exception is, and what a group of them holds; asking never runs its own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_members: Callable[[BaseException], Sequence[BaseException]]
_members = vars(BaseExceptionGroup)["exceptions"].__get__  # whatever a subclass makes of its own


def is_a(error: BaseException, kind: type[BaseException]) -> bool:
    """`isinstance` that asks the type alone: a hostile `__class__` would be run by the other."""
    return issubclass(type(error), kind)


def holds(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error, or one of the group that it is, is of this kind."""
    return is_a(error, kind) or any(is_a(leaf, kind) for leaf in leaves(error))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, those of groups in it too, in order; of no group, the error itself."""
    left = [error]
    while left:
        one = left.pop()
        if is_a(one, BaseExceptionGroup):
            left += reversed(_members(one))
        else:
            yield one
