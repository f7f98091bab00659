//! The calls into Envoy.
//!
//! Safety, for all of them: pointers and lengths are of slices that outlive the call.

use std::ptr::null;

use crate::abi::{buffer, header, returned};

/// The map with the headers of a request, and the buffer with the configuration of a plugin
const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;
/// Of gRPC: none is given
const NO_STATUS: i32 = -1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
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
    buffer(PLUGIN_CONFIGURATION, size).unwrap_or_default()
}

pub fn path() -> Vec<u8> {
    header(REQUEST_HEADERS, ":path").unwrap_or_default()
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
