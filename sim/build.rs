//! Compiles the replacement of `getrandom` and links it into the simulator and its tests.

use std::{env, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=src/entropy.c");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Also for those who look it up by name while they run.
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=getrandom");
        let objects = cc::Build::new().file("src/entropy.c").compile_intermediates();
        for object in objects {
            let object: &Path = object.as_ref();
            println!("cargo:rustc-link-arg-bins={}", object.display());
        }
    }
}
