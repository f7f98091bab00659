//! An Envoy of one worker: the calls that the module imports, over a state of its own for each thread, and with it for each
//! test.
//!
//! Safety, for all of them: the module gives pointers and lengths of slices, and pointers to its own variables.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proxy_wasm::types::Action;

pub const ROOT: u32 = 1;

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
pub const BAD_ARGUMENT: u32 = 2;
pub const INTERNAL_FAILURE: u32 = 10;

pub type Pairs = Vec<(String, String)>;

#[derive(Clone, Debug)]
pub struct LocalResponse {
    pub context: u32,
    pub status: u32,
    pub headers: Pairs,
    pub body: String,
}

impl LocalResponse {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug)]
pub struct Callout {
    pub context: u32,
    pub cluster: String,
    pub headers: Pairs,
    pub token: u32,
}

#[derive(Default)]
pub struct Fake {
    pub configuration: Vec<u8>,
    pub request_headers: Pairs,
    pub request_body: Vec<u8>,
    pub callout_headers: Pairs,
    pub callout_body: Vec<u8>,
    /// What every call returns, unless it is 0
    pub status: u32,
    pub effective_context: u32,
    pub live: Vec<u32>,
    pub tick_period: Option<u32>,
    pub logs: Vec<(u32, String)>,
    pub responses: Vec<LocalResponse>,
    pub callouts: Vec<Callout>,
    pub counters: BTreeMap<String, i64>,
    metrics: Vec<String>,
    /// The header fields that were asked for; `*` is all of them
    pub reads: Vec<String>,
    pub failed_calls: usize,
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

/// Looks at the state, or changes it. What is called by `act` must not call the module.
pub fn with<T>(act: impl FnOnce(&mut Fake) -> T) -> T {
    FAKE.with(|fake| act(&mut fake.borrow_mut()))
}

// What the module exports.
unsafe extern "C" {
    safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
    safe fn proxy_on_context_create(context: u32, root: u32);
    safe fn proxy_on_vm_start(root: u32, size: usize) -> bool;
    safe fn proxy_on_configure(root: u32, size: usize) -> bool;
    safe fn proxy_on_tick(root: u32);
    safe fn proxy_on_request_headers(context: u32, headers: usize, end_of_stream: bool) -> Action;
    safe fn proxy_on_request_body(context: u32, size: usize, end_of_stream: bool) -> Action;
    safe fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body_size: usize, trailers: usize);
    safe fn proxy_on_done(context: u32) -> bool;
    safe fn proxy_on_log(context: u32);
    safe fn proxy_on_delete(context: u32);
}

fn enter(context: u32) {
    with(|fake| fake.effective_context = context);
}

fn create(context: u32, root: u32) {
    with(|fake| fake.live.push(context));
    enter(context);
    proxy_on_context_create(context, root);
}

/// Starts the VM and configures its root context: what `on_configure` says.
pub fn start(configuration: &str) -> bool {
    jwt_reissuer_envoy::start();
    create(ROOT, 0);
    assert!(proxy_on_vm_start(ROOT, 0));
    with(|fake| fake.configuration = configuration.into());
    proxy_on_configure(ROOT, configuration.len())
}

pub fn tick() {
    enter(ROOT);
    proxy_on_tick(ROOT);
}

/// The headers of a new request come in.
pub fn request(context: u32, headers: &[(&str, &str)], end_of_stream: bool) -> Action {
    create(context, ROOT);
    with(|fake| {
        fake.request_headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        fake.request_body.clear();
    });
    proxy_on_request_headers(context, headers.len(), end_of_stream)
}

/// A part of its body comes in, and is buffered with those before.
pub fn body(context: u32, part: &str, end_of_stream: bool) -> Action {
    enter(context);
    let size = with(|fake| {
        fake.request_body.extend(part.as_bytes());
        fake.request_body.len()
    });
    proxy_on_request_body(context, size, end_of_stream)
}

/// The client goes away, or has had its answer.
pub fn close(context: u32) {
    enter(context);
    assert!(proxy_on_done(context));
    proxy_on_log(context);
    proxy_on_delete(context);
    with(|fake| fake.live.retain(|live| *live != context));
}

/// The last callout to a cluster is answered; `None` as when it timed out.
pub fn answer_callout(cluster: &str, answer: Option<(&str, &str)>) {
    let token = with(|fake| {
        let (headers, body) = match answer {
            Some((status, body)) => (vec![(":status".to_owned(), status.to_owned())], body),
            None => (Vec::new(), ""),
        };
        fake.callout_headers = headers;
        fake.callout_body = body.into();
        fake.callouts.iter().rfind(|callout| callout.cluster == cluster).expect("a callout").token
    });
    let (headers, size) = with(|fake| (fake.callout_headers.len(), fake.callout_body.len()));
    enter(ROOT);
    proxy_on_http_call_response(ROOT, token, headers, size, 0);
}

fn call(act: impl FnOnce(&mut Fake) -> u32) -> u32 {
    with(|fake| {
        if fake.status == OK {
            act(fake)
        } else {
            fake.failed_calls += 1;
            fake.status
        }
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

/// Hands a buffer over, in memory of the module's allocator.
unsafe fn give(content: &[u8], data: *mut *mut u8, size: *mut usize) -> u32 {
    let copy = if content.is_empty() { std::ptr::null_mut() } else { proxy_on_memory_allocate(content.len()) };
    // SAFETY: see above; the copy has been allocated with this size.
    unsafe {
        if !copy.is_null() {
            copy.copy_from_nonoverlapping(content.as_ptr(), content.len());
        }
        *data = copy;
        *size = content.len();
    }
    OK
}

fn serialized(pairs: &Pairs) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

fn deserialized(bytes: &[u8]) -> Pairs {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let count = if bytes.is_empty() { 0 } else { number(0) };
    let mut at = 4 + 8 * count;
    let mut text = |size: usize| {
        let text = String::from_utf8(bytes[at..at + size].to_vec()).unwrap();
        at += size + 1;
        text
    };
    (0..count).map(|pair| (text(number(4 + 8 * pair)), text(number(8 + 8 * pair)))).collect()
}

fn map(fake: &mut Fake, kind: u32) -> Option<Pairs> {
    match kind {
        0 => Some(fake.request_headers.clone()),
        6 => Some(fake.callout_headers.clone()),
        _ => None,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_log(level: u32, data: *const u8, size: usize) -> u32 {
    // SAFETY: see above
    let message = unsafe { text(data, size) };
    call(|fake| {
        fake.logs.push((level, message));
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_log_level(level: *mut u32) -> u32 {
    call(|_| {
        // SAFETY: see above
        unsafe { *level = 0 };
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> u32 {
    call(|fake| {
        fake.tick_period = Some(period);
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_buffer_bytes(
    kind: u32,
    start: usize,
    max: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    call(|fake| {
        let buffer = match kind {
            0 => &fake.request_body,
            4 => &fake.callout_body,
            7 => &fake.configuration,
            _ => return BAD_ARGUMENT,
        };
        let end = start.saturating_add(max).min(buffer.len());
        // SAFETY: see above
        unsafe { give(buffer.get(start..end).unwrap_or_default(), data, size) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_pairs(kind: u32, data: *mut *mut u8, size: *mut usize) -> u32 {
    call(|fake| {
        fake.reads.push("*".into());
        match map(fake, kind) {
            // SAFETY: see above
            Some(pairs) => unsafe { give(&serialized(&pairs), data, size) },
            None => BAD_ARGUMENT,
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_value(
    kind: u32,
    name: *const u8,
    name_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    // SAFETY: see above
    let name = unsafe { text(name, name_size) };
    call(|fake| {
        fake.reads.push(name.clone());
        let Some(pairs) = map(fake, kind) else { return BAD_ARGUMENT };
        let values: Vec<&str> =
            pairs.iter().filter(|(header, _)| *header == name).map(|(_, value)| value.as_str()).collect();
        if values.is_empty() {
            return NOT_FOUND;
        }
        // SAFETY: see above
        unsafe { give(values.join(",").as_bytes(), data, size) }
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
    call(|fake| {
        fake.responses.push(LocalResponse { context: fake.effective_context, status, headers, body });
        OK
    })
}

/// The SDK panics on any other failure than these two.
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
    _timeout: u32,
    token: *mut u32,
) -> u32 {
    // SAFETY: see above
    let (cluster, headers) = unsafe { (text(cluster, cluster_size), deserialized(bytes(headers, headers_size))) };
    let status = call(|fake| {
        let next = fake.callouts.len() as u32 + 100;
        fake.callouts.push(Callout { context: fake.effective_context, cluster, headers, token: next });
        // SAFETY: see above
        unsafe { *token = next };
        OK
    });
    if matches!(status, OK | BAD_ARGUMENT) { status } else { INTERNAL_FAILURE }
}

/// The SDK takes no failure but this one, and none for the context that is being called anyway, which Envoy never refuses.
#[unsafe(no_mangle)]
extern "C" fn proxy_set_effective_context(context: u32) -> u32 {
    with(|fake| {
        if !fake.live.contains(&context) || (fake.status != OK && context != ROOT) {
            fake.failed_calls += 1;
            return BAD_ARGUMENT;
        }
        fake.effective_context = context;
        OK
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_define_metric(_kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32 {
    // SAFETY: see above
    let name = unsafe { text(name, name_size) };
    call(|fake| {
        // SAFETY: see above
        unsafe { *id = fake.metrics.len() as u32 };
        fake.metrics.push(name);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_increment_metric(id: u32, by: i64) -> u32 {
    call(|fake| {
        let Some(name) = fake.metrics.get(id as usize).cloned() else { return NOT_FOUND };
        *fake.counters.entry(name).or_default() += by;
        OK
    })
}

/// What the SDK could call and the module has no use for.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> u32 {
                INTERNAL_FAILURE
            }
        )*
    };
}

never_called! {
    proxy_get_current_time_nanoseconds proxy_set_buffer_bytes proxy_set_header_map_pairs
    proxy_remove_header_map_value proxy_replace_header_map_value proxy_add_header_map_value
    proxy_get_property proxy_set_property proxy_get_shared_data proxy_set_shared_data
    proxy_register_shared_queue proxy_resolve_shared_queue proxy_dequeue_shared_queue proxy_enqueue_shared_queue
    proxy_continue_stream proxy_close_stream proxy_grpc_call proxy_grpc_stream proxy_grpc_send proxy_grpc_cancel
    proxy_grpc_close proxy_get_status proxy_call_foreign_function proxy_done proxy_get_metric proxy_record_metric
}
