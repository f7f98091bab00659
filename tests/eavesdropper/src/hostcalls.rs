//! The calls into Envoy.
//!
//! Safety, for all of them: pointers and lengths are of slices that outlive the call.

use crate::abi::{OK, buffer, header, returned};

/// Its log level
const INFO: u32 = 2;
/// Its buffer with the body of a callout's answer, and its map with the headers
const CALLOUT_BODY: u32 = 4;
const CALLOUT_HEADERS: u32 = 6;
const CALLOUT_MILLISECONDS: u32 = 2000;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
}

/// Writes a line to Envoy's log.
pub fn log(message: &str) {
    let line = format!("eavesdropper: {message}");
    // SAFETY: see above
    unsafe { proxy_log(INFO, line.as_ptr(), line.len()) };
}

pub fn set_tick_period(milliseconds: u32) {
    // SAFETY: no pointers
    unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
}

/// A value that any VM with the same `vm_id` has put there.
pub fn shared_data(key: &str) -> Result<Vec<u8>, u32> {
    let mut version = 0;
    // SAFETY: see above
    returned(|data, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version) })
}

/// Sends a callout; its answer comes to `proxy_on_http_call_response`.
pub fn http_get(cluster: &str, authority: &str, path: &str) -> Result<(), u32> {
    let headers = serialized(&[(":method", "GET"), (":authority", authority), (":path", path)]);
    let (trailers, none, mut token) = (serialized(&[]), b"", 0);
    // SAFETY: see above
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            none.as_ptr(),
            none.len(),
            trailers.as_ptr(),
            trailers.len(),
            CALLOUT_MILLISECONDS,
            &raw mut token,
        )
    };
    if status == OK { Ok(()) } else { Err(status) }
}

pub fn status_of_callout() -> String {
    let status = header(CALLOUT_HEADERS, ":status");
    status.map_or_else(|_| "without a status".into(), |status| String::from_utf8_lossy(&status).into_owned())
}

pub fn body_of_callout(size: usize) -> Vec<u8> {
    buffer(CALLOUT_BODY, size).unwrap_or_default()
}

/// The ABI's form of a map: the number of pairs, the sizes of every name and value, then each of them ended by a zero
/// byte; numbers are little-endian and 32 bits.
fn serialized(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::from((pairs.len() as u32).to_le_bytes());
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
