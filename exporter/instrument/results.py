"""What an action came to, as a value instead of an exception. Pure."""

from __future__ import annotations

from typing import Generic, Literal, NoReturn, TypeAlias, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


class UnwrapError(Exception):
    """The value of a failure, or the error of a success, was asked for."""


class Success(Generic[T]):
    """The result of an action that succeeded, with its value."""

    __match_args__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Success({self.value!r})"

    def is_success(self) -> Literal[True]:
        """Return True."""
        return True

    def is_failure(self) -> Literal[False]:
        """Return False."""
        return False

    def unwrap(self) -> T:
        """Return the value."""
        return self.value

    def unwrap_err(self) -> NoReturn:
        """Raise `UnwrapError`."""
        raise UnwrapError(f"there is no error: {self!r}")


class Failure(Generic[E]):
    """The result of an action that failed, with its error."""

    __match_args__ = ("error",)

    def __init__(self, error: E) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"Failure({self.error!r})"

    def is_success(self) -> Literal[False]:
        """Return False."""
        return False

    def is_failure(self) -> Literal[True]:
        """Return True."""
        return True

    def unwrap(self) -> NoReturn:
        """Raise `UnwrapError` from the error."""
        raise UnwrapError(str(self.error)) from self.error

    def unwrap_err(self) -> E:
        """Return the error."""
        return self.error


Result: TypeAlias = Success[T] | Failure[E]
