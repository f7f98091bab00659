//! The call into Envoy that is measured.

use crate::abi::returned;

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
}

/// A function that Envoy offers by its name; the status where it does not.
pub fn foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, u32> {
    // SAFETY: pointers and lengths are of slices that outlive the call
    returned(|data, size| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), data, size)
    })
}
