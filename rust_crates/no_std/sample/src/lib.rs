//! `add_two(a, b)` on Python's C API and without Rust's standard library: a library of a few kilobytes.
//!
//! The structures are those of CPython with a GIL; on a free-threaded one, objects begin differently.

#![no_std]

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::panic::PanicInfo;
use core::ptr::null_mut;

type Function = unsafe extern "C" fn(*mut c_void, *const *mut c_void, isize) -> *mut c_void;

#[repr(C)]
struct Method {
    name: *const c_char,
    function: Option<Function>,
    flags: c_int,
    doc: *const c_char,
}

#[repr(C)]
struct Module {
    // PyModuleDef_Base: an object's head, and what only CPython fills in.
    count: isize,
    class: *mut c_void,
    init: *mut c_void,
    index: isize,
    copy: *mut c_void,

    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *mut Method,
    slots: *mut Slot,
    traverse: *mut c_void,
    clear: *mut c_void,
    free: *mut c_void,
}

#[repr(C)]
struct Slot {
    number: c_int,
    value: *mut c_void,
}

/// Python changes these only while it makes the module, and makes it once.
struct Shared<T>(core::cell::UnsafeCell<T>);
unsafe impl<T> Sync for Shared<T> {}

const METH_FASTCALL: c_int = 0x80;

static METHODS: Shared<[Method; 2]> = Shared(core::cell::UnsafeCell::new([
    Method {
        name: c"add_two".as_ptr(),
        function: Some(add_two),
        flags: METH_FASTCALL,
        doc: c"A thousand times the sum of two integers.".as_ptr(),
    },
    Method { name: null_mut(), function: None, flags: 0, doc: null_mut() },
]));

static SLOTS: Shared<[Slot; 1]> = Shared(core::cell::UnsafeCell::new([Slot { number: 0, value: null_mut() }]));

static MODULE: Shared<Module> = Shared(core::cell::UnsafeCell::new(Module {
    count: 1,
    class: null_mut(),
    init: null_mut(),
    index: 0,
    copy: null_mut(),
    name: c"sample".as_ptr(),
    doc: c"Rust without its standard library, that speaks Python's C API.".as_ptr(),
    size: 0,
    methods: METHODS.0.get().cast(),
    slots: SLOTS.0.get().cast(),
    traverse: null_mut(),
    clear: null_mut(),
    free: null_mut(),
}));

// The interpreter that loads this has them.
unsafe extern "C" {
    static mut PyExc_TypeError: *mut c_void;
    static mut PyExc_OverflowError: *mut c_void;
    fn PyErr_Occurred() -> *mut c_void;
    fn PyErr_SetString(kind: *mut c_void, text: *const c_char);
    fn PyLong_AsLong(object: *mut c_void) -> c_long;
    fn PyLong_FromLongLong(value: i64) -> *mut c_void;
    fn PyModuleDef_Init(module: *mut Module) -> *mut c_void;
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit_sample() -> *mut c_void {
    unsafe { PyModuleDef_Init(MODULE.0.get()) }
}

unsafe extern "C" fn add_two(_: *mut c_void, arguments: *const *mut c_void, count: isize) -> *mut c_void {
    unsafe {
        if count != 2 {
            return refuse(PyExc_TypeError, c"add_two() takes two arguments");
        }
        let (Some(a), Some(b)) = (integer(*arguments), integer(*arguments.add(1))) else {
            return null_mut();
        };
        PyLong_FromLongLong(1000 * (i64::from(a) + i64::from(b)))
    }
}

/// The value of a Python integer of 32 bits; where it is none, Python's error is set.
unsafe fn integer(object: *mut c_void) -> Option<i32> {
    unsafe {
        let value = PyLong_AsLong(object);
        if value == -1 && !PyErr_Occurred().is_null() {
            return None;
        }
        match i32::try_from(value) {
            Ok(value) => Some(value),
            Err(_) => {
                refuse(PyExc_OverflowError, c"add_two() takes integers of 32 bits");
                None
            }
        }
    }
}

unsafe fn refuse(kind: *mut c_void, text: &CStr) -> *mut c_void {
    unsafe { PyErr_SetString(kind, text.as_ptr()) };
    null_mut()
}

/// Nothing here panics; the compiler wants to know what would happen.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
