//! The calls into Envoy.
//!
//! Safety, for all of them: pointers and lengths are of slices that outlive the call, and a buffer that Envoy returns was
//! allocated by `proxy_on_memory_allocate` with exactly the returned size, and is ours to free.

use std::ptr::{null, null_mut};

/// `WasmResult::Ok` of the proxy-wasm ABI
const OK: u32 = 0;
/// Its map with the headers of a request, and its buffer with the configuration of a plugin
const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;
/// Of gRPC: none is given
const NO_STATUS: i32 = -1;

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
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

pub fn configuration(size: usize) -> Vec<u8> {
    // SAFETY: see above
    returned(|data, got| unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, got) })
        .unwrap_or_default()
}

pub fn path() -> Vec<u8> {
    let name = ":path";
    // SAFETY: see above
    returned(|data, size| unsafe { proxy_get_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len(), data, size) })
        .unwrap_or_default()
}

/// A function that Envoy offers by its name; the status where it does not.
pub fn foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, u32> {
    // SAFETY: see above
    returned(|data, size| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), data, size)
    })
}

pub fn respond(status: u32, body: &str) {
    // SAFETY: see above; what is not given has the length 0
    unsafe { proxy_send_local_response(status, null(), 0, body.as_ptr(), body.len(), null(), 0, NO_STATUS) };
}

fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, u32> {
    let (mut data, mut size) = (null_mut(), 0);
    match call(&raw mut data, &raw mut size) {
        OK if data.is_null() => Ok(Vec::new()),
        // SAFETY: see above
        OK => Ok(unsafe { Vec::from_raw_parts(data, size, size) }),
        status => Err(status),
    }
}
