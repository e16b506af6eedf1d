"""A registered function: its name, signature, codecs and policies. The engine's `Function`."""

from __future__ import annotations

import functools
import inspect
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any

from perdure.api.arguments import Arguments, Binder
from perdure.api.endings import NO_END, Ends
from perdure.api.queues import Key, key_text
from perdure.backends.base import DEFAULT_QUEUE, InvocationKind
from perdure.core.identity import validate_identifier
from perdure.core.retry import NO_RETRY, Retry
from perdure.engine.around import Around
from perdure.engine.effects import Call as EngineCall
from perdure.engine.executors import ExecutorChoice
from perdure.errors import (
    ConfigurationError,
    DeserializationError,
    RegistrationError,
    SerializationError,
)
from perdure.values import (
    MAIN_MODULES,
    Codec,
    TypeRegistry,
    codec_for,
    decode_arguments,
    encode_arguments,
    main_module_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How attempts of a function are made.

    Attributes:
        retry: what happens after a failed attempt.
        timeout: seconds for one attempt, or None for no limit.
        queue: where its starts go.
        key: which calls share the limit of one key; None for no such limit.
        executor: where bodies run.
        pure: whether a body may run again without harm.
        once: whether a body must not run again when it is not known what came of it.
        on_uncertain: the task that finds out what did.
        completes_outside: whether a body may leave its task open; `timeout` is for that then.
        ends: what limits the time of a whole workflow.
        heartbeat_timeout: seconds without a heartbeat for one attempt, or None for no limit.
    """

    retry: Retry = NO_RETRY
    timeout: float | None = None
    queue: str = DEFAULT_QUEUE
    key: Key | None = None
    executor: ExecutorChoice = "thread"
    pure: bool = False
    once: bool = False
    on_uncertain: Definition | None = None
    completes_outside: bool = False
    ends: Ends = NO_END
    heartbeat_timeout: float | None = None


class Definition:
    """One function under one name. Immutable after registration; used from any thread.

    Attributes:
        public: the task or workflow object that users hold.
        names: its name and its aliases; the registry adds the aliases.
        is_plain: a direct call runs here, for it has neither a queue of its own nor a key, and
            nobody completes it from outside.
        around: what its bodies run in, if anything.
        queries: functions of a workflow's data, by name.
        validators: what may refuse an update, by the name of the update.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        kind: InvocationKind,
        name: str,
        types: TypeRegistry,
        policy: Policy,
    ) -> None:
        """Read the signature; annotations are resolved at the first use, once.

        (Not earlier, because an annotation may name a class that is defined further down.)
        """
        self.function = function
        self.kind = kind
        self.name = name
        self.names = frozenset({name})
        self.is_async = is_async_function(function)
        self.retry = policy.retry
        self.completes_outside = outside = policy.completes_outside
        self.timeout = None if outside else policy.timeout
        self.completion_timeout = policy.timeout if outside else None
        self.queue = policy.queue
        self.ends = policy.ends
        self.heartbeat_timeout = policy.heartbeat_timeout
        self.pure = policy.pure
        self.once = policy.once
        self._on_uncertain = policy.on_uncertain
        self.executor: ExecutorChoice = policy.executor
        self.binder = Binder(function)
        self._key = self.binder.selector(policy.key)
        self.is_plain = policy.queue == DEFAULT_QUEUE and self._key is None and not outside
        self.public: object = None
        self.around: Around | None = None
        self.queries: dict[str, Callable[..., Any]] = {}
        self.validators: dict[str, Callable[..., Any]] = {}
        self._types = types

    # --- codecs ---------------------------------------------------------------------------------

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        target = inspect.unwrap(self.function)
        try:
            return typing.get_type_hints(target, include_extras=True)
        except Exception:  # noqa: BLE001 - an annotation may raise anything; it is only a hint
            return dict.fromkeys(getattr(target, "__annotations__", {}), Any)

    @functools.cached_property
    def untyped(self) -> Codec:
        """The codec of values without an annotation."""
        return codec_for(Any, self._types)

    @functools.cached_property
    def parameters(self) -> dict[str, Codec]:
        """The codec of each annotated parameter."""
        return {
            name: codec_for(annotation, self._types)
            for name, annotation in self._hints.items()
            if name != "return"
        }

    @functools.cached_property
    def _result(self) -> Codec:
        return codec_for(self._hints.get("return", Any), self._types)

    @functools.cached_property
    def _where(self) -> str:
        return f"arguments of {self.kind} {self.name!r}"

    @functools.cached_property
    def _where_result(self) -> str:
        return f"result of {self.kind} {self.name!r}"

    # --- calls ----------------------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> EngineCall:
        """Bind and encode one call.

        Raises:
            TypeError: the arguments do not fit the signature.
            SerializationError: one of them cannot be recorded; nothing was.
        """
        values = self.binder.bind(args, kwargs)
        body = encode_arguments(self.parameters, values, self._where, untyped=self.untyped)
        return EngineCall(self, body)

    def call_with(self, values: Mapping[str, Any]) -> EngineCall:
        """Encode bound arguments."""
        body = encode_arguments(self.parameters, values, self._where, untyped=self.untyped)
        return EngineCall(self, body)

    def decode_call(self, arguments: bytes) -> dict[str, Any]:
        """Arguments by parameter name, as fresh objects."""
        return decode_arguments(self.parameters, arguments, self._where, untyped=self.untyped)

    def limit_key(self, arguments: bytes) -> str:
        """The key of this call, by its recorded arguments; "" without a `key=`.

        Raises:
            ConfigurationError: the key function raised, or gave no key.
        """
        if self._key is None:
            return ""
        values = self.decode_call(arguments)
        try:
            key = self._key(values)
        except Exception as error:
            raise ConfigurationError(
                f"key= of {self.kind} {self.name!r} raised {type(error).__name__}: {error}"
                f"{_line_of(error)}. Nothing was started. It gets the arguments as the function "
                "itself would."
            ) from error
        return key_text(key)

    def bind(self, arguments: bytes) -> Callable[[], object]:
        """The function bound to freshly decoded arguments, not called yet.

        Raises:
            DeserializationError: a workflow does not take them. Its code is another one than that
                which it was started for, older or newer; to fail it for that would be for good.
        """
        values = self.decode_call(arguments)
        if self.kind == "workflow" and (why := self.binder.refusal(values)):
            raise DeserializationError(
                f"Workflow {self.name!r} does not take what it was started with ({why}). Deploy "
                "the code that does, and let it go on: perdure workflow resume ID. If no code "
                "does, end it: perdure workflow terminate ID."
            )
        args, kwargs = self.binder.spell(values)
        return functools.partial(self.function, *args, **kwargs)

    def asking(self, arguments: bytes) -> EngineCall | None:
        """The call that finds out what became of a call with these arguments, if there is one.

        It has the same parameters. Where their types differ it is its body that fails, on record.
        """
        asked = self._on_uncertain
        return None if asked is None else EngineCall(asked, arguments)

    def encode_result(self, value: object) -> tuple[bytes, object]:
        """The recorded form of a result and its decoded round trip."""
        if isinstance(value, CoroutineType):
            value.close()
            remedy = (
                "Await it and return what it gives: return await ..."
                if self.is_async
                else "Return a value. If the function is async behind a decorator that hides this, "
                "let the wrapper of that decorator be an `async def`, or use functools.wraps in it."
            )
            raise SerializationError(
                f"{self._where_result}: it is the coroutine {value.__qualname__!r}, which nobody "
                f"awaited. {remedy}"
            )
        return self._result.encode_and_decode(value, self._where_result)

    def decode_result(self, body: bytes) -> object:
        """A result from its recorded form."""
        return self._result.decode(body, self._where_result)

    @property
    def result_type(self) -> Any:
        """What its results are annotated with."""
        return self._result.annotation

    def same_arguments(self, recorded: bytes, asked: bytes) -> bool:
        """Whether two argument sets mean one call.

        A parameter that the record does not have, at its present default, is no difference.
        """
        if recorded == asked:
            return True
        try:
            old = self._bound(recorded)
            new = self._bound(asked)
            full = {**self.binder.defaults, **old}
            return self.call_with({k: full[k] for k in new if k in full}).digest == (
                self.call_with(new).digest
            )
        except (DeserializationError, TypeError):
            return False

    def _bound(self, arguments: bytes) -> dict[str, Any]:
        args, kwargs = self.binder.spell(self.decode_call(arguments))
        return self.binder.bind(tuple(args), kwargs)


@dataclass(frozen=True)
class Call:
    """A task (or workflow) plus its arguments, not run yet.

    Args:
        task: a function decorated with `@app.task` or `@app.workflow`.
        arguments: `Arguments.from_call(task, ...)`.

    Two calls with equal arguments have one `call_id`, in any process and on any machine.
    """

    task: Any
    arguments: Arguments
    _encoded: EngineCall = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Encode the arguments, so that what cannot be recorded is refused here."""
        definition = getattr(self.task, "definition", None)
        if not isinstance(definition, Definition):
            raise RegistrationError(
                f"Call(task, ...) got {self.task!r}, which is no task. Decorate it with @app.task."
            )
        object.__setattr__(self, "_encoded", definition.call_with(self.arguments.values))

    @property
    def call_id(self) -> str:
        """Name and argument fingerprint; equal for equal calls."""
        return self._encoded.call_id


# --- names --------------------------------------------------------------------------------------


def unwrap_static(function: object) -> Callable[..., Any]:
    """The function inside of a `staticmethod`, or the function itself.

    Raises:
        RegistrationError: it is not callable.
    """
    if isinstance(function, staticmethod):
        inner: Callable[..., Any] = function.__func__
        return inner
    if not callable(function):
        raise RegistrationError(
            f"{function!r} is not callable, so it cannot be a task or workflow. Decorate a "
            "function: @app.task above its def."
        )
    return function


def refuse_unusable(function: Callable[..., Any]) -> None:
    """Refuse functions that a call does not run: generators, and methods that lack their object.

    Raises:
        RegistrationError: it is one of them.
    """
    target = inspect.unwrap(function)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise RegistrationError(
            f"{function!r} is a generator; calling it runs nothing. Return a list instead."
        )
    code = getattr(target, "__code__", None)
    qualname = str(getattr(target, "__qualname__", ""))
    in_class = "." in qualname and not qualname.rpartition(".")[0].endswith("<locals>")
    if in_class and code is not None and code.co_varnames[:1] in (("self",), ("cls",)):
        raise RegistrationError(
            f"{qualname!r} is a method: its object would have to be recorded with every call. "
            "Decorate a plain function or a staticmethod, and pass what it needs."
        )


def is_async_function(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine (also behind decorators that use functools.wraps)."""
    function = inspect.unwrap(function)
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is looked at
    return inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function) and inspect.iscoroutinefunction(call)
    )


def default_name(function: Callable[..., Any]) -> str:
    """`module.qualname`, with `__main__` replaced by the stem of the script's file.

    So a script that is run, and the same file when it is imported, name their functions alike.
    """
    module = str(getattr(function, "__module__", "") or "")
    qualname = str(getattr(function, "__qualname__", "") or "")
    if not qualname:
        raise RegistrationError(f"{function!r} has no name of its own. Give it one with name=.")
    if module in MAIN_MODULES:
        module = main_module_name()
        module = "notebook" if module == "__main__" else module
    return validate_identifier(f"{module}.{qualname}" if module else qualname, "name")


def _line_of(error: BaseException) -> str:
    """Where a user's function raised it; nothing if it was raised before the function was run."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = Binder.bind.__code__.co_filename
    return "" if frame.filename == ours else f" at {frame.filename}:{frame.lineno}"
