//! The calls into Envoy.
//!
//! The proxy-wasm SDK has these calls too, but panics on a status it does not expect and takes the VM along. Here every
//! status is a value: what cannot be had is `None`, what cannot be done says so.
//!
//! Safety, for all of them: pointers and lengths are of slices that outlive the call, and a buffer that Envoy returns was
//! allocated by `proxy_on_memory_allocate` with exactly the returned size, and is ours to free.

use std::fmt;
use std::ptr::null_mut;
use std::time::Duration;

/// `WasmResult::Ok` of the proxy-wasm ABI.
const OK: u32 = 0;
/// `WasmResult::NotFound`
const NOT_FOUND: u32 = 1;

/// The call failed, with this `WasmResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed(u32);

impl Failed {
    /// To Envoy: a callout to a cluster that it does not know.
    pub(crate) const BAD_ARGUMENT: Self = Self(2);
    /// From Envoy, by us: what it gave could not be read.
    pub(crate) const SERIALIZATION: Self = Self(3);
    /// To Envoy: a callout that could not be begun.
    pub(crate) const INTERNAL_FAILURE: Self = Self(10);
}

/// As the ABI calls it, with its number.
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "NotFound",
            2 => "BadArgument",
            3 => "SerializationFailure",
            4 => "ParseFailure",
            5 => "BadExpression",
            6 => "InvalidMemoryAccess",
            7 => "Empty",
            8 => "CasMismatch",
            9 => "ResultMismatch",
            10 => "InternalFailure",
            11 => "BrokenConnection",
            12 => "Unimplemented",
            _ => "unknown",
        };
        write!(f, "{name} ({})", self.0)
    }
}

/// Buffers and maps by their numbers in the proxy-wasm ABI 0.2.1.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Buffer {
    RequestBody = 0,
    CalloutResponseBody = 4,
    PluginConfiguration = 7,
}

#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Map {
    RequestHeaders = 0,
    CalloutResponseHeaders = 6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum LogLevel {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(kind: u32, start: usize, size: usize, data: *mut *mut u8, got: *mut usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
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
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
}

/// Writes a line to Envoy's log.
pub(crate) fn log(level: LogLevel, message: &str) {
    // SAFETY: see above. A line that cannot be written is lost; there is nowhere to say so.
    unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// The lowest level that Envoy writes lines of.
pub(crate) fn lowest_level() -> LogLevel {
    let mut lowest = LogLevel::Info as u32;
    // SAFETY: see above; where the call fails, the initial value stands.
    unsafe { proxy_get_log_level(&raw mut lowest) };
    match lowest {
        0 | 1 => LogLevel::Debug,
        2 => LogLevel::Info,
        3 => LogLevel::Warn,
        4 => LogLevel::Error,
        _ => LogLevel::Critical,
    }
}

/// Has `on_tick` of the current root context called at this interval, at least a millisecond: zero would turn it off. False if it
/// will not be.
pub(crate) fn set_tick_period(period: Duration) -> bool {
    // SAFETY: no pointers
    unsafe { proxy_set_tick_period_milliseconds(milliseconds(period).max(1)) == OK }
}

/// Up to `size` bytes from the beginning of a buffer.
pub(crate) fn buffer(kind: Buffer, size: usize) -> Option<Vec<u8>> {
    // SAFETY: see above
    returned(|data, got| unsafe { proxy_get_buffer_bytes(kind as u32, 0, size, data, got) }).ok()
}

/// The value of a header, `None` if it is not there; several of one name come joined by commas.
pub(crate) fn header(map: Map, name: &str) -> Result<Option<Vec<u8>>, Failed> {
    // SAFETY: see above
    match returned(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    }) {
        Ok(value) => Ok(Some(value)),
        Err(Failed(NOT_FOUND)) => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// A property of the current stream by its path; `None` if the stream has none, or the host does not say.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    // SAFETY: see above
    returned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }).ok()
}

/// All headers, as Envoy wrote them.
pub(crate) struct Headers(Vec<u8>);

impl Headers {
    /// Names and values; `None` where they cannot be read.
    pub(crate) fn pairs(&self) -> Option<Vec<(&[u8], &[u8])>> {
        deserialized(&self.0)
    }
}

/// All headers.
pub(crate) fn headers(map: Map) -> Result<Headers, Failed> {
    // SAFETY: see above
    returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) }).map(Headers)
}

/// Sends a callout without a body from the current root context, which is told of its end by the returned token.
pub(crate) fn http_call(cluster: &str, headers: &[(&str, &str)], timeout: Duration) -> Result<u32, Failed> {
    let headers = serialized(headers);
    let trailers = serialized(&[]);
    let none = b"";
    let mut token = 0;
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
            milliseconds(timeout),
            &raw mut token,
        )
    };
    if status == OK { Ok(token) } else { Err(Failed(status)) }
}

/// Makes another context the one that calls are about, until the callback ends; false if Envoy has it no more.
pub(crate) fn set_effective_context(context: u32) -> bool {
    // SAFETY: no pointers
    unsafe { proxy_set_effective_context(context) == OK }
}

/// Answers the current stream; false if that was not possible, as when its client has gone.
pub(crate) fn send_response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> bool {
    let headers = serialized(headers);
    let none = b"";
    // SAFETY: see above
    let sent = unsafe {
        proxy_send_local_response(
            u32::from(status),
            none.as_ptr(),
            none.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    };
    sent == OK
}

/// Calls a function that this host has beyond the ABI, and gives its result.
pub(crate) fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Failed> {
    // SAFETY: see above
    returned(|data, size| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), data, size)
    })
}

/// Metrics by their numbers in the proxy-wasm ABI.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Metric {
    Counter = 0,
    Gauge = 1,
}

/// Defines a metric, or finds the one of that name.
pub(crate) fn define(kind: Metric, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: see above
    let defined = unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) };
    (defined == OK).then_some(id)
}

/// Adds to a counter, or adds to and takes from a gauge: what every VM adds is summed. False if it was not added.
pub(crate) fn add(metric: u32, number: i64) -> bool {
    // SAFETY: no pointers
    unsafe { proxy_increment_metric(metric, number) == OK }
}

/// Sets a gauge, for every VM.
pub(crate) fn record(gauge: u32, value: u64) {
    // SAFETY: no pointers
    unsafe { proxy_record_metric(gauge, value) };
}

/// The value of a metric, whichever VM of this Envoy wrote it.
pub(crate) fn value(metric: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: see above
    let status = unsafe { proxy_get_metric(metric, &raw mut value) };
    (status == OK).then_some(value)
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Failed> {
    let mut data = null_mut();
    let mut size = 0;
    let status = call(&raw mut data, &raw mut size);
    if status != OK {
        return Err(Failed(status));
    }
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: see above
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// The ABI's form of a map: the number of pairs, the sizes of every name and value, then each of them ended by a zero
/// byte; numbers are little-endian and 32 bits.
fn serialized(pairs: &[(&str, &str)]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let texts = pairs.iter().fold(4, |room: usize, (name, value)| {
        room.saturating_add(name.len()).saturating_add(value.len()).saturating_add(10)
    });
    let mut bytes = Vec::with_capacity(texts);
    bytes.extend(number(pairs.len()));
    for (name, value) in pairs {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

fn deserialized(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (pairs, rest) = number(bytes)?;
    let (mut sizes, mut texts) = rest.split_at_checked(pairs.checked_mul(8)?)?;
    // Bounded by the bytes that there are: the sizes of so many pairs are among them.
    let mut map = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let mut pair: [&[u8]; 2] = [&[]; 2];
        for text in &mut pair {
            let (size, sizes_after) = number(sizes)?;
            let (bytes, texts_after) = texts.split_at_checked(size)?;
            *text = bytes;
            sizes = sizes_after;
            texts = texts_after.get(1..)?;
        }
        let [name, value] = pair;
        map.push((name, value));
    }
    Some(map)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written_and_a_cut_one_is_refused() {
        let bytes = serialized(&[(":path", "/reissue"), ("empty", "")]);
        assert_eq!(deserialized(&bytes), Some(vec![(&b":path"[..], &b"/reissue"[..]), (b"empty", b"")]));
        for cut in 1..bytes.len() {
            assert_eq!(deserialized(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(deserialized(&[255; 12]), None);
    }
}
