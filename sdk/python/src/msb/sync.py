"""The same API without `await`, for programs without an event loop.

    import msb.sync as msb

    with msb.Client() as client, client.create("dev", image="alpine", ephemeral=True) as sandbox:
        print(sandbox.exec("uname", ["-a"]).stdout_text)

Every object wraps the one of `msb` with the same name. A `Client` runs its calls in an event loop in a thread of its
own, which starts at the first call and ends with `close`; its objects can be used from any thread. `with` and `for`
take the place of `async with` and `async for`. An interrupted call (Ctrl-C) is cancelled as in `msb`: it ends the
command. Classes that hold data only, such as `ExecOutput` and `Mount`, are those of `msb`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msb as _core
from msb import *  # noqa: F403

__all__ = [name for name in _core.__all__ if name not in ("Opening", "default_client")] + ["default_client"]


class _Runner:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise _core.Closed("this client has been closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="msb", daemon=True)
                self._thread.start()
            return self._loop

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            loop = self._started()
        except BaseException:
            call.close()
            raise
        if threading.current_thread() is self._thread:
            call.close()
            raise RuntimeError("msb.sync cannot be called in its own event loop")
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result()
        except BaseException:
            # An interrupt of this thread; after a failure of the call itself it has no effect.
            future.cancel()
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Makes a last call, and ends the loop and the thread; does nothing the second time."""
        with self._lock:
            loop, thread, self._loop, self._closed = self._loop, self._thread, None, True
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(last(), loop).result()
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _nothing() -> None:
    pass


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _call(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Calls a method in the loop, and awaits its result if it is to be awaited."""
    result = function(*args, **options)
    if inspect.isawaitable(result):
        result = await result
    return result


class _Facade:
    """An object of `msb` and the loop that it belongs to."""

    _core: Any
    _runner: _Runner

    @classmethod
    def _of(cls, core: Any, runner: _Runner) -> Any:
        facade = cls.__new__(cls)
        facade._core, facade._runner = core, runner
        return facade

    def _run(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        function = getattr(self._core, name)
        arguments = tuple(_unwrap(value) for value in args)
        keywords = {key: _unwrap(value) for key, value in options.items()}
        return _wrap(self._runner.run(_call(function, arguments, keywords)), self._runner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _wrap(getattr(self._core, name), self._runner)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._core, name, value)

    def __repr__(self) -> str:
        return f"<msb.sync {self._core!r}>"


def _unwrap(value: Any) -> Any:
    return value._core if isinstance(value, _Facade) else value


def _wrap(value: Any, runner: _Runner) -> Any:
    facade = _FACADES.get(type(value))
    if facade:
        return facade._of(value, runner)
    if type(value) is list:
        return [_wrap(item, runner) for item in value]
    if type(value) is _core.SandboxPage:
        page = _core.SandboxPage(_wrap(item, runner) for item in value)
        page.next_cursor = value.next_cursor
        return page
    return value


def _method(name: str, original: Any) -> Any:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        return self._run(name, args, options)

    return method


def _enter(self: Any) -> Any:
    self._run("__aenter__", (), {})
    return self


def _exit(self: Any, *exception: Any) -> None:
    self._run("__aexit__", exception, {})


def _iterate(self: Any) -> Iterator[Any]:
    iterator = aiter(self._core)
    try:
        while True:
            try:
                item = self._runner.run(_next(iterator))
            except StopAsyncIteration:
                return
            yield _wrap(item, self._runner)
    finally:
        close = getattr(iterator, "aclose", None)
        if close:
            self._runner.run(_call(close, (), {}))


async def _next(iterator: Any) -> Any:
    return await anext(iterator)


_SPECIAL = {"__aenter__": ("__enter__", _enter), "__aexit__": ("__exit__", _exit), "__aiter__": ("__iter__", _iterate)}


def _facade(core: type) -> type:
    """Makes the class without `await` of a class of `msb`."""
    members: dict[str, Any] = {"__doc__": core.__doc__, "__module__": __name__}
    for name in dir(core):
        original = inspect.getattr_static(core, name)
        if name in _SPECIAL:
            special, function = _SPECIAL[name]
            members[special] = function
        elif not name.startswith("_") and inspect.isfunction(original):
            members[name] = _method(name, original)
    return type(core.__name__, (_Facade,), members)


_FACADES: dict[type, Any] = {
    core: _facade(core)
    for core in (
        _core.AgentClient,
        _core.AgentStream,
        _core.Client,
        _core.FileReader,
        _core.Files,
        _core.FileWriter,
        _core.Images,
        _core.LogStream,
        _core.MetricsStream,
        _core.Process,
        _core.ProcessInput,
        _core.ProcessOutput,
        _core.Project,
        _core.ProjectRun,
        _core.Sandbox,
        _core.Snapshots,
        _core.Volumes,
    )
}
globals().update(
    {facade.__name__: facade for facade in _FACADES.values() if facade.__name__ not in ("Client", "AgentClient")}
)


class Client(_FACADES[_core.Client]):  # type: ignore[misc]
    __doc__ = _core.Client.__doc__

    def __init__(self, **options: Any) -> None:
        self._core, self._runner = _core.Client(**options), _Runner()

    def close(self) -> None:
        """Closes all connections of this client, and ends its thread. Sandboxes run on."""
        self._runner.close(self._core.close)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: Any) -> None:
        self.close()


class AgentClient(_FACADES[_core.AgentClient]):  # type: ignore[misc]
    __doc__ = _core.AgentClient.__doc__

    @classmethod
    def _open(cls, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        runner = _Runner()
        try:
            opened = cls._of(
                runner.run(_call(function, args, {key: _unwrap(value) for key, value in options.items()})), runner
            )
        except BaseException:
            runner.close(_nothing)
            raise
        opened._own = True
        return opened

    @classmethod
    @functools.wraps(_core.AgentClient.connect.__func__)  # type: ignore[attr-defined]
    def connect(cls, *args: Any, **options: Any) -> Any:
        return cls._open(_core.AgentClient.connect, args, options)

    @classmethod
    @functools.wraps(_core.AgentClient.connect_sandbox.__func__)  # type: ignore[attr-defined]
    def connect_sandbox(cls, *args: Any, **options: Any) -> Any:
        return cls._open(_core.AgentClient.connect_sandbox, args, options)

    @staticmethod
    @functools.wraps(_core.AgentClient.socket_path)
    def socket_path(*args: Any, **options: Any) -> Any:
        runner = _Runner()
        try:
            return runner.run(
                _call(_core.AgentClient.socket_path, args, {key: _unwrap(value) for key, value in options.items()})
            )
        finally:
            runner.close(_nothing)

    def close(self) -> None:
        """Closes the connection; the relay ends the commands of its sessions."""
        if self.__dict__.get("_own"):
            self._runner.close(self._core.close)
        else:
            self._run("close", (), {})

    def __exit__(self, *_exception: Any) -> None:
        self.close()


_FACADES[_core.Client], _FACADES[_core.AgentClient] = Client, AgentClient
_default: Client | None = None


def default_client() -> Client:
    """Returns the client that is made at the first use."""
    global _default
    if _default is None:
        _default = Client()
    return _default
