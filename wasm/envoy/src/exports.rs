//! What Envoy calls, and the contexts by Envoy's numbers.
//!
//! The proxy-wasm SDK has this too. Its dispatcher panics, and takes the VM along, when a callout is answered that it does
//! not know of, when a callout cannot be sent for a reason that it does not expect, and when a number comes twice; and it
//! exports callbacks that this filter has no use for, which Envoy then makes for everybody's responses. Here a call about
//! a context that is not there does nothing, and lets nothing pass.

use std::cell::RefCell;

use jwt_reissuer::http::Response;
use jwt_reissuer::sorted::Sorted;

use crate::filter::send;
use crate::http::{Action, Http};
use crate::root::Root;
use crate::streams::Streams;

#[derive(Default)]
struct Contexts {
    roots: RefCell<Sorted<u32, Root>>,
    streams: RefCell<Streams<Http>>,
}

thread_local! {
    // A VM has one thread; natively each thread is a VM.
    static CONTEXTS: Contexts = Contexts::default();
}

/// The version of the ABI that this is.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for what Envoy returns; `hostcalls` takes it over.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    if root == 0 {
        with(|contexts| &contexts.roots, |roots| roots.insert(context, Root::default()));
    } else if let Some(filter) = with_root(root, |root| root.filter()) {
        with(|contexts| &contexts.streams, |streams| streams.insert(context, Http::new(context, filter)));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
    // A changed configuration gets a root of its own, beside the one that it takes over from.
    let others = with(
        |contexts| &contexts.roots,
        |roots| roots.iter().filter(|(context, _)| **context != root).filter_map(|(_, root)| root.filter()).collect(),
    );
    let others: Vec<_> = others.unwrap_or_default();
    with_root(root, |root| root.on_configure(size, &others)).unwrap_or(false)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    with_root(root, Root::on_tick);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body_size: usize, _trailers: usize) {
    with_root(root, |root| root.on_http_call_response(token, headers, body_size));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _headers: usize, end_of_stream: bool) -> Action {
    with_stream(context, |stream| stream.on_request_headers(end_of_stream)).unwrap_or_else(|| {
        send(&Response::new(503));
        Action::Pause
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, size: usize, end_of_stream: bool) -> Action {
    with_stream(context, |stream| stream.on_request_body(size, end_of_stream)).unwrap_or(Action::Pause)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _trailers: usize) -> Action {
    with_stream(context, Http::on_request_trailers).unwrap_or(Action::Pause)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    if let Some(stream) = with(|contexts| &contexts.streams, |streams| streams.remove(context)).flatten() {
        stream.on_delete();
        return;
    }
    if let Some(root) = with(|contexts| &contexts.roots, |roots| roots.remove(&context)).flatten() {
        root.on_delete();
    }
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

fn with_root<T>(context: u32, act: impl FnOnce(&mut Root) -> T) -> Option<T> {
    with(|contexts| &contexts.roots, |roots| roots.get_mut(&context).map(act)).flatten()
}

fn with_stream<T>(context: u32, act: impl FnOnce(&mut Http) -> T) -> Option<T> {
    with(|contexts| &contexts.streams, |streams| streams.get_mut(context).map(act)).flatten()
}

/// `None` where a host calls back in the middle of a call of ours, which the ABI does not allow: that must not be a panic.
fn with<C, T>(of: fn(&Contexts) -> &RefCell<C>, act: impl FnOnce(&mut C) -> T) -> Option<T> {
    CONTEXTS.with(|contexts| of(contexts).try_borrow_mut().ok().map(|mut map| act(&mut map)))
}
