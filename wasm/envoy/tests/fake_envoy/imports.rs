//! What the filter imports, over the state of the thread.
//!
//! Safety, for all of them: the filter gives pointers and lengths of slices, and pointers to its own variables. What it is
//! given is allocated by its own allocator, with exactly the returned size, and is its to free.

use super::{BAD_ARGUMENT, Callout, Headers, INTERNAL_FAILURE, LocalResponse, NOT_FOUND, OK, State, foreign, with};

/// `MetricType::Gauge` of the proxy-wasm ABI
const GAUGE: u32 = 1;

unsafe extern "C" {
    safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
}

/// Notes a hostcall, and does it unless it is to fail.
fn call(name: &'static str, act: impl FnOnce(&mut State) -> u32) -> u32 {
    with(|state| {
        state.calls.push(name);
        match state.failing.get(name) {
            Some(status) => *status,
            None => act(state),
        }
    })
}

impl State {
    /// The map of that number, as far as the effective context has it.
    fn map(&self, number: u32) -> Option<&Headers> {
        match number {
            0 => self.streams.get(&self.effective_context).map(|stream| &stream.headers),
            6 => self.answer.as_ref().map(|answer| &answer.headers),
            _ => None,
        }
    }

    fn buffer(&self, number: u32) -> Option<&Vec<u8>> {
        match number {
            0 => self.streams.get(&self.effective_context).map(|stream| &stream.body),
            4 => self.answer.as_ref().map(|answer| &answer.body),
            7 => Some(&self.configuration),
            _ => None,
        }
    }

    fn respond(&mut self, response: LocalResponse) -> u32 {
        let context = self.effective_context;
        if !self.streams.contains_key(&context) {
            self.faults.push(format!("a response {} to context {context}, which is no stream", response.status));
            return BAD_ARGUMENT;
        }
        if self.responses.iter().any(|(answered, _)| *answered == context) {
            self.faults.push(format!("a second response {} to stream {context}", response.status));
        }
        self.responses.push((context, response));
        OK
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_log(level: u32, data: *const u8, size: usize) -> u32 {
    // SAFETY: see above
    let line = unsafe { text(data, size) };
    call("proxy_log", |state| {
        state.logs.push((level, line));
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_log_level(level: *mut u32) -> u32 {
    call("proxy_get_log_level", |state| {
        // SAFETY: see above
        unsafe { *level = state.log_level };
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> u32 {
    call("proxy_set_tick_period_milliseconds", |state| {
        state.tick_period = Some(period);
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_buffer_bytes(
    number: u32,
    start: usize,
    max: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    call("proxy_get_buffer_bytes", |state| {
        if number == 4 {
            state.asked_bytes.push(max);
        }
        let Some(buffer) = state.buffer(number) else { return NOT_FOUND };
        let end = start.saturating_add(max).min(buffer.len()).saturating_sub(state.short_of);
        // SAFETY: see above
        unsafe { give(buffer.get(start..end).unwrap_or_default(), data, size) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_pairs(number: u32, data: *mut *mut u8, size: *mut usize) -> u32 {
    call("proxy_get_header_map_pairs", |state| {
        let Some(map) = state.map(number) else { return BAD_ARGUMENT };
        // SAFETY: see above
        unsafe { give(&serialized(map), data, size) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_value(
    number: u32,
    name: *const u8,
    name_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    // SAFETY: see above
    let name = unsafe { text(name, name_size) };
    call("proxy_get_header_map_value", |state| {
        let Some(map) = state.map(number) else { return BAD_ARGUMENT };
        if state.unreadable.is_some_and(|field| field == name) {
            return INTERNAL_FAILURE;
        }
        let values: Vec<&[u8]> =
            map.iter().filter(|(header, _)| *header == name).map(|(_, value)| value.as_slice()).collect();
        if values.is_empty() {
            return NOT_FOUND;
        }
        // SAFETY: see above
        unsafe { give(&values.join(&b','), data, size) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    // SAFETY: see above
    let path = unsafe { text(path, path_size) };
    call("proxy_get_property", |state| {
        let Some(stream) = state.streams.get(&state.effective_context) else { return NOT_FOUND };
        match (path.as_str(), stream.tls_version) {
            // SAFETY: see above
            ("connection\0tls_version", Some(version)) => unsafe { give(version.as_bytes(), data, size) },
            _ => NOT_FOUND,
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_send_local_response(
    status: u32,
    _details: *const u8,
    _details_size: usize,
    body: *const u8,
    body_size: usize,
    headers: *const u8,
    headers_size: usize,
    _grpc_status: i32,
) -> u32 {
    // SAFETY: see above
    let (body, headers) = unsafe { (text(body, body_size), deserialized(bytes(headers, headers_size))) };
    call("proxy_send_local_response", |state| state.respond(LocalResponse { status, headers, body }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_http_call(
    cluster: *const u8,
    cluster_size: usize,
    headers: *const u8,
    headers_size: usize,
    _body: *const u8,
    _body_size: usize,
    _trailers: *const u8,
    _trailers_size: usize,
    timeout: u32,
    return_token: *mut u32,
) -> u32 {
    // SAFETY: see above
    let (cluster, headers) = unsafe { (text(cluster, cluster_size), deserialized(bytes(headers, headers_size))) };
    call("proxy_http_call", |state| {
        let (context, token) = (state.effective_context, state.number());
        state.callouts.push(Callout { context, cluster, headers, timeout, token });
        // SAFETY: see above
        unsafe { *return_token = token };
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_effective_context(context: u32) -> u32 {
    call("proxy_set_effective_context", |state| {
        if !state.streams.contains_key(&context) && !state.roots.contains(&context) {
            return BAD_ARGUMENT;
        }
        state.effective_context = context;
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_call_foreign_function(
    name: *const u8,
    name_size: usize,
    arguments: *const u8,
    arguments_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    // SAFETY: see above
    let (name, arguments) = unsafe { (text(name, name_size), bytes(arguments, arguments_size)) };
    call("proxy_call_foreign_function", |state| {
        let Some(function) = state.foreign.get(name.as_str()).copied() else { return NOT_FOUND };
        *state.foreign_calls.entry(name).or_default() += 1;
        // SAFETY: see above
        unsafe { give(&function(&foreign::fields(arguments)), data, size) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, return_id: *mut u32) -> u32 {
    // SAFETY: see above
    let name = unsafe { text(name, name_size) };
    call("proxy_define_metric", |state| {
        let id = state.number();
        if kind == GAUGE {
            state.gauges.entry(name.clone()).or_default();
        } else {
            state.counters.entry(name.clone()).or_default();
        }
        state.defined.insert(id, name);
        // SAFETY: see above
        unsafe { *return_id = id };
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_increment_metric(id: u32, by: i64) -> u32 {
    call("proxy_increment_metric", |state| {
        let Some(name) = state.defined.get(&id).cloned() else { return NOT_FOUND };
        if let Some(gauge) = state.gauges.get_mut(&name) {
            *gauge = gauge.checked_add_signed(by).expect("a gauge that falls below zero");
        } else {
            *state.counters.entry(name).or_default() += by;
        }
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_record_metric(id: u32, value: u64) -> u32 {
    call("proxy_record_metric", |state| {
        let Some(name) = state.defined.get(&id).cloned() else { return NOT_FOUND };
        let Some(gauge) = state.gauges.get_mut(&name) else { return BAD_ARGUMENT };
        *gauge = value;
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_metric(id: u32, value: *mut u64) -> u32 {
    call("proxy_get_metric", |state| {
        let Some(name) = state.defined.get(&id) else { return NOT_FOUND };
        let Some(gauge) = state.gauges.get(name) else { return BAD_ARGUMENT };
        // SAFETY: see above
        unsafe { *value = *gauge };
        OK
    })
}

unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if size == 0 {
        return &[];
    }
    // SAFETY: see above
    unsafe { std::slice::from_raw_parts(data, size) }
}

unsafe fn text(data: *const u8, size: usize) -> String {
    // SAFETY: see above
    String::from_utf8_lossy(unsafe { bytes(data, size) }).into_owned()
}

/// Hands bytes over. Envoy allocates nothing for none.
unsafe fn give(content: &[u8], data: *mut *mut u8, size: *mut usize) -> u32 {
    let copy = if content.is_empty() { std::ptr::null_mut() } else { proxy_on_memory_allocate(content.len()) };
    // SAFETY: see above; the copy has this size.
    unsafe {
        if !copy.is_null() {
            copy.copy_from_nonoverlapping(content.as_ptr(), content.len());
        }
        *data = copy;
        *size = content.len();
    }
    OK
}

fn serialized(pairs: &Headers) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let mut bytes = Vec::from(number(pairs.len()));
    for (name, value) in pairs {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
    }
    bytes
}

fn deserialized(bytes: &[u8]) -> Vec<(String, String)> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let pairs = if bytes.is_empty() { 0 } else { number(0) };
    let mut at = 4 + 8 * pairs;
    let mut text = |size: usize| {
        let text = String::from_utf8(bytes[at..at + size].to_vec()).unwrap();
        at += size + 1;
        text
    };
    (0..pairs).map(|pair| (text(number(4 + 8 * pair)), text(number(8 + 8 * pair)))).collect()
}
