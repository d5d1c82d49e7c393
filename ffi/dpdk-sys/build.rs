//! Binds the DPDK that is installed: finds it and a libclang that fits, writes `bindings.rs`, compiles `shim.c`, says how to link.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

/// The oldest DPDK that the bindings were tried with.
const OLDEST: &str = "22.11";

/// Prefix of the constants that `flag_constants` writes for C; the bindings drop it again.
const PREFIX: &str = "dpdk_sys_const_";

/// Headers in which flags are written with RTE_BIT64(), or UINT64_C(), which bindgen cannot evaluate.
const FLAG_HEADERS: [&str; 3] = ["rte_ethdev.h", "rte_mbuf_core.h", "rte_ether.h"];

fn main() {
    for file in ["build.rs", "wrapper.h", "shim.h", "shim.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    for variable in [
        "LIBCLANG_PATH",
        "CLANG_PATH",
        "PKG_CONFIG",
        "PKG_CONFIG_PATH",
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let cflags = find_dpdk();
    find_libclang();
    write_bindings(&cflags, &out);
    compile_shim(&cflags);
    link();
}

/// Ends the build with a message that says what is missing and how to get it.
fn fail(what: &str, why: &str) -> ! {
    eprintln!(
        "\n{what}\n\n    apt-get install libdpdk-dev libclang-dev pkg-config\n\n\
         installs all that this crate needs on Debian 12 and later.\n\n{why}"
    );
    exit(1)
}

fn pkg_config(arguments: &[&str]) -> Result<Vec<String>, String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

/// The compiler flags of libdpdk, whole: include paths alone lack `-include rte_config.h` and `-march`, which the headers need.
fn find_dpdk() -> Vec<String> {
    let wanted = format!("libdpdk >= {OLDEST}");
    if let Err(why) = pkg_config(&["--exists", "--print-errors", &wanted]) {
        fail(
            &format!("DPDK {OLDEST} or later, or pkg-config, was not found."),
            &why,
        );
    }
    match pkg_config(&["--cflags", "libdpdk"]) {
        Ok(flags) => flags,
        Err(why) => fail("pkg-config does not know libdpdk's flags.", &why),
    }
}

/// Chooses a libclang that has its own headers beside it: the library of one version with the headers of another fails in
/// emmintrin.h. What the user has set stays.
fn find_libclang() {
    if let Some(path) = env::var_os("LIBCLANG_PATH") {
        let path = Path::new(&path);
        if !path.is_file() && !has_libclang(path) {
            let why = format!("LIBCLANG_PATH={} has none.", path.display());
            fail("libclang was not found.", &why);
        }
        return;
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(version) = name
            .to_str()
            .and_then(|name| name.strip_prefix("llvm-")?.parse().ok())
        else {
            continue;
        };
        let lib = entry.path().join("lib");
        if has_libclang(&lib) && has_headers(&lib) {
            found.push((version, lib));
        }
    }
    // The version of the default `clang`, if there is one: bindgen asks it for the system's include paths. Else the newest.
    let default = default_clang_version();
    found.sort_by_key(|(version, _)| (Some(*version) == default, *version));
    if let Some((_, lib)) = found.pop() {
        let clang = lib.join("../bin/clang");
        // SAFETY: this build script has one thread, so nobody reads the environment while it is written.
        unsafe {
            env::set_var("LIBCLANG_PATH", &lib);
            if env::var_os("CLANG_PATH").is_none() && clang.exists() {
                env::set_var("CLANG_PATH", clang);
            }
        }
        return;
    }
    // Not Debian's layout: leave the search to bindgen if there is something to find.
    let elsewhere = ["/usr/lib64", "/usr/lib", "/usr/local/lib"];
    if !elsewhere.iter().any(|place| has_libclang(Path::new(place))) {
        fail(
            "libclang was not found.",
            "Looked in /usr/lib/llvm-*/lib, /usr/lib64, /usr/lib and /usr/local/lib; LIBCLANG_PATH can name another place.",
        );
    }
}

fn has_libclang(directory: &Path) -> bool {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            (name.starts_with("libclang.so") || name.starts_with("libclang-"))
                && name.contains(".so")
        })
}

fn has_headers(lib: &Path) -> bool {
    fs::read_dir(lib.join("clang"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|version| version.path().join("include/stddef.h").exists())
}

fn default_clang_version() -> Option<u32> {
    let output = Command::new("clang").arg("-dumpversion").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split('.').next()?.trim().parse().ok()
}

/// C constants for the flags that bindgen cannot evaluate by itself. Found in the headers, so that nothing is named by hand.
fn flag_constants(cflags: &[String]) -> String {
    let mut definitions: Vec<(String, String)> = Vec::new();
    for directory in cflags.iter().filter_map(|flag| flag.strip_prefix("-I")) {
        for header in FLAG_HEADERS {
            let Ok(text) = fs::read_to_string(Path::new(directory).join(header)) else {
                continue;
            };
            for line in text.replace("\\\n", " ").lines() {
                let Some(rest) = line.trim_start().strip_prefix("#define") else {
                    continue;
                };
                let rest = rest.trim_start();
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                let (name, body) = rest.split_at(end);
                // A macro with arguments has its parenthesis at once.
                if name.starts_with("RTE_") && !body.starts_with('(') {
                    definitions.push((name.to_owned(), body.to_owned()));
                }
            }
        }
    }
    let mut flags: BTreeSet<String> = BTreeSet::new();
    // Masks are made of flags, and of other masks: go on until nothing new is found.
    loop {
        let before = flags.len();
        for (name, body) in &definitions {
            let made_of_flags = body
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| matches!(word, "RTE_BIT64" | "UINT64_C") || flags.contains(word));
            if made_of_flags {
                flags.insert(name.clone());
            }
        }
        if flags.len() == before {
            break;
        }
    }
    let mut c = String::new();
    for name in flags {
        writeln!(c, "static const uint64_t {PREFIX}{name} = {name};").unwrap();
    }
    c
}

/// Makes flags constants of one type, by their own names.
#[derive(Debug)]
struct Flags;

impl bindgen::callbacks::ParseCallbacks for Flags {
    fn int_macro(&self, name: &str, _value: i64) -> Option<bindgen::callbacks::IntKind> {
        ["RTE_MBUF_F_", "RTE_VHOST_USER_", "RTE_ETH_RSS_LEVEL_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            .then_some(bindgen::callbacks::IntKind::U64)
    }

    fn item_name(&self, item: bindgen::callbacks::ItemInfo<'_>) -> Option<String> {
        item.name.strip_prefix(PREFIX).map(str::to_owned)
    }
}

fn write_bindings(cflags: &[String], out: &Path) {
    let flags = out.join("flags.h");
    fs::write(&flags, flag_constants(cflags)).unwrap();
    let wrapper = fs::canonicalize("wrapper.h").unwrap();
    // Flags are evaluated after the headers that define them.
    let all = out.join("all.h");
    fs::write(
        &all,
        format!(
            "#include \"{}\"\n#include \"{}\"\n",
            wrapper.display(),
            flags.display()
        ),
    )
    .unwrap();
    let bindings = bindgen::Builder::default()
        .header(all.to_str().unwrap())
        .clang_args(cflags)
        .allowlist_function("(rte|sw|shim)_.*")
        // Filter expressions: libpcap compiles them, rte_bpf runs them.
        .allowlist_function("pcap_(open_dead|compile|geterr|close|freecode|offline_filter)")
        .allowlist_type("(rte|RTE|shim|virtio)_.*")
        .allowlist_var("(DLT_EN10MB|PCAP_NETMASK_UNKNOWN)")
        .allowlist_var(format!("(rte_|RTE_|RING_F_|VIRTIO_|VHOST_|{PREFIX}).*"))
        // Thread-local variables bind, link and crash when read; the shim has functions for them.
        .blocklist_var("per_lcore_.*")
        // Packed and aligned at once, which Rust cannot say.
        .opaque_type("rte_l2tpv2_combined_msg_hdr")
        .opaque_type("port_params")
        .opaque_type("rte_gtp_psc_generic_hdr")
        .parse_callbacks(Box::new(Flags))
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_debug(false)
        .layout_tests(false)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .wrap_unsafe_ops(true)
        .generate();
    match bindings {
        Ok(bindings) => bindings.write_to_file(out.join("bindings.rs")).unwrap(),
        Err(error) => fail(
            "bindgen could not read DPDK's headers.",
            &format!(
                "{error}\nLIBCLANG_PATH={}",
                env::var("LIBCLANG_PATH").unwrap_or_default()
            ),
        ),
    }
}

fn compile_shim(cflags: &[String]) {
    let mut build = cc::Build::new();
    // Always optimized: it is a part of the path of every packet, in a debug build too.
    build.file("shim.c").opt_level(3).warnings(false);
    for flag in cflags {
        build.flag(flag);
    }
    build.flag("-DALLOW_EXPERIMENTAL_API");
    build.compile("dpdk_sys_shim");
}

fn link() {
    // libdpdk-dev depends on libpcap-dev; the shared libdpdk does not link it for others.
    println!("cargo:rustc-link-lib=dylib=pcap");
    if env::var_os("CARGO_FEATURE_STATIC").is_some() {
        return link_statically();
    }
    // The shared libraries that this crate and its users call; drivers are loaded by EAL from its own directory.
    if let Err(error) = pkg_config::Config::new()
        .atleast_version(OLDEST)
        .probe("libdpdk")
    {
        fail("DPDK cannot be linked.", &error.to_string());
    }
}

/// Drivers register themselves in constructors that nobody calls, so each archive of DPDK is linked whole.
fn link_statically() {
    let flags = match pkg_config(&["--static", "--libs", "libdpdk"]) {
        Ok(flags) => flags,
        Err(why) => fail("DPDK cannot be linked statically.", &why),
    };
    if flags.iter().any(|flag| flag == "-lsystemd")
        && pkg_config(&["--exists", "libsystemd"]).is_err()
    {
        fail(
            "Static DPDK needs libsystemd-dev too, which is not installed.",
            "apt-get install libsystemd-dev; without the feature `static` it is not needed.",
        );
    }
    let mut seen = BTreeSet::new();
    for flag in flags {
        if let Some(path) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={path}");
        } else if let Some(archive) = flag.strip_prefix("-l:lib") {
            let name = archive.trim_end_matches(".a").to_owned();
            if seen.insert(name.clone()) {
                println!("cargo:rustc-link-lib=static:+whole-archive,-bundle={name}");
            }
        } else if let Some(name) = flag.strip_prefix("-l") {
            // Every rte_ library comes a second time as a shared one, for the linker's leftovers.
            if !name.starts_with("rte_") && name != "pcap" && seen.insert(name.to_owned()) {
                println!("cargo:rustc-link-lib=dylib={name}");
            }
        }
    }
}
