//! What a plugin by the proxy-wasm ABI 0.2.1 has to have, whatever it does: for plugins of tests and benchmarks.

use std::ptr::null_mut;

/// `WasmResult::Ok` of the ABI
pub const OK: u32 = 0;

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_context: u32, _root: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(_context: u32) -> bool {
    true
}

/// The first call of all. A library has no `main` that would run what must run before it.
#[cfg(target_os = "wasi")]
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: the linker makes it, and Envoy calls this once.
    unsafe { __wasm_call_ctors() };
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_buffer_bytes(kind: u32, start: usize, size: usize, data: *mut *mut u8, got: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

/// Up to `size` bytes of the buffer of that number.
pub fn buffer(kind: u32, size: usize) -> Result<Vec<u8>, u32> {
    // SAFETY: as for `returned`; no pointer of ours is given
    returned(|data, got| unsafe { proxy_get_buffer_bytes(kind, 0, size, data, got) })
}

/// The value of a header in the map of that number.
pub fn header(map: u32, name: &str) -> Result<Vec<u8>, u32> {
    // SAFETY: as for `returned`; the name outlives the call
    returned(|data, size| unsafe { proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size) })
}

/// What a call gives: a buffer that Envoy has allocated by `proxy_on_memory_allocate` with exactly the returned size, and that is
/// ours to free.
pub fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, u32> {
    let (mut data, mut size) = (null_mut(), 0);
    match call(&raw mut data, &raw mut size) {
        OK if data.is_null() => Ok(Vec::new()),
        // SAFETY: see above
        OK => Ok(unsafe { Vec::from_raw_parts(data, size, size) }),
        status => Err(status),
    }
}
