"""What calls a compiled function from Python: numba's own wrapper, but with the arguments in a C array and arrays lent.

Made with numba's own classes, so that boxing, unboxing and errors are numba's. An array is another matter: the runtime
has compared its type, and whoever calls keeps it alive, so all that is needed is in its fields (``aart_lend``, aart.c).
"""

from __future__ import annotations

import functools
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["text"]

#: Where numpy has the fields of an array, in pointers from its start; aart.c holds numpy to it.
DATA, DIMENSIONS, STRIDES = 2, 4, 5


def text(dispatcher: Any, compiled: Any, symbol: str) -> tuple[str, tuple[bytes, ...]]:
    """The wrapper as LLVM text, and the bitcode of what it needs."""
    ir = import_module("llvmlite.ir")
    wrappers = import_module("numba.core.callwrapper")
    types = import_module("numba.core.types")
    context = import_module("numba.core.registry").cpu_target.target_context.subtarget(enable_nrt=True)
    description = compiled.fndesc
    made = context.create_module("autoaccel")
    callee = ir.Function(
        made, context.call_conv.get_function_type(description.restype, description.argtypes), description.llvm_func_name
    )
    side = context.codegen().create_library("autoaccel")
    nogil = dispatcher.targetoptions.get("nogil", False)
    with context.push_code_library(side):
        whole = wrappers.PyCallWrapper(context, made, callee, description, compiled.environment, None, nogil)
        pointer = context.get_argument_type(types.pyobject)
        function = ir.Function(made, ir.FunctionType(pointer, [pointer.as_pointer()]), name=symbol)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        api = context.get_python_api(builder)
        end = builder.append_basic_block("arg.end")
        with builder.goto_block(end):
            builder.ret(api.get_null_object())
        env_manager = whole.get_env(api, builder)
        arguments = _arguments()(context, builder, api, env_manager, end, len(description.argtypes))
        inner: list[Any] = []
        for place, kind in enumerate(description.argtypes):
            if isinstance(kind, types.Omitted):
                inner.append(None)
                continue
            given = builder.load(builder.gep(function.args[0], [ir.Constant(ir.IntType(64), place)]))
            inner.append(arguments.add_arg(given, kind))
        manager = wrappers._GilManager(builder, api, arguments) if nogil else arguments
        status, result = context.call_conv.call_function(
            builder, callee, description.restype, description.argtypes, inner, attrs=("noinline",)
        )
        manager.emit_cleanup()
        with builder.if_then(status.is_ok, likely=True):
            with builder.if_then(status.is_none):
                api.return_none()
            kind = whole._simplified_return_type()
            builder.ret(api.from_native_return(kind, result, env_manager))
        context.call_conv.raise_error(builder, api, status)
        builder.ret(api.get_null_object())
    told = import_module("numba.core.cgutils").normalize_ir_text(str(made))
    needed = dict.fromkeys(side._linking_libraries)
    return told, tuple(one._get_module_for_linking().as_bitcode() for one in needed)


@functools.cache
def _arguments() -> type:
    """numba's class that unboxes arguments, with a way of its own for arrays."""
    wrappers: Any = import_module("numba.core.callwrapper")
    types = import_module("numba.core.types")

    class Arguments(wrappers._ArgManager):  # type: ignore[misc]
        def add_arg(self, obj: Any, ty: Any) -> Any:
            if type(ty) is not types.Array:
                return super().add_arg(obj, ty)
            value, meminfo, returned = _lent(self, obj, ty)

            def cleanup() -> None:
                self.builder.call(returned, [meminfo])

            self.cleanups.append(cleanup)
            failed = self.builder.append_basic_block(f"arg{self.arg_count}.err")
            with self.builder.goto_block(failed):
                cleanup()
                self.builder.branch(self.nextblk)
            self.nextblk: Any = failed
            self.arg_count += 1
            return value

    return Arguments


def _lent(arguments: Any, obj: Any, kind: Any) -> tuple[Any, Any, Any]:
    """The native value of an array, its meminfo, and the function that takes this back."""
    ir = import_module("llvmlite.ir")
    arrays = import_module("numba.np.arrayobj")
    cgutils = import_module("numba.core.cgutils")
    types = import_module("numba.core.types")
    builder, context = arguments.builder, arguments.context
    word, pointer = context.get_value_type(types.intp), ir.IntType(8).as_pointer()
    fields = builder.bitcast(obj, pointer.as_pointer())

    def field(place: int) -> Any:
        return builder.load(builder.gep(fields, [ir.Constant(word, place)]))

    def extents(place: int) -> list[Any]:
        first = builder.bitcast(field(place), word.as_pointer())
        return [builder.load(builder.gep(first, [ir.Constant(word, axis)])) for axis in range(kind.ndim)]

    def runtime(name: str, result: Any, *given: Any) -> Any:
        return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, given), name)

    data = field(DATA)
    meminfo = builder.call(runtime("aart_lend", pointer, pointer, obj.type), [data, obj])
    with cgutils.if_unlikely(builder, cgutils.is_null(builder, meminfo)):
        builder.branch(arguments.nextblk)
    array = arrays.make_array(kind)(context, builder)
    arrays.populate_array(
        array,
        data=builder.bitcast(data, array.data.type),
        shape=extents(DIMENSIONS),
        strides=extents(STRIDES),
        itemsize=import_module("numba.np.numpy_support").as_dtype(kind.dtype).itemsize,
        meminfo=meminfo,
        parent=builder.bitcast(obj, array.parent.type),
    )
    return array._getvalue(), meminfo, runtime("aart_returned", ir.VoidType(), pointer)
