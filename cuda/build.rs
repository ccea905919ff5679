//! Compiles the kernels for the CPU if the feature `twin` is enabled.

#![cfg_attr(feature = "twin", allow(clippy::unwrap_used, reason = "a panic fails the build and shows the location"))]

#[cfg(feature = "twin")]
#[path = "src/signature.rs"]
#[allow(dead_code, reason = "the crate uses the other items")]
mod signature;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/signature.rs");
    println!("cargo::rerun-if-changed=src/kernels");
    println!("cargo::rerun-if-changed=src/twin");
    #[cfg(feature = "twin")]
    twins();
}

/// Writes and compiles one C file with all kernels. Each gets a wrapper that takes its arguments by address, like the driver's launch.
#[cfg(feature = "twin")]
fn twins() {
    use signature::Kind;
    use std::fmt::Write;
    let (mut kernels, mut calls, mut table) = (String::new(), String::new(), String::new());
    let mut names: Vec<_> = std::fs::read_dir("src/kernels").unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names.iter().filter(|path| path.extension().is_some_and(|extension| extension == "cu")) {
        let source = std::fs::read_to_string(path).unwrap();
        writeln!(kernels, "#include \"{}\"", std::path::absolute(path).unwrap().display()).unwrap();
        for signature in signature::parse(&source).unwrap() {
            let name = &signature.name;
            let arguments: Vec<String> = (signature.parameters.iter().enumerate())
                .map(|(i, kind)| {
                    let kind = match kind {
                        Kind::Floats => "float*",
                        Kind::Doubles => "double*",
                        Kind::Ints => "int*",
                        Kind::Bytes => "unsigned char*",
                        Kind::Halves => "bits16*",
                        Kind::FloatsOrHalves => "void*",
                        Kind::Int => "int",
                        Kind::Float => "float",
                    };
                    format!("*({kind}*)a[{i}]")
                })
                .collect();
            writeln!(calls, "static void call_{name}(void** a) {{ {name}({}); }}", arguments.join(", ")).unwrap();
            writeln!(table, "    {{\"{name}\", call_{name}, {}}},", i32::from(signature.synchronizes)).unwrap();
        }
    }
    let text = format!(
        "#include \"shim.h\"\n#include \"common.h\"\n{kernels}{calls}#include \"launch.h\"\n\
         static const struct Twin TWINS[] = {{\n{table}}};\n#include \"launch.c\"\n"
    );
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap()).join("twins.c");
    std::fs::write(&out, text).unwrap();
    let mut build = cc::Build::new();
    build.file(&out).include("src/twin").include("src/kernels").opt_level(2).flag("-ffp-contract=off");
    // `fmaf` is a slow library function without this flag; the results are equal. Tests run on the host that built them.
    #[cfg(target_arch = "x86_64")]
    if std::env::var_os("HOST") == std::env::var_os("TARGET") && std::is_x86_feature_detected!("fma") {
        build.flag("-mfma");
    }
    build.compile("twins");
}
