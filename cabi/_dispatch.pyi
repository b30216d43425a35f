"""Types of the dispatcher (cabi/dispatch/dispatch.h, cabi/channel/channel.h), compiled by cffi."""

from typing import Any, Final

ffi: Any

class _Lib:
    PYSC_CHANNEL_VERSION: Final[int]
    PYSC_SLOTS: Final[int]
    PYSC_DATA_SIZE: Final[int]
    PYSC_DATA_ROOM: Final[int]
    PYSC_COMMANDS: Final[int]
    PYSC_HINTS: Final[int]
    PYSC_FILTER_LENGTH: Final[int]
    PYSC_LOW: Final[int]
    PYSC_LIMIT: Final[int]
    PYSC_VDSO: Final[int]
    PYSC_VDSO_TABLE: Final[int]
    PYSC_TABLE_START: Final[int]
    PYSC_TABLE_END: Final[int]
    PYSC_TASK_SIZE: Final[int]
    PYSC_STACK_SIZE: Final[int]
    PYSC_FD_SOCKET: Final[int]
    PYSC_FD_DOORBELL: Final[int]
    PYSC_FD_DONATED: Final[int]
    PYSC_SIGNAL_PREEMPT: Final[int]
    PYSC_TURN_GUEST: Final[int]
    PYSC_TURN_SENTRY: Final[int]
    PYSC_CLONE_FORK: Final[int]
    PYSC_CLONE_THREAD: Final[int]
    PYSC_CLONE_BIRTH: Final[int]
    PYSC_KIND_SYSCALL: Final[int]
    PYSC_KIND_PREEMPTED: Final[int]
    PYSC_KIND_FAULT: Final[int]
    PYSC_KIND_INTERRUPTED: Final[int]
    PYSC_KIND_SIGRETURN: Final[int]
    PYSC_KIND_GONE: Final[int]
    PYSC_KIND_BORN: Final[int]
    PYSC_KIND_DONE: Final[int]
    PYSC_KIND_FRAME_FAULT: Final[int]
    PYSC_KIND_EXITING: Final[int]
    PYSC_CMD_COPY_IN: Final[int]
    PYSC_CMD_COPY_OUT: Final[int]
    PYSC_CMD_PUT: Final[int]
    PYSC_CMD_STRING_IN: Final[int]
    PYSC_CMD_STRINGS_IN: Final[int]
    PYSC_CMD_HOST: Final[int]
    PYSC_CMD_RECEIVE: Final[int]
    PYSC_CMD_MAP: Final[int]
    PYSC_CMD_ZERO: Final[int]
    PYSC_CMD_CLOSE: Final[int]
    PYSC_CMD_SET_REGISTERS: Final[int]
    PYSC_CMD_FORK: Final[int]
    PYSC_CMD_CLONE: Final[int]
    PYSC_VERDICT: Final[int]
    PYSC_CMD_REPLY: Final[int]
    PYSC_CMD_RESUME: Final[int]
    PYSC_CMD_RESTART: Final[int]
    PYSC_CMD_RUN: Final[int]
    PYSC_CMD_EXIT: Final[int]
    PYSC_FLAG_FRAME: Final[int]
    PYSC_FLAG_PREEMPT: Final[int]
    PYSC_READY: Final[int]
    PYSC_MOVED: Final[int]
    PYSC_OBJECT_TABLE: Final[int]
    PYSC_OBJECT_FILE: Final[int]
    PYSC_OBJECT_DATA: Final[int]
    PYSC_OBJECT_PIPE: Final[int]
    PYSC_OBJECT_COUNTER: Final[int]
    PYSC_OBJECT_KINDS: Final[int]
    PYSC_FILE_OTHER: Final[int]
    PYSC_FILE_REGULAR: Final[int]
    PYSC_FILE_PIPE: Final[int]
    PYSC_FILE_COUNTER: Final[int]
    PYSC_DATA_NONE: Final[int]
    PYSC_DATA_HOST: Final[int]
    PYSC_DATA_MEMORY: Final[int]
    PYSC_DATA_OTHER: Final[int]
    PYSC_WAITS_BYTES: Final[int]
    PYSC_WAITS_ROOM: Final[int]
    PYSC_WAITS_POLL: Final[int]

    def pysc_engine_new(self) -> Any: ...
    def pysc_engine_free(self, engine: Any) -> None: ...
    def pysc_engine_share(self, engine: Any, file: int) -> int: ...
    def pysc_engine_counters(self, engine: Any) -> Any: ...
    def pysc_space_add(self, engine: Any, file: int, doorbell: int) -> int: ...
    def pysc_space_remove(self, engine: Any, space: int) -> int: ...
    def pysc_space_channel(self, engine: Any, space: int) -> Any: ...
    def pysc_thread_add(self, engine: Any, space: int, slot: int) -> int: ...
    def pysc_thread_remove(self, engine: Any, thread: int) -> int: ...
    def pysc_thread_slot(self, engine: Any, thread: int) -> Any: ...
    def pysc_watch(self, engine: Any, file: int, events: int) -> int: ...
    def pysc_unwatch(self, engine: Any, file: int) -> int: ...
    def pysc_wait(self, engine: Any, timeout_ns: int, events: Any, max: int) -> int: ...  # noqa: A002
    def pysc_command(
        self,
        engine: Any,
        thread: int,
        op: int,
        flags: int,
        a0: int,
        a1: int,
        a2: int,
        a3: int,
        a4: int,
        a5: int,
        extra: int,
    ) -> int: ...
    def pysc_flush(self, engine: Any, thread: int) -> int: ...
    def pysc_reply(self, engine: Any, thread: int, result: int) -> int: ...
    def pysc_put(self, engine: Any, thread: int, op: int, address: int, data: Any, size: int) -> int: ...
    def pysc_reserve(self, engine: Any, thread: int, size: int) -> int: ...
    def pysc_result(self, engine: Any, thread: int, index: int) -> int: ...
    def pysc_engine_serve(self, engine: Any, objects: Any) -> None: ...
    def pysc_thread_use_table(self, engine: Any, thread: int, table: int) -> int: ...
    def pysc_objects_new(self) -> Any: ...
    def pysc_objects_free(self, objects: Any) -> None: ...
    def pysc_object_new(self, objects: Any, kind: int) -> int: ...
    def pysc_object_free(self, objects: Any, kind: int, index: int) -> None: ...
    def pysc_object_count(self, objects: Any, kind: int) -> int: ...
    def pysc_table_at(self, objects: Any, index: int) -> Any: ...
    def pysc_file_at(self, objects: Any, index: int) -> Any: ...
    def pysc_data_at(self, objects: Any, index: int) -> Any: ...
    def pysc_pipe_at(self, objects: Any, index: int) -> Any: ...
    def pysc_counter_at(self, objects: Any, index: int) -> Any: ...
    def pysc_table_get(self, table: Any, fd: int) -> int: ...
    def pysc_table_install(self, table: Any, file: int, lowest: int, limit: int, cloexec: int) -> int: ...
    def pysc_table_put(self, table: Any, fd: int, file: int, cloexec: int) -> int: ...
    def pysc_table_remove(self, table: Any, fd: int) -> int: ...
    def pysc_table_next(self, table: Any, fd: int, cloexec_only: int) -> int: ...
    def pysc_table_cloexec(self, table: Any, fd: int) -> int: ...
    def pysc_table_set_cloexec(self, table: Any, fd: int, value: int) -> int: ...
    def pysc_table_copy(self, objects: Any, table: Any) -> int: ...
    def pysc_pipe_put(self, pipe: Any, bytes: Any, size: int) -> int: ...  # noqa: A002
    def pysc_pipe_take(self, pipe: Any, bytes: Any, size: int) -> int: ...  # noqa: A002
    def pysc_pipe_drop(self, pipe: Any, size: int) -> int: ...
    def pysc_data_grow(self, data: Any, size: int) -> int: ...
    def pysc_data_shrink(self, data: Any) -> None: ...
    def pysc_notify_receive(self, listener: int, notification: Any) -> int: ...
    def pysc_notify_answer(self, listener: int, id: int, value: int, error: int, flags: int) -> int: ...  # noqa: A002
    def pysc_notify_add_file(self, listener: int, id: int, file: int, as_: int) -> int: ...  # noqa: A002
    def pysc_tgkill(self, process: int, thread: int, signo: int) -> int: ...

lib: _Lib
