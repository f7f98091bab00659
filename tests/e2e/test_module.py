"""The module itself: small, and with names that help who reads a trap in a gateway's log."""

from __future__ import annotations

import os
from pathlib import Path

from harness import installed, testing
import binaryen
import pytest
import size
import wasm
import wasm_names


def function_names(module: bytes) -> list[str]:
    (section,) = [
        content for kind, content in wasm_names.sections(module, wasm_names.HEADER) if kind == 0 and content[:5] == b"\x04name"
    ]
    return [name for _, name in wasm_names.function_names(section, 5)]


@pytest.mark.skipif(binaryen.wasm_opt() is None, reason="the limit is for a module that went through wasm-opt")
def test_the_module_is_under_its_limit() -> None:
    assert installed.module().stat().st_size < wasm.LIMIT


def test_its_functions_have_names_that_people_read() -> None:
    names = function_names(installed.module().read_bytes())
    assert "jwt_reissuer::config::Config::from_json" in names
    assert not [name for name in names if name.startswith(("_ZN", "_R"))]


def test_it_holds_no_path_of_the_machine_that_built_it() -> None:
    module = installed.module().read_bytes()
    for path in (installed.REPOSITORY, Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")):
        assert os.fsencode(path) + b"/" not in module, path


def test_the_defect_that_tests_bring_a_module_down_by_is_not_in_it() -> None:
    """Neither its words, nor its file: the module of the tests has both, so they would be seen."""
    traces = (b"a request asked for it", b"src/trap.rs")
    assert all(trace in testing.trap().read_bytes() for trace in traces)
    assert not [trace for trace in traces if trace in installed.module().read_bytes()]


def test_it_has_no_call_that_shares_data_with_other_plugins() -> None:
    """What stands there, every plugin of the process could read and change."""
    module = installed.module().read_bytes()
    assert b"proxy_get_buffer_bytes" in module, "so are the names of calls seen"
    assert b"shared_data" not in module and b"shared_queue" not in module


def test_every_byte_is_counted_once() -> None:
    content = installed.module().read_bytes()
    counted = size.read(content)
    assert sum(bytes_of for _, bytes_of in counted.sections) == len(content)
    code = dict(counted.sections)["code"]
    assert sum(bytes_of for _, bytes_of in counted.functions) + counted.counts == code
    assert "jwt_reissuer::config::Config::from_json" in dict(counted.functions)


def test_only_names_are_written_anew() -> None:
    module = installed.module().read_bytes()
    assert wasm_names.readable(module) == module, "a second time changes nothing"
    code = [content for kind, content in wasm_names.sections(module, wasm_names.HEADER) if kind == 10]
    assert len(code) == 1


def test_symbols_are_read_as_the_compiler_wrote_them() -> None:
    for symbol, name in [
        ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::Formatter::pad"),
        ("_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", "core::Debug::fmt"),
        (
            "_ZN70_$LT$alloc..vec..Vec$LT$T$C$A$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
            "alloc::Vec::drop",
        ),
        ("_ZN3two59_$LT$impl$u20$one..Trait$u20$for$u20$one..Type$LT$T$GT$$GT$2do17h0123456789abcdefE", "one::Type::do"),
        ("_RNvMsa_NtCsdHhIpgkcIfN_4core3fmtNtB5_9Formatter3pad", "core::Formatter::pad"),
        ("_RNvXs3_NtNtNtCsdHhIpgkcIfN_4core3fmt3num3imptNtB9_7Display3fmt", "u16::fmt"),
        ("_RNCNvNtCset5xJoy1xWQ_3std9panicking13panic_handler0B5_", "std::panicking::panic_handler::{closure}"),
        ("_RNvNtCs3", "_RNvNtCs3"),
        ("_ZN3one3twoE", "one::two"),
        ("_ZN3one9tooE", "_ZN3one9tooE"),
        ("proxy_on_tick", "proxy_on_tick"),
    ]:
        assert wasm_names.demangled(symbol) == name
