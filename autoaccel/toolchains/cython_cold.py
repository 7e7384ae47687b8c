"""Tell GCC which functions of a generated file run seldom: it need not spend its time on them.

Most of what Cython writes into a module is its own: what types and functions are set up with, what error messages,
attributes of functions and the Python face of memoryviews are made of. It runs once, or beside Python calls
that take longer. Functions not known by name here stay as they are: with another version of Cython the worst that can
happen is a slower compile. Lines stay where they are, for debuggers and messages.
"""

from __future__ import annotations

import re

__all__ = ["RULE", "mark"]

_ATTRIBUTE = '__attribute__((optimize("O0"))) '

#: Where a function of Cython's own begins, or its prototype. What may be inlined into a user's function stays.
_HEAD = re.compile(r"^static (?!CYTHON_INLINE\b|inline\b)(?=[\w\s*]*?\b(_\w+)\()", re.MULTILINE)

#: None is a user's function: those are `__pyx_f_`, `__pyx_pf_`, `__pyx_pw_` or `__pyx_gb_` and the module's name.
_COLD = re.compile(
    r"""
    # setting up and tearing down
    __Pyx_(?:modinit_|Init[A-Z]|CreateCodeObjects|PyCode_New|copy_spec_to_module|check_|get_runtime|init_|RefNannyImport
        |RegisterCleanup|DecompressString|State_|ModuleState|SetPackagePath|Import[FTV]\w+_\d|Export
        |ApiExport|main)
    | __pyx_(?:pymod_create|m_clear|m_traverse|m_free|lzss_|CommonTypes|(?:CyFunction|FusedFunction|Generator)_init
        |\w*Coroutine_init)
    # types and classes
    | __Pyx_(?:PyType_Ready|PyType_From|FetchCommonType|FetchShared|VerifyCachedType|setup_reduce|SetVtable|GetVtable
        |MergeVtables|validate_|PEP560|CalculateMetaclass|FindInherited|Py3|CreateClass|GetTypeTypeDict|_SetItemOnTypeDict
        |_DelItemOnTypeDict|ApplySequenceOrMapping|Method_ClassMethod|TryUnpackUnboundCMethod)
    # functions and generators as objects: their attributes, and calls that vectorcalls go past
    | __Pyx_CyFunction_(?:get_|set_|repr|reduce|annotate|init_defaults|traverse|InitClassCell|CallMethod|CallAsMethod)
    | __Pyx_(?:FusedFunction_get|Coroutine_(?:get_|set_|fail|traverse))
    # messages and tracebacks
    | __Pyx_\w*(?:Raise(?!$)|_raise_|TypeError|_error$|Error$|ErrorNogil|BadArgument|WrongResult)
    | __Pyx_(?:WriteUnraisable|CLineForTraceback|CreateCodeObjectForTraceback|PyCode_Replace|BufFmt_Describe
        |ValidateStar|TypeInfoToFormat)
    | __pyx__?insert_code_object
    # the Python face of memoryviews
    | __pyx_(?:MemviewEnum_|array___(?!cinit__|dealloc__|pyx_pf_15View_dot_MemoryView_5array_(?:__cinit__|[24]__)))
    | __pyx_memoryview_(?:setitem_|assign_|convert_|err|is_|copy(?!_contents|_new)|__(?:str|repr|len|setitem)__
        |__pyx_pf_15View_dot_MemoryView_10memoryview_(?:6__|1\d|2\d))
    | __pyx_memoryviewslice_(?:assign_|convert_)
    | __pyx_getprop___pyx_(?:array|memoryview)_ | __pyx_p[wf]_15View_dot_MemoryView_
    | __pyx_(?:tp_init|tp_traverse|tp_clear|tp_getattro|sq_ass_item|mp_ass_subscript)_
        (?:Enum|array|memoryview|_memoryviewslice)$ | __pyx_tp_(?:new_)?vectorcall_(?:Enum|_memoryviewslice)$
    | __pyx_memview_slice$ | _unellipsify
    | __pyx_p[wf]___pyx_(?:MemviewEnum|array|memoryview|memoryviewslice)_
    """,
    re.VERBOSE,
)

#: What decides about the output, for keys.
RULE = _ATTRIBUTE + _COLD.pattern

#: The module's own statements follow Cython's preparations, in one function.
_EXEC = re.compile(r"^static (?=[\w\s*]*\b__pyx_pymod_exec_\w+\()", re.MULTILINE)
_STATEMENTS = "/*--- Execution code ---*/"
_LOOP = re.compile(r"\b(?:for|while) \(")


def mark(text: str) -> str:
    """The generated file ``text`` with an attribute before each function that runs seldom."""
    if "GCC optimize" in text or "GCC push_options" in text:
        return text  # somebody who wrote C into the module has the say
    text = _HEAD.sub(lambda head: head[0] + _ATTRIBUTE if _COLD.match(head[1]) else head[0], text)
    _, found, statements = text.partition(_STATEMENTS)
    if found and not _LOOP.search(statements.partition("\n}\n")[0]):
        text = _EXEC.sub(lambda head: head[0] + _ATTRIBUTE, text)
    return text
